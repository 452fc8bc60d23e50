//go:build unix && race

package supervisor

import (
	"os"
	"syscall"
)

// goraceKey is the environment variable with the options of the race detector, which reads them when a program starts.
const goraceKey = "GORACE"

// exitAtOnce spares the tests a second for each end of a test plugin: by default the detector sleeps that long
// before a program exits. The host passes no such variable on, so the program starts once more, as the same
// process. Where it may not, it is slow.
func exitAtOnce() {
	if _, again := os.LookupEnv(goraceKey); again {
		_ = os.Unsetenv(goraceKey) // plugins have no such variable
		return
	}
	if exe, err := os.Executable(); err == nil {
		_ = syscall.Exec(exe, os.Args, append(os.Environ(), goraceKey+"=atexit_sleep_ms=0"))
	}
}
