//go:build !linux

package shim

import (
	"os"
	"runtime"
)

// Supported says whether this system takes rights from plugins.
const Supported = false

// Main does nothing: this system has no shim.
func Main() {}

// Probe says that this system enforces nothing.
func Probe() Kernel {
	why := "Tasker enforces permissions on Linux only, this is " + runtime.GOOS
	return Kernel{NoLandlock: why, NoSeccomp: why, NoPrivileges: why}
}

// lease has no form here.
func lease(*os.File) (why string, err error) {
	return "this system has no lock against writers", nil
}

// ExecPath returns the path under which to execute an open file.
func ExecPath(file *os.File) string { return file.Name() }
