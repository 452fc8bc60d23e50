package main

import (
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// stamp is how a file that was put aside says when its first event was; names sort by it.
const stamp = "20060102T150405.000000000Z"

// rotate puts the file aside and begins a new one. After an error the file is closed.
func (f *file) rotate() error {
	if err := f.close(); err != nil {
		return err
	}
	if err := os.Rename(f.path, f.asideName()); err != nil {
		return err
	}
	f.size, f.first = 0, time.Time{}
	if err := f.open(); err != nil {
		return err
	}
	f.tidy()
	return nil
}

// asideName returns a name that no file has. Events may have been recorded at the same time.
func (f *file) asideName() string {
	base, ext := f.split()
	for at := f.first.UTC(); ; at = at.Add(1) {
		path := base + "." + at.Format(stamp) + ext
		_, plain := os.Lstat(path)
		_, compressed := os.Lstat(path + ".gz")
		if plain != nil && compressed != nil { // what cannot be looked at cannot be replaced either
			return path
		}
	}
}

// split returns the path without its extension, and that.
func (f *file) split() (base, ext string) {
	ext = filepath.Ext(f.path)
	return strings.TrimSuffix(f.path, ext), ext
}

// aside returns the files that were put aside, the oldest one first.
func (f *file) aside() []string {
	base, ext := f.split()
	entries, err := os.ReadDir(filepath.Dir(f.path))
	if err != nil {
		return nil
	}
	var paths []string
	for _, e := range entries { // sorted by name
		at, ok := strings.CutPrefix(strings.TrimSuffix(e.Name(), ".gz"), filepath.Base(base)+".")
		if !ok {
			continue
		}
		if _, err := time.Parse(stamp, strings.TrimSuffix(at, ext)); err == nil {
			paths = append(paths, filepath.Join(filepath.Dir(f.path), e.Name()))
		}
	}
	return paths
}

// tidy removes files that are too many, and compresses those that are to be. What fails is tried again with the next
// file that is put aside.
func (f *file) tidy() {
	aside := f.aside()
	if keep := f.config.Rotate.Keep; keep > 0 && len(aside) > keep {
		for _, path := range aside[:len(aside)-keep] {
			if err := os.Remove(path); err != nil {
				f.log.Warn("a file that is too many cannot be removed", "path", path, "error", err)
			}
		}
		aside = slices.Clone(aside[len(aside)-keep:])
	}
	if !f.config.Rotate.Gzip {
		return
	}
	for _, path := range aside {
		if strings.HasSuffix(path, ".gz") {
			continue
		}
		if err := compress(path); err != nil {
			f.log.Warn("a file that was put aside cannot be compressed", "path", path, "error", err)
		}
	}
}

// compress replaces a file by a compressed one. At no time is there none.
func compress(path string) (err error) {
	from, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }() // it is only read
	temporary := path + ".gz.new"
	to, err := os.OpenFile(temporary, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o640) //nolint:gosec // as the file itself
	if err != nil {
		return err
	}
	z := gzip.NewWriter(to)
	_, err = io.Copy(z, from)
	err = errors.Join(err, z.Close())
	if err == nil {
		err = to.Sync()
	}
	if err = errors.Join(err, to.Close(), from.Close()); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	if err := os.Rename(temporary, path+".gz"); err != nil {
		return err
	}
	return os.Remove(path)
}

// openAny opens a file, which may be compressed.
func openAny(path string) (io.ReadCloser, error) {
	f, err := os.Open(path) //nolint:gosec // it is the operator who names files
	if err != nil || !strings.HasSuffix(path, ".gz") {
		return f, err
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &compressed{z, f}, nil
}

// compressed is a compressed file that is read.
type compressed struct {
	*gzip.Reader

	file *os.File
}

// Close closes the file.
func (c *compressed) Close() error { return errors.Join(c.Reader.Close(), c.file.Close()) }
