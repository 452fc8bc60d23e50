package sdk

import (
	"sync"
	"time"
)

// keepGoroutine is how long a goroutine waits for a next attempt.
const keepGoroutine = time.Second

// workers run attempts. An attempt has its goroutine to itself for as long as it takes; when it has ended, the goroutine
// takes the next one that waits. While any waits, a goroutine is on its way to it, so that none waits for another to end.
// Most attempts of handlers that take no time are thus run by a few goroutines whose stacks have grown to what they need,
// which is cheaper than a goroutine and a stack for each.
type workers struct {
	wake chan struct{}   // taken by goroutines that have nothing to do
	done <-chan struct{} // closed when those shall end

	mu       sync.Mutex
	queue    []*attempt
	summoned bool // a goroutine is on its way to the queue; true while there is anything in it
}

// add runs an attempt. It does not block.
func (w *workers) add(a *attempt) {
	w.mu.Lock()
	w.queue = append(w.queue, a)
	summon := !w.summoned
	w.summoned = true
	w.mu.Unlock()
	if summon {
		w.summon()
	}
}

// summon sends a goroutine to the queue.
func (w *workers) summon() {
	select {
	case w.wake <- struct{}{}:
	default:
		go w.work()
	}
}

// next takes an attempt from the queue, nil when there is none. Arrived says that the caller is the one that was summoned.
func (w *workers) next(arrived bool) *attempt {
	w.mu.Lock()
	if arrived {
		w.summoned = false
	}
	if len(w.queue) == 0 {
		w.mu.Unlock()
		return nil
	}
	a := w.queue[0]
	w.queue[0], w.queue = nil, w.queue[1:]
	summon := len(w.queue) > 0 && !w.summoned // the attempt may take long
	w.summoned = w.summoned || summon
	w.mu.Unlock()
	if summon {
		w.summon()
	}
	return a
}

// work runs attempts until there have been none for a while.
func (w *workers) work() {
	idle := time.NewTimer(keepGoroutine)
	defer idle.Stop()
	for {
		for a := w.next(true); a != nil; a = w.next(false) {
			a.run()
		}
		idle.Reset(keepGoroutine)
		select {
		case <-w.wake:
		case <-idle.C:
			return
		case <-w.done:
			return
		}
	}
}
