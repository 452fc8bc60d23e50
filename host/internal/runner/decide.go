package runner

import (
	"context"
	"errors"

	"github.com/tasker-engine/tasker/host/internal/engine"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// decideAll decides every task that has inputs and no commit in flight.
func (r *Runner) decideAll() {
	for len(r.dirty) > 0 {
		batch := r.dirty
		r.dirty = nil
		for _, e := range batch {
			e.dirty = false
			if !e.committing {
				r.decide(e)
			}
		}
	}
}

// decide applies the inputs of one task, claims what became ready as far as slots are
// free, and submits the write set.
func (r *Runner) decide(e *entry) {
	inputs := e.inputs
	e.inputs = nil
	d := e.agg.Begin(&r.opts.Engine, r.opts.Now())
	kept := inputs[:0]
	for _, in := range inputs {
		if in.claim != nil && !r.holds(in.claim) {
			r.enqueue(e, in.claim.ordinal) // its instance went away before the claim was made
			r.admit(in.claim.instance.Plugin)
			continue
		}
		if err := d.Apply(in.in); err != nil {
			r.release(in.claim)
			in.done(err)
			if _, creation := in.in.(engine.Create); creation {
				r.forget(e) // refused: nothing is stored
				return
			}
			continue
		}
		kept = append(kept, in)
	}
	for _, o := range d.Ready() {
		c := r.reserve(e, o)
		if c == nil {
			r.enqueue(e, o)
			r.arm(e, o, d.Now())
			continue
		}
		if err := d.Apply(c.input()); err != nil {
			r.release(c)
			continue
		}
		kept = append(kept, input{in: c.input(), claim: c})
	}
	out, err := d.Finish()
	if err != nil {
		r.log.Error("decision failed", "task", e.agg.Task.ID, "error", err)
		r.reload(e, kept, err)
		return
	}
	for _, o := range out.Changed {
		r.arm(e, o, d.Now())
	}
	r.armDeadline(e)
	r.submit(e, kept, out)
}

func (r *Runner) submit(e *entry, inputs []input, out engine.Outcome) {
	if out.WriteSet == nil {
		r.act(e, inputs, out)
		return
	}
	e.committing, e.deciding = true, inputs
	r.commits++
	r.opts.Store.Submit(out.WriteSet, func(_ store.Commit, err error) {
		r.post(func() { r.committed(e, out, err) })
	})
}

// committed acts on a decision that is now durable, or takes it back.
func (r *Runner) committed(e *entry, out engine.Outcome, err error) {
	r.commits--
	inputs := e.deciding
	e.committing, e.deciding = false, nil
	if err != nil {
		r.uncommitted(e, inputs, err)
		return
	}
	r.act(e, inputs, out)
}

// act releases the actions of a decision.
func (r *Runner) act(e *entry, inputs []input, out engine.Outcome) {
	for _, o := range out.Dispatch {
		r.dispatch(e, o)
	}
	for _, c := range out.Cancel {
		r.plugins.Cancel(c.Instance, c.ID, c.Reason)
	}
	for i := range inputs {
		inputs[i].done(nil)
	}
	if out.WriteSet != nil {
		r.watchers.notify(e.agg.Task.ID)
	}
	switch {
	case len(e.inputs) > 0:
		r.mark(e)
	case out.Ended || e.agg.Task.Status.Terminal():
		r.forget(e)
	}
}

// forget drops a task that has ended from the cache.
func (r *Runner) forget(e *entry) {
	r.disarmAll(e)
	delete(r.tasks, e.agg.Task.ID)
}

// uncommitted deals with a write set that was not committed. Nothing of it was acted
// on. A refused creation ends there; anything else is decided again on what is stored.
func (r *Runner) uncommitted(e *entry, inputs []input, err error) {
	if e.agg.Task.Revision <= 1 && (requestError(err) || errors.Is(err, store.ErrClosed)) {
		for i := range inputs {
			r.release(inputs[i].claim)
			inputs[i].done(err)
		}
		r.forget(e)
		return
	}
	if !errors.Is(err, store.ErrConflict) {
		r.log.Error("commit failed; trying again", "task", e.agg.Task.ID, "in", CommitRetry, "error", err)
	}
	r.reload(e, inputs, err)
}

// reload replaces the aggregate by what is stored and decides the inputs again: at once
// after a conflict, else after CommitRetry. Claims are made anew.
func (r *Runner) reload(e *entry, inputs []input, cause error) {
	id := e.agg.Task.ID
	for i := range inputs {
		r.release(inputs[i].claim)
	}
	stored, err := r.opts.Store.Load(context.Background(), id)
	if errors.Is(err, task.ErrNotFound) { // the creation itself failed
		for i := range inputs {
			inputs[i].done(cause)
		}
		r.forget(e)
		return
	}
	var agg *engine.Aggregate
	if err == nil {
		agg, err = r.templates.restore(stored)
	}
	if err != nil {
		r.log.Error("task cannot be loaded; it stays as it is until the host is restarted", "task", id, "error", err)
		for i := range inputs {
			inputs[i].done(err)
		}
		r.forget(e)
		return
	}
	r.disarmAll(e)
	e.agg = agg
	again := make([]input, 0, len(inputs)+len(e.inputs))
	for _, in := range append(inputs, e.inputs...) {
		if in.claim == nil {
			again = append(again, in)
		}
	}
	e.inputs = again
	r.adopt(e)
	if errors.Is(cause, store.ErrConflict) {
		r.mark(e)
		return
	}
	r.armAt(e, commitTimer, r.opts.Now().Add(CommitRetry))
}
