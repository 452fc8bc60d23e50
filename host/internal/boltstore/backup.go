package boltstore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
)

// writeFile writes a file beside target, syncs it and renames it to target, so that
// target is either the old file or the whole new one. It returns the size in bytes.
func writeFile(target string, write func(w io.Writer) error) (size int64, err error) {
	dir := filepath.Dir(target)
	f, err := os.CreateTemp(dir, "."+filepath.Base(target)+".*.tmp")
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, ignoreMissing(os.Remove(f.Name())))
		}
	}()
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	size, sizeErr := f.Seek(0, io.SeekEnd)
	if err = errors.Join(err, sizeErr, f.Close()); err != nil {
		return 0, err
	}
	if err := os.Rename(f.Name(), target); err != nil {
		return 0, err
	}
	return size, syncDir(dir)
}

func ignoreMissing(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// syncDir makes a rename durable. Windows cannot open directories for that.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync directory %s: %w", dir, err)
	}
	return nil
}
