package repotest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Budgets: who exceeds them is doing a second thing.
const (
	maxFileLines     = 600
	maxFunctionLines = 90
	maxTestLines     = 150 // a table of cases is data
)

// topLevel is where the repository's code and prose live; what else lies at the top is left behind by tools.
var topLevel = []string{".ci", ".github", "cmd", "docs", "examples", "host", "plugin", "plugins", "proto"}

// root is the top of the repository, seen from this package.
const root = "../../.."

// A goFile is one parsed file.
type goFile struct {
	name      string // relative to the repository, slash-separated
	generated bool
	fset      *token.FileSet
	syntax    *ast.File
}

func (f goFile) isTest() bool { return strings.HasSuffix(f.name, "_test.go") }

// line is the line on which p stands.
func (f goFile) line(p token.Pos) int { return f.fset.Position(p).Line }

// files calls visit for every regular file below the top-level directories, testdata apart.
func files(t *testing.T, visit func(name, full string)) {
	t.Helper()
	for _, top := range topLevel {
		dir := filepath.Join(root, top)
		if _, err := os.Stat(dir); err != nil {
			continue
		}
		err := filepath.WalkDir(dir, func(full string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if entry.IsDir() {
				if entry.Name() == "testdata" || entry.Name() == ".tasker" || entry.Name() == "node_modules" {
					return filepath.SkipDir
				}
				return nil
			}
			rel, err := filepath.Rel(root, full)
			if err != nil {
				return err
			}
			visit(filepath.ToSlash(rel), full)
			return nil
		})
		if err != nil {
			t.Fatalf("walk %s: %v", top, err)
		}
	}
}

// goFiles parses all Go files.
func goFiles(t *testing.T) []goFile {
	t.Helper()
	var parsed []goFile
	files(t, func(name, full string) {
		if path.Ext(name) != ".go" {
			return
		}
		fset := token.NewFileSet()
		syntax, err := parser.ParseFile(fset, full, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Errorf("parse: %v", err)
			return
		}
		parsed = append(parsed, goFile{name: name, generated: ast.IsGenerated(syntax), fset: fset, syntax: syntax})
	})
	if len(parsed) == 0 {
		t.Fatal("no Go files found: is this the repository?")
	}
	return parsed
}

// TestPackageComments: each package that others read says in one place what it is.
func TestPackageComments(t *testing.T) {
	comments := map[string][]string{}
	for _, f := range goFiles(t) {
		if f.isTest() {
			continue
		}
		dir := path.Dir(f.name)
		if _, ok := comments[dir]; !ok {
			comments[dir] = nil
		}
		if f.syntax.Doc != nil {
			comments[dir] = append(comments[dir], path.Base(f.name))
		}
	}
	for dir, in := range comments {
		switch len(in) {
		case 0:
			t.Errorf("%s: no package comment, want one (attached to the package clause)", dir)
		case 1:
		default:
			slices.Sort(in)
			t.Errorf("%s: package comments in %s, want one", dir, strings.Join(in, ", "))
		}
	}
}

func TestSizes(t *testing.T) {
	for _, f := range goFiles(t) {
		if f.generated {
			continue
		}
		if got := f.fset.File(f.syntax.FileStart).LineCount(); got > maxFileLines {
			t.Errorf("%s: %d lines, want at most %d: which second thing does it do?", f.name, got, maxFileLines)
		}
		for _, decl := range f.syntax.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			limit := maxFunctionLines
			if f.isTest() {
				limit = maxTestLines
			}
			if got := f.line(fn.End()) - f.line(fn.Pos()) + 1; got > limit {
				t.Errorf("%s:%d: %s has %d lines, want at most %d", f.name, f.line(fn.Pos()), fn.Name.Name, got, limit)
			}
		}
	}
}

// TestNoSleep: a test that sleeps is slow or flaky, mostly both. Wait for what is to happen; inside a
// testing/synctest bubble receive from time.After.
func TestNoSleep(t *testing.T) {
	for _, f := range goFiles(t) {
		if !f.isTest() {
			continue
		}
		ast.Inspect(f.syntax, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok || sel.Sel.Name != "Sleep" {
				return true
			}
			if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "time" {
				t.Errorf("%s:%d: time.Sleep in a test", f.name, f.line(n.Pos()))
			}
			return true
		})
	}
}

// TestFinished: unfinished work lives in the tracker, not in the text.
func TestFinished(t *testing.T) {
	marker := regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|X` + `XX)\b`)
	kinds := []string{".go", ".md", ".proto", ".yaml", ".yml", ".txtar", ".sh", ".js", ".css", ".html"}
	files(t, func(name, full string) {
		if !slices.Contains(kinds, path.Ext(name)) || strings.HasSuffix(name, ".pb.go") {
			return
		}
		text, err := os.ReadFile(full)
		if err != nil {
			t.Error(err)
			return
		}
		n := 0
		for line := range strings.Lines(string(text)) {
			n++
			if found := marker.FindString(line); found != "" {
				t.Errorf("%s:%d: %s", name, n, found)
			}
		}
	})
}

// TestPackageNames: a package is named for what it provides.
func TestPackageNames(t *testing.T) {
	vague := []string{"util", "utils", "common", "helper", "helpers", "misc", "shared", "types", "base"}
	for _, f := range goFiles(t) {
		if slices.Contains(vague, f.syntax.Name.Name) {
			t.Errorf("%s: package %s says nothing about what it provides", f.name, f.syntax.Name.Name)
		}
	}
}
