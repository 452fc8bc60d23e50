package boltstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	bolt "go.etcd.io/bbolt"
)

// compactTx is the number of bytes copied per transaction by Compact.
const compactTx = 4 << 20

// Compact copies the store in the file at path, which no other process may have open,
// into a new file without free pages and puts that in its place. It returns the sizes
// in bytes before and after. bbolt uses free pages again but never gives them back, so
// this is for a store from which much was deleted. Errors: task.ErrLocked,
// store.ErrVersion, store.ErrCorrupt, fs.ErrNotExist.
func Compact(path string, o Options) (before, after int64, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("compact store %s: %w", path, err)
		}
	}()
	info, err := os.Stat(path)
	if err != nil {
		return 0, 0, err
	}
	src, err := openFile(path, o.withDefaults())
	if err != nil {
		return 0, 0, err
	}
	// The source stays locked until the copy has its place, so that nobody writes to it in
	// between; Windows cannot rename over an open file.
	if runtime.GOOS != "windows" {
		defer func() { err = errors.Join(err, src.Close()) }()
	}
	copied, err := compactCopy(path, src)
	if runtime.GOOS == "windows" {
		err = errors.Join(err, src.Close())
	}
	if err != nil {
		return 0, 0, err
	}
	if err := moveTo(copied, path); err != nil {
		return 0, 0, errors.Join(err, ignoreMissing(os.Remove(copied)))
	}
	small, err := os.Stat(path)
	if err != nil {
		return 0, 0, err
	}
	return info.Size(), small.Size(), nil
}

// compactCopy writes a durable copy of src beside path and returns its name.
func compactCopy(path string, src *bolt.DB) (name string, err error) {
	if err := src.View(checkVersion); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(filepath.Dir(path), tempPattern(path))
	if err != nil {
		return "", err
	}
	name = f.Name()
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(name))
		}
	}()
	if err := f.Close(); err != nil {
		return "", err
	}
	// One sync at the end will do: until then the copy counts for nothing.
	dst, err := bolt.Open(name, fileMode, &bolt.Options{FreelistType: bolt.FreelistMapType, NoSync: true, PageSize: pageSize})
	if err != nil {
		return "", err
	}
	err = bolt.Compact(dst, src, compactTx)
	return name, errors.Join(err, dst.Sync(), dst.Close())
}
