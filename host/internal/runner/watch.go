package runner

import (
	"sync"

	"github.com/tasker-engine/tasker/host/task"
)

// watchers tells readers that a task has changed.
type watchers struct {
	mu     sync.Mutex
	byTask map[task.ID]map[chan struct{}]bool
	closed bool
}

// Watch returns a channel that receives after every committed change of a task; changes
// that come faster than they are received are one. It is closed when the runner ends.
// stop must be called when the channel is no longer wanted.
func (r *Runner) Watch(id task.ID) (changes <-chan struct{}, stop func()) {
	w := &r.watchers
	ch := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		close(ch)
		return ch, func() {}
	}
	if w.byTask == nil {
		w.byTask = make(map[task.ID]map[chan struct{}]bool)
	}
	if w.byTask[id] == nil {
		w.byTask[id] = make(map[chan struct{}]bool)
	}
	w.byTask[id][ch] = true
	return ch, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.byTask[id], ch)
		if len(w.byTask[id]) == 0 {
			delete(w.byTask, id)
		}
	}
}

func (w *watchers) notify(id task.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ch := range w.byTask[id] {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

func (w *watchers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, chans := range w.byTask {
		for ch := range chans {
			close(ch)
		}
	}
	w.byTask = nil
}
