package supervisor

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/tasker-engine/tasker/host/internal/shim"
)

// TestStrictSaysHowToGoOn: a plugin for which something cannot be enforced is refused, and
// the error names what, and the setting that starts it nonetheless.
func TestStrictSaysHowToGoOn(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	l := &launch{
		launcher: launcher{opts: Options{DataDir: t.TempDir(), Isolation: Isolation{Profile: shim.Strict}}.withDefaults()},
		binary:   Binary{Path: self}, plugin: "local", process: &process{}, granted: grant{permissions: Permissions{Network: "loopback"}},
	}
	err = l.isolate()
	defer l.process.closeFile()
	var r *refusal
	if !errors.Is(err, shim.ErrUnenforceable) || !errors.As(err, &r) {
		t.Fatalf("got %v, want a refusal", err)
	}
	for _, want := range []string{"network: ", "; to start it without that, set plugins.local.isolation: default"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("got %q, want %q in it", err, want)
		}
	}
}
