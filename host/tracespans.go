package host

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// taskSpans makes the spans of a task, its steps and its attempts from its events, with the
// ids that everybody gives them.
type taskSpans struct {
	place trace.Task
	base  []*commonpb.KeyValue // of every span
	now   time.Time

	root     *tracepb.Span // the task, or since it was taken up again
	reopened time.Time     // when it was taken up again; zero = it was not, since it ended
	steps    map[string]*stepSpans
	all      []*tracepb.Span // in the order of their beginnings
	open     map[*tracepb.Span]bool
	attempts map[string]bool // the ids of attempts' spans
}

// stepSpans are the newest spans of a step.
type stepSpans struct{ step, attempt *tracepb.Span }

func newTaskSpans(t *task.Task, now time.Time) *taskSpans {
	b := &taskSpans{
		place: trace.Of(string(t.ID), t.Traceparent), now: now, steps: make(map[string]*stepSpans),
		open: make(map[*tracepb.Span]bool), attempts: make(map[string]bool),
	}
	b.base = attributes(
		text(trace.KeyTaskID, string(t.ID)), text(trace.KeyTaskNamespace, t.Template.Namespace), text(trace.KeyTaskTemplate, t.Template.Name),
		text(trace.KeyTaskVersion, t.Template.Version), text(trace.KeyCorrelationID, t.CorrelationID),
	)
	var caller []byte
	if b.place.Caller != (trace.SpanID{}) {
		caller = b.place.Caller[:]
	}
	b.root = b.begin(b.place.Span(), caller, trace.SpanTask, t.CreatedAt, number(trace.KeyTaskSteps, uint32(len(t.Steps)))) //nolint:gosec // bounded
	return b
}

// begin adds a span that goes on.
func (b *taskSpans) begin(id trace.SpanID, parent []byte, name string, at time.Time, own ...*commonpb.KeyValue) *tracepb.Span {
	s := &tracepb.Span{
		TraceId: b.place.Trace[:], SpanId: id[:], ParentSpanId: parent, Name: name, Kind: tracepb.Span_SPAN_KIND_INTERNAL,
		StartTimeUnixNano: nanos(at), Attributes: append(slices.Clip(b.base), attributes(own...)...),
	}
	b.all = append(b.all, s)
	b.open[s] = true
	return s
}

// end ends a span that goes on.
func (b *taskSpans) end(s *tracepb.Span, at time.Time, ok bool, failure *event.Error, own ...*commonpb.KeyValue) {
	if s == nil || !b.open[s] {
		return
	}
	delete(b.open, s)
	s.EndTimeUnixNano = max(nanos(at), s.GetStartTimeUnixNano()) // clocks may have been set back
	s.Attributes = append(s.Attributes, attributes(own...)...)
	switch {
	case failure != nil:
		s.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: failure.Message}
		s.Attributes = append(s.Attributes, attributes(
			text(trace.KeyErrorType, failure.Class), text(trace.KeyErrorCode, failure.Code), text(trace.KeyErrorSource, failure.Source),
			text(trace.KeyErrorCategory, string(failure.Category())),
		)...)
	case ok:
		s.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_OK}
	}
}

// stepFacts is what spans need of an event about a step.
type stepFacts struct {
	event.Step
	event.Error

	Dependencies   []string `json:"dependencies"`
	Dependents     []string `json:"dependents"`
	Level          uint32   `json:"level"`
	Final          bool     `json:"final"`
	Cause          string   `json:"cause"`
	Reason         string   `json:"reason"`
	PreviousStatus string   `json:"previous_status"`
}

// apply reads the next event of the task. Error: a payload that cannot be read.
func (b *taskSpans) apply(e *eventv1.Event) error {
	if _, ok := event.Lookup(e.GetType()); !ok {
		return nil
	}
	at := time.Unix(0, e.GetAt()).UTC()
	if e.GetStep() == "" {
		return b.applyTask(e, at)
	}
	var f stepFacts
	if err := json.Unmarshal(e.GetPayload(), &f); err != nil {
		return fmt.Errorf("event %s: %w", e.GetId(), err)
	}
	s := b.steps[e.GetStep()]
	if s == nil {
		s = &stepSpans{}
		b.steps[e.GetStep()] = s
	}
	b.applyStep(e.GetType(), at, s, &f)
	return nil
}

func (b *taskSpans) applyTask(e *eventv1.Event, at time.Time) error {
	switch e.GetType() {
	case event.NameTaskCompleted:
		b.endTask(e, at, "complete", nil)
	case event.NameTaskCancelled:
		b.endTask(e, at, "cancelled", nil)
	case event.NameTaskFailed:
		var f event.TaskFailed
		if err := json.Unmarshal(e.GetPayload(), &f); err != nil {
			return fmt.Errorf("event %s: %w", e.GetId(), err)
		}
		failure := &event.Error{Message: f.Reason, Code: f.Reason}
		if len(f.FailedSteps) > 0 {
			first := f.FailedSteps[0].Error
			first.Message = "step " + f.FailedSteps[0].StepName + ": " + first.Message
			failure = &first
		}
		b.endTask(e, at, "error", failure)
	case event.NameTaskRetryRequested:
		b.reopened = at
	}
	return nil
}

func (b *taskSpans) endTask(e *eventv1.Event, at time.Time, status string, failure *event.Error) {
	if !b.open[b.root] {
		since := at
		if !b.reopened.IsZero() {
			since = b.reopened
		}
		id := b.place.Span()
		b.root = b.begin(b.place.AgainSpan(e.GetTaskSeq()), id[:], trace.SpanTask, since)
	}
	b.reopened = time.Time{}
	b.end(b.root, at, failure == nil && status == "complete", failure, text(trace.KeyTaskStatus, status))
}

func (b *taskSpans) applyStep(name string, at time.Time, s *stepSpans, f *stepFacts) {
	switch name {
	case event.NameStepStarted:
		b.startAttempt(at, s, f)
	case event.NameStepCompleted:
		b.endAttempt(at, s, f, nil)
		b.endStep(at, s, f, "complete", nil)
	case event.NameStepFailed:
		b.endAttempt(at, s, f, &f.Error)
		if f.Final {
			b.endStep(at, s, f, "error", &f.Error)
		}
	case event.NameStepAttemptLost:
		b.endAttempt(at, s, f, &event.Error{Message: "the attempt was lost: " + f.Cause, Code: f.Cause, Source: "host"})
	case event.NameStepCancelled:
		b.endAttempt(at, s, f, nil)
		b.endStep(at, s, f, "cancelled", nil)
	case event.NameStepSkipped:
		b.endStep(at, s, f, "skipped", nil, text(trace.KeyStepReason, f.Reason))
	case event.NameStepResolvedManually:
		b.endStep(at, s, f, "resolved_manually", nil)
	case event.NameStepRetryRequested:
		if !b.open[b.root] && b.reopened.IsZero() {
			b.reopened = at
		}
	}
}

// startStep begins the span of a step that has none that goes on.
func (b *taskSpans) startStep(at time.Time, s *stepSpans, f *stepFacts) {
	if s.step != nil && b.open[s.step] {
		return
	}
	parent := b.place.Span()
	s.step = b.begin(
		b.place.StepSpan(f.StepName, f.Round), parent[:], trace.SpanStep, at,
		text(trace.KeyStepID, f.StepID), text(trace.KeyStepName, f.StepName), text(trace.KeyStepHandler, f.Handler),
		texts(trace.KeyDependencies, f.Dependencies), texts(trace.KeyDependents, f.Dependents), number(trace.KeyLevel, f.Level),
	)
	for _, dep := range f.Dependencies {
		if d := b.steps[dep]; d != nil && d.step != nil {
			s.step.Links = append(s.step.Links, b.link(d.step.GetSpanId(), trace.LinkDependency))
		}
	}
}

func (b *taskSpans) startAttempt(at time.Time, s *stepSpans, f *stepFacts) {
	b.startStep(at, s, f)
	id := b.place.AttemptSpan(f.StepName, f.AttemptNumber)
	s.attempt = b.begin(
		id, s.step.GetSpanId(), trace.SpanHandler, at,
		text(trace.KeyStepName, f.StepName), text(trace.KeyStepHandler, f.Handler), number(trace.KeyAttempt, f.AttemptNumber),
	)
	if n := f.AttemptNumber; n > 1 {
		earlier := b.place.AttemptSpan(f.StepName, n-1)
		s.attempt.Links = append(s.attempt.Links, b.link(earlier[:], trace.LinkEarlierAttempt))
	}
	b.attempts[string(id[:])] = true
}

// endAttempt ends an attempt. Of one that began before the log does, the event says when.
func (b *taskSpans) endAttempt(at time.Time, s *stepSpans, f *stepFacts, failure *event.Error) {
	if (s.attempt == nil || !b.open[s.attempt]) && s.step == nil && !f.StartedAt.IsZero() {
		b.startAttempt(f.StartedAt, s, f)
	}
	b.end(s.attempt, at, failure == nil, failure)
	if failure != nil && s.attempt != nil {
		s.attempt.Events = []*tracepb.Span_Event{{
			TimeUnixNano: s.attempt.GetEndTimeUnixNano(), Name: trace.EventException,
			Attributes: attributes(text("exception.type", failure.Class), text("exception.message", failure.Message)),
		}}
	}
}

// endStep ends a step; one that never began has a span without a duration. What ended
// before is left: an operator has resolved a failed step.
func (b *taskSpans) endStep(at time.Time, s *stepSpans, f *stepFacts, status string, failure *event.Error, own ...*commonpb.KeyValue) {
	if s.step == nil {
		b.startStep(at, s, f)
	}
	b.end(s.step, at, status == "complete", failure, append(own, text(trace.KeyStepStatus, status), number(trace.KeyStepAttempts, f.AttemptNumber))...)
}

// fill adds what the events do not tell, because the log begins later, and closes what goes
// on with the present.
func (b *taskSpans) fill(t *task.Task) []*tracepb.Span {
	for i := range t.Steps {
		s := &t.Steps[i]
		if s.StartedAt.IsZero() || b.steps[string(s.Name)] != nil {
			continue
		}
		f := &stepFacts{Step: event.Step{StepID: task.StepID{Task: t.ID, Ordinal: s.Ordinal}.String(), StepName: string(s.Name), Round: s.Round, AttemptNumber: s.Attempts}}
		spans := &stepSpans{}
		b.startStep(s.StartedAt, spans, f)
		if a := s.Attempt; a != nil {
			b.startAttempt(a.StartedAt, spans, f)
			if !a.EndedAt.IsZero() {
				b.end(spans.attempt, a.EndedAt, a.Failure == nil, failureOf(a.Failure))
			}
		}
		if !s.CompletedAt.IsZero() {
			failed := s.Failure
			if s.Status != task.StepError {
				failed = nil
			}
			b.end(spans.step, s.CompletedAt, s.Status == task.StepComplete, failureOf(failed), text(trace.KeyStepStatus, string(s.Status)))
		}
	}
	if !t.CompletedAt.IsZero() {
		b.end(b.root, t.CompletedAt, t.Status == task.Complete, failureOf(t.Failure), text(trace.KeyTaskStatus, string(t.Status)))
	}
	for s := range b.open {
		s.EndTimeUnixNano = max(nanos(b.now), s.GetStartTimeUnixNano())
		s.Attributes = append(s.Attributes, flag(trace.KeyOpen))
	}
	return b.all
}

func failureOf(f *task.Failure) *event.Error {
	if f == nil {
		return nil
	}
	return &event.Error{Message: f.Message, Class: f.Class, Code: f.Code, Source: string(f.Source), Kind: string(f.Kind)}
}

func (b *taskSpans) link(id []byte, kind string) *tracepb.Span_Link {
	return &tracepb.Span_Link{TraceId: b.place.Trace[:], SpanId: id, Attributes: attributes(text(trace.KeyLinkKind, kind))}
}

func nanos(t time.Time) uint64 { return uint64(max(t.UnixNano(), 0)) }

// attributes returns those that say something.
func attributes(all ...*commonpb.KeyValue) (out []*commonpb.KeyValue) {
	for _, kv := range all {
		if kv != nil {
			out = append(out, kv)
		}
	}
	return out
}

func text(key, value string) *commonpb.KeyValue {
	if value == "" {
		return nil
	}
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: value}}}
}

func texts(key string, values []string) *commonpb.KeyValue {
	if len(values) == 0 {
		return nil
	}
	list := &commonpb.ArrayValue{}
	for _, v := range values {
		list.Values = append(list.Values, &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: v}})
	}
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_ArrayValue{ArrayValue: list}}}
}

func number(key string, n uint32) *commonpb.KeyValue {
	if n == 0 {
		return nil
	}
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: int64(n)}}}
}

func flag(key string) *commonpb.KeyValue {
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_BoolValue{BoolValue: true}}}
}
