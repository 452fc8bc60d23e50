package sdk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.opentelemetry.io/otel/attribute"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// maxQueuedSpans bounds the spans of deliveries that wait for a slow host, in bytes; further ones are counted and dropped.
const maxQueuedSpans = 8 << 20

// beginSpan begins the delivery's own span, if the host wants it. It has a trace of its own: a task may have ended long
// before all who hear of it are done.
func (d *delivery) beginSpan() {
	s := d.stream
	if s.share <= 0 || s.sub.options.Untraced || d.task == "" || d.seq >= firstTrial {
		return
	}
	task := trace.Of(d.task, d.traceparent)
	if !task.Sampled || !task.Trace.Within(s.share) {
		return
	}
	about := task.Span()
	if d.step != "" {
		about = task.StepSpan(d.step, d.round())
	}
	t := s.all.disp.tracing
	spans := t.begin(trace.SpanID{}, oteltrace.SpanContext{}, true, time.Now(), trace.SpanSubscriber, oteltrace.WithSpanKind(oteltrace.SpanKindConsumer),
		oteltrace.WithLinks(link(spanContext(task.Trace, about, true, oteltrace.TraceState{}), trace.LinkHandled)))
	spans.describe(
		attribute.String(trace.KeyEventName, d.name),
		attribute.Int64(trace.KeyEventSeq, int64(d.seq)), //nolint:gosec // below 2^63, as it is no trial
		attribute.String(trace.KeySubscription, t.plugin+"/"+s.sub.name),
		attribute.Int(trace.KeyDelivery, int(d.number)),
		attribute.String(trace.KeyTaskID, d.task),
		attribute.String(trace.KeyStepName, d.step),
		attribute.String(trace.KeyCorrelationID, d.correlationID),
	)
	d.spans = spans
}

// round returns the round of the step that the event is about.
func (d *delivery) round() uint32 {
	var step struct {
		Round uint32 `json:"round"`
	}
	if bytes.Contains(d.payload, []byte(`"round":`)) {
		_ = json.Unmarshal(d.payload, &step) // what does not fit is of no event that has one
	}
	return step.Round
}

// traceValue returns what OpenTelemetry looks for. False = the key is another's.
func (d *delivery) traceValue(key any) (any, bool) {
	t := d.stream.all.disp.tracing
	switch key {
	case recorderKey{}:
		return d.traced().recorder, true
	case t.spanKey:
		return d.traced().current.Value(key), true
	case t.baggageKey:
		return t.baggage(d.correlationID), true
	}
	return nil, false
}

// traced returns what OpenTelemetry finds in the delivery's context.
func (d *delivery) traced() *traced {
	if d.spans == nil {
		return d.stream.all.disp.tracing.none
	}
	return d.spans
}

// spansOf are the spans of a delivery that has ended.
type spansOf struct {
	otlp  []byte
	count int
}

// endSpan ends the delivery's span and returns what was recorded.
func (d *delivery) endSpan(err error) spansOf {
	spans := d.spans
	if spans == nil {
		return spansOf{}
	}
	if err != nil {
		spans.fail(failure(d.stream.ctx, err))
	}
	spans.end()
	ended, dropped := spans.recorder.close()
	return spansOf{otlp: encodeSpans(ended, dropped), count: len(ended)}
}

// tell queues spans, in one frame with those that wait already. They go with the answer that follows, or when there are many.
// The lock is held.
func (s *deliverStream) tell(of spansOf) {
	if len(of.otlp) == 0 || s.ended {
		return
	}
	if s.spanBytes+len(of.otlp) > maxQueuedSpans {
		s.spansLost += of.count
		return
	}
	if s.spansLost > 0 {
		s.push(&pluginv1.DeliverResponse{Kind: &pluginv1.DeliverResponse_Log{Log: &pluginv1.Log{
			Level: hclog.Warn.String(), Message: fmt.Sprintf("%d spans of this subscription were dropped: the host did not keep up", s.spansLost),
		}}})
		s.spansLost = 0
	}
	if s.spans == nil || s.spanCount+of.count > maxSpans {
		if s.spans != nil { // it is full
			wake(s.wake)
		}
		s.spans, s.spanCount, s.ack = &pluginv1.Spans{}, 0, nil // an answer comes after the spans
		s.queue = append(s.queue, outgoing{frame: &pluginv1.DeliverResponse{Kind: &pluginv1.DeliverResponse_Spans{Spans: s.spans}}})
	}
	s.spans.Otlp = append(s.spans.Otlp, of.otlp...) // one encoded message after the other is both in one
	s.spanCount += of.count
	s.spanBytes += len(of.otlp)
}
