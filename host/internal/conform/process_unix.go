//go:build unix

package conform

import (
	"os"
	"syscall"
)

// ownGroup gives the process a group of its own, as hosts do.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func killGroup(p *os.Process) error { return syscall.Kill(-p.Pid, syscall.SIGKILL) }

// requests are the signals that a terminal or a service manager sends to whole groups.
func requests() []os.Signal { return []os.Signal{syscall.SIGTERM, syscall.SIGINT} }
