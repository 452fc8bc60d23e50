package runner

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/tasker-engine/tasker/host/internal/engine"
	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// InstanceReady adds an instance that takes work from now on.
func (r *Runner) InstanceReady(inst task.Instance) {
	r.post(func() {
		in := &instance{Instance: inst, slots: make(map[task.AttemptID]*slot)}
		r.instances[inst.ID] = in
		p := r.pool(inst.Plugin)
		if inst.Trial {
			p.successor, p.share = inst.ID, 0
		}
		p.instances = append(p.instances, in)
		r.admit(inst.Plugin)
	})
}

// InstanceShare gives an instance that replaces others a share of the tasks, 0 to 1: which
// ones they are follows from their ids. What the instance has no slot for goes to the
// others, unless it has all.
func (r *Runner) InstanceShare(id string, share float64) {
	r.post(func() {
		if inst := r.instances[id]; inst != nil {
			p := r.pool(inst.Plugin)
			p.successor, p.share = id, share
			r.admit(inst.Plugin)
		}
	})
}

// Vacated waits until an instance holds no attempt and none is being claimed for it. It
// says nothing of later ones. Errors: of ctx, [task.ErrStopping].
func (r *Runner) Vacated(ctx context.Context, id string) error {
	return r.call(ctx, func(reply func(error)) {
		inst := r.instances[id]
		if inst == nil || len(inst.slots) == 0 {
			reply(nil)
			return
		}
		inst.vacated = append(inst.vacated, reply)
	})
}

// InstanceCapacity sets how many attempts an instance takes at once.
func (r *Runner) InstanceCapacity(id string, capacity int) {
	r.post(func() {
		if inst := r.instances[id]; inst != nil {
			inst.Capacity = capacity
			r.admit(inst.Plugin)
		}
	})
}

// InstanceRoom says that an instance which refused an attempt may have room for it now.
func (r *Runner) InstanceRoom(id string) {
	r.post(func() {
		if inst := r.instances[id]; inst != nil {
			inst.full, inst.wishes = false, false
			r.admit(inst.Plugin)
			r.vacate(inst)
		}
	})
}

// InstanceDraining stops claims for an instance.
func (r *Runner) InstanceDraining(id string) {
	r.post(func() {
		if inst := r.instances[id]; inst != nil {
			inst.draining = true
			r.admit(inst.Plugin) // what waited for it alone
		}
	})
}

// InstanceGone removes an instance: every attempt that it held is lost, those in sent
// for the cause and the others because they never reached it.
func (r *Runner) InstanceGone(id string, cause task.LossCause, sent []task.AttemptID) {
	r.post(func() {
		inst := r.instances[id]
		if inst == nil {
			return
		}
		delete(r.instances, id)
		inst.tellVacated()
		p := r.pool(inst.Plugin)
		p.instances = slices.DeleteFunc(p.instances, func(i *instance) bool { return i == inst })
		if p.successor == id {
			p.successor = ""
		}
		defer r.admit(inst.Plugin) // what waited for it alone
		reached := make(map[task.AttemptID]bool, len(sent))
		for _, attempt := range sent {
			reached[attempt] = true
		}
		held := make([]task.AttemptID, 0, len(inst.slots))
		for attempt, s := range inst.slots {
			r.saveCheckpoint(s)
			held = append(held, attempt)
		}
		slices.SortFunc(held, func(a, b task.AttemptID) int { return strings.Compare(a.String(), b.String()) })
		for _, attempt := range held {
			lost := engine.Lost{ID: attempt, Cause: task.LossUnsent}
			if reached[attempt] {
				lost.Cause = cause
			}
			if e := r.reported(attempt); e != nil {
				r.add(e, input{in: lost})
			}
		}
		r.want(inst.Plugin, p)
	})
}

// Reports takes what an instance says about its attempts.
func (r *Runner) Reports(reports []task.Report) {
	r.post(func() {
		results := make([]engine.Result, len(reports)) // one piece of memory for all
		for i := range reports {
			r.report(&reports[i], &results[i])
		}
	})
}

// report takes one report; a final one becomes the result.
func (r *Runner) report(rep *task.Report, result *engine.Result) {
	inst := r.instances[rep.Instance]
	var s *slot
	if inst != nil {
		s = inst.slots[rep.ID]
	}
	switch rep.Kind {
	case task.ReportHeartbeat:
		if s != nil {
			r.heartbeat(rep, s)
		}
		return
	case task.ReportEmitted: // the attempt goes on and keeps its slot
		in := input{in: engine.Emitted{ID: rep.ID, Emits: rep.Emits}}
		if stored := rep.Stored; stored != nil {
			in.reply = func(error) { stored() }
		}
		if e := r.reported(rep.ID); e != nil {
			r.add(e, in)
		} else {
			in.done(nil)
		}
		return
	case task.ReportSucceeded, task.ReportFailed:
	}
	if s != nil && rep.Kind == task.ReportFailed {
		r.saveCheckpoint(s)
	}
	if e := r.reported(rep.ID); e != nil {
		*result = engine.Result{Report: *rep, Draining: !r.intake || (inst != nil && inst.draining)}
		r.add(e, input{in: result})
	}
	if s != nil { // after the result, so that what takes the slot starts after the attempt ended
		r.freeSlot(inst, rep.ID)
	}
}

// reported returns the task that a report is about, nil when it does not exist.
func (r *Runner) reported(id task.AttemptID) *entry {
	e, err := r.entry(id.Task)
	if err != nil {
		r.log.Warn("report on an attempt of an unknown task", aboutAttempt(nil, id).With(logkeys.Error, err)...)
		return nil
	}
	return e
}

// heartbeat notes that an attempt is alive, and stores what it wants its successor to
// know, at most once per CheckpointInterval.
func (r *Runner) heartbeat(rep *task.Report, s *slot) {
	e := r.tasks[rep.ID.Task]
	if e == nil {
		return
	}
	step := e.agg.Step(rep.ID.Ordinal)
	if step == nil || step.Attempt == nil || step.Attempt.Number != rep.ID.Number {
		return
	}
	now := r.now(e)
	step.Attempt.BeatAt = now
	cp := &store.Checkpoint{
		Step: rep.ID.Step(), Attempt: rep.ID.Number, Data: rep.Checkpoint, Progress: rep.Progress, Note: rep.Note, At: now.UTC(),
	}
	if len(cp.Data) == 0 && s.pending != nil {
		cp.Data = s.pending.Data
	}
	s.pending = cp
	if since := now.Sub(s.saved); since >= 0 && since < CheckpointInterval {
		r.armFlush(s, now.Add(CheckpointInterval-since))
		return
	}
	r.saveCheckpoint(s)
}

// slotOf returns the slot of a step's current attempt, nil when no instance holds it.
func (r *Runner) slotOf(e *entry, o task.Ordinal) *slot {
	a := e.agg.Step(o).Attempt
	if a == nil || r.instances[a.Instance] == nil {
		return nil
	}
	return r.instances[a.Instance].slots[task.AttemptID{Task: e.agg.Task.ID, Ordinal: o, Number: a.Number}]
}

// saveCheckpoint stores the newest checkpoint of an attempt, if there is one that is not
// stored.
func (r *Runner) saveCheckpoint(s *slot) {
	r.disarmFlush(s)
	cp := s.pending
	if cp == nil {
		return
	}
	s.pending, s.saved = nil, r.opts.Now()
	id := cp.Step.Task
	e := r.tasks[id]
	if e != nil {
		e.agg.Step(cp.Step.Ordinal).HasCheckpoint = true
	}
	about := aboutAttempt(e, task.AttemptID{Task: id, Ordinal: cp.Step.Ordinal, Number: cp.Attempt}) // the callback must not look at e
	r.opts.Store.SaveCheckpoint(cp, func(err error) {
		if err != nil {
			r.log.Error("checkpoint not stored", about.With(logkeys.Error, err)...)
			return
		}
		r.watchers.notify(id)
	})
}

// dispatch sends a step's current attempt to its instance, at the end of this round.
func (r *Runner) dispatch(e *entry, o task.Ordinal) {
	s := e.agg.Step(o)
	inst := r.instances[s.Attempt.Instance]
	if inst == nil {
		return // gone since: its loss is among the inputs
	}
	offer := inst.offer(handlerOf(e, o))
	a := e.agg.Assignment(o, offer == nil || offer.Results != task.ResultsNone)
	if s.HasCheckpoint {
		a.Checkpoint = r.lastCheckpoint(e, a.ID)
	}
	a.Suspect = isSuspect(e, o)
	if len(inst.sends) == 0 {
		r.senders = append(r.senders, inst)
	}
	inst.sends = append(inst.sends, a)
}

// lastCheckpoint returns what an attempt of the same step before left, nil for nothing.
func (r *Runner) lastCheckpoint(e *entry, id task.AttemptID) []byte {
	cp, err := r.opts.Store.Checkpoint(context.Background(), id.Step())
	if err != nil && !errors.Is(err, task.ErrNotFound) {
		r.log.Error("checkpoint not read; the attempt starts without it", aboutAttempt(e, id).With(logkeys.Error, err)...)
	}
	return cp.Data
}

// flush sends what this round has gathered; a cancel never overtakes its attempt.
func (r *Runner) flush() {
	for _, inst := range r.senders {
		r.plugins.Dispatch(inst.ID, inst.sends)
		clear(inst.sends)
		inst.sends = inst.sends[:0]
	}
	clear(r.senders)
	r.senders = r.senders[:0]
	for _, c := range r.cancels {
		r.plugins.Cancel(c.Instance, c.ID, c.Reason)
	}
	r.cancels = r.cancels[:0]
}
