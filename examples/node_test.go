package examples_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestNode does what the README of 07-node says. The packages that its plugin needs are installed by `make test-node`,
// which says so.
func TestNode(t *testing.T) {
	if os.Getenv("TASKER_TEST_NODE") == "" {
		t.Skip("it needs Node.js and packages of npm: `make test-node` runs it")
	}
	dir := build(t)
	out := filepath.Join(dir, "bin", "examples", "node", "tasker-plugin-label")
	bundle := exec.CommandContext(t.Context(), "node", "node_modules/@tasker-engine/sdk/bin/tasker-plugin-build.mjs", "src/main.ts", out)
	bundle.Dir = filepath.Join("07-node", "label")
	if printed, err := bundle.CombinedOutput(); err != nil {
		t.Fatalf("bundle the plugin: %v\n%s", err, printed)
	}
	runReadme(t, &terminal{dir: dir}, "07-node", false)
}
