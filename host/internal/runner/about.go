package runner

import (
	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/task"
)

// about returns what log lines say of a task.
func about(e *entry) logkeys.About {
	t := e.agg.Task
	return logkeys.AboutTask(string(t.ID), t.CorrelationID, t.Traceparent)
}

// aboutAttempt returns what log lines say of an attempt. e is nil when its task is not
// there.
func aboutAttempt(e *entry, id task.AttemptID) logkeys.About {
	a := logkeys.About{Task: string(id.Task)}
	if e != nil {
		a = about(e)
		if s := e.agg.Step(id.Ordinal); s != nil {
			a.Step = string(s.Name)
		}
	}
	a.Attempt = id.String()
	return a
}
