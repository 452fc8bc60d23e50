package runner

import (
	"container/heap"
	"time"

	"github.com/tasker-engine/tasker/host/internal/engine"
	"github.com/tasker-engine/tasker/host/task"
)

// Timers that belong to the task and not to one of its steps.
const (
	deadlineTimer = ^task.Ordinal(0)
	commitTimer   = deadlineTimer - 1
)

// idleWait is how long the loop sleeps when no timer is armed; nothing depends on it.
const idleWait = 24 * time.Hour

// timer is an instant at which a task wants to be looked at, or a slot's checkpoint to
// be stored.
type timer struct {
	at      time.Time
	entry   *entry
	ordinal task.Ordinal
	slot    *slot // not nil for a checkpoint; such a timer is the slot's and not the entry's
	index   int   // in the heap
}

// timers is a heap of the armed timers of all tasks. A timer is never a goroutine, and
// one that fires early or too often is harmless: the engine checks.
type timers []*timer

func (h *timers) Len() int           { return len(*h) }
func (h *timers) Less(i, j int) bool { return (*h)[i].at.Before((*h)[j].at) }
func (h *timers) Swap(i, j int) {
	t := *h
	t[i], t[j] = t[j], t[i]
	t[i].index, t[j].index = i, j
}

func (h *timers) Push(x any) {
	t := x.(*timer) //nolint:errcheck // only armAt pushes
	t.index = len(*h)
	*h = append(*h, t)
}

func (h *timers) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return t
}

// arm sets the timer of a step to when the engine wants to see it.
func (r *Runner) arm(e *entry, o task.Ordinal, now time.Time) {
	r.armAt(e, o, e.agg.Wake(o, now))
}

func (r *Runner) armDeadline(e *entry) { r.armAt(e, deadlineTimer, e.agg.DeadlineAt()) }

// armAt sets a timer; the zero time disarms it.
func (r *Runner) armAt(e *entry, o task.Ordinal, at time.Time) {
	t := e.timers[o]
	switch {
	case t == nil && at.IsZero():
	case t == nil:
		if e.timers == nil {
			e.timers = make(map[task.Ordinal]*timer)
		}
		t = &timer{at: at, entry: e, ordinal: o}
		e.timers[o] = t
		heap.Push(&r.timers, t)
	case at.IsZero():
		heap.Remove(&r.timers, t.index)
		delete(e.timers, o)
	case !t.at.Equal(at):
		t.at = at
		heap.Fix(&r.timers, t.index)
	}
}

func (r *Runner) disarmAll(e *entry) {
	for _, t := range e.timers {
		heap.Remove(&r.timers, t.index)
	}
	e.timers = nil
}

// armFlush has the pending checkpoint of a slot stored at a time, once.
func (r *Runner) armFlush(s *slot, at time.Time) {
	if s.flush == nil {
		s.flush = &timer{at: at, slot: s}
		heap.Push(&r.timers, s.flush)
	}
}

func (r *Runner) disarmFlush(s *slot) {
	if s.flush != nil {
		heap.Remove(&r.timers, s.flush.index)
		s.flush = nil
	}
}

// now is the time for a task: like a decision about it, it never goes back behind the
// task's last transition.
func (r *Runner) now(e *entry) time.Time {
	now := r.opts.Now()
	if last := e.agg.Task.UpdatedAt; now.Before(last) {
		return last
	}
	return now
}

// untilNext is how long the loop may sleep.
func (r *Runner) untilNext() time.Duration {
	if len(r.timers) == 0 {
		return idleWait
	}
	return max(r.timers[0].at.Sub(r.opts.Now()), 0)
}

// fire turns the timers that are due into inputs.
func (r *Runner) fire() {
	now := r.opts.Now()
	for len(r.timers) > 0 && !now.Before(r.timers[0].at) {
		t := r.timers[0]
		if t.slot != nil {
			r.saveCheckpoint(t.slot)
			continue
		}
		e := t.entry
		r.armAt(e, t.ordinal, time.Time{})
		switch t.ordinal {
		case deadlineTimer:
			r.add(e, input{in: engine.DeadlineDue{}})
		case commitTimer:
			r.mark(e)
		default:
			if s := r.slotOf(e, t.ordinal); s != nil {
				r.saveCheckpoint(s) // before the attempt may be closed as timed out
			}
			r.add(e, input{in: engine.Due{Ordinal: t.ordinal}})
		}
	}
}
