package hosttest

import "os"

// processAlive reports whether there is a process with the id.
func processAlive(pid int) bool {
	p, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	_ = p.Release()
	return true
}
