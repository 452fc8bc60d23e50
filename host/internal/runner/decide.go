package runner

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tasker-engine/tasker/host/internal/engine"
	"github.com/tasker-engine/tasker/host/task"
)

// decideAll decides every task that has inputs and no commit in flight.
func (r *Runner) decideAll() {
	for len(r.dirty) > 0 {
		batch := r.dirty
		r.dirty, r.spare = r.spare[:0], batch
		for _, e := range batch {
			e.dirty = false
			if len(e.inputs) > 0 && !r.waits(e) {
				r.decide(e)
			}
		}
		clear(batch)
	}
}

// decide applies the inputs of one task, claims what became ready as far as slots are
// free, and submits the write set.
func (r *Runner) decide(e *entry) {
	inputs := e.inputs
	if e.alone > 0 { // one of them cannot be stored
		e.alone--
		inputs, e.inputs = inputs[:1:1], inputs[1:]
	} else {
		e.inputs, e.spare = e.spare[:0], nil
	}
	r.meters.decisions++
	d := &r.decision
	d.Begin(e.agg, &r.opts.Engine, r.opts.Now())
	kept := inputs[:0]
	var again []string // plugins of steps that were claimed in vain
	for i, in := range inputs {
		if in.claim != nil && !r.holds(in.claim) { // its instance went away before the claim was made
			r.enqueue(e, in.claim.id.Ordinal)
			again = append(again, in.claim.instance.Plugin)
			continue
		}
		err, missing := r.apply(e, d, in)
		if missing != nil {
			r.uncommitted(e, slices.Concat(kept, inputs[i:]), missing)
			return
		}
		if err == nil {
			kept = append(kept, in)
			continue
		}
		if creation(in) { // refused: nothing is stored
			r.drop(e, inputs[i:], err)
			return
		}
		r.refused(e, in, err, d.Now())
	}
	kept, err := r.claimReady(e, d, kept)
	if err != nil {
		r.uncommitted(e, kept, err)
		return
	}
	out, err := d.Finish()
	if err != nil {
		r.uncommitted(e, kept, fmt.Errorf("decision failed: %w: %w", task.ErrInvalid, err))
		return
	}
	for _, o := range out.Changed {
		r.arm(e, o, d.Now())
	}
	r.armDeadline(e)
	r.submit(e, kept, &out)
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
		r.arm(e, in.claim.id.Ordinal, now)
	}
}

// claimReady claims what became ready in a decision as far as slots are free; the rest
// waits in the queues. It returns the inputs with the claims among them.
func (r *Runner) claimReady(e *entry, d *engine.Decision, inputs []input) (_ []input, missing error) {
	for ready := d.Ready(); len(ready) > 0; ready = d.Ready() { // a claim that fails its step may let others run
		for _, o := range ready {
			c := r.reserve(e, o)
			if c == nil {
				r.enqueue(e, o)
				r.arm(e, o, d.Now())
				continue
			}
			in := c.input()
			err, missing := r.apply(e, d, in)
			switch {
			case missing != nil:
				return append(inputs, in), missing
			case err != nil:
				r.refused(e, in, err, d.Now())
			default:
				inputs = append(inputs, in)
			}
		}
	}
	return inputs, nil
}

// apply applies an input, with the large values that it needs. missing says that one of
// them could not be read: then nothing of the decision can be used.
func (r *Runner) apply(e *entry, d *engine.Decision, in input) (err, missing error) {
	if !e.agg.Template.HasValues() {
		return d.Apply(in.in), nil
	}
	if in.claim != nil {
		if missing := r.provide(e, d, d.Needs(in.claim.id.Ordinal)); missing != nil {
			return nil, missing
		}
	}
	err = d.Apply(in.in)
	for wants := d.Wants(); len(wants) > 0; wants = d.Wants() {
		if missing := r.provide(e, d, wants); missing != nil {
			return err, missing
		}
	}
	return err, nil
}

// provide reads blobs for a decision; the aggregate keeps them while they may be read.
func (r *Runner) provide(e *entry, d *engine.Decision, blobs []uint32) error {
	for _, n := range blobs {
		doc, err := r.opts.Store.Blob(context.Background(), e.agg.Task.ID, n)
		if err != nil {
			return fmt.Errorf("read what an expression needs: %w", err)
		}
		if err := d.Provide(n, doc); err != nil {
			return err
		}
	}
	return nil
}

func (r *Runner) submit(e *entry, inputs []input, out *engine.Outcome) {
	e.actions.keep(out)
	if out.WriteSet == nil {
		r.act(e, inputs)
		return
	}
	e.committing, e.deciding = true, inputs
	r.commits++
	r.opts.Store.Submit(out.WriteSet, e.committed)
}

// ended acts on a decision that is now durable, or takes it back.
func (r *Runner) ended(e *entry, err error) {
	r.commits--
	inputs := e.deciding
	e.committing, e.deciding = false, nil
	if err != nil {
		r.uncommitted(e, inputs, err)
		return
	}
	r.act(e, inputs)
}

// act releases the actions of a decision.
func (r *Runner) act(e *entry, inputs []input) {
	for _, o := range e.actions.dispatch {
		r.dispatch(e, o)
	}
	r.cancels = append(r.cancels, e.actions.cancel...)
	r.leave(e.actions.cancel)
	for i := range inputs {
		inputs[i].done(nil)
	}
	clear(inputs)
	e.spare = inputs[:0]
	if e.actions.stored {
		r.watchers.notify(e.agg.Task.ID)
	}
	switch {
	case len(e.inputs) > 0:
		r.mark(e)
	case e.actions.ended || e.agg.Task.Status.Terminal():
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
