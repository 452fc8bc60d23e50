//go:build !linux && !darwin

package supervisor

import (
	"os"
)

// maxSocketPath is 0: plugins listen on loopback here, or the limit is not known.
const maxSocketPath = 0

// identify knows no start time here, so that nothing is ever taken for a leftover;
// job objects and lifelines end what a dead host started.
func identify(pid int) (identity, error) {
	if pid != os.Getpid() {
		return identity{}, os.ErrProcessDone
	}
	return identity{PID: pid}, nil
}

// killLeftover is never called: no identity matches here.
func killLeftover(int) {}
