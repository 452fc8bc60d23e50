package crashtest_test

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"syscall"
)

// alive reports whether a process runs. One that has ended and that nobody waited for
// does not.
func alive(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	defer func() { _ = p.Release() }()
	if runtime.GOOS != "windows" && p.Signal(syscall.Signal(0)) != nil {
		return false
	}
	if runtime.GOOS != "linux" {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, found := bytes.Cut(stat, []byte(") "))
	return !found || state[0] != 'Z'
}
