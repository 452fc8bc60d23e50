package event_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

var update = flag.Bool("update", false, "write the golden files of testdata anew")

// TestCatalogGolden shows every change of an event as a difference. A field that is
// renamed or gone breaks those who read it: payloads only ever grow.
func TestCatalogGolden(t *testing.T) {
	var got bytes.Buffer
	enc := json.NewEncoder(&got)
	enc.SetIndent("", "  ")
	if err := enc.Encode(event.Catalog()); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", "catalog.json")
	if *update {
		if err := os.WriteFile(file, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("the catalog has changed; if it only grew: go test ./plugin/sdk/event -run Golden -update\n(-want +got)\n%s", diff)
	}
}

// compiled is a schema ready to validate, checked against the schema of schemas first.
func compiled(t *testing.T, e event.Entry) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(e.PayloadSchema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(e.Name, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(e.Name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestExamples: every example is valid, knows no field that the schema does not, and is
// what its type writes. Without any one of its required fields it is not valid.
func TestExamples(t *testing.T) {
	for i, e := range event.Catalog() {
		t.Run(e.Name, func(t *testing.T) {
			s := compiled(t, e)
			var example map[string]any
			if err := json.Unmarshal(e.Example, &example); err != nil {
				t.Fatal(err)
			}
			if err := s.Validate(example); err != nil {
				t.Error(err)
			}
			dec := json.NewDecoder(bytes.NewReader(e.Example))
			dec.DisallowUnknownFields()
			if err := dec.Decode(reflect.New(reflect.TypeOf(event.Payloads()[i])).Interface()); err != nil {
				t.Errorf("the example does not fit its type: %v", err)
			}
			for _, name := range s.Required {
				without := make(map[string]any)
				for key, value := range example {
					if key != name {
						without[key] = value
					}
				}
				if s.Validate(without) == nil {
					t.Errorf("without %s the example is valid, too", name)
				}
			}
		})
	}
}

// TestEntries: every entry says everything, in this form.
func TestEntries(t *testing.T) {
	version := regexp.MustCompile(`^\d+\.\d+\.\d+$`)
	components := []string{"engine", "supervisor", "delivery", "host"}
	for _, e := range event.Catalog() {
		if e.Name == "" || e.Frequency == "" || !version.MatchString(e.Since) || !strings.HasPrefix(e.Name, e.Category+".") {
			t.Errorf("incomplete: %+v", e)
		}
		if len(e.FiredBy) == 0 || slices.ContainsFunc(e.FiredBy, func(c string) bool { return !slices.Contains(components, c) }) {
			t.Errorf("%s is fired by %v, want some of %v", e.Name, e.FiredBy, components)
		}
		if _, known := event.Lookup(deref(e.DeprecatedBy)); e.DeprecatedBy != nil && !known {
			t.Errorf("%s is deprecated by %q, which is no event", e.Name, *e.DeprecatedBy)
		}
		fields := e.Fields()
		if len(fields) == 0 {
			t.Errorf("%s has no fields", e.Name)
		}
		for _, f := range fields {
			if f.Description == "" {
				t.Errorf("%s: nothing says what %s means", e.Name, f.Name)
			}
		}
		if optional := strings.Contains(e.Description, "events.workflow"); optional != (e.Category == "workflow") {
			t.Errorf("%s: %q; workflow events, and no others, need the setting events.workflow", e.Name, e.Description)
		}
	}
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// TestAgree: the catalog, the payloads and the lookup know the same events in the same
// order, family by family.
func TestAgree(t *testing.T) {
	var names, payloads, families []string
	for _, e := range event.Catalog() {
		names = append(names, e.Name)
		families = append(families, e.Category)
		found, ok := event.Lookup(e.Name)
		if diff := cmp.Diff(e, found); !ok || diff != "" {
			t.Errorf("lookup of %s: %t\n%s", e.Name, ok, diff)
		}
	}
	for _, p := range event.Payloads() {
		payloads = append(payloads, p.EventName())
		if !reflect.ValueOf(p).IsZero() {
			t.Errorf("payload %+v is not the zero value", p)
		}
	}
	if diff := cmp.Diff(names, payloads); diff != "" {
		t.Errorf("payloads (-catalog +payloads):\n%s", diff)
	}
	if diff := cmp.Diff(event.Families(), slices.Compact(families)); diff != "" {
		t.Errorf("families (-want +got):\n%s", diff)
	}
	if _, ok := event.Lookup("step.complete"); ok {
		t.Error("step.complete is no event")
	}
}

// TestDescriptions: the catalog says of an event what the comment on its type says.
func TestDescriptions(t *testing.T) {
	comments := make(map[string]string)
	for _, family := range event.Families() {
		file, err := parser.ParseFile(token.NewFileSet(), family+".go", nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			d, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			if spec, ok := d.Specs[0].(*ast.TypeSpec); ok {
				comments[spec.Name.Name] = strings.Join(strings.Fields(d.Doc.Text()), " ")
			}
		}
	}
	for i, e := range event.Catalog() {
		name := reflect.TypeOf(event.Payloads()[i]).Name()
		if want := strings.Replace(comments[name], name+" is recorded", "Recorded", 1); e.Description != want {
			t.Errorf("%s is described as\n%q, the comment says\n%q", e.Name, e.Description, want)
		}
	}
}

func TestSearch(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
	}{
		{"name", "max_retries", []string{"step.max_retries_reached"}},
		{"description, any case", "FELL silent", []string{"plugin.crashed"}},
		{"field", "backoff_kind", []string{"step.retry_scheduled"}},
		{"all words", "host stopping", []string{"host.stopping"}},
		{"names first", "stopp", []string{"plugin.stopped", "host.stopping", "task.cancelled", "step.cancelled", "step.attempt_lost"}},
		{"nothing", "unicorn", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, e := range event.Search(tt.text) {
				got = append(got, e.Name)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	if got, want := len(event.Search("  ")), len(event.Catalog()); got != want {
		t.Errorf("an empty text finds %d of %d", got, want)
	}
}

// TestFieldPaths: nested fields are found, with the types that people read.
func TestFieldPaths(t *testing.T) {
	e, _ := event.Lookup(event.NameTaskFailed)
	want := map[string]event.Field{
		"task_id":                   {Type: "string", Required: true},
		"started_at":                {Type: "time"},
		"total_duration":            {Type: "number", Required: true},
		"totals":                    {Type: "object of integer", Required: true},
		"failed_steps":              {Type: "array of object", Required: true},
		"failed_steps[].step_name":  {Type: "string", Required: true},
		"failed_steps[].error_code": {Type: "string"},
		"failed_steps[].partial":    {Type: "any"},
		"failed_steps[].backtrace":  {Type: "array of string"},
	}
	for _, f := range e.Fields() {
		if w, ok := want[f.Name]; ok {
			delete(want, f.Name)
			if f.Type != w.Type || f.Required != w.Required {
				t.Errorf("%s is %s, required %t; want %s, %t", f.Name, f.Type, f.Required, w.Type, w.Required)
			}
		}
	}
	for name := range want {
		t.Errorf("no field %s", name)
	}
	lost, _ := event.Lookup(event.NameStepAttemptLost)
	for _, f := range lost.Fields() {
		if f.Name == "error_message" && f.Required {
			t.Error("an attempt may be lost without an error")
		}
	}
	for _, doc := range []string{``, `{`, `[]`, `{"properties": 1}`, `{"properties": {"a": 1}}`} {
		if got := (event.Entry{PayloadSchema: []byte(doc)}).Fields(); got != nil {
			t.Errorf("fields of %q: %v", doc, got)
		}
	}
}
