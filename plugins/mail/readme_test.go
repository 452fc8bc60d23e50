package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
	"github.com/tasker-engine/tasker/plugins/internal/readmetest"
)

// TestReadme starts the plugin with the configuration that the README shows, and writes what its bindings say.
func TestReadme(t *testing.T) {
	readme := readmetest.Read(t)
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(password), 0o600); err != nil {
		t.Fatal(err)
	}
	config := bytes.ReplaceAll(readme.Plugins["mail"].Config, []byte("/etc/tasker/smtp-password"), []byte(filepath.ToSlash(file)))
	p := sdktest.Start(t, plugin(), sdktest.Options{Config: json.RawMessage(config)})
	w, err := newWriter()
	if err != nil {
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
		readme.Tells(t, readmetest.Properties(t, s), "KEY`", "`KEY.")
	}
}
