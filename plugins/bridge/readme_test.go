package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
	"github.com/tasker-engine/tasker/plugins/internal/readmetest"
)

// TestReadme checks the configuration that the README shows, and looks for all keys.
func TestReadme(t *testing.T) {
	readme := readmetest.Read(t)
	config := readme.Config(t, "bridge")
	config["servers"] = []string{serve(t, nil).ClientURL()}
	config["auth"] = values{}
	p := sdktest.Start(t, plugin(), sdktest.Options{Config: config})

	all := readmetest.Keys(t, p.Manifest().GetConfigSchema())
	readme.Tells(t, slices.Collect(maps.Keys(all)), "`KEY`")
	for _, name := range []string{"auth.password", "auth.token", "auth.nkey_seed", "auth.creds"} {
		if !strings.Contains(string(all[name]), `"writeOnly":true`) {
			t.Errorf("%s is not marked: %s", name, all[name])
		}
	}
}
