//go:build unix && !linux

package supervisor

import (
	"os"
	"syscall"
)

// processAttributes gives a plugin its own group, so that a signal to the host's does
// not reach it before the drain. The end of the host reaches it through the lifeline.
func processAttributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// prepareForkThread has nothing to do: a umask belongs to the whole process here, so
// plugins inherit the host's; their directories are 0700 anyway.
func prepareForkThread() {}

// await reaps the process and calls dead within the same instant.
func await(p *os.Process, dead func()) (*os.ProcessState, error) {
	state, err := p.Wait()
	dead()
	return state, err
}
