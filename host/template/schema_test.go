package template

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// compiledSchema returns the published schema, ready to validate.
func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("template.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("template.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// document reads YAML as the plain values that a schema is checked against.
func document(t *testing.T, name string, src []byte) any {
	t.Helper()
	n, ds := readTree(name, src)
	if len(ds) > 0 {
		t.Fatal(ds)
	}
	b, err := n.json()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// templatesOfTheRepository are the valid templates of this package and of the examples.
func templatesOfTheRepository(t *testing.T) []string {
	t.Helper()
	paths := append(glob(t, "testdata/valid/*.yaml"), glob(t, "testdata/valid/*.json")...)
	err := filepath.WalkDir("../../examples", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".tasker")) {
			return fs.SkipDir
		}
		ext := filepath.Ext(path)
		if !d.IsDir() && (ext == ".yaml" || ext == ".yml") && strings.HasPrefix(d.Name(), "template") && !strings.HasSuffix(d.Name(), "_test"+ext) {
			paths = append(paths, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func TestSchemaAcceptsWhatParseAccepts(t *testing.T) {
	schema := compiledSchema(t)
	for _, path := range templatesOfTheRepository(t) {
		t.Run(path, func(t *testing.T) {
			src := readFile(t, path)
			if _, err := Parse(path, src, Options{}); err != nil {
				t.Error(err)
			}
			if err := schema.Validate(document(t, path, src)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSchemaRefusesWhatParseRefuses changes a valid template in one place.
func TestSchemaRefusesWhatParseRefuses(t *testing.T) {
	const valid = `
name: t
version: 1.0.0
defaults: {retry: {limit: 3}}
steps: [{name: a, handler: mock/noop, retry: {limit: 2}}]
environments: {dev: {defaults: {timeout: 5s}, steps: [{name: a, timeout: 5s}]}}
subscriptions: [{subscriber: audit/log, events: [step.failed, task.*], filter: 'true', config: {a: 1}, enabled: true}]
events: [{name: t.done, on: step.completed, step: a}]
`
	schema := compiledSchema(t)
	if err := schema.Validate(document(t, "t.yaml", []byte(valid))); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"key of the template":    {"name: t", "nonsense: 1\nname: t"},
		"key of defaults":        {"defaults: {retry", "defaults: {nonsense: 1, retry"},
		"key of retry":           {"{limit: 3}", "{limits: 3}"},
		"key of a step":          {"handler: mock/noop", "handler: mock/noop, nonsense: 1"},
		"key of a step's retry":  {"{limit: 2}", "{nonsense: 2}"},
		"key of an environment":  {"dev: {", "dev: {nonsense: 1, "},
		"key of its step":        {"timeout: 5s}]", "nonsense: 5s}]"},
		"name in environment":    {"dev: {", "dev: {name: u, "},
		"version in environment": {"dev: {", "dev: {version: 2.0.0, "},
		"when":                   {"handler: mock/noop", "handler: mock/noop, when: true"},
		"with":                   {"handler: mock/noop", "handler: mock/noop, with: [a]"},
		"join":                   {"handler: mock/noop", "handler: mock/noop, join: {n_of: 2}"},
		"concurrency":            {"name: t", "concurrency: 1\nname: t"},
		"retention":              {"name: t", "retention: 1d\nname: t"},
		"key of retention":       {"name: t", "retention: {nonsense: 1h}\nname: t"},
		"retention of nothing":   {"name: t", "retention: {last: 0}\nname: t"},
		"key of a subscription":  {"enabled: true", "nonsense: 1"},
		"no subscriber":          {"subscriber: audit/log, ", ""},
		"bad subscriber":         {"audit/log", "Audit/log"},
		"bad event":              {"step.failed, ", "failed, "},
		"event twice":            {"step.failed, ", "task.*, "},
		"no events":              {"events: [step.failed, task.*], ", "events: [], "},
		"bad filter":             {"filter: 'true'", "filter: true"},
		"bad config":             {"config: {a: 1}", "config: 1"},
		"bad enabled":            {"enabled: true", "enabled: 'true'"},
		"key of an event":        {"on: step.completed", "nonsense: 1, on: step.completed"},
		"no event name":          {"name: t.done, ", ""},
		"bad event name":         {"name: t.done, ", "name: t.Done, "},
		"no source":              {"on: step.completed, ", ""},
		"bad source":             {"on: step.completed", "on: step.started"},
		"source without a step":  {"on: step.completed, step: a", "on: step.completed"},
		"source with a step":     {"on: step.completed", "on: task.completed"},
		"no name":                {"name: t\n", ""},
		"no version":             {"version: 1.0.0\n", ""},
		"no steps":               {"steps: [{name: a, handler: mock/noop, retry: {limit: 2}}]", "steps: []"},
		"no handler":             {"handler: mock/noop, ", ""},
		"bad version":            {"1.0.0", "1.0"},
		"bad handler":            {"mock/noop", "mock"},
		"bad step name":          {"name: a,", "name: A,"},
		"bad duration":           {"timeout: 5s", "timeout: 5"},
		"bad limit":              {"limit: 3", "limit: 0"},
		"bad on_failure":         {"name: t", "on_failure: stop\nname: t"},
		"bad identity":           {"name: t", "identity: same\nname: t"},
		"bad input":              {"name: t", "input: {type: objekt}\nname: t"},
		"bad jitter":             {"limit: 3", "jitter: lots"},
		"bad backoff":            {"limit: 3", "backoff: [soon]"},
		"bad environment":        {"dev:", "Dev:"},
	} {
		t.Run(name, func(t *testing.T) {
			src := []byte(strings.Replace(valid, change[0], change[1], 1))
			if bytes.Equal(src, []byte(valid)) {
				t.Fatal("the change changes nothing")
			}
			if _, err := Parse("t.yaml", src, Options{}); err == nil {
				t.Errorf("Parse accepts\n%s", src)
			}
			if err := schema.Validate(document(t, "t.yaml", src)); err == nil {
				t.Errorf("the schema accepts\n%s", src)
			}
		})
	}
}

// TestSchemaKnowsTheSameKeys compares the schema with the tables that Parse reads by.
func TestSchemaKnowsTheSameKeys(t *testing.T) {
	var schema struct {
		Properties map[string]any `json:"properties"`
		Defs       map[string]struct {
			Properties map[string]any `json:"properties"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal(Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		what string
		want []string
		got  map[string]any
	}{
		{"template", readable(templateKeys()), schema.Properties},
		{"defaults", readable(settingsKeys()), schema.Defs["defaults"].Properties},
		{"step", readable(stepKeys()), schema.Defs["step_keys"].Properties},
		{"retry", readable(retryKeys()), schema.Defs["retry"].Properties},
		{"subscription", readable(subscriptionKeys()), schema.Defs["subscription"].Properties},
		{"event", readable(eventKeys()), schema.Defs["event"].Properties},
		{"environment", changeable(readable(templateKeys())), schema.Defs["environment"].Properties},
	} {
		if diff := cmp.Diff(tc.want, slices.Sorted(maps.Keys(tc.got))); diff != "" {
			t.Errorf("%s: keys differ (-Parse +schema):\n%s", tc.what, diff)
		}
	}
}

// readable are the keys of a table that have an effect, sorted.
func readable[T any](keys []key[T]) []string {
	var names []string
	for _, k := range keys {
		if k.read != nil {
			names = append(names, k.name)
		}
	}
	slices.Sort(names)
	return names
}

// changeable leaves out what an environment cannot change.
func changeable(names []string) []string {
	return slices.DeleteFunc(names, func(n string) bool {
		return slices.Contains([]string{"namespace", "name", "version", "environments"}, n)
	})
}

// TestSchemaDescribesEveryKey: editors show the descriptions.
func TestSchemaDescribesEveryKey(t *testing.T) {
	var doc map[string]any
	if err := json.Unmarshal(Schema(), &doc); err != nil {
		t.Fatal(err)
	}
	defs, ok := doc["$defs"].(map[string]any)
	if !ok {
		t.Fatal("no $defs")
	}
	describe := func(v any) bool {
		for range 3 { // follow references
			m, ok := v.(map[string]any)
			if !ok {
				return false
			}
			if m["description"] != nil {
				return true
			}
			ref, _ := m["$ref"].(string)
			v = defs[strings.TrimPrefix(ref, "#/$defs/")]
		}
		return false
	}
	for name, owner := range map[string]any{
		"template": doc, "step": defs["step_keys"], "retry": defs["retry"], "defaults": defs["defaults"], "environment": defs["environment"],
		"subscription": defs["subscription"], "event": defs["event"],
	} {
		properties, ok := owner.(map[string]any)["properties"].(map[string]any)
		if !ok {
			t.Fatalf("%s has no properties", name)
		}
		for key, v := range properties {
			if !describe(v) {
				t.Errorf("%s.%s has no description", name, key)
			}
		}
	}
}
