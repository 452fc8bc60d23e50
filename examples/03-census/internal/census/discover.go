package census

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// ErrNoSource is returned by [Discover] for a tree without a single Go file.
var ErrNoSource = errors.New("no Go files")

// A Tree is a source tree dealt into shards.
type Tree struct {
	Root      string    `json:"root"`                 // absolute path
	Module    string    `json:"module,omitempty"`     // path from go.mod; "std" for Go itself
	GoVersion string    `json:"go_version,omitempty"` // from VERSION or go.mod, e.g. "go1.26.8"
	TakenAt   time.Time `json:"taken_at"`             // when the tree was walked, UTC
	Skip      []string  `json:"skip"`                 // names of directories that were not entered
	Skipped   int       `json:"skipped"`              // how many directories that were
	Packages  int       `json:"packages"`
	Files     int       `json:"files"`
	Bytes     int64     `json:"bytes"`
	Shards    []Shard   `json:"shards"`
}

// A Shard is the part of a tree that one step analyses.
type Shard struct {
	Packages []string `json:"packages"` // directories below the root, slash-separated, "." for the root
	Files    int      `json:"files"`
	Bytes    int64    `json:"bytes"`
}

// packageDir is a directory with Go files in it.
type packageDir struct {
	path  string
	files int
	bytes int64
}

// Discover walks the tree below root, an absolute path, and deals its packages into n shards, at least one;
// of a small tree, some may be empty. Directories named in skip, and those the go command ignores (a leading "." or
// "_"), are not entered; links are not followed. The error is [ErrNoSource] where there is nothing to count.
func Discover(ctx context.Context, root string, n int, skip []string, now time.Time) (Tree, error) {
	tree := Tree{Root: root, Skip: slices.Clone(skip), TakenAt: now.UTC()}
	var dirs []packageDir
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if !d.IsDir() {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if p != root && (ignored(d.Name()) || slices.Contains(skip, d.Name())) {
			tree.Skipped++
			return fs.SkipDir
		}
		dir, err := weigh(root, p)
		if err == nil && dir.files > 0 {
			dirs = append(dirs, dir)
		}
		return err
	})
	if err != nil {
		return Tree{}, fmt.Errorf("walk %s: %w", root, err)
	}
	if len(dirs) == 0 {
		return Tree{}, fmt.Errorf("%w below %s", ErrNoSource, root)
	}
	tree.Module, tree.GoVersion = identify(root)
	tree.Packages = len(dirs)
	tree.Shards = deal(dirs, n)
	for _, s := range tree.Shards {
		tree.Files += s.Files
		tree.Bytes += s.Bytes
	}
	return tree, nil
}

// ignored says whether the go command ignores a file or directory of this name.
func ignored(name string) bool { return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "_") }

// sourceFiles lists the Go files of a directory in name order.
func sourceFiles(dir string) ([]fs.DirEntry, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(entries, func(e fs.DirEntry) bool {
		return !e.Type().IsRegular() || ignored(e.Name()) || path.Ext(e.Name()) != ".go"
	}), nil
}

func weigh(root, dir string) (packageDir, error) {
	files, err := sourceFiles(dir)
	if err != nil {
		return packageDir{}, err
	}
	rel, err := filepath.Rel(root, dir)
	if err != nil {
		return packageDir{}, err
	}
	out := packageDir{path: filepath.ToSlash(rel), files: len(files)}
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			return packageDir{}, err
		}
		out.bytes += info.Size()
	}
	return out, nil
}

// deal gives each package, heaviest first, to the shard that is lightest so far. A package stays whole, so
// no shard is lighter than the heaviest package.
func deal(dirs []packageDir, n int) []Shard {
	slices.SortFunc(dirs, func(a, b packageDir) int {
		return cmp.Or(cmp.Compare(b.bytes, a.bytes), cmp.Compare(a.path, b.path))
	})
	shards := make([]Shard, max(1, n))
	for _, d := range dirs {
		lightest := 0
		for i := range shards {
			if shards[i].Bytes < shards[lightest].Bytes {
				lightest = i
			}
		}
		s := &shards[lightest]
		s.Packages = append(s.Packages, d.path)
		s.Files += d.files
		s.Bytes += d.bytes
	}
	for i := range shards {
		slices.Sort(shards[i].Packages)
		if shards[i].Packages == nil {
			shards[i].Packages = []string{} // [] in JSON, not null
		}
	}
	return shards
}

// identify reads the module path and Go version of a tree; both are "" where nothing says so.
func identify(root string) (module, version string) {
	data, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return "", ""
	}
	for line := range strings.Lines(string(data)) {
		switch key, value, _ := strings.Cut(strings.TrimSpace(line), " "); key {
		case "module":
			module = strings.Trim(strings.TrimSpace(value), `"`)
		case "go":
			version = "go" + strings.TrimSpace(value)
		}
	}
	if module != "std" {
		return module, version
	}
	// Go's own tree names its exact version one directory up.
	if data, err := os.ReadFile(filepath.Join(root, "..", "VERSION")); err == nil {
		version, _, _ = strings.Cut(string(data), "\n")
	}
	return module, version
}
