//go:build unix

package sdk

import (
	"os"
	"syscall"
)

// duplicate returns a copy of a descriptor that children do not inherit.
func duplicate(fd int) (*os.File, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	copied, err := syscall.Dup(fd)
	if err != nil {
		return nil, err
	}
	syscall.CloseOnExec(copied)
	return os.NewFile(uintptr(copied), "stdout"), nil
}
