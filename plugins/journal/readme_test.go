package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// TestReadme starts the plugin with the configuration that the README shows, but for its path, and looks for all keys.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(readme)
	var settings struct {
		Plugins struct {
			Journal struct{ Config map[string]any }
		}
	}
	if err := yaml.Unmarshal(block[1], &settings); err != nil {
		t.Fatal(err)
	}
	config := settings.Plugins.Journal.Config
	config["path"] = filepath.Join(t.TempDir(), fmt.Sprint(config["path"]))
	p := sdktest.Start(t, plugin(), sdktest.Options{Config: config})

	var schema struct {
		Properties map[string]any `json:"properties"`
		Defs       map[string]struct {
			Properties map[string]any `json:"properties"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal(p.Manifest().GetConfigSchema(), &schema); err != nil {
		t.Fatal(err)
	}
	for name := range schema.Defs["rotation"].Properties {
		schema.Properties["rotate."+name] = nil
	}
	delete(schema.Properties, "rotate")
	for name := range schema.Properties {
		if !strings.Contains(string(readme), "| `"+name+"` |") {
			t.Errorf("the README does not tell of %q", name)
		}
	}
	if len(schema.Properties) < 10 {
		t.Errorf("properties %v", schema.Properties)
	}
}
