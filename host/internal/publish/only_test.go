package publish_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// TestNobodyElseBuildsEvents: no other package of the host or the command makes a payload
// of the catalog, an envelope or an entry of the log. Empty ones, into which something is
// read, are fine; so are the suites that test stores, which knows nothing of events, and plugins, which makes up
// what it delivers, and the floors of benchmarks, which write records as large as a host's.
func TestNobodyElseBuildsEvents(t *testing.T) {
	built := map[string][]string{
		"github.com/tasker-engine/tasker/proto/tasker/event/v1": {"Event"},
		"github.com/tasker-engine/tasker/host/internal/store":   {"Event"},
	}
	for _, p := range event.Payloads() {
		of := reflect.TypeOf(p)
		built[of.PkgPath()] = append(built[of.PkgPath()], of.Name())
	}
	seen := 0 // here
	for _, top := range []string{"../../../host", "../../../cmd"} {
		err := filepath.WalkDir(top, func(name string, entry fs.DirEntry, err error) error {
			switch {
			case err != nil:
				return err
			case entry.IsDir() && (entry.Name() == "testdata" || entry.Name() == "storetest" || entry.Name() == "bolttest" || entry.Name() == "conform"):
				return filepath.SkipDir
			case !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || strings.HasSuffix(filepath.ToSlash(name), "host/bench/floor.go"):
				return nil
			}
			for _, place := range literals(t, name, built) {
				if strings.Contains(filepath.ToSlash(name), "host/internal/publish/") {
					seen++
				} else {
					t.Errorf("%s: events are built by package publish", place)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if want := len(event.Payloads()); seen < want {
		t.Errorf("only %d literals found in package publish, want at least the %d payloads: does this test still look?", seen, want)
	}
}

// literals returns where a file has composite literals, not empty, of the types.
func literals(t *testing.T, name string, types map[string][]string) (places []string) {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	imported := make(map[string][]string) // types by the package's name in this file
	for _, spec := range file.Imports {
		at, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		alias := filepath.Base(at)
		if spec.Name != nil {
			alias = spec.Name.Name
		}
		if of := types[at]; of != nil {
			imported[alias] = of
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		literal, ok := n.(*ast.CompositeLit)
		if !ok || len(literal.Elts) == 0 {
			return true
		}
		if of, ok := literal.Type.(*ast.SelectorExpr); ok {
			if pkg, ok := of.X.(*ast.Ident); ok && slices.Contains(imported[pkg.Name], of.Sel.Name) {
				places = append(places, fset.Position(literal.Pos()).String())
			}
		}
		return true
	})
	return places
}
