package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
	"github.com/tasker-engine/tasker/plugins/internal/readmetest"
)

// TestReadme starts the plugin with the configuration that the README shows, but for its path, and looks for all keys.
func TestReadme(t *testing.T) {
	readme := readmetest.Read(t)
	config := readme.Config(t, "journal")
	config["path"] = filepath.Join(t.TempDir(), fmt.Sprint(config["path"]))
	p := sdktest.Start(t, plugin(), sdktest.Options{Config: config})

	all := readmetest.Keys(t, p.Manifest().GetConfigSchema())
	readme.Tells(t, slices.Collect(maps.Keys(all)), "| `KEY` |")
	if len(all) < 10 {
		t.Errorf("keys %s", all)
	}
}
