package main

import (
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
)

// place is where an event stands: in which task and trace, and when. Ids of spans follow from it alone, so that an
// event that comes again makes the same spans, and those that plugins make of attempts belong to them.
type place struct {
	trace.Task

	seq   uint64 // within the task
	at    time.Time
	trial bool
	muted bool // its trace is not recorded
}

// placeOf returns the place of an event.
func placeOf[P any](t *Tracer, e sdk.Event[P]) place {
	p := place{Task: trace.Of(e.Task, e.Traceparent), seq: e.TaskSeq, at: e.At, trial: e.Trial()}
	p.muted = !t.sampler.Sampled(p.Task)
	return p
}

// span returns a span without attributes. A zero parent is none.
func (p place) span(id, parent trace.SpanID, name string, start, end time.Time) *tracepb.Span {
	s := &tracepb.Span{
		TraceId: p.Trace[:], SpanId: id[:], Name: name, Kind: tracepb.Span_SPAN_KIND_INTERNAL,
		StartTimeUnixNano: nanos(start), EndTimeUnixNano: max(nanos(start), nanos(end)), // clocks may have been set back
		Flags: 1, // sampled
	}
	if parent != (trace.SpanID{}) {
		s.ParentSpanId = parent[:]
	}
	return s
}

// link returns a link to another span of the trace.
func (p place) link(id trace.SpanID, kind string) *tracepb.Span_Link {
	return &tracepb.Span_Link{TraceId: p.Trace[:], SpanId: id[:], Attributes: present(text(trace.KeyLinkKind, kind))}
}

func nanos(t time.Time) uint64 { return uint64(max(t.UnixNano(), 0)) }
