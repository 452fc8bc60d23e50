package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
)

// position is how far the events have been counted.
type position struct {
	seq  uint64
	at   time.Time // the latest time of an event
	host string    // the id of the home. Empty = not seen yet
}

// take moves the position to an event.
func (p *position) take(c change) {
	p.seq = max(p.seq, c.Seq)
	if c.At.After(p.at) {
		p.at = c.At
	}
	if c.Host != "" {
		p.host = c.Host
	}
}

// moreLines is how many lines a journal may have beyond twice what is in flight.
const moreLines = 50_000

// journal keeps position and what is in flight, one line of JSON for each event. Every line is written before its
// event is acked, so that the journal is never behind the cursor; it outlives the process, and a crash of the machine
// but for the last seconds.
type journal struct {
	path  string
	file  *os.File
	lines int
	limit int  // lines at which it is written anew
	torn  bool // the last line may not have been written to its end
}

// openJournal opens the journal, hands what it holds to take, and writes it anew with what snapshot then returns.
func openJournal(path string, take func(change), snapshot func() []change) (*journal, error) {
	doc, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("journal: %w", err)
	}
	for line := range bytes.Lines(doc) {
		var c change
		if json.Unmarshal(line, &c) == nil { // else it was not written to its end, so that its event was not acked
			take(c)
		}
	}
	j := &journal{path: path}
	return j, j.rewrite(snapshot())
}

// add appends a change. Full = the journal should be written anew.
func (j *journal) add(c change) (full bool, err error) {
	line, err := json.Marshal(c)
	if err != nil {
		return false, fmt.Errorf("journal: %w", err)
	}
	if j.torn {
		line = append([]byte{'\n'}, line...)
	}
	if _, err := j.file.Write(append(line, '\n')); err != nil {
		j.torn = true
		return false, fmt.Errorf("journal: %w", err)
	}
	j.torn = false
	j.lines++
	return j.lines >= j.limit, nil
}

// rewrite replaces the journal by one of these changes. If that fails, the old one stays.
func (j *journal) rewrite(all []change) error {
	f, err := os.OpenFile(j.path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	var doc bytes.Buffer
	for _, c := range all {
		line, err := json.Marshal(c)
		if err != nil {
			return errors.Join(fmt.Errorf("journal: %w", err), f.Close())
		}
		doc.Write(append(line, '\n'))
	}
	if _, err := f.Write(doc.Bytes()); err != nil {
		return errors.Join(fmt.Errorf("journal: %w", err), f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if err := j.close(); err != nil { // before it is replaced, as Windows wants it
		return err
	}
	err = os.Rename(j.path+".new", j.path)
	opened, openErr := os.OpenFile(j.path, os.O_APPEND|os.O_WRONLY, 0o600)
	if err := errors.Join(err, openErr); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	j.file, j.lines, j.limit = opened, len(all), 2*len(all)+moreLines
	return nil
}

// close closes the journal.
func (j *journal) close() error {
	if j.file == nil {
		return nil
	}
	f := j.file
	j.file = nil
	if err := f.Close(); err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	return nil
}
