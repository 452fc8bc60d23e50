package supervisor

import (
	"context"
	"sync"

	"github.com/tasker-engine/tasker/host/task"
)

// What may be on its way from one instance to the log of immediate events; while it is,
// nothing more is read from the instance.
const (
	maxEmitted      = 256     // events
	maxEmittedBytes = 4 << 20 // of their payloads, unless it is one event
)

// emitWindow bounds the immediate events that are not recorded yet. One goroutine takes,
// others give back.
type emitWindow struct {
	mu     sync.Mutex
	events int
	bytes  int
	freed  chan struct{} // with room for one
}

func newEmitWindow() *emitWindow { return &emitWindow{freed: make(chan struct{}, 1)} }

// size is how many bytes a report takes.
func (*emitWindow) size(r *task.Report) (n int) {
	for i := range r.Emits {
		n += len(r.Emits[i].Payload)
	}
	return n
}

// tryTake makes room for the events of a report, which give it back when they are
// recorded. It reports whether there is room.
func (w *emitWindow) tryTake(r *task.Report) bool {
	n, size := len(r.Emits), w.size(r)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.events > 0 && (w.events+n > maxEmitted || w.bytes+size > maxEmittedBytes) {
		return false
	}
	w.events += n
	w.bytes += size
	r.Stored = func() {
		w.mu.Lock()
		w.events -= n
		w.bytes -= size
		w.mu.Unlock()
		notify(w.freed)
	}
	return true
}

// take is tryTake that waits for room. It reports false when ctx ended before.
func (w *emitWindow) take(ctx context.Context, r *task.Report) bool {
	for !w.tryTake(r) {
		select {
		case <-w.freed:
		case <-ctx.Done():
			return false
		}
	}
	return true
}
