package shim

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// ErrHash is wrapped by the error of an executable that is not the one that was approved.
var ErrHash = errors.New("the executable is not the one that was installed")

// Program is an executable that is open to be executed.
type Program struct {
	File   *os.File // nil = it is executed by its path
	Script bool     // an interpreter opens the path
	// NoLease is why the file can be written to between its hash and its execution, empty
	// when it cannot, or has no hash.
	NoLease string
}

// Open opens an executable. With a hash (SHA-256, hex), the file has it, and where the
// kernel and the file system know leases nobody can write to it as long as it is open.
func Open(path, hash string) (p Program, err error) {
	file, err := os.Open(path)
	if err != nil {
		return Program{}, err //nolint:wrapcheck // it names the path
	}
	defer func() {
		if err != nil {
			_ = file.Close()
		}
	}()
	p.File = file
	start := make([]byte, 2)
	if n, _ := file.ReadAt(start, 0); n == len(start) {
		p.Script = bytes.Equal(start, []byte("#!"))
	}
	if hash == "" {
		return p, nil
	}
	if p.NoLease, err = lease(file); err != nil {
		return Program{}, fmt.Errorf("%s: %w", path, err)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return Program{}, fmt.Errorf("hash %s: %w", path, err)
	}
	if found := hex.EncodeToString(sum.Sum(nil)); !strings.EqualFold(found, hash) {
		return Program{}, fmt.Errorf("%s: %w: expected SHA-256 %s, found %s; tasker plugin verify-lock says how to accept it", path, ErrHash, strings.ToLower(hash), found)
	}
	return p, nil
}
