//go:build unix

package supervisor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/tasker-engine/tasker/host/internal/shim"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// The test binary plays every part: under the name of a plugin it is that plugin, with
// hostEnv it is a host that will be killed, and a shim when it was started as one.
func TestMain(m *testing.M) {
	shim.Main()
	name := filepath.Base(os.Args[0])
	if mode, ok := strings.CutPrefix(name, BinaryPrefix); ok && os.Getenv(pluginv1.CookieKey) != "" {
		exitAtOnce()
		quit(runTestPlugin(mode))
	}
	if name == sleeperName {
		select {} // a grandchild: it holds what it inherited until it is killed
	}
	if dir := os.Getenv(hostEnv); dir != "" {
		quit(runTestHost(dir))
	}
	goleak.VerifyTestMain(m)
}
