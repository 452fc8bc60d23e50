package main

import (
	"context"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
)

// OnTaskInitialized notes when the task began.
func (t *Tracer) OnTaskInitialized(_ context.Context, e sdk.Event[event.TaskInitialized]) error {
	return t.notes.add(placeOf(t, e), "", note{What: noteCreated})
}

// OnTaskCompleted ends the task's span.
func (t *Tracer) OnTaskCompleted(ctx context.Context, e sdk.Event[event.TaskCompleted]) error {
	p := placeOf(t, e)
	if err := t.endTask(ctx, p, e.Payload.TaskEnded, "complete", nil, nil); err != nil {
		return err
	}
	return t.notes.forget(p)
}

// OnTaskCancelled ends the task's span.
func (t *Tracer) OnTaskCancelled(ctx context.Context, e sdk.Event[event.TaskCancelled]) error {
	p := placeOf(t, e)
	if err := t.endTask(ctx, p, e.Payload.TaskEnded, "cancelled", nil, nil); err != nil {
		return err
	}
	return t.notes.forget(p)
}

// OnTaskFailed ends the task's span. The notes stay, as an operator may have the task go on.
func (t *Tracer) OnTaskFailed(ctx context.Context, e sdk.Event[event.TaskFailed]) error {
	p := placeOf(t, e)
	failure := &event.Error{Message: e.Payload.Reason, Code: e.Payload.Reason}
	if steps := e.Payload.FailedSteps; len(steps) > 0 {
		first := steps[0].Error
		first.Message = "step " + steps[0].StepName + ": " + first.Message
		failure = &first
	}
	if err := t.endTask(ctx, p, e.Payload.TaskEnded, "error", failure, e.Payload.WorkflowState); err != nil {
		return err
	}
	return t.notes.add(p, "", note{What: noteFailed})
}

// OnTaskResolvedManually forgets the task, whose span has ended when it failed.
func (t *Tracer) OnTaskResolvedManually(_ context.Context, e sdk.Event[event.TaskResolvedManually]) error {
	return t.notes.forget(placeOf(t, e))
}

// endTask exports the span of a task; or of the time since the task was taken up again, within the former.
func (t *Tracer) endTask(ctx context.Context, p place, e event.TaskEnded, status string, failure *event.Error, w *event.WorkflowState) error {
	known, err := t.notes.read(p, "")
	if err != nil {
		return err
	}
	so := taskSoFar(known)
	s := p.span(p.Span(), p.Caller, trace.SpanTask, earliest(so.created, e.CompletedAt.Add(-e.TotalDuration.Duration())), e.CompletedAt)
	if so.failed {
		s = p.span(p.AgainSpan(p.seq), p.Span(), trace.SpanTask, earliest(so.reopened, e.CompletedAt), e.CompletedAt)
	}
	s.Attributes = append(taskAttributes(e.Task), text(trace.KeyTaskStatus, status), number(trace.KeyTaskSteps, steps(e.Totals)))
	end(s, status == "complete", failure)
	state(s, w)
	return t.exporter.export(ctx, p, s)
}

// steps returns how many steps a task has.
func steps(totals event.Totals) (n uint32) {
	for _, of := range totals {
		n += uint32(of) //nolint:gosec // a number of steps
	}
	return n
}

// taskState is what is known of a task before it ends.
type taskState struct {
	created  time.Time
	failed   bool      // its span has ended
	reopened time.Time // by an operator, since then
}

func taskSoFar(known []note) (s taskState) {
	for _, n := range known {
		switch {
		case n.What == noteCreated:
			s.created = n.At
		case n.What == noteFailed:
			s.failed, s.reopened = true, time.Time{}
		case n.What == noteReopened && s.reopened.IsZero():
			s.reopened = n.At
		}
	}
	return s
}

// earliest returns what is known of a beginning, else a guess.
func earliest(known, guess time.Time) time.Time {
	if known.IsZero() {
		return guess
	}
	return known
}
