package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
	"github.com/tasker-engine/tasker/plugins/internal/readmetest"
)

// TestReadme starts the plugin with the configuration that the README shows, and posts by its bindings.
func TestReadme(t *testing.T) {
	readme := readmetest.Read(t)
	p := sdktest.Start(t, plugin(), sdktest.Options{Config: readme.Plugins["webhook"].Config})
	w := &webhooks{}
	if err := json.Unmarshal(readme.Plugins["webhook"].Config, w); err != nil {
		t.Fatal(err)
	}
	if len(readme.Subscriptions) != 3 {
		t.Errorf("%d subscriptions, want 3", len(readme.Subscriptions))
	}
	for _, s := range readme.Subscriptions {
		var b binding
		d := json.NewDecoder(bytes.NewReader(s.Config))
		d.DisallowUnknownFields()
		if err := d.Decode(&b); err != nil {
			t.Fatalf("%s: %v", s.Config, err)
		}
		if _, ok := w.Endpoints[b.Endpoint]; !ok || s.Subscriber != "webhook/events" {
			t.Errorf("subscriber %s, endpoint %q", s.Subscriber, b.Endpoint)
		}
		for _, name := range s.Events {
			if _, err := w.encode(example(t, name), b); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	schemas := [][]byte{p.Manifest().GetConfigSchema()}
	for _, sub := range p.Manifest().GetSubscriptions() {
		schemas = append(schemas, sub.GetConfigSchema())
	}
	for _, s := range schemas {
		readme.Tells(t, readmetest.Properties(t, s), "KEY`", "`KEY.")
	}
}
