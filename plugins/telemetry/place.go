package main

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// place is where an event stands: in which task and trace, and when. Ids of spans follow from it alone, so that an
// event that comes again makes the same spans.
type place struct {
	task   string
	seq    uint64 // within the task
	at     time.Time
	trial  bool
	trace  []byte
	caller []byte // the span that the task is part of; nil = none
	muted  bool   // whoever began the trace has chosen not to record it
}

// placeOf returns the place of an event.
func placeOf[P any](e sdk.Event[P]) place {
	p := place{task: e.Task, seq: e.TaskSeq, at: e.At, trial: e.Trial()}
	if trace, caller, flags, ok := parseTraceparent(e.Traceparent); ok {
		p.trace, p.caller, p.muted = trace, caller, flags&1 == 0
		return p
	}
	p.trace = id(16, "trace", e.Task)
	return p
}

// parseTraceparent reads the W3C trace context: version, trace, span and flags in hexadecimal digits.
func parseTraceparent(s string) (trace, span []byte, flags byte, ok bool) {
	parts := strings.Split(s, "-")
	if len(parts) < 4 || len(parts[0]) != 2 || parts[0] == "ff" || len(parts[1]) != 32 || len(parts[2]) != 16 || len(parts[3]) != 2 {
		return nil, nil, 0, false
	}
	all, err := hex.DecodeString(strings.Join(parts[:4], ""))
	if err != nil {
		return nil, nil, 0, false
	}
	trace, span, flags = all[1:17], all[17:25], all[25]
	return trace, span, flags, !zero(trace) && !zero(span)
}

func zero(b []byte) bool { return strings.Trim(string(b), "\x00") == "" }

// id returns n bytes that follow from the parts.
func id(n int, parts ...string) []byte {
	h := sha256.New()
	for _, part := range parts {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(part)))) //nolint:gosec // names are short
		h.Write([]byte(part))
	}
	return h.Sum(nil)[:n]
}

// counted makes part of an id of a number.
func counted[N uint32 | uint64](n N) string {
	return string(binary.BigEndian.AppendUint64(nil, uint64(n)))
}

func (p place) taskSpan() []byte  { return id(8, "task", p.task) }
func (p place) againSpan() []byte { return id(8, "again", p.task, counted(p.seq)) }

func (p place) stepSpan(step string, round uint64) []byte {
	return id(8, "step", p.task, step, counted(round))
}

func (p place) attemptSpan(step string, number uint32) []byte {
	return id(8, "attempt", p.task, step, counted(number))
}

// span returns a span without attributes.
func (p place) span(id, parent []byte, name string, start, end time.Time) *tracepb.Span {
	return &tracepb.Span{
		TraceId: p.trace, SpanId: id, ParentSpanId: parent, Name: name, Kind: tracepb.Span_SPAN_KIND_INTERNAL,
		StartTimeUnixNano: nanos(start), EndTimeUnixNano: max(nanos(start), nanos(end)), // clocks may have been set back
		Flags: 1, // sampled
	}
}

func nanos(t time.Time) uint64 { return uint64(max(t.UnixNano(), 0)) }
