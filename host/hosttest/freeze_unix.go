//go:build unix

package hosttest

import "syscall"

// FreezePlugin stops the process of a plugin that is ready, as a debugger does: it is
// there and does nothing any more.
func (h *Host) FreezePlugin(name string) {
	h.t.Helper()
	p := h.AwaitPlugin(name)
	if err := syscall.Kill(p.PID, syscall.SIGSTOP); err != nil {
		h.t.Fatalf("freeze process %d of %s: %v", p.PID, p.Instance, err)
	}
}
