package cli

import (
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
)

// traceID returns the id of a task's trace.
func traceID(v *task.View) string { return trace.Of(string(v.ID), v.Traceparent).Trace.String() }
