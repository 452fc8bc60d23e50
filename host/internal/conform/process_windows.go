package conform

import (
	"os"
	"syscall"
)

func ownGroup() *syscall.SysProcAttr { return nil }

func killGroup(p *os.Process) error { return p.Kill() }

// requests are the signals that ask a process to end; there are none.
func requests() []os.Signal { return nil }
