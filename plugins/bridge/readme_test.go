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

// TestReadme checks the configuration that the README shows, and looks for all keys.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(readme)
	var settings struct {
		Plugins struct {
			Bridge struct{ Config map[string]any }
		}
	}
	if err := yaml.Unmarshal(block[1], &settings); err != nil {
		t.Fatal(err)
	}
	config := settings.Plugins.Bridge.Config
	config["servers"] = []string{serve(t, nil).ClientURL()}
	config["auth"] = values{}
	p := sdktest.Start(t, plugin(), sdktest.Options{Config: config})

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
	all := schema.Properties
	for group, def := range map[string]string{"auth": "authConfig", "tls": "tlsConfig", "stream": "streamConfig"} {
		delete(all, group)
		for name, property := range schema.Defs[def].Properties {
			all[group+"."+name] = property
		}
	}
	for name := range all {
		if !strings.Contains(string(readme), "`"+name+"`") {
			t.Errorf("the README does not tell of %q", name)
		}
	}
	for _, name := range []string{"auth.password", "auth.token", "auth.nkey_seed", "auth.creds"} {
		if !strings.Contains(string(all[name]), `"writeOnly":true`) {
			t.Errorf("%s is not marked: %s", name, all[name])
		}
	}
}
