// Package scaffold writes what new projects begin with: homes, templates, plugins and
// events. The files are in the directory tree, as text/template with [[ and ]].
package scaffold

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"go/format"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"text/template"
)

//go:embed all:tree
var tree embed.FS

// ErrExists says that a file would be overwritten.
var ErrExists = errors.New("exists already")

// File is one file of a project.
type File struct {
	// Path is relative to the project, with slashes.
	Path string
	// Data is what it holds.
	Data []byte
}

// Kind is what a plugin offers.
type Kind string

// What a plugin offers.
const (
	Handler    Kind = "handler"
	Subscriber Kind = "subscriber"
	Both       Kind = "both"
)

// Kinds lists the kinds.
func Kinds() []string { return []string{string(Handler), string(Subscriber), string(Both)} }

// Lang is what a plugin is written in.
type Lang string

// What a plugin is written in.
const (
	Go   Lang = "go"
	Node Lang = "node" // TypeScript
)

// Languages lists the languages.
func Languages() []string { return []string{string(Go), string(Node)} }

// SDK says where a project takes the SDK from.
type SDK struct {
	// Version is the version that go.mod requires, such as "v0.4.0".
	Version string
	// Replace is the directory of a checkout that stands in for it. Empty = none.
	Replace string
	// Npm is what package.json asks for: a version, or "file:" and the path of a package
	// in the project.
	Npm string
}

// Vendored is the package in the project that package.json asks for, empty when there is
// none.
func (s SDK) Vendored() string {
	file, ok := strings.CutPrefix(s.Npm, "file:")
	if !ok {
		return ""
	}
	return file
}

// Plugin describes a new plugin.
type Plugin struct {
	// Name is the plugin's name, such as "orders".
	Name string
	// Lang is what it is written in; empty = Go.
	Lang Lang
	// Kind is what it offers.
	Kind Kind
	// Module is the path of its Go module.
	Module string
	// Go is the Go version of its module, such as "1.26.0".
	Go string
	// SDK is where the SDK comes from.
	SDK SDK
}

// Handlers reports whether the plugin offers handlers.
func (p Plugin) Handlers() bool { return p.Kind != Subscriber }

// Subscribers reports whether the plugin offers subscribers.
func (p Plugin) Subscribers() bool { return p.Kind != Handler }

// Files returns the files of the plugin.
func (p Plugin) Files() ([]File, error) {
	lang := p.Lang
	if lang == "" {
		lang = Go
	}
	files, err := render("tree/plugin/"+string(lang), p)
	if err != nil {
		return nil, err
	}
	shared, err := render("tree/plugin/shared", p)
	if err != nil {
		return nil, err
	}
	var kept []File
	for _, f := range append(files, shared...) {
		name := path.Base(f.Path)
		ofHandlers := strings.HasPrefix(name, "handler") || name == "template.yaml"
		ofSubscribers := strings.HasPrefix(name, "subscriber")
		ofBoth := strings.HasPrefix(name, "events")
		if (ofHandlers || ofBoth) && !p.Handlers() || (ofSubscribers || ofBoth) && !p.Subscribers() {
			continue
		}
		kept = append(kept, f)
	}
	return kept, nil
}

// Home describes a directory with a home, templates and the source of a plugin.
type Home struct {
	// Name is what the directory is called.
	Name string
	// Plugin is the name of its plugin, which is in a directory of that name.
	Plugin string
}

// Files returns the files of a home, but for those of its plugin.
func (h Home) Files() ([]File, error) { return render("tree/home", h) }

// Template describes a new template.
type Template struct {
	// Namespace and Name are its name. The namespace may be empty.
	Namespace, Name string
	// File is the path of its file, as the next commands name it.
	File string
}

// Files returns the template's only file, template.yaml.
func (t Template) Files() ([]File, error) { return render("tree/template", t) }

// Event describes a new custom event.
type Event struct {
	// Package is the Go package of the plugin.
	Package string
	// Name is the event's name, "plugin.event"; Type the Go type of its payload.
	Name, Type string
}

// Files returns the only file of the event, event.go.
func (e Event) Files() ([]File, error) { return render("tree/event", e) }

// render executes the templates below a directory of the tree.
func render(root string, data any) ([]File, error) {
	var files []File
	err := fs.WalkDir(tree, root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		src, err := tree.ReadFile(path)
		if err != nil {
			return err
		}
		t, err := template.New(path).Delims("[[", "]]").Option("missingkey=error").Parse(string(src))
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if err := t.Execute(&b, data); err != nil {
			return err
		}
		f := File{Path: target(strings.TrimPrefix(path, root+"/")), Data: b.Bytes()}
		if strings.HasSuffix(f.Path, ".go") {
			if f.Data, err = format.Source(f.Data); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
		}
		files = append(files, f)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("scaffold: %w", err)
	}
	return files, nil
}

// target is the path of a file whose template has this one: what tools would act on in this
// repository, too, or git would leave out, is called otherwise here.
func target(path string) string {
	path = strings.TrimSuffix(path, ".tmpl")
	switch path {
	case "gitignore", "golangci.yml", "npmrc":
		return "." + path
	case "tasker.yaml":
		return ".tasker/" + path
	default:
		return path
	}
}

// Write writes files into a directory, which is created. Without force nothing is written
// when one of them exists: the error is an ErrExists and names all that do.
func Write(dir string, files []File, force bool) error {
	if !force {
		if err := vacant(dir, files); err != nil {
			return err
		}
	}
	for _, f := range files {
		path := filepath.Join(dir, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // a project is as open as its umask
			return fmt.Errorf("scaffold: %w", err)
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil { //nolint:gosec // so are its files
			return fmt.Errorf("scaffold: %w", err)
		}
	}
	return nil
}

func vacant(dir string, files []File) error {
	var taken []string
	for _, f := range files {
		path := filepath.Join(dir, filepath.FromSlash(f.Path))
		if _, err := os.Lstat(path); err == nil {
			taken = append(taken, path)
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("scaffold: %w", err)
		}
	}
	if len(taken) > 0 {
		return fmt.Errorf("%s: %w", strings.Join(taken, ", "), ErrExists)
	}
	return nil
}
