package publish_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host/internal/publish"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// methodOf returns the name of the method that publishes an event:
// "step.retry_scheduled" -> "StepRetryScheduled".
func methodOf(name string) string {
	var b strings.Builder
	for part := range strings.FieldsFuncSeq(name, func(r rune) bool { return r == '.' || r == '_' }) {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}

// methods returns the publishing methods of a type: all but Events, and but Emitted, which
// is for events of no catalog.
func methods(of reflect.Type) []string {
	var names []string
	for m := range of.Methods() {
		if m.Name != "Begin" && m.Name != "Events" && m.Name != "Emitted" {
			names = append(names, m.Name)
		}
	}
	return names
}

// TestMethods walks catalog and methods both ways: every event has exactly one method,
// named after it, on Task or on Host, and no method is left over.
func TestMethods(t *testing.T) {
	left := make(map[string]bool)
	for _, of := range []reflect.Type{reflect.TypeFor[*publish.Task](), reflect.TypeFor[*publish.Host]()} {
		for _, name := range methods(of) {
			if left[name] {
				t.Errorf("two methods %s", name)
			}
			left[name] = true
		}
	}
	for _, p := range event.Payloads() {
		name := methodOf(p.EventName())
		if !left[name] {
			t.Errorf("no method publishes %s", p.EventName())
		}
		delete(left, name)
	}
	for name := range left {
		t.Errorf("method %s publishes no event of the catalog", name)
	}
}

// TestTables walks the transition tables and the methods: every event that a row names
// has its method on Task, and every method about a task or step is named by a row. The
// workflow events are about decisions, not about rows.
func TestTables(t *testing.T) {
	named := make(map[string]bool)
	for _, row := range task.StepTransitions() {
		for _, name := range row.Events {
			if e, ok := event.Lookup(name); !ok || e.Category != "step" {
				t.Errorf("step transition %s names %s", row.Name, name)
			}
			named[methodOf(name)] = true
		}
	}
	for _, row := range task.TaskTransitions() {
		for _, name := range row.Events {
			if e, ok := event.Lookup(name); !ok || e.Category != "task" {
				t.Errorf("task transition %s names %s", row.Name, name)
			}
			named[methodOf(name)] = true
		}
	}
	have := methods(reflect.TypeFor[*publish.Task]())
	for name := range named {
		if !slices.Contains(have, name) {
			t.Errorf("a transition names an event without a method: %s", name)
		}
	}
	for _, name := range have {
		if !named[name] && !strings.HasPrefix(name, "Workflow") {
			t.Errorf("no transition names the event of method %s", name)
		}
	}
}

// TestFiredBy looks for every call of a publishing method in the sources of the host:
// the catalog names the components that have one, and no other.
func TestFiredBy(t *testing.T) {
	calls := make(map[string][]string) // components by method
	for component, pattern := range map[string]string{
		"engine": "../engine/*.go", "supervisor": "../supervisor/*.go", "runner": "../runner/*.go", "api": "../api/*.go",
		"delivery": "../delivery/*.go", "host": "../../*.go",
	} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, error %v", pattern, len(files), err)
		}
		for _, name := range files {
			if !strings.HasSuffix(name, "_test.go") {
				publishing(t, name, component, calls)
			}
		}
	}
	for _, e := range event.Catalog() {
		got := calls[methodOf(e.Name)]
		slices.Sort(got)
		want := slices.Sorted(slices.Values(e.FiredBy))
		if got = slices.Compact(got); !slices.Equal(got, want) {
			t.Errorf("%s is fired by %v, the catalog says %v", e.Name, got, want)
		}
	}
}

// publishing notes the publishing methods that a file calls: on a field called publish,
// which decisions have, called Publisher, which delivery has, or called events, which the
// host has. What the host's sink publishes the supervisor has told it.
func publishing(t *testing.T, name, component string, calls map[string][]string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, decl := range file.Decls {
		by := component
		if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv != nil {
			if of, ok := fn.Recv.List[0].Type.(*ast.Ident); ok && of.Name == "sink" {
				by = "supervisor"
			}
		}
		ast.Inspect(decl, func(n ast.Node) bool {
			if method, ok := n.(*ast.SelectorExpr); ok {
				if on, ok := method.X.(*ast.SelectorExpr); ok && slices.Contains([]string{"publish", "Publisher", "events"}, on.Sel.Name) {
					calls[method.Sel.Name] = append(calls[method.Sel.Name], by)
				}
			}
			return true
		})
	}
}

// TestMethodsPublishTheirEvent calls every method and looks at what is recorded.
func TestMethodsPublishTheirEvent(t *testing.T) {
	s := newSample(t)
	seen := make(map[string]bool)
	for _, c := range s.calls() {
		got := s.publish(t, c)
		if want := c.payload.EventName(); got.GetType() != want {
			t.Errorf("%s publishes %s", methodOf(want), got.GetType())
		}
		seen[got.GetType()] = true
	}
	for _, p := range event.Payloads() {
		if !seen[p.EventName()] {
			t.Errorf("the sample does not publish %s", p.EventName())
		}
	}
}

// TestInlineLimit: what is stored inline travels inline; publish relies on the limits
// being one.
func TestInlineLimit(t *testing.T) {
	if event.MaxInline != task.MaxInline {
		t.Errorf("events carry values up to %d bytes, tasks store up to %d inline", event.MaxInline, task.MaxInline)
	}
}

var at = time.Date(2026, 5, 4, 12, 0, 0, 123456789, time.UTC)
