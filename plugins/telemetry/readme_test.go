package main

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
	"github.com/tasker-engine/tasker/plugins/internal/readmetest"
)

// TestReadme starts the plugin with the configuration that the README shows, and looks for all keys.
func TestReadme(t *testing.T) {
	readme := readmetest.Read(t)
	t.Chdir(t.TempDir())
	p := sdktest.Start(t, plugin(), sdktest.Options{Config: readme.Config(t, "telemetry")})

	all := readmetest.Keys(t, p.Manifest().GetConfigSchema())
	readme.Tells(t, slices.Collect(maps.Keys(all)), "`KEY`")
	if len(all) < 10 || !strings.Contains(string(all["headers"]), `"writeOnly":true`) {
		t.Errorf("keys %s", all)
	}
}
