package supervisor

import (
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxSocketPath is the longest path of a unix socket in bytes.
const maxSocketPath = 103

// identify reads the start time of a process and the time of the boot.
func identify(pid int) (identity, error) {
	const zombie = 5 // SZOMB
	info, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return identity{}, err
	}
	if int(info.Proc.P_pid) != pid || info.Proc.P_stat == zombie {
		return identity{}, fmt.Errorf("process %d: %w", pid, os.ErrProcessDone)
	}
	boot, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return identity{}, err
	}
	start := info.Proc.P_starttime
	return identity{PID: pid, Start: fmt.Sprintf("%d.%06d", start.Sec, start.Usec), Boot: boot}, nil
}

// killLeftover ends the group of a process that a dead host started.
func killLeftover(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }
