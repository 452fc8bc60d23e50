package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/task"
)

// shopValues are the values that testdata/valid/values.yaml reads.
func shopValues(t *testing.T) *Values {
	t.Helper()
	decode := func(doc string) (any, error) { return DecodeValue(json.RawMessage(doc)) }
	return &Values{
		Task:  &task.Spec{ID: "01J", CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
		Input: func() (any, error) { return decode(`{"order": "A-17", "total": 120}`) },
		Result: func(step task.StepName) (any, bool, error) {
			if step != "price" {
				return nil, false, nil
			}
			v, err := decode(`{"net": 100}`)
			return v, true, err
		},
	}
}

func TestResolveAndTaken(t *testing.T) {
	src := readFile(t, "testdata/valid/values.yaml")
	read, err := Parse("values.yaml", src, Options{})
	if err != nil {
		t.Fatal(err)
	}
	stored, err := FromSnapshot(read.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	made, err := New(*read)
	if err != nil {
		t.Fatal(err)
	}
	dev, err := Parse("values.yaml", src, Options{Environment: "dev"})
	if err != nil {
		t.Fatal(err)
	}
	for name, tmpl := range map[string]*Template{"read": read, "stored": stored, "made": made, "dev": dev} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for i := range tmpl.Steps {
				s := &tmpl.Steps[i]
				taken, err := tmpl.Taken(ordinal(i), shopValues(t))
				if err != nil {
					t.Fatal(err)
				}
				line := fmt.Sprintf("%s %s %v", s.Name, s.Join, taken)
				if s.With != nil {
					input, err := tmpl.Resolve(ordinal(i), shopValues(t))
					if err != nil {
						t.Fatal(err)
					}
					line += " " + string(input)
				}
				got = append(got, fmt.Sprintf("%s %v %v", line, tmpl.WithReads(ordinal(i)), tmpl.WhenReads(ordinal(i))))
			}
			plain := "text"
			if name == "dev" {
				plain = "01J"
			}
			want := []string{
				`price  true {"order":"A-17","total":120} {true []} {false []}`,
				`check  true {"created":"2026-01-02T03:04:05Z","order":"A-17","sums":[119,7]} {true [0]} {true []}`,
				`hurry  false {false []} {true []}`,
				`ship any true {"net":100,"plain":"` + plain + `"} {false [0]} {false []}`,
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if !tmpl.HasValues() {
				t.Error("HasValues is false")
			}
		})
	}
}

func TestNewChecksExpressions(t *testing.T) {
	step := func(name string, set func(*Step)) Step {
		s := Step{Name: task.StepName(name), Handler: task.HandlerRef{Plugin: "mock", Handler: "noop"}}
		if set != nil {
			set(&s)
		}
		return s
	}
	for name, tc := range map[string]struct {
		set  func(*Step)
		want string
	}{
		"join":      {func(s *Step) { s.Join = "some" }, `step b: join "some": want all or any`},
		"lone join": {func(s *Step) { s.Join = JoinAny }, "join: any has no effect"},
		"with":      {func(s *Step) { s.With = []byte(`{"a": "=x"}`) }, `step b: with: /a: unknown name "x"`},
		"no map":    {func(s *Step) { s.With = []byte(`[1]`) }, "want a map or an expression, got a list"},
		"no JSON":   {func(s *Step) { s.With = []byte(`{`) }, "with: not JSON"},
		"large":     {func(s *Step) { s.With = []byte(`{"a":"` + strings.Repeat("x", task.MaxInline) + `"}`) }, "the limit is 65536"},
		"when":      {func(s *Step) { s.When = "1" }, "when: 1:1: a condition is true or false"},
		"unrelated": {func(s *Step) { s.When = "results.a == 1" }, "step b reads the results of a, which it does not depend on; add it to depends_on"},
		"unknown":   {func(s *Step) { s.With = []byte(`"=results.aa"`) }, `there is no step "aa"; did you mean "a"?`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(Template{Name: "t", Version: "1.0.0", Steps: []Step{step("a", nil), step("b", tc.set)}})
			if !errors.Is(err, task.ErrInvalid) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// TestCheckHandlers: what manifests declare is held against the mappings, at their places.
func TestCheckHandlers(t *testing.T) {
	src := readFile(t, "testdata/valid/values.yaml")
	tmpl, err := Parse("values.yaml", src, Options{})
	if err != nil {
		t.Fatal(err)
	}
	schemas := map[string]HandlerSchemas{
		"price": {Output: []byte(`{"type": "object", "properties": {"gross": {"type": "number"}}}`)},
		"check": {Input: []byte(`{"type": "object", "required": ["order", "by"], "properties": {
			"order": {"type": "integer"}, "sums": {"type": "array", "items": {"type": "integer"}}, "cupon": {}, "by": {}}}`)},
		"ship": {Input: []byte(`{"type": "object", "properties": {"net": {"type": "number"}, "plain": {"type": "boolean"}}}`)},
	}
	known := func(ref task.HandlerRef) (HandlerSchemas, bool) {
		s, ok := schemas[ref.Handler]
		return s, ok
	}
	want := []string{
		`values.yaml:21:7: step check: with: the handler's input needs "by"`,
		`values.yaml:21:14: step check: with.order: the handler wants a whole number, this is text`,
		`values.yaml:22:30: step check: with.sums.0: there is no "net": there is gross`,
		`values.yaml:23:7: step check: with.coupon: the handler's input has no "coupon": did you mean "cupon"?`,
		`values.yaml:24:7: step check: with.created: the handler's input has no "created": it has by, cupon, order, sums`,
		`values.yaml:35:32: step ship: with.net: there is no "net": there is gross`,
		`values.yaml:35:44: step ship: with.plain: the handler wants true or false, this is text`,
	}
	var got []string
	for _, d := range tmpl.CheckHandlers(known) {
		got = append(got, d.Error())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	stored, err := FromSnapshot(tmpl.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	if ds := stored.CheckHandlers(known); len(ds) != len(want) || ds[0].Line != 0 || ds[0].File != "shop/values@1.0.0" {
		t.Errorf("of a snapshot: %v", ds)
	}
	clear(schemas)
	if ds := tmpl.CheckHandlers(known); len(ds) > 0 {
		t.Errorf("no handler is known: %v", ds)
	}
}

// BenchmarkParseValues shows what expressions cost where a template is read.
func BenchmarkParseValues(b *testing.B) {
	var src strings.Builder
	src.WriteString("name: t\nversion: 1.0.0\ninput: {type: object, properties: {n: {type: integer}}}\nsteps:\n  - {name: s0, handler: mock/noop}\n")
	for i := 1; i < 1000; i++ {
		fmt.Fprintf(&src, "  - {name: s%d, handler: mock/noop, depends_on: [s%d], with: {a: '=input.n + %d', b: '=results.s%d.x'}}\n", i, i-1, i, i-1)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("t.yaml", []byte(src.String()), Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
