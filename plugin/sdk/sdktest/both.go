package sdktest

import (
	"testing"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// Both runs a test twice: against the plugin within the test, as [Start] runs it, and against the binary of its main
// package, as [Build] makes it and [Launch] runs it. With -short there is no binary.
//
//	sdktest.Both(t, plugin(), ".", func(t *testing.T, p *sdktest.Plugin) {
//		p.Replay(t, "testdata/attempts")
//	})
func Both(t *testing.T, p sdk.Plugin, pkg string, test func(*testing.T, *Plugin), opts ...Options) {
	t.Helper()
	t.Run("within the test", func(t *testing.T) { test(t, Start(t, p, opts...)) })
	t.Run("binary", func(t *testing.T) {
		if testing.Short() {
			t.Skip("binaries are not built with -short")
		}
		test(t, Launch(t, Build(t, pkg), opts...))
	})
}
