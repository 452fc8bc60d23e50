package depot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// IndexFile is the name of an index in its directory.
const IndexFile = "index.json"

const (
	indexFormat   = 1
	maxIndex      = 64 << 20 // bytes
	maxEntries    = 200_000
	packageSuffix = ".tar.gz"
)

// maxProblems is how many wrong entries of an index are told.
const maxProblems = 20

// Index lists packages. It is a static file beside them.
type Index struct {
	Format  int     `json:"format"` // 1
	Plugins []Entry `json:"plugins"`
}

// Entry is one version of a plugin in an index.
type Entry struct {
	Name        string   `json:"name"`
	Version     string   `json:"version"`
	Title       string   `json:"title,omitempty"`
	Description string   `json:"description,omitempty"`
	Package     string   `json:"package"` // relative to the index; on a web server a URL, too
	SHA256      string   `json:"sha256"`  // of the package, hex
	Size        int64    `json:"size"`    // of the package, bytes
	Signer      string   `json:"signer,omitempty"`
	Platforms   []string `json:"platforms"`
	Handlers    []string `json:"handlers,omitempty"` // "greet@1"
	Events      []string `json:"events,omitempty"`   // that it subscribes to
	Permissions []string `json:"permissions,omitempty"`
}

// ParseIndex reads and checks an index. Keys that it does not know are ignored.
func ParseIndex(raw []byte) (*Index, error) {
	x := new(Index)
	if err := json.Unmarshal(raw, x); err != nil {
		return nil, fmt.Errorf("no valid index: %w", err)
	}
	if x.Format != indexFormat {
		return nil, fmt.Errorf("no valid index: format %d: this tasker reads format %d", x.Format, indexFormat)
	}
	if len(x.Plugins) > maxEntries {
		return nil, fmt.Errorf("no valid index: %d packages, want at most %d", len(x.Plugins), maxEntries)
	}
	var problems []error
	for i := range x.Plugins {
		e := &x.Plugins[i]
		if len(problems) == maxProblems {
			problems = append(problems, errors.New("and maybe more"))
			break
		}
		switch {
		case !validName(e.Name) || !validVersion(e.Version):
			problems = append(problems, fmt.Errorf("no valid index: plugin %q %q: want a name and a version", e.Name, e.Version))
		case !validHash(e.SHA256) || e.Package == "" || e.Size < 0 || e.Size > maxPackage:
			problems = append(problems, fmt.Errorf("no valid index: %s %s: want package, sha256 and size", e.Name, e.Version))
		}
	}
	return x, errors.Join(problems...)
}

// BuildIndex lists the packages of a directory, by name and version, and writes the list
// as its index.json.
func BuildIndex(dir string) (*Index, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*"+packageSuffix))
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	x := &Index{Format: indexFormat, Plugins: []Entry{}}
	for _, name := range names {
		e, err := newEntry(name)
		if err != nil {
			return nil, fmt.Errorf("index: %w", err)
		}
		x.Plugins = append(x.Plugins, *e)
	}
	slices.SortStableFunc(x.Plugins, compareEntries)
	for i := 1; i < len(x.Plugins); i++ {
		if a, b := &x.Plugins[i-1], &x.Plugins[i]; compareEntries(*a, *b) == 0 {
			return nil, fmt.Errorf("index: %s and %s are both %s %s", a.Package, b.Package, a.Name, a.Version)
		}
	}
	raw, err := encodeJSON(x)
	if err != nil {
		return nil, err
	}
	return x, replaceFile(filepath.Join(dir, IndexFile), raw)
}

func compareEntries(a, b Entry) int {
	if c := strings.Compare(a.Name, b.Name); c != 0 {
		return c
	}
	return compareVersions(a.Version, b.Version)
}

func newEntry(name string) (*Entry, error) {
	p, err := openPkg(name)
	if err != nil {
		return nil, err
	}
	defer p.discard()
	m := p.manifest
	e := &Entry{
		Name: m.Name, Version: m.Version, Title: m.Title, Description: m.Description, Package: filepath.Base(name), SHA256: p.sum,
		Size: p.size, Signer: m.Signer, Platforms: m.Platforms(), Permissions: Asks(m.Permissions),
	}
	for _, h := range m.Handlers {
		e.Handlers = append(e.Handlers, h.Ref())
	}
	for _, s := range m.Subscriptions {
		e.Events = append(e.Events, s.Events...)
	}
	slices.Sort(e.Events)
	e.Events = slices.Compact(e.Events)
	return e, nil
}

// OpenIndex reads the index of a directory or of a web server.
func OpenIndex(ctx context.Context, at string) (*Index, error) {
	raw, err := readIndex(ctx, at)
	if err != nil {
		return nil, err
	}
	x, err := ParseIndex(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", redact(at), err)
	}
	return x, nil
}

const whatAnIndexIs = "an index is a directory with packages and what `tasker plugin index DIR` writes"

func readIndex(ctx context.Context, at string) ([]byte, error) {
	if isURL(at) {
		return (&Depot{stall: stallTimeout}).get(ctx, indexURL(at), maxIndex)
	}
	f, err := os.Open(indexPath(at))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, withHint(fmt.Errorf("index: %w", err), whatAnIndexIs)
	}
	if err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxIndex+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("index: %w", err)
	}
	if len(raw) > maxIndex {
		return nil, fmt.Errorf("index %s: more than %d bytes", at, maxIndex)
	}
	return raw, nil
}

func indexURL(at string) string {
	if strings.HasSuffix(at, ".json") {
		return at
	}
	return strings.TrimSuffix(at, "/") + "/" + IndexFile
}

func indexPath(at string) string {
	if info, err := os.Stat(at); err == nil && !info.IsDir() {
		return at
	}
	return filepath.Join(at, IndexFile)
}

// Search returns the entries whose name, title, description, handlers or events contain
// the term, whatever its case; all when it is empty. The highest version of a plugin
// comes first.
func (x *Index) Search(term string) []Entry {
	term = strings.ToLower(term)
	var found []Entry
	for _, e := range x.Plugins {
		text := strings.Join(append(append([]string{e.Name, e.Title, e.Description}, e.Handlers...), e.Events...), "\n")
		if strings.Contains(strings.ToLower(text), term) {
			found = append(found, e)
		}
	}
	slices.SortStableFunc(found, func(a, b Entry) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return compareVersions(b.Version, a.Version)
	})
	return found
}

// Find returns a version of a plugin; without one the highest that is no pre-release and
// has an executable for the platform.
func (x *Index) Find(name, version, platform string) (*Entry, error) {
	var best *Entry
	var known []string
	for i := range x.Plugins {
		e := &x.Plugins[i]
		if e.Name != name {
			continue
		}
		known = append(known, e.Version)
		switch {
		case e.Version == version:
			return e, nil
		case version != "" || isPrerelease(e.Version):
		case !slices.Contains(e.Platforms, platform) && !slices.Contains(e.Platforms, AnyPlatform):
		case best == nil || compareVersions(e.Version, best.Version) > 0:
			best = e
		}
	}
	switch {
	case best != nil:
		return best, nil
	case len(known) == 0:
		return nil, fmt.Errorf("plugin %q is not in the index: %w", name, fs.ErrNotExist)
	case version == "":
		return nil, fmt.Errorf("plugin %s has no release for %s in the index, only %s: %w", name, platform, strings.Join(known, ", "), fs.ErrNotExist)
	default:
		return nil, fmt.Errorf("plugin %s %s is not in the index, only %s: %w", name, version, strings.Join(known, ", "), fs.ErrNotExist)
	}
}

func isPrerelease(version string) bool { return semver.MustParse(version).Prerelease() != "" }

// locate returns where the package of an entry lies.
func (e *Entry) locate(index string) (string, error) {
	if !isURL(index) {
		if !filepath.IsLocal(filepath.FromSlash(e.Package)) {
			return "", fmt.Errorf("index %s: package %q of %s %s lies outside of it", index, e.Package, e.Name, e.Version)
		}
		return filepath.Join(filepath.Dir(indexPath(index)), filepath.FromSlash(e.Package)), nil
	}
	base, err := url.Parse(indexURL(index))
	if err != nil {
		return "", fmt.Errorf("index: %w", err)
	}
	ref, err := url.Parse(e.Package)
	if err != nil {
		return "", fmt.Errorf("index %s: package %q: %w", redact(index), e.Package, err)
	}
	at := base.ResolveReference(ref)
	switch {
	case !isURL(at.String()) || at.Host == "":
		return "", fmt.Errorf("index %s: package %q of %s %s is no http(s) URL", redact(index), e.Package, e.Name, e.Version)
	case base.Scheme == "https" && at.Scheme != "https":
		return "", fmt.Errorf("index %s: package %q of %s %s leads from https to %s", redact(index), e.Package, e.Name, e.Version, at.Scheme)
	}
	return at.String(), nil
}

func isURL(s string) bool {
	return strings.HasPrefix(s, "https://") || strings.HasPrefix(s, "http://")
}
