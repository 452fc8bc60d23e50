package cli

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/tasker-engine/tasker/host/template"
)

// FuzzConfigFile: whatever lies in the file, it is read or refused with places.
func FuzzConfigFile(f *testing.F) {
	for _, seed := range []string{
		"", "grace: 5s\n", "events: {workflow: true}\nplugins: {exec: {env: [A], config: {a: [1]}, start_timeout: 1m}}",
		"gracee: 1", "- a\n", "a: &x [*x]", "events:\n  events:\n    events: 1", "plugins: {a: 1}", "? [a]\n: b", "--- \n---\n", "0\n---", "grace: !!binary x",
		"subscriptions:\n  - {subscriber: a/b, filter: \"event.x\", events: [x]}", "subscriptions: [*x]", "plugin_dirs: {a: b}", "concurrency: [1]", "<<: {grace: 1s}", "plugins: {a: {config: *x}}", "\x00", "grace: |\n  5s",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(t.TempDir(), configFile)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := defaults().readFile(path)
		var found template.Diagnostics
		if err != nil && !errors.As(err, &found) {
			t.Fatalf("%v is no list of diagnostics", err)
		}
		for _, d := range found {
			if d.File != path || d.Message == "" {
				t.Errorf("a diagnostic without a place or a message: %+v", d)
			}
		}
	})
}
