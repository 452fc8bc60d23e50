package sdk

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.40.0"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// attemptContext is the context that the author's code gets. The attempt's span is begun when it is first asked for: most
// attempts never ask.
type attemptContext struct {
	context.Context //nolint:containedctx // the attempt's

	attempt *attempt
}

// Value implements context.Context.
func (c *attemptContext) Value(key any) any {
	t := c.attempt.work.d.tracing
	switch key {
	case attemptKey{}:
		return c.attempt
	case recorderKey{}:
		return c.attempt.traced().recorder
	case t.spanKey:
		return c.attempt.traced().current.Value(key)
	case t.baggageKey:
		return t.baggage(c.attempt.wire.GetCorrelationId())
	}
	return c.Context.Value(key)
}

// traced returns what OpenTelemetry finds in the attempt's context. Nothing begins after the attempt has ended.
func (a *attempt) traced() *traced {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.spans == nil {
		a.spans = a.beginSpan()
	}
	return a.spans
}

// beginSpan begins the attempt's own span.
func (a *attempt) beginSpan() *traced {
	w, t := a.wire, a.work.d.tracing
	id, step, sampled, ok := trace.Parse(w.GetTraceparent())
	task := trace.Task{ID: w.GetTaskId(), Trace: id}
	if !ok { // a host of old
		task = trace.Of(w.GetTaskId(), "")
		step = task.StepSpan(w.GetStep(), 0)
	}
	state, _ := oteltrace.ParseTraceState(w.GetTracestate()) // what cannot be read is none
	var opts []oteltrace.SpanStartOption
	if n := w.GetNumber(); n > 1 {
		earlier := spanContext(task.Trace, task.AttemptSpan(w.GetStep(), n-1), sampled, state)
		opts = append(opts, oteltrace.WithLinks(link(earlier, trace.LinkEarlierAttempt)))
	}
	own := task.AttemptSpan(w.GetStep(), w.GetNumber())
	d := t.begin(own, spanContext(task.Trace, step, sampled, state), sampled, a.began, trace.SpanHandler, opts...)
	d.describe(
		attribute.String(trace.KeyTaskID, w.GetTaskId()),
		attribute.String(trace.KeyTaskNamespace, w.GetTemplate().GetNamespace()),
		attribute.String(trace.KeyTaskTemplate, w.GetTemplate().GetName()),
		attribute.String(trace.KeyTaskVersion, w.GetTemplate().GetVersion()),
		attribute.String(trace.KeyCorrelationID, w.GetCorrelationId()),
		attribute.String(trace.KeyStepName, w.GetStep()),
		attribute.String(trace.KeyStepHandler, t.plugin+"/"+w.GetHandler()),
		attribute.Int(trace.KeyAttempt, int(w.GetNumber())),
		attribute.Int64(trace.KeyAttemptInput, sizeOf(w.GetInput())),
	)
	return d
}

// sendSpans queues the spans of an attempt that has ended with r, if somebody wants them.
func (a *attempt) sendSpans(r *pluginv1.Result) {
	if doc := a.endSpans(r); doc != nil {
		a.work.send(a, &pluginv1.Update{Kind: &pluginv1.Update_Spans{Spans: &pluginv1.Spans{Otlp: doc}}})
	}
}

// endSpans returns the attempt's spans, encoded. Nil: nobody wants them.
func (a *attempt) endSpans(r *pluginv1.Result) []byte {
	_, _, sampled, _ := trace.Parse(a.wire.GetTraceparent())
	a.mu.Lock()
	if a.spans == nil && !sampled {
		a.spans = a.work.d.tracing.none
	}
	a.mu.Unlock()
	d := a.traced()
	if d.span == nil {
		return nil
	}
	wanted := sampled || d.touched()
	if e := r.GetError(); e != nil {
		d.fail(e)
	} else {
		d.span.SetAttributes(attribute.Int(trace.KeyAttemptResult, len(r.GetOutput())))
	}
	d.end()
	spans, dropped := d.recorder.close()
	if !wanted {
		return nil
	}
	return encodeSpans(spans, dropped)
}

// fail says on the span why it failed.
func (d *traced) fail(e *pluginv1.Error) {
	message := cut(e.GetMessage(), maxSpanText)
	d.span.SetStatus(codes.Error, message)
	d.span.AddEvent(trace.EventException, oteltrace.WithAttributes(present(
		semconv.ExceptionType(e.GetClass()), semconv.ExceptionMessage(message),
		semconv.ExceptionStacktrace(cut(strings.Join(e.GetStack(), "\n"), maxSpanText)),
	)...))
	d.span.SetAttributes(present(
		attribute.String(trace.KeyErrorType, e.GetClass()), attribute.String(trace.KeyErrorCode, e.GetCode()),
		attribute.String(trace.KeyErrorSource, sourceName(e.GetSource())),
	)...)
}

// sourceName is the name of a source of errors, as events have it.
func sourceName(s pluginv1.ErrorSource) string {
	if s == pluginv1.ErrorSource_ERROR_SOURCE_DOWNSTREAM {
		return "downstream"
	}
	return "plugin"
}

// sizeOf returns the size of a value in bytes, wherever it is.
func sizeOf(v *pluginv1.Value) int64 {
	return max(int64(v.GetSize()), int64(len(v.GetInline()))) //nolint:gosec // far below 2^63
}
