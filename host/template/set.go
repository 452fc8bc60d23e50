package template

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/tasker-engine/tasker/host/task"
)

// MaxFiles is how many template files one [Set] may hold.
const MaxFiles = 10_000

// Set holds the templates of some directories, indexed by name and version. It does not
// change once it is loaded and is safe for concurrent use.
type Set struct {
	entries  []Entry             // sorted by namespace, name and version
	byName   map[string][]int    // "namespace/name" -> entries, lowest version first
	clashes  map[string][]string // "namespace/name@version" -> the files that disagree
	broken   int                 // files that hold no template
	problems Diagnostics
}

// Entry is one template of a set and the file it comes from.
type Entry struct {
	Template *Template
	File     string
}

// Load reads all templates below the given directories: files that end in .yaml, .yml or
// .json, except hidden ones and tests of templates (order_test.yaml). Files that are wrong
// do not hide the others: what is wrong with them is in [Set.Problems]. The error is about
// directories that cannot be read.
func Load(opts Options, dirs ...string) (*Set, error) {
	files, err := templateFiles(dirs)
	if err != nil {
		return nil, err
	}
	s := &Set{byName: make(map[string][]int), clashes: make(map[string][]string)}
	for _, file := range files {
		s.load(file, opts)
	}
	s.index()
	s.problems = s.problems.sorted()
	return s, nil
}

// templateFiles lists the files of the directories, sorted, each once.
func templateFiles(dirs []string) ([]string, error) {
	found := make(map[string]bool)
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			hidden := strings.HasPrefix(d.Name(), ".") && path != dir
			switch {
			case d.IsDir() && hidden:
				return fs.SkipDir
			case !hidden && isTemplateFile(d):
				found[filepath.Clean(path)] = true
			}
			if len(found) > MaxFiles {
				return fmt.Errorf("more than %d files", MaxFiles)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("template directory %s: %w", dir, err)
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// isTemplateFile reports whether a file counts by its name; pipes and devices, which may
// never end, do not.
func isTemplateFile(d fs.DirEntry) bool {
	if !d.Type().IsRegular() && d.Type()&fs.ModeSymlink == 0 {
		return false
	}
	ext := filepath.Ext(d.Name())
	switch strings.ToLower(ext) {
	case ".yaml", ".yml", ".json":
		return !strings.HasSuffix(strings.TrimSuffix(d.Name(), ext), "_test") // the tests of a template lie beside it
	}
	return false
}

// ParseFile reads a template from a file. Errors about its content are [Diagnostics].
func ParseFile(path string, opts Options) (*Template, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("template: %w", err)
	}
	defer f.Close() //nolint:errcheck // nothing was written
	src, err := io.ReadAll(io.LimitReader(f, MaxFileSize+1))
	if err != nil {
		return nil, fmt.Errorf("template %s: %w", path, err)
	}
	return Parse(path, src, opts)
}

// load reads one file into the set, or into its problems.
func (s *Set) load(file string, opts Options) {
	t, err := ParseFile(file, opts)
	var ds Diagnostics
	switch {
	case err == nil:
		s.entries = append(s.entries, Entry{Template: t, File: file})
		return
	case errors.As(err, &ds):
		s.problems = append(s.problems, ds...)
	default:
		s.problems = append(s.problems, Diagnostic{File: file, Message: err.Error()})
	}
	s.broken++
}

// index sorts the entries and takes out versions that mean different things in
// different files: running either would be a guess.
func (s *Set) index() {
	slices.SortFunc(s.entries, func(a, b Entry) int {
		return cmp.Or(
			cmp.Compare(a.Template.Namespace, b.Template.Namespace), cmp.Compare(a.Template.Name, b.Template.Name),
			a.Template.compareVersion(b.Template), cmp.Compare(a.File, b.File),
		)
	})
	first := make(map[string]Entry)
	for _, e := range s.entries {
		ref := e.Template.Ref()
		one, ok := first[ref.String()]
		switch {
		case !ok:
			first[ref.String()] = e
		case one.Template.hash != ref.Hash:
			s.clash(ref.String(), one.File, e.File)
		}
	}
	s.entries = slices.DeleteFunc(s.entries, func(e Entry) bool {
		ref := e.Template.Ref().String()
		return s.clashes[ref] != nil || first[ref].File != e.File
	})
	for i, e := range s.entries {
		n := e.Template.Namespace + "/" + e.Template.Name
		s.byName[n] = append(s.byName[n], i)
	}
}

func (s *Set) clash(ref, one, other string) {
	if s.clashes[ref] == nil {
		s.clashes[ref] = []string{one}
	}
	s.clashes[ref] = append(s.clashes[ref], other)
	s.problems = append(s.problems, Diagnostic{
		File:    other,
		Message: fmt.Sprintf("template %s differs from the one in %s", ref, one),
		Hint:    "a version never changes: give one of them a new version",
	})
}

// compareVersion orders by semantic version; versions that differ only in build
// metadata are ordered by their text.
func (t *Template) compareVersion(o *Template) int {
	return cmp.Or(t.version.Compare(o.version), cmp.Compare(t.Version, o.Version))
}

// Environments returns the names of the environments that some template overrides
// settings for, sorted: an environment that is not among them changes nothing.
func (s *Set) Environments() []string {
	var names []string
	for _, e := range s.entries {
		names = append(names, e.Template.environments...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// List returns all templates, sorted by namespace, name and version.
func (s *Set) List() []Entry { return slices.Clone(s.entries) }

// Problems returns what is wrong with files of the set, sorted by position.
func (s *Set) Problems() Diagnostics { return slices.Clone(s.problems) }

// Get returns the template that ref names: "namespace/name@version", where a missing
// namespace is [DefaultNamespace] and a missing version the highest one. The error
// wraps [task.ErrNotFound] and names what is nearly ref, or [task.ErrInvalid].
func (s *Set) Get(ref string) (*Template, error) {
	full, version, versioned := strings.Cut(ref, "@")
	if !strings.Contains(full, "/") {
		full = DefaultNamespace + "/" + full
	}
	if versioned {
		return s.version(ref, full, version)
	}
	indexes := s.byName[full]
	if highest := s.highestClash(full); highest != nil {
		if len(indexes) == 0 || highest.version.GreaterThan(s.entries[indexes[len(indexes)-1]].Template.version) {
			return nil, s.clashError(highest.ref)
		}
	}
	if len(indexes) == 0 {
		return nil, s.notFound(ref, full)
	}
	return s.entries[indexes[len(indexes)-1]].Template, nil
}

func (s *Set) version(ref, full, version string) (*Template, error) {
	if _, err := semver.StrictNewVersion(version); err != nil {
		return nil, fmt.Errorf("template %q: %w: %q is no version such as 1.0.0", ref, task.ErrInvalid, version)
	}
	if s.clashes[full+"@"+version] != nil {
		return nil, s.clashError(full + "@" + version)
	}
	indexes := s.byName[full]
	if len(indexes) == 0 {
		return nil, s.notFound(ref, full)
	}
	var versions []string
	for _, i := range slices.Backward(indexes) {
		t := s.entries[i].Template
		if t.Version == version {
			return t, nil
		}
		versions = append(versions, t.Version)
	}
	const most = 5
	if len(versions) > most {
		versions = append(versions[:most], "...")
	}
	return nil, fmt.Errorf("template %s: %w: there is %s", ref, task.ErrNotFound, strings.Join(versions, ", "))
}

// clashed is a version that files disagree about.
type clashed struct {
	ref     string
	version *semver.Version
}

// highestClash returns the highest clashed version of a template, nil without one.
func (s *Set) highestClash(full string) *clashed {
	var highest *clashed
	for ref := range s.clashes {
		n, version, _ := strings.Cut(ref, "@")
		if n != full {
			continue
		}
		v, err := semver.StrictNewVersion(version)
		if err == nil && (highest == nil || v.GreaterThan(highest.version)) {
			highest = &clashed{ref: ref, version: v}
		}
	}
	return highest
}

func (s *Set) clashError(ref string) error {
	return fmt.Errorf("template %s: %w: %s differ: a version never changes, give one of them a new version",
		ref, task.ErrInvalid, strings.Join(s.clashes[ref], " and "))
}

func (s *Set) notFound(ref, full string) error {
	names := slices.Sorted(maps.Keys(s.byName))
	sug := suggester{budget: suggestBudget}
	hint := sug.hint(full, slices.Values(names))
	if hint == "" {
		hint = s.sameName(full, names)
	}
	if hint == "" && len(names) == 0 {
		hint = "no templates are loaded"
	}
	if s.broken > 0 {
		more := fmt.Sprintf("%d template file(s) could not be loaded", s.broken)
		hint = strings.TrimPrefix(hint+"; "+more, "; ")
	}
	if hint != "" {
		hint = ": " + hint
	}
	return fmt.Errorf("template %s: %w%s", ref, task.ErrNotFound, hint)
}

// sameName proposes templates of that name in another namespace.
func (s *Set) sameName(full string, names []string) string {
	_, want, _ := strings.Cut(full, "/")
	for _, n := range names {
		if _, have, _ := strings.Cut(n, "/"); have == want {
			return fmt.Sprintf("did you mean %q?", n)
		}
	}
	return ""
}
