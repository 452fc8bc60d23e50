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
	// Not Dup2: it does not exist on arm64.
	if err := syscall.Dup3(2, 1, 0); err != nil {
		return nil, err
	}
	return original, nil
}
