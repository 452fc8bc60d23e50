package host

import (
	"fmt"

	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
)

// setTrace puts a task into the trace of who asks for it. It returns what is to be said of a
// trace context that is not valid: it is dropped, because no trace is worth a task.
func setTrace(spec *task.Spec, r task.Request) (warnings []string) {
	if r.Traceparent == "" {
		return nil
	}
	if _, _, _, ok := trace.Parse(r.Traceparent); !ok {
		return []string{fmt.Sprintf(
			"traceparent %.100q is dropped: want 00-<32 hex digits>-<16 hex digits>-<2 hex digits>, in lower case", r.Traceparent)}
	}
	spec.Traceparent = r.Traceparent
	if !validState(r.Tracestate) {
		return []string{fmt.Sprintf("tracestate is dropped: want at most %d printable ASCII characters", task.MaxTracestate)}
	}
	spec.Tracestate = r.Tracestate
	return nil
}

// validState reports whether a trace state can be handed on: what its members mean is its
// makers' business.
func validState(s string) bool {
	if len(s) > task.MaxTracestate {
		return false
	}
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
