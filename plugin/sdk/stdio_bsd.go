//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package sdk

import (
	"os"
	"syscall"
)

// divert points descriptor 1 at standard error and returns the original.
func divert() (*os.File, error) {
	original, err := duplicate(1)
	if err != nil {
		return nil, err
	}
	if err := syscall.Dup2(2, 1); err != nil {
		return nil, err
	}
	return original, nil
}
