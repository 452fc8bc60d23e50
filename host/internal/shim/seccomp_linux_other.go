//go:build linux && !amd64 && !arm64

package shim

import (
	"errors"
	"runtime"
)

func probeSeccomp() (ok bool, why string) {
	return false, "Tasker does not filter system calls on " + runtime.GOARCH
}

// seccomp is never called.
func (p *Plan) seccomp() error { return errors.ErrUnsupported }
