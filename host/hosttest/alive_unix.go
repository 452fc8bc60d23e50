//go:build unix

package hosttest

import "syscall"

// processAlive reports whether there is a process with the id.
func processAlive(pid int) bool { return syscall.Kill(pid, 0) == nil }
