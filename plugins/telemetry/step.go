package main

import (
	"context"
	"errors"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// OnStepStarted notes when the step's first attempt began, and what it depends on.
func (t *Tracer) OnStepStarted(_ context.Context, e sdk.Event[event.StepStarted]) error {
	return t.notes.add(placeOf(e), e.Step, note{What: noteStarted, Dependencies: e.Payload.Dependencies})
}

// OnStepCompleted ends the spans of attempt and step.
func (t *Tracer) OnStepCompleted(ctx context.Context, e sdk.Event[event.StepCompleted]) error {
	return t.endStep(ctx, placeOf(e), &e.Payload.Step, "complete", nil)
}

// OnStepFailed ends the span of the attempt, and that of the step when no attempt follows.
func (t *Tracer) OnStepFailed(ctx context.Context, e sdk.Event[event.StepFailed]) error {
	if e.Payload.Final {
		return t.endStep(ctx, placeOf(e), &e.Payload.Step, "error", &e.Payload.Error)
	}
	return t.endAttempt(ctx, placeOf(e), &e.Payload.Step, &e.Payload.Error)
}

// OnStepAttemptLost ends the span of the attempt; the events that follow say how the step goes on.
func (t *Tracer) OnStepAttemptLost(ctx context.Context, e sdk.Event[event.StepAttemptLost]) error {
	failure := &event.Error{Message: "the attempt was lost: " + e.Payload.Cause, Code: e.Payload.Cause, Source: "host"}
	return t.endAttempt(ctx, placeOf(e), &e.Payload.Step, failure)
}

// OnStepCancelled ends the spans of what was stopped, or shows a step that will not run.
func (t *Tracer) OnStepCancelled(ctx context.Context, e sdk.Event[event.StepCancelled]) error {
	return t.endStep(ctx, placeOf(e), &e.Payload.Step, "cancelled", nil)
}

// OnStepSkipped shows a step that will not run. The span of an optional one that failed has ended.
func (t *Tracer) OnStepSkipped(ctx context.Context, e sdk.Event[event.StepSkipped]) error {
	if e.Payload.Reason == "optional" {
		return nil
	}
	return t.endStep(ctx, placeOf(e), &e.Payload.Step, "skipped", nil)
}

// OnStepResolvedManually ends the span of a step that waited. That of a failed one has ended; its task goes on.
func (t *Tracer) OnStepResolvedManually(ctx context.Context, e sdk.Event[event.StepResolvedManually]) error {
	if e.Payload.PreviousStatus == "waiting" {
		return t.endStep(ctx, placeOf(e), &e.Payload.Step, "resolved_manually", nil)
	}
	return t.notes.add(placeOf(e), "", note{What: noteReopened})
}

// OnStepRetryRequested begins another span for a step whose span has ended.
func (t *Tracer) OnStepRetryRequested(_ context.Context, e sdk.Event[event.StepRetryRequested]) error {
	if e.Payload.PreviousStatus == "waiting" {
		return nil
	}
	p := placeOf(e)
	return errors.Join(t.notes.add(p, e.Step, note{What: noteRetried}), t.notes.add(p, "", note{What: noteReopened}))
}

// endAttempt exports the span of an attempt whose step goes on.
func (t *Tracer) endAttempt(ctx context.Context, p place, e *event.Step, failure *event.Error) error {
	known, err := t.notes.read(p, e.StepName)
	if err != nil {
		return err
	}
	if err := t.exporter.export(ctx, p, attemptSpan(p, e, stepSoFar(known), false, failure)); err != nil {
		return err
	}
	return t.notes.add(p, e.StepName, note{What: noteEnded, Attempt: e.AttemptNumber})
}

// endStep exports the span of a step and, if that ends with it, of its last attempt.
func (t *Tracer) endStep(ctx context.Context, p place, e *event.Step, status string, failure *event.Error) error {
	known, err := t.notes.read(p, e.StepName)
	if err != nil {
		return err
	}
	so := stepSoFar(known)
	var spans []*tracepb.Span
	began, ended := p.at, p.at
	if e.AttemptNumber > so.attempt && !e.CompletedAt.IsZero() {
		spans = append(spans, attemptSpan(p, e, so, status == "complete", failure))
		began, ended = e.StartedAt, e.CompletedAt
	}
	s := p.span(p.stepSpan(e.StepName, so.round), p.taskSpan(), e.StepName, earliest(so.started, began), ended)
	s.Attributes = append(
		stepAttributes(e), text(keyStepStatus, status), texts(keyStepDependencies, so.dependencies), number(keyStepAttempts, e.AttemptNumber),
	)
	end(s, status == "complete", failure)
	return t.exporter.export(ctx, p, append(spans, s)...)
}

// attemptSpan returns the span of an attempt.
func attemptSpan(p place, e *event.Step, so stepState, ok bool, failure *event.Error) *tracepb.Span {
	s := p.span(p.attemptSpan(e.StepName, e.AttemptNumber), p.stepSpan(e.StepName, so.round), e.StepName+" attempt", e.StartedAt, e.CompletedAt)
	s.Attributes = append(stepAttributes(e), number(keyAttempt, e.AttemptNumber))
	end(s, ok, failure)
	if failure != nil {
		s.Events = []*tracepb.Span_Event{{
			TimeUnixNano: s.GetEndTimeUnixNano(), Name: "exception",
			Attributes: present(text("exception.type", failure.Class), text("exception.message", failure.Message)),
		}}
	}
	return s
}

// stepState is what is known of a step before it ends.
type stepState struct {
	round        uint64 // which event of the task began it anew; 0 = it was not
	started      time.Time
	dependencies []string
	attempt      uint32 // the last one whose span was exported
}

func stepSoFar(known []note) (s stepState) {
	for _, n := range known {
		switch {
		case n.What == noteStarted && s.started.IsZero():
			s.started, s.dependencies = n.At, n.Dependencies
		case n.What == noteEnded:
			s.attempt = n.Attempt
		case n.What == noteRetried:
			s = stepState{round: n.Seq, attempt: s.attempt}
		}
	}
	return s
}
