package sdk

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
)

// Dedupe remembers the ids of events that were handled, the last ones of them. Ask it before an event is handled and
// tell it afterwards; what fails is not remembered, and comes again:
//
//	if seen.Seen(e.ID) {
//		return nil
//	}
//	...
//	return seen.Mark(e.ID)
//
// Its methods may be called by several goroutines. It makes redelivery harmless where doing something twice is not
// too bad: between what is done and Mark, a process may still end.
type Dedupe struct {
	mu    sync.Mutex
	size  int
	known map[string]struct{}
	ring  []string // the ids by age, from next on
	next  int

	file  *os.File // nil: in memory only
	path  string
	lines int // in the file
}

// NewDedupe remembers the last size ids, at least one, in memory.
func NewDedupe(size int) *Dedupe {
	return &Dedupe{size: max(size, 1), known: make(map[string]struct{})}
}

// OpenDedupe remembers the last size ids in a file, too, which outlives the process though not a crash of the
// machine. A relative path is in the plugin's data directory. One process at a time may have a file open.
func OpenDedupe(path string, size int) (*Dedupe, error) {
	d := NewDedupe(size)
	d.path = path
	doc, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("dedupe: %w", err)
	}
	doc = doc[:bytes.LastIndexByte(doc, '\n')+1] // what was not written to its end is not remembered
	for id := range strings.Lines(string(doc)) {
		d.remember(strings.TrimSuffix(id, "\n"))
	}
	if err := d.rewrite(); err != nil {
		return nil, err
	}
	return d, nil
}

// Seen reports whether an id is remembered.
func (d *Dedupe) Seen(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.known[id]
	return ok
}

// Mark remembers an id. In memory alone it never fails.
func (d *Dedupe) Mark(id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.remember(id) || d.file == nil {
		return nil
	}
	if d.lines++; d.lines > 2*d.size {
		return d.rewrite()
	}
	if _, err := d.file.WriteString(id + "\n"); err != nil {
		return fmt.Errorf("dedupe: %w", err)
	}
	return nil
}

// Close closes the file, where there is one.
func (d *Dedupe) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.file == nil {
		return nil
	}
	f := d.file
	d.file = nil
	return f.Close()
}

// remember adds an id in place of the oldest one. False = it was there.
func (d *Dedupe) remember(id string) bool {
	if _, ok := d.known[id]; ok {
		return false
	}
	d.known[id] = struct{}{}
	if len(d.ring) < d.size {
		d.ring = append(d.ring, id)
		return true
	}
	delete(d.known, d.ring[d.next])
	d.ring[d.next] = id
	d.next = (d.next + 1) % d.size
	return true
}

// rewrite replaces the file by one of the ids that are remembered.
func (d *Dedupe) rewrite() error {
	var doc strings.Builder
	for i := range d.ring {
		doc.WriteString(d.ring[(d.next+i)%len(d.ring)] + "\n")
	}
	temporary := d.path + ".new"
	if err := os.WriteFile(temporary, []byte(doc.String()), 0o600); err != nil {
		return fmt.Errorf("dedupe: %w", err)
	}
	if d.file != nil {
		_ = d.file.Close() // what it holds is in the new one
		d.file = nil
	}
	if err := os.Rename(temporary, d.path); err != nil {
		return fmt.Errorf("dedupe: %w", err)
	}
	f, err := os.OpenFile(d.path, os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("dedupe: %w", err)
	}
	d.file, d.lines = f, len(d.ring)
	return nil
}
