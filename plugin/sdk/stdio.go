package sdk

import (
	"fmt"
	"os"
)

// divertStdout keeps stray output away from the protocol. From now on, whatever is written to the process's
// standard output, by this program, by C code, or by children that inherit it, goes to standard error, which the
// host logs. The handshake line alone still goes out: go-plugin prints it to os.Stdout, which is left at the
// original for it. Once the host has called, the function returned puts os.Stdout and os.Stderr at standard
// error: go-plugin has replaced them with pipes that block when nobody reads them.
func divertStdout() (restore func(), err error) {
	original, err := divert()
	if err != nil {
		return nil, fmt.Errorf("divert standard output: %w", err)
	}
	stderr := os.Stderr
	os.Stdout = original
	return func() { os.Stdout, os.Stderr = stderr, stderr }, nil
}
