package main

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// TestReadme starts the plugin with the configuration that the README shows, and looks for all keys.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(readme)
	var settings struct {
		Plugins struct {
			Telemetry struct{ Config map[string]any }
		}
	}
	if err := yaml.Unmarshal(block[1], &settings); err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	p := sdktest.Start(t, plugin(), sdktest.Options{Config: settings.Plugins.Telemetry.Config})

	type object struct {
		Properties map[string]json.RawMessage `json:"properties"`
	}
	var schema struct {
		object

		Defs map[string]object `json:"$defs"`
	}
	if err := json.Unmarshal(p.Manifest().GetConfigSchema(), &schema); err != nil {
		t.Fatal(err)
	}
	for name := range schema.Defs["tlsConfig"].Properties {
		schema.Properties["tls."+name] = nil
	}
	delete(schema.Properties, "tls")
	for name := range schema.Properties {
		if !strings.Contains(string(readme), "`"+name+"`") {
			t.Errorf("the README does not tell of %q", name)
		}
	}
	if len(schema.Properties) < 10 || !strings.Contains(string(schema.Properties["headers"]), `"writeOnly":true`) {
		t.Errorf("properties %s", schema.Properties)
	}
}
