package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// keep is how long notes are kept of a task of which nothing is heard.
const keep = 30 * 24 * time.Hour

// note is what an event said that the span will need that a later event ends.
type note struct {
	What         string    `json:"what"`
	Seq          uint64    `json:"seq"` // of the event, within its task
	At           time.Time `json:"at"`
	Dependencies []string  `json:"dependencies,omitempty"`
	Dependents   []string  `json:"dependents,omitempty"`
	Level        uint32    `json:"level,omitempty"`
	Round        uint32    `json:"round,omitempty"`
	Attempt      uint32    `json:"attempt,omitempty"`
}

// What notes say.
const (
	noteCreated  = "created"  // the task was
	noteFailed   = "failed"   // the task has
	noteReopened = "reopened" // the task was
	noteStarted  = "started"  // an attempt of the step was
	noteEnded    = "ended"    // an attempt of the step has
	noteRetried  = "retried"  // the step is, by an operator
)

// notes are in one directory for each task that has not ended, one file for each of its steps. They are written before
// their event is acked, so that a process that is started anew knows what the one before knew.
type notes struct{ dir string }

func (ns notes) path(p place, step string) string {
	return filepath.Join(ns.of(p), fileName(step)+".jsonl")
}

func (ns notes) of(p place) string { return filepath.Join(ns.dir, fileName(p.ID)) }

// fileName returns a name for a file that follows from a text, which may be longer than names of files are.
func fileName(of string) string {
	sum := sha256.Sum256([]byte(of))
	return hex.EncodeToString(sum[:16])
}

// noteError is about the disk, for which no event is at fault.
func noteError(err error) error { return sdk.Unavailable(fmt.Errorf("notes: %w", err)) }

// add adds a note about a step, or with an empty one about the task.
func (ns notes) add(p place, step string, n note) error {
	if p.trial || p.muted {
		return nil
	}
	n.Seq, n.At = p.seq, p.at
	line, err := json.Marshal(n)
	if err != nil {
		return fmt.Errorf("notes: %w", err)
	}
	if err := os.MkdirAll(ns.of(p), 0o700); err != nil {
		return noteError(err)
	}
	f, err := os.OpenFile(ns.path(p, step), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return noteError(err)
	}
	_, err = f.Write(append([]byte{'\n'}, line...)) // which also ends a line that was not written to its end
	if err := errors.Join(err, f.Close()); err != nil {
		return noteError(err)
	}
	return nil
}

// read returns the notes of the events before this one, whatever has come later: it may be an event that comes again.
func (ns notes) read(p place, step string) ([]note, error) {
	doc, err := os.ReadFile(ns.path(p, step))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, noteError(err)
	}
	var all []note
	for line := range bytes.Lines(doc) {
		var n note
		if json.Unmarshal(line, &n) == nil && n.Seq < p.seq {
			all = append(all, n)
		}
	}
	return all, nil
}

// forget removes the notes of a task.
func (ns notes) forget(p place) error {
	if p.trial {
		return nil
	}
	if err := os.RemoveAll(ns.of(p)); err != nil {
		return noteError(err)
	}
	return nil
}

// sweep removes notes of tasks of which nothing was heard for long.
func (ns notes) sweep() error {
	tasks, err := os.ReadDir(ns.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("notes: %w", err)
	}
	for _, t := range tasks {
		info, err := t.Info()
		if err != nil || time.Since(info.ModTime()) < keep {
			continue
		}
		if err := os.RemoveAll(filepath.Join(ns.dir, t.Name())); err != nil {
			return fmt.Errorf("notes: %w", err)
		}
	}
	return nil
}
