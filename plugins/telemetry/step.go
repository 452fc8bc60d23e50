package main

import (
	"context"
	"errors"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
)

// OnStepStarted notes when the step's first attempt began, and what it depends on.
func (t *Tracer) OnStepStarted(_ context.Context, e sdk.Event[event.StepStarted]) error {
	return t.notes.add(placeOf(t, e), e.Step, note{
		What: noteStarted, Dependencies: e.Payload.Dependencies, Dependents: e.Payload.Dependents, Level: e.Payload.Level, Round: e.Payload.Round,
	})
}

// OnStepCompleted ends the spans of attempt and step.
func (t *Tracer) OnStepCompleted(ctx context.Context, e sdk.Event[event.StepCompleted]) error {
	return t.endStep(ctx, placeOf(t, e), &e.Payload.Step, "complete", nil, nil)
}

// OnStepFailed ends the span of the attempt, and that of the step when no attempt follows.
func (t *Tracer) OnStepFailed(ctx context.Context, e sdk.Event[event.StepFailed]) error {
	if e.Payload.Final {
		return t.endStep(ctx, placeOf(t, e), &e.Payload.Step, "error", &e.Payload.Error, e.Payload.WorkflowState)
	}
	return t.endAttempt(ctx, placeOf(t, e), &e.Payload.Step, &e.Payload.Error, !t.relayed)
}

// OnStepAttemptLost ends the span of the attempt; the events that follow say how the step goes on.
func (t *Tracer) OnStepAttemptLost(ctx context.Context, e sdk.Event[event.StepAttemptLost]) error {
	failure := &event.Error{Message: "the attempt was lost: " + e.Payload.Cause, Code: e.Payload.Cause, Source: "host"}
	told := t.relayed && e.Payload.Cause == causeDrained // by its plugin, while that stopped
	return t.endAttempt(ctx, placeOf(t, e), &e.Payload.Step, failure, !told)
}

// OnStepCancelled ends the spans of what was stopped, or shows a step that will not run.
func (t *Tracer) OnStepCancelled(ctx context.Context, e sdk.Event[event.StepCancelled]) error {
	return t.endStep(ctx, placeOf(t, e), &e.Payload.Step, "cancelled", nil, nil)
}

// OnStepSkipped shows a step that will not run. The span of an optional one that failed has ended.
func (t *Tracer) OnStepSkipped(ctx context.Context, e sdk.Event[event.StepSkipped]) error {
	if e.Payload.Reason == "optional" {
		return nil
	}
	return t.endStep(ctx, placeOf(t, e), &e.Payload.Step, "skipped", nil, nil)
}

// OnStepResolvedManually ends the span of a step that waited. That of a failed one has ended; its task goes on.
func (t *Tracer) OnStepResolvedManually(ctx context.Context, e sdk.Event[event.StepResolvedManually]) error {
	if e.Payload.PreviousStatus == "waiting" {
		return t.endStep(ctx, placeOf(t, e), &e.Payload.Step, "resolved_manually", nil, nil)
	}
	return t.notes.add(placeOf(t, e), "", note{What: noteReopened})
}

// OnStepRetryRequested begins another span for a step whose span has ended.
func (t *Tracer) OnStepRetryRequested(_ context.Context, e sdk.Event[event.StepRetryRequested]) error {
	if e.Payload.PreviousStatus == "waiting" {
		return nil
	}
	p := placeOf(t, e)
	return errors.Join(t.notes.add(p, e.Step, note{What: noteRetried}), t.notes.add(p, "", note{What: noteReopened}))
}

// causeDrained is why an attempt was lost whose plugin was stopped.
const causeDrained = "drained"

// endAttempt notes the end of an attempt whose step goes on, and exports its span when nobody else does.
func (t *Tracer) endAttempt(ctx context.Context, p place, e *event.Step, failure *event.Error, export bool) error {
	if export {
		if err := t.exporter.export(ctx, p, attemptSpan(p, e, false, failure)); err != nil {
			return err
		}
	}
	return t.notes.add(p, e.StepName, note{What: noteEnded, Attempt: e.AttemptNumber})
}

// endStep exports the span of a step and, if that ends with it and nobody else does, of its last attempt.
func (t *Tracer) endStep(ctx context.Context, p place, e *event.Step, status string, failure *event.Error, w *event.WorkflowState) error {
	known, err := t.notes.read(p, e.StepName)
	if err != nil {
		return err
	}
	so := stepSoFar(known)
	var spans []*tracepb.Span
	began, ended := p.at, p.at
	if e.AttemptNumber > so.attempt && !e.CompletedAt.IsZero() {
		if !t.relayed {
			spans = append(spans, attemptSpan(p, e, status == "complete", failure))
		}
		began, ended = e.StartedAt, e.CompletedAt
	}
	s := p.span(p.StepSpan(e.StepName, e.Round), p.Span(), trace.SpanStep, earliest(so.started, began), ended)
	s.Attributes = append(
		stepAttributes(e), text(trace.KeyStepStatus, status), texts(trace.KeyDependencies, so.dependencies),
		texts(trace.KeyDependents, so.dependents), number(trace.KeyLevel, so.level), number(trace.KeyStepAttempts, e.AttemptNumber),
	)
	if s.Links, err = t.dependencies(p, so.dependencies); err != nil {
		return err
	}
	end(s, status == "complete", failure)
	state(s, w)
	return t.exporter.export(ctx, p, append(spans, s)...)
}

// maxLinks is how many links a span has, which is what receivers commonly take.
const maxLinks = 128

// dependencies returns links to the spans of steps.
func (t *Tracer) dependencies(p place, names []string) (links []*tracepb.Span_Link, err error) {
	for _, name := range names[:min(len(names), maxLinks)] {
		known, err := t.notes.read(p, name)
		if err != nil {
			return nil, err
		}
		links = append(links, p.link(p.StepSpan(name, stepSoFar(known).round), trace.LinkDependency))
	}
	return links, nil
}

// attemptSpan returns the span of an attempt, as its plugin would make it if it could.
func attemptSpan(p place, e *event.Step, ok bool, failure *event.Error) *tracepb.Span {
	s := p.span(p.AttemptSpan(e.StepName, e.AttemptNumber), p.StepSpan(e.StepName, e.Round), trace.SpanHandler, e.StartedAt, e.CompletedAt)
	s.Attributes = append(stepAttributes(e), number(trace.KeyAttempt, e.AttemptNumber))
	if n := e.AttemptNumber; n > 1 {
		s.Links = append(s.Links, p.link(p.AttemptSpan(e.StepName, n-1), trace.LinkEarlierAttempt))
	}
	end(s, ok, failure)
	if failure != nil {
		s.Events = []*tracepb.Span_Event{{
			TimeUnixNano: s.GetEndTimeUnixNano(), Name: trace.EventException,
			Attributes: present(text("exception.type", failure.Class), text("exception.message", failure.Message)),
		}}
	}
	return s
}

// stepState is what is known of a step before it ends.
type stepState struct {
	round        uint32 // of its last attempt
	started      time.Time
	dependencies []string
	dependents   []string
	level        uint32
	attempt      uint32 // the last one that is told of
}

func stepSoFar(known []note) (s stepState) {
	for _, n := range known {
		switch {
		case n.What == noteStarted && s.started.IsZero():
			s = stepState{
				round: n.Round, started: n.At, dependencies: n.Dependencies, dependents: n.Dependents, level: n.Level, attempt: s.attempt,
			}
		case n.What == noteEnded:
			s.attempt = n.Attempt
		case n.What == noteRetried:
			s = stepState{round: s.round, attempt: s.attempt}
		}
	}
	return s
}
