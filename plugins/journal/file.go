package main

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

const (
	// remembered is how many events of a file are recognised when they come again.
	remembered = 20_000
	// tail is how much of the end of a file is read to know them, in bytes.
	tail = 16 << 20
)

// file is a file that events are appended to. What has failed is closed and opened again.
type file struct {
	path   string
	config *config
	log    *slog.Logger
	used   uint64

	file  *os.File
	size  int64
	first time.Time // of the first event in it; zero = there is none
	prev  string    // the hash of the last line; empty = there is none
	seen  *sdk.Dedupe
	dirty bool // something is not synced
}

// openFile opens a file, or begins it. A last line that was not written to its end is cut off.
func openFile(path string, c *config, log *slog.Logger) (*file, error) {
	f := &file{path: path, config: c, log: log, seen: sdk.NewDedupe(remembered)}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, err
	}
	f.tidy()
	var last contents // of the newest file that was put aside
	if aside := f.aside(); len(aside) > 0 {
		var err error
		if last, err = read(aside[len(aside)-1], c.Format); err != nil {
			return nil, err
		}
	}
	now, err := read(path, c.Format)
	if err != nil {
		return nil, err
	}
	for _, key := range slices.Concat(last.keys, now.keys) {
		_ = f.seen.Mark(key) // in memory it never fails
	}
	f.prev = last.sum
	if now.size > 0 {
		f.prev, f.first, f.size = now.sum, now.first, now.size
	}
	if err := f.open(); err != nil {
		return nil, err
	}
	if c.Format == formatCSV && now.header != nil && !slices.Equal(now.header, c.Columns) { // other columns, another file
		return f, f.rotate()
	}
	return f, nil
}

// open opens the file itself and mends its end.
func (f *file) open() error {
	opened, err := os.OpenFile(f.path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o640) //nolint:gosec // programs of the group read it
	if err != nil {
		return err
	}
	f.file = opened
	if err := f.mend(); err != nil {
		return errors.Join(err, opened.Close())
	}
	return nil
}

func (f *file) mend() error {
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	if torn := info.Size() - f.size; torn > 0 {
		f.log.Warn("the last line was not written to its end and is cut off: its event comes again", "path", f.path, "bytes", torn)
		if err := f.file.Truncate(f.size); err != nil {
			return err
		}
	}
	if f.size == 0 && f.config.Format == formatCSV {
		header, err := lineOf(f.config.Columns)
		if err != nil {
			return err
		}
		if err := f.write(header); err != nil {
			return err
		}
	}
	if f.config.Fsync == fsyncNever {
		return nil
	}
	syncDir(filepath.Dir(f.path))
	return f.file.Sync() // also of what a process has written that was killed before it could
}

// append appends an entry that is not there yet. After an error the file is closed.
func (f *file) append(en *entry) error {
	key := en.key()
	if f.seen.Seen(key) {
		return nil
	}
	line, err := f.line(en)
	if err != nil {
		return errors.Join(fmt.Errorf("journal: %w", err), f.close())
	}
	if f.due(en, len(line)) {
		if err := f.rotate(); err != nil {
			return fmt.Errorf("journal: rotate %s: %w", f.path, err)
		}
	}
	if err := f.write(line); err != nil {
		return fmt.Errorf("journal: %w", errors.Join(err, f.file.Close()))
	}
	if f.first.IsZero() {
		f.first = en.Time
	}
	f.prev = sum(line)
	return f.seen.Mark(key)
}

// line returns the line of an entry.
func (f *file) line(en *entry) ([]byte, error) {
	if f.config.Format == formatCSV {
		return en.lineCSV(f.config.Columns)
	}
	if f.config.Chain {
		en.Prev = &f.prev
	}
	return en.lineJSON()
}

// due reports whether the file is to be put aside before a line is appended.
func (f *file) due(en *entry, line int) bool {
	r := f.config.Rotate
	return !f.first.IsZero() && (f.size+int64(line) > r.SizeMiB<<20 || r.Age > 0 && en.Time.Sub(f.first) >= r.Age.D())
}

// write appends a line, as the policy says. What fails leaves nothing behind, so that the event can come again.
func (f *file) write(line []byte) error {
	_, err := f.file.Write(line)
	if err == nil && f.config.Fsync == fsyncAlways {
		err = f.file.Sync()
	}
	if err != nil {
		return errors.Join(err, f.file.Truncate(f.size))
	}
	f.size += int64(len(line))
	f.dirty = f.config.Fsync == fsyncBatch
	return nil
}

// sync forces what was written to the disk.
func (f *file) sync() error {
	if !f.dirty {
		return nil
	}
	f.dirty = false
	return f.file.Sync()
}

func (f *file) close() error { return errors.Join(f.sync(), f.file.Close()) }

// contents is what is to be known of a file that is there.
type contents struct {
	keys   []string // of the last events
	header []string // of CSV
	size   int64    // of all lines that were written to their ends
	first  time.Time
	sum    string // of the last line
}

// read reads a file, which may be compressed, and may be missing.
func read(path, format string) (c contents, err error) {
	r, err := openAny(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return c, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	lines := bufio.NewReaderSize(r, 1<<16)
	var last []byte
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return c, fmt.Errorf("%s: %w", path, err)
		}
		c.take(line, format)
		last = line
		if f, plain := r.(*os.File); plain && len(c.keys) == 1 {
			if err := c.skip(f, lines); err != nil {
				return c, fmt.Errorf("%s: %w", path, err)
			}
		}
	}
	if last != nil {
		c.sum = sum(last)
	}
	return c, nil
}

// skip goes on at the first line within the tail of a file.
func (c *contents) skip(f *os.File, lines *bufio.Reader) error {
	info, err := f.Stat()
	if err != nil || info.Size()-tail <= c.size {
		return err
	}
	if _, err := f.Seek(info.Size()-tail, io.SeekStart); err != nil {
		return err
	}
	lines.Reset(f)
	rest, err := lines.ReadBytes('\n')
	if errors.Is(err, io.EOF) { // one line that is longer than that, and torn: read all
		if _, err := f.Seek(c.size, io.SeekStart); err != nil {
			return err
		}
		lines.Reset(f)
		return nil
	}
	c.size = info.Size() - tail + int64(len(rest))
	return err
}

// take takes a line.
func (c *contents) take(line []byte, format string) {
	c.size += int64(len(line))
	if format == formatCSV && c.header == nil {
		if c.header, _ = csv.NewReader(bytes.NewReader(line)).Read(); c.header == nil {
			c.header = []string{} // no header that could be wanted
		}
		return
	}
	en, ok := keyOf(line, c.header)
	if !ok {
		return
	}
	if c.first.IsZero() {
		c.first = en.Time
	}
	c.keys = append(c.keys, en.key())
	if len(c.keys) > 2*remembered {
		c.keys = slices.Delete(c.keys, 0, remembered)
	}
}

// syncDir makes names in a directory outlive a crash of the machine, where the system can do that.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync() // Windows cannot
		_ = d.Close()
	}
}
