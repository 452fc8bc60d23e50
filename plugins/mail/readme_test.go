package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// settings is what of the YAML in the README concerns the plugin.
type settings struct {
	Plugins map[string]struct {
		Config json.RawMessage `json:"config"`
	} `json:"plugins"`
	Subscriptions []struct {
		Subscriber string          `json:"subscriber"`
		Events     []string        `json:"events"`
		Config     json.RawMessage `json:"config"`
	} `json:"subscriptions"`
}

// TestReadme starts the plugin with the configuration that the README shows, and writes what its bindings say.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var all settings
	for _, block := range regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllSubmatch(readme, -1) {
		doc, err := yaml.YAMLToJSON(block[1])
		if err != nil {
			t.Fatal(err)
		}
		var s settings
		if err := json.Unmarshal(doc, &s); err != nil {
			t.Fatal(err)
		}
		all.Subscriptions = append(all.Subscriptions, s.Subscriptions...)
		if s.Plugins != nil {
			all.Plugins = s.Plugins
		}
	}
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(password), 0o600); err != nil {
		t.Fatal(err)
	}
	config := bytes.ReplaceAll(all.Plugins["mail"].Config, []byte("/etc/tasker/smtp-password"), []byte(filepath.ToSlash(file)))
	p := sdktest.Start(t, plugin(), sdktest.Options{Config: json.RawMessage(config)})
	w, err := newWriter()
	if err != nil {
		t.Fatal(err)
	}
	if len(all.Subscriptions) != 3 {
		t.Errorf("%d subscriptions, want 3", len(all.Subscriptions))
	}
	for _, s := range all.Subscriptions {
		var b binding
		d := json.NewDecoder(bytes.NewReader(s.Config))
		d.DisallowUnknownFields()
		if err := d.Decode(&b); err != nil {
			t.Fatalf("%s: %v", s.Config, err)
		}
		if err := b.Check(t.Context()); err != nil || s.Subscriber != "mail/events" {
			t.Errorf("subscriber %s: %v", s.Subscriber, err)
		}
		for _, name := range s.Events {
			e, err := decode(example(t, name))
			if err != nil {
				t.Fatal(err)
			}
			_, single := w.single(b, e)
			_, digest := w.digest(b, []decodedEvent{e})
			if b.Digest.Window > 0 && digest != nil || b.Digest.Window == 0 && single != nil {
				t.Errorf("%s: %v, %v", name, single, digest)
			}
		}
	}
	schemas := [][]byte{p.Manifest().GetConfigSchema()}
	for _, sub := range p.Manifest().GetSubscriptions() {
		schemas = append(schemas, sub.GetConfigSchema())
	}
	for _, s := range schemas {
		for _, name := range properties(t, s) {
			if text := string(readme); !strings.Contains(text, name+"`") && !strings.Contains(text, "`"+name+".") {
				t.Errorf("the README does not tell of %q", name)
			}
		}
	}
}

// properties are the names of all properties in a schema, with those of what is in it.
func properties(t *testing.T, schema []byte) []string {
	t.Helper()
	var doc any
	if err := json.Unmarshal(schema, &doc); err != nil {
		t.Fatal(err)
	}
	var names []string
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
		t.Errorf("no properties in %s", schema)
	}
	return names
}
