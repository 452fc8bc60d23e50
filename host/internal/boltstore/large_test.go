package boltstore_test

import (
	"errors"
	"testing"

	"github.com/tasker-engine/tasker/host/internal/boltstore/bolttest"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// TestTooManyBytesOfEvents: a write set whose events no file would take is refused as what
// it is, so that nobody tries again.
func TestTooManyBytesOfEvents(t *testing.T) {
	t.Parallel()
	s := bolttest.Open(t)
	one, ws := make([]byte, 1<<20), &store.WriteSet{}
	for range 257 {
		ws.Events = append(ws.Events, store.Event{Type: "a.b", Encoded: one})
	}
	done := make(chan error, 1)
	s.Submit(ws, func(_ store.Commit, err error) { done <- err })
	if err := <-done; !errors.Is(err, task.ErrTooLarge) {
		t.Errorf("events of 257 MiB: %v, want %v", err, task.ErrTooLarge)
	}
}
