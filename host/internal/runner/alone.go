package runner

import (
	"slices"

	"github.com/tasker-engine/tasker/host/internal/engine"
	"github.com/tasker-engine/tasker/host/task"
)

// An attempt that was lost with its process may be what ended it, or may just have been
// there. When the next loss would fail its step for good, the step is a suspect: its attempt
// gets an instance of its own, so that no step fails for what another one does, nor for what
// an event does. Suspects go first, and while one waits its plugin gets nothing new.

// isSuspect reports whether the next loss fails the step for good.
func isSuspect(e *entry, o task.Ordinal) bool {
	return e.agg.Step(o).Losses >= task.DefaultLossLimit
}

// room returns how many attempts the instance may hold for one more to be claimed: none but
// itself when that one is a suspect's, and nothing beside a suspect's.
func (inst *instance) room(suspect bool) int {
	switch {
	case inst.alone, inst.full:
		return 0
	case suspect && inst.busy():
		return 0
	default:
		return inst.Capacity
	}
}

// busy reports whether the instance holds an attempt that is waited for.
func (inst *instance) busy() bool {
	for _, s := range inst.slots {
		if !s.left {
			return true
		}
	}
	return false
}

// vacate says that an instance has nothing to do, if that is so and no suspect waits for it.
func (r *Runner) vacate(inst *instance) {
	if !inst.busy() && !inst.wishes {
		r.plugins.Leave(inst.ID)
	}
}

// leave notes attempts that were told to end: one that never does must not keep a suspect
// waiting.
func (r *Runner) leave(cancels []engine.CancelAttempt) {
	for _, c := range cancels {
		inst := r.instances[c.Instance]
		if inst == nil || inst.slots[c.ID] == nil {
			continue
		}
		s := inst.slots[c.ID]
		s.left, inst.alone = true, inst.alone && !s.suspect
		if p := r.pool(inst.Plugin); s.suspect || p.suspectWaits() {
			r.admit(inst.Plugin)
		}
		r.vacate(inst)
	}
}

// offered reports whether an instance takes attempts of a handler, now or when slots get free.
func (p *pool) offered(ref task.HandlerRef) bool {
	return slices.ContainsFunc(p.instances, func(i *instance) bool { return !i.draining && i.offer(ref) != nil })
}

// suspectWaits reports whether a suspect waits for an instance of its own.
func (p *pool) suspectWaits() bool {
	for ref, q := range p.queues {
		if q.Len() > 0 && q.items[0].suspect && p.offered(ref) {
			return true
		}
	}
	return false
}
