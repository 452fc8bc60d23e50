package supervisor

import (
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// Traces is who knows which traces are recorded, and takes spans. Its methods are called
// from the supervisor's goroutines and must not block.
type Traces interface {
	// Sampled reports whether the trace of a task is recorded.
	Sampled(t trace.Task) bool
	// AttemptSpans takes spans of an attempt, whose trace is recorded or not, as its
	// instance sent them: an OTLP ExportTraceServiceRequest, encoded, which nobody has
	// looked at. They come before the attempt's result.
	AttemptSpans(id task.AttemptID, instance string, sampled bool, otlp []byte)
}

// place says where an attempt stands in its trace, and reports whether that is recorded.
// It is on the path of every attempt.
func (in *instance) place(w *pluginv1.Attempt, a *task.Assignment) (sampled bool) {
	t := trace.Of(w.GetTaskId(), a.Traceparent)
	t.Sampled = in.opts.Traces != nil && in.opts.Traces.Sampled(t)
	w.Traceparent = t.Traceparent(t.StepSpan(w.GetStep(), a.Round))
	return t.Sampled
}

// spans hands over spans of an attempt.
func (in *instance) spans(h *held, s *pluginv1.Spans) {
	if in.opts.Traces == nil || len(s.GetOtlp()) == 0 {
		return
	}
	in.mu.Lock()
	sampled := h.sampled
	in.mu.Unlock()
	in.opts.Traces.AttemptSpans(h.id, in.id, sampled, s.GetOtlp())
}
