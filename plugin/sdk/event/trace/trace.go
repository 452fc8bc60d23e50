// Package trace says where a task, its steps and its attempts stand in a trace of
// OpenTelemetry: their ids, and the names of spans and attributes.
//
// Ids follow from the ids of what they stand for, by SHA-256. Nothing is stored and
// nothing is agreed on: the host, plugins and subscribers that never meet give one span
// the same id, before and after a crash, and a span that is exported twice is one span.
//
// The package imports only the standard library, so that hosts and plugins share it.
package trace

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
)

// ID identifies a trace. The zero value identifies none.
type ID [16]byte

// SpanID identifies a span within its trace. The zero value identifies none.
type SpanID [8]byte

// String returns 32 hexadecimal digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// String returns 16 hexadecimal digits.
func (id SpanID) String() string { return hex.EncodeToString(id[:]) }

// Task is the place of a task in a trace.
type Task struct {
	ID    string
	Trace ID
	// Caller is the span that the task is part of. Zero = the task begins the trace.
	Caller SpanID
	// Sampled is false when the caller has chosen not to record the trace.
	Sampled bool
}

// Of returns the place of a task: in the trace of the W3C traceparent that its creator
// gave, else, if that is empty or not valid, in one that follows from the task's id.
func Of(task, traceparent string) Task {
	if trace, caller, sampled, ok := Parse(traceparent); ok {
		return Task{ID: task, Trace: trace, Caller: caller, Sampled: sampled}
	}
	t := Task{ID: task, Sampled: true}
	sum := digest("trace", task, "", 0)
	copy(t.Trace[:], sum[:])
	return t
}

// Span returns the id of the task's span.
func (t Task) Span() SpanID { return spanID("task", t.ID, "", 0) }

// AgainSpan returns the id of the span of a task that was taken up again after it had
// failed; seq is the task_seq of the event that ends it.
func (t Task) AgainSpan(seq uint64) SpanID { return spanID("again", t.ID, "", seq) }

// StepSpan returns the id of a step's span. round is how often an operator has begun the
// step anew after it had ended.
func (t Task) StepSpan(step string, round uint32) SpanID {
	return spanID("step", t.ID, step, uint64(round))
}

// AttemptSpan returns the id of the span of a step's n-th attempt, which counts from 1.
func (t Task) AttemptSpan(step string, n uint32) SpanID {
	return spanID("attempt", t.ID, step, uint64(n))
}

// Traceparent returns the W3C trace context of what happens below a span of the task.
func (t Task) Traceparent(span SpanID) string {
	const size = 2 + 1 + 32 + 1 + 16 + 1 + 2
	b := append(make([]byte, 0, size), "00-"...)
	b = hex.AppendEncode(b, t.Trace[:])
	b = hex.AppendEncode(append(b, '-'), span[:])
	if t.Sampled {
		return string(append(b, "-01"...))
	}
	return string(append(b, "-00"...))
}

// Parse reads a W3C traceparent: version, trace, span and flags in lower-case hexadecimal
// digits. What later versions may add is passed over, as the standard asks.
func Parse(traceparent string) (trace ID, span SpanID, sampled, ok bool) {
	const (
		size        = 55 // of version 00; what follows in others begins with a dash
		flagSampled = 1
	)
	if len(traceparent) < size || (len(traceparent) > size && (traceparent[:2] == "00" || traceparent[size] != '-')) ||
		traceparent[2] != '-' || traceparent[35] != '-' || traceparent[52] != '-' {
		return ID{}, SpanID{}, false, false
	}
	var version, flags [1]byte
	if !digits(version[:], traceparent[:2]) || !digits(trace[:], traceparent[3:35]) || !digits(span[:], traceparent[36:52]) ||
		!digits(flags[:], traceparent[53:size]) || version[0] == 0xff || trace == (ID{}) || span == (SpanID{}) {
		return ID{}, SpanID{}, false, false
	}
	return trace, span, flags[0]&flagSampled != 0, true
}

// digits reads lower-case hexadecimal digits, two for each byte of out.
func digits(out []byte, in string) bool {
	for i := range out {
		high, low := digit(in[2*i]), digit(in[2*i+1])
		if high > 15 || low > 15 {
			return false
		}
		out[i] = high<<4 | low
	}
	return true
}

// digit returns the value of a digit, more than 15 for what is none.
func digit(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	default:
		return 255
	}
}

// Within reports whether a trace is among the given share of all, from 0 to 1, as the
// sampler traceidratio of OpenTelemetry decides it: everybody who is asked says the same.
func (id ID) Within(share float64) bool {
	switch {
	case share >= 1:
		return true
	case share <= 0:
		return false
	default:
		return binary.BigEndian.Uint64(id[8:])>>1 < uint64(share*(1<<63))
	}
}

func spanID(kind, task, step string, n uint64) (id SpanID) {
	sum := digest(kind, task, step, n)
	copy(id[:], sum[:])
	return id
}

// digest is SHA-256 of kind, task and step, each with its length before it in four bytes,
// and n in eight; numbers have the highest byte first.
func digest(kind, task, step string, n uint64) [sha256.Size]byte {
	b := make([]byte, 0, 128)
	for _, part := range [...]string{kind, task, step} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(part))) //nolint:gosec // ids and names are short
		b = append(b, part...)
	}
	return sha256.Sum256(binary.BigEndian.AppendUint64(b, n))
}
