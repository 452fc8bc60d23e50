package store

import (
	"context"

	"github.com/tasker-engine/tasker/host/task"
)

// MaxSpans is the size in bytes of what is kept of one attempt's spans; plugins send about
// 64 KiB at most.
const MaxSpans = 72 << 10

// AttemptSpans are what an attempt did, as its plugin told it.
type AttemptSpans struct {
	Attempt task.AttemptID
	OTLP    []byte // an ExportTraceServiceRequest, encoded
}

// SpanStore is the part of a [Store] that keeps the spans of attempts. They are for people
// who look at a task: nothing is decided by them.
type SpanStore interface {
	// SaveSpans queues spans of an attempt in the same way as a checkpoint; the store keeps
	// the bytes. Spans that the attempt has already are kept, too, as long as both are
	// within MaxSpans: else task.ErrTooLarge. Those of a task that does not exist, or not
	// any more, are dropped without an error. They go with their task.
	SaveSpans(s *AttemptSpans, done func(error))
	// Spans returns the spans of a task's attempts, by step and number; none for a task
	// that does not exist.
	Spans(ctx context.Context, id task.ID) ([]AttemptSpans, error)
}
