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

// Open opens an executable to execute it, and script says whether it is one that an
// interpreter reads. With a hash (SHA-256, hex), the file has it, and where the kernel and
// the file system know leases nobody can write to it as long as it is open.
func Open(path, hash string) (file *os.File, script bool, err error) {
	file, err = os.Open(path)
	if err != nil {
		return nil, false, err //nolint:wrapcheck // it names the path
	}
	defer func() {
		if err != nil {
			_ = file.Close()
		}
	}()
	start := make([]byte, 2)
	if n, _ := file.ReadAt(start, 0); n == len(start) {
		script = bytes.Equal(start, []byte("#!"))
	}
	if hash == "" {
		return file, script, nil
	}
	if err := lease(file); err != nil {
		return nil, false, fmt.Errorf("%s: %w", path, err)
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return nil, false, fmt.Errorf("hash %s: %w", path, err)
	}
	if found := hex.EncodeToString(sum.Sum(nil)); !strings.EqualFold(found, hash) {
		return nil, false, fmt.Errorf("%s: %w: expected SHA-256 %s, found %s; if you trust the file, install it again", path, ErrHash, strings.ToLower(hash), found)
	}
	return file, script, nil
}
