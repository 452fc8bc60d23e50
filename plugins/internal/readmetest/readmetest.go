// Package readmetest checks what the README of a plugin shows: that its YAML is what the plugin takes, and that every key of
// the plugin's schemas is told of.
package readmetest

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// Page is the README of a plugin, and what its YAML blocks show together.
type Page struct {
	// Plugins are the settings of plugins by name; those of a later block replace those of an earlier one.
	Plugins map[string]Settings `json:"plugins"`
	// Subscriptions and Steps are those of all blocks, in order.
	Subscriptions []Subscription `json:"subscriptions"`
	Steps         []Step         `json:"steps"`

	text string
}

// Settings are a plugin's.
type Settings struct {
	Config json.RawMessage `json:"config"`
}

// Subscription is one that is bound in YAML.
type Subscription struct {
	Subscriber string          `json:"subscriber"`
	Events     []string        `json:"events"`
	Config     json.RawMessage `json:"config"`
}

// Step is a step of a template.
type Step struct {
	Name   string          `json:"name"`
	Config json.RawMessage `json:"config"`
}

// Read reads README.md of the test's directory.
func Read(tb testing.TB) *Page {
	tb.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		tb.Fatal(err)
	}
	all := &Page{Plugins: make(map[string]Settings), text: string(text)}
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(text, -1) {
		doc, err := yaml.YAMLToJSON(block[1])
		if err != nil {
			tb.Fatal(err)
		}
		var p Page
		if err := json.Unmarshal(doc, &p); err != nil {
			tb.Fatal(err)
		}
		maps.Copy(all.Plugins, p.Plugins)
		all.Subscriptions, all.Steps = append(all.Subscriptions, p.Subscriptions...), append(all.Steps, p.Steps...)
	}
	return all
}

// Config returns the configuration of a plugin that the README shows.
func (p *Page) Config(tb testing.TB, plugin string) map[string]any {
	tb.Helper()
	var config map[string]any
	if err := json.Unmarshal(p.Plugins[plugin].Config, &config); err != nil {
		tb.Fatalf("configuration of %s: %v", plugin, err)
	}
	return config
}

// Tells fails the test for each key that the README does not tell of in one of the forms: "`KEY`" is a key as code.
func (p *Page) Tells(tb testing.TB, keys []string, forms ...string) {
	tb.Helper()
	for _, key := range keys {
		told := false
		for _, form := range forms {
			told = told || strings.Contains(p.text, strings.ReplaceAll(form, "KEY", key))
		}
		if !told {
			tb.Errorf("the README does not tell of %q", key)
		}
	}
}

// Properties returns the names of all properties in a JSON Schema, with those of what is in it. A schema without any fails the
// test.
func Properties(tb testing.TB, schema []byte) (names []string) {
	tb.Helper()
	var doc any
	if err := json.Unmarshal(schema, &doc); err != nil {
		tb.Fatal(err)
	}
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			if of, ok := v["properties"].(map[string]any); ok {
				for name := range of {
					names = append(names, name)
				}
			}
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(doc)
	if len(names) == 0 {
		tb.Errorf("no properties in %s", schema)
	}
	return names
}

// Keys returns the schemas of the keys that a JSON Schema has: in place of a key that is a group of others these, as
// "group.key".
func Keys(tb testing.TB, schema []byte) map[string]json.RawMessage {
	tb.Helper()
	type object struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	var doc struct {
		object

		Defs map[string]object `json:"$defs"`
	}
	if err := json.Unmarshal(schema, &doc); err != nil {
		tb.Fatal(err)
	}
	all := make(map[string]json.RawMessage)
	for name, property := range doc.Properties {
		var ref struct {
			To string `json:"$ref"`
		}
		if err := json.Unmarshal(property, &ref); err != nil {
			tb.Fatal(err)
		}
		group := doc.Defs[strings.TrimPrefix(ref.To, "#/$defs/")].Properties
		for key, inner := range group {
			all[name+"."+key] = inner
		}
		if len(group) == 0 {
			all[name] = property
		}
	}
	return all
}
