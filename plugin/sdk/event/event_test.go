package event_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// TestNames: noun.verb_past in a known family, each once, and the type is named after it.
func TestNames(t *testing.T) {
	form := regexp.MustCompile(`^[a-z]+(\.[a-z]+(_[a-z]+)*)$`)
	seen := make(map[string]bool)
	for _, p := range event.Payloads() {
		name := p.EventName()
		if !form.MatchString(name) {
			t.Errorf("name %q", name)
		}
		if seen[name] {
			t.Errorf("two events are named %s", name)
		}
		seen[name] = true
		if family, _, _ := strings.Cut(name, "."); !slices.Contains(event.Families(), family) {
			t.Errorf("%s is in no known family", name)
		}
		var want strings.Builder
		for part := range strings.FieldsFuncSeq(name, func(r rune) bool { return r == '.' || r == '_' }) {
			want.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
		if got := reflect.TypeOf(p).Name(); got != want.String() {
			t.Errorf("the type of %s is %s, want %s", name, got, want.String())
		}
	}
}

// TestPayloadsIsComplete: a type with an EventName in this package is in the list.
func TestPayloadsIsComplete(t *testing.T) {
	listed := make(map[string]bool)
	for _, p := range event.Payloads() {
		listed[reflect.TypeOf(p).Name()] = true
	}
	file, err := parser.ParseFile(token.NewFileSet(), "names.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, decl := range file.Decls {
		fn, ok := decl.(*ast.FuncDecl)
		if !ok || fn.Recv == nil || fn.Name.Name != "EventName" {
			continue
		}
		found++
		if id, ok := fn.Recv.List[0].Type.(*ast.Ident); !ok || !listed[id.Name] {
			t.Errorf("%v is not among Payloads", fn.Recv.List[0].Type)
		}
	}
	if found != len(listed) {
		t.Errorf("%d types with an EventName, %d payloads", found, len(listed))
	}
}

// TestFields: every field has a name in snake case of its own, at whatever depth, so
// that no embedded part hides another.
func TestFields(t *testing.T) {
	form := regexp.MustCompile(`^[a-z]+[a-z0-9]*(_[a-z0-9]+)*$`)
	for _, p := range event.Payloads() {
		seen := make(map[string]bool)
		var walk func(of reflect.Type)
		walk = func(of reflect.Type) {
			for f := range of.Fields() {
				if f.Anonymous {
					part := f.Type
					if part.Kind() == reflect.Pointer {
						part = part.Elem()
					}
					walk(part)
					continue
				}
				name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				if !form.MatchString(name) || seen[name] {
					t.Errorf("%s: field %s is named %q", p.EventName(), f.Name, name)
				}
				seen[name] = true
			}
		}
		walk(reflect.TypeOf(p))
	}
}

func TestSeconds(t *testing.T) {
	tests := []struct {
		d    time.Duration
		want string
	}{
		{0, "0"},
		{time.Second, "1"},
		{1500 * time.Millisecond, "1.5"},
		{1234567 * time.Microsecond, "1.235"},
		{400 * time.Microsecond, "0"},
		{600 * time.Microsecond, "0.001"},
		{100 * 24 * time.Hour, "8640000"},
	}
	for _, tt := range tests {
		t.Run(tt.d.String(), func(t *testing.T) {
			got, err := json.Marshal(event.SecondsOf(tt.d))
			if err != nil || string(got) != tt.want {
				t.Errorf("%s, %v; want %s", got, err, tt.want)
			}
		})
	}
}
