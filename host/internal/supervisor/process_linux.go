package supervisor

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// processAttributes gives a plugin its own group, so that a signal to the host's does
// not reach it before the drain, and ends it with the thread that forked it.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// prepareForkThread gives the fork thread a umask of its own, so that plugins create
// private files and the host keeps its umask. Where the kernel refuses (some
// containers do), plugins inherit the host's umask; their directories are 0700 anyway.
func prepareForkThread() {
	if unix.Unshare(unix.CLONE_FS) == nil {
		unix.Umask(0o077)
	}
}

// await blocks until the process is dead, calls dead and reaps it. In between the
// process is a zombie, so that the id of its group cannot be taken by others.
func await(p *os.Process, dead func()) (*os.ProcessState, error) {
	for errors.Is(unix.Waitid(unix.P_PID, p.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
		continue // a signal of the host's own interrupted the wait
	}
	dead()
	return p.Wait()
}
