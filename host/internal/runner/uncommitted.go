package runner

import (
	"context"
	"errors"
	"slices"

	"github.com/tasker-engine/tasker/host/internal/engine"
	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// uncommitted deals with a write set that was not committed. Nothing of it was acted
// on. A refused creation ends there; anything else is decided again on what is stored.
func (r *Runner) uncommitted(e *entry, inputs []input, err error) {
	if slices.ContainsFunc(inputs, creation) && (requestError(err) || errors.Is(err, store.ErrClosed)) {
		r.drop(e, inputs, err)
		return
	}
	now := errors.Is(err, store.ErrConflict)
	if requestError(err) {
		inputs, now = r.isolate(e, inputs, err)
	}
	if !now {
		r.log.Error("commit failed; trying again", about(e).With(logkeys.In, CommitRetry, logkeys.Error, err)...)
	}
	r.reload(e, inputs, err, now)
}

// creation reports whether an input is what creates its task.
func creation(in input) bool {
	_, ok := in.in.(engine.Create)
	return ok
}

// isolate deals with inputs whose write set no store takes, today or tomorrow. Several
// are decided again one by one, so that the others do not suffer for one of them; a
// result that is alone becomes the failure of its attempt, emitted events are dropped and
// a request is refused. It returns what is to be decided again, and false when that would change nothing.
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
	if emitted, ok := in.in.(engine.Emitted); ok {
		r.log.Error("custom events cannot be stored; they are dropped", aboutAttempt(e, emitted.ID).With(logkeys.Error, cause)...)
		in.done(cause)
		return claims, true
	}
	if in.reply != nil {
		in.done(cause)
		return claims, true
	}
	result, isResult := in.in.(*engine.Result)
	if !isResult || result.Report.Failure != nil && result.Report.Failure.Source == task.SourceHost {
		return inputs, false
	}
	r.log.Error("result cannot be stored; the attempt fails", aboutAttempt(e, result.Report.ID).With(logkeys.Error, cause)...)
	refused := result.Refused(cause)
	return append(claims, input{in: &refused}), true
}

// reload replaces the aggregate by what is stored and decides the inputs again, at once
// or after CommitRetry. Claims are made anew.
func (r *Runner) reload(e *entry, inputs []input, cause error, now bool) {
	id := e.agg.Task.ID
	stored, err := r.opts.Store.Load(context.Background(), id)
	if errors.Is(err, task.ErrNotFound) {
		if slices.ContainsFunc(inputs, creation) {
			err = cause // why the creation failed; else the task was deleted meanwhile
		}
		r.drop(e, inputs, err)
		return
	}
	var agg *engine.Aggregate
	if err == nil {
		agg, err = r.templates.restore(stored)
	}
	if err != nil {
		r.log.Error("task cannot be loaded; it stays as it is until the host is restarted", about(e).With(logkeys.Error, err)...)
		r.broken.Add(1)
		r.drop(e, inputs, err)
		return
	}
	r.disarmAll(e)
	keepBeats(agg, e.agg)
	e.agg = agg
	var claims []*slot
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
