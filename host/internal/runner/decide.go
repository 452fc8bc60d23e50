package runner

import (
	"context"
	"errors"
	"fmt"
	"time"

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
			if len(e.inputs) > 0 && !r.waits(e) {
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
	if e.alone > 0 { // one of them cannot be stored
		e.alone--
		inputs, e.inputs = inputs[:1:1], inputs[1:]
	}
	d := e.agg.Begin(&r.opts.Engine, r.opts.Now())
	kept := inputs[:0]
	var again []string // plugins of steps that were claimed in vain
	for i, in := range inputs {
		if in.claim != nil && !r.holds(in.claim) { // its instance went away before the claim was made
			r.enqueue(e, in.claim.ordinal)
			again = append(again, in.claim.instance.Plugin)
			continue
		}
		err := d.Apply(in.in)
		if err == nil {
			kept = append(kept, in)
			continue
		}
		if _, creation := in.in.(engine.Create); creation { // refused: nothing is stored
			r.drop(e, inputs[i:], err)
			return
		}
		r.refused(e, in, err, d.Now())
	}
	kept = append(kept, r.claimReady(e, d)...)
	out, err := d.Finish()
	if err != nil {
		r.uncommitted(e, kept, fmt.Errorf("decision failed: %w: %w", task.ErrInvalid, err))
		return
	}
	for _, o := range out.Changed {
		r.arm(e, o, d.Now())
	}
	r.armDeadline(e)
	r.submit(e, kept, out)
	for _, plugin := range again {
		r.admit(plugin)
	}
}

// refused answers an input that the engine refused. A claim may be refused because the
// clock was set back: its step is looked at again when its time comes.
func (r *Runner) refused(e *entry, in input, err error, now time.Time) {
	in.done(err)
	if in.claim != nil {
		r.release(in.claim)
		r.arm(e, in.claim.ordinal, now)
	}
}

// claimReady claims what became ready in a decision as far as slots are free; the rest
// waits in the queues.
func (r *Runner) claimReady(e *entry, d *engine.Decision) (claimed []input) {
	for _, o := range d.Ready() {
		c := r.reserve(e, o)
		if c == nil {
			r.enqueue(e, o)
			r.arm(e, o, d.Now())
			continue
		}
		in := input{in: c.input(), claim: c}
		if err := d.Apply(in.in); err != nil {
			r.refused(e, in, err, d.Now())
			continue
		}
		claimed = append(claimed, in)
	}
	return claimed
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
	r.cancels = append(r.cancels, out.Cancel...)
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

// forget drops a task from the cache.
func (r *Runner) forget(e *entry) {
	r.disarmAll(e)
	r.dequeue(e)
	if id := e.agg.Task.ID; r.tasks[id] == e {
		delete(r.tasks, id)
	}
}

// drop forgets a task that cannot go on and answers who waits for it.
func (r *Runner) drop(e *entry, inputs []input, err error) {
	inputs = append(inputs, e.inputs...)
	e.inputs = nil
	r.forget(e)
	for i := range inputs {
		r.release(inputs[i].claim)
		inputs[i].done(err)
	}
}

// uncommitted deals with a write set that was not committed. Nothing of it was acted
// on. A refused creation ends there; anything else is decided again on what is stored.
func (r *Runner) uncommitted(e *entry, inputs []input, err error) {
	if e.agg.Task.Revision <= 1 && (requestError(err) || errors.Is(err, store.ErrClosed)) {
		r.drop(e, inputs, err)
		return
	}
	now := errors.Is(err, store.ErrConflict)
	if requestError(err) {
		inputs, now = r.isolate(e, inputs, err)
	}
	if !now {
		r.log.Error("commit failed; trying again", "task", e.agg.Task.ID, "in", CommitRetry, "error", err)
	}
	r.reload(e, inputs, err, now)
}

// isolate deals with inputs whose write set no store takes, today or tomorrow. Several
// are decided again one by one, so that the others do not suffer for one of them; a
// result that is alone becomes the failure of its attempt, and a request is refused.
// It returns what is to be decided again, and false when that would change nothing.
func (r *Runner) isolate(e *entry, inputs []input, cause error) (again []input, ok bool) {
	claims := make([]input, 0, len(inputs))
	for _, in := range inputs {
		if in.claim != nil {
			claims = append(claims, in)
			continue
		}
		again = append(again, in)
	}
	if len(again) == 0 {
		return inputs, false
	}
	if len(again) > 1 {
		e.alone = len(again)
		return append(again, claims...), true
	}
	in := again[0]
	if in.reply != nil {
		in.done(cause)
		return claims, true
	}
	result, isResult := in.in.(engine.Result)
	if !isResult || result.Report.Failure != nil && result.Report.Failure.Source == task.SourceHost {
		return inputs, false
	}
	r.log.Error("result cannot be stored; the attempt fails", "attempt", result.Report.ID.String(), "error", cause)
	return append(claims, input{in: result.Refused(cause)}), true
}

// reload replaces the aggregate by what is stored and decides the inputs again, at once
// or after CommitRetry. Claims are made anew.
func (r *Runner) reload(e *entry, inputs []input, cause error, now bool) {
	id := e.agg.Task.ID
	stored, err := r.opts.Store.Load(context.Background(), id)
	if errors.Is(err, task.ErrNotFound) { // the creation itself failed
		r.drop(e, inputs, cause)
		return
	}
	var agg *engine.Aggregate
	if err == nil {
		agg, err = r.templates.restore(stored)
	}
	if err != nil {
		r.log.Error("task cannot be loaded; it stays as it is until the host is restarted", "task", id, "error", err)
		r.broken.Add(1)
		r.drop(e, inputs, err)
		return
	}
	r.disarmAll(e)
	keepBeats(agg, e.agg)
	e.agg = agg
	var claims []*claim
	again := make([]input, 0, len(inputs)+len(e.inputs))
	for _, in := range append(inputs, e.inputs...) {
		if in.claim != nil {
			claims = append(claims, in.claim)
			continue
		}
		again = append(again, in)
	}
	e.inputs = again
	if !now {
		r.armAt(e, commitTimer, r.opts.Now().Add(CommitRetry))
	}
	r.adopt(e)
	for _, c := range claims {
		r.release(c)
	}
	r.mark(e)
}

// keepBeats carries over what is not stored: when running attempts were last heard of.
func keepBeats(to, from *engine.Aggregate) {
	for i := range to.Task.Steps {
		a, b := to.Task.Steps[i].Attempt, from.Task.Steps[i].Attempt
		if a != nil && b != nil && a.Number == b.Number {
			a.BeatAt = b.BeatAt
		}
	}
}
