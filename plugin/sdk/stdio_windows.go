package sdk

import (
	"os"

	"golang.org/x/sys/windows"
)

// divert makes standard error the process's standard output handle, which C code and children take, and
// returns the original.
func divert() (*os.File, error) {
	original := os.Stdout
	if err := windows.SetStdHandle(windows.STD_OUTPUT_HANDLE, windows.Handle(os.Stderr.Fd())); err != nil {
		return nil, err
	}
	return original, nil
}
