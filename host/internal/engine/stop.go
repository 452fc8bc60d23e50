package engine

import (
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// stop lets the task wind down: what runs is asked to stop, what could run is
// cancelled. Blocked steps are cancelled only with a cancel (rule S8); otherwise they
// stay pending, so that an operator's retry can bring them back (rule S4).
func (d *Decision) stop(s task.Stop) {
	t := d.agg.Task
	t.Stop = &s
	d.taskMoved()
	for i := range t.Steps {
		s := &t.Steps[i]
		switch s.Status {
		case task.StepInProgress:
			d.askToStop(s, stopCode(t.Stop.Kind))
			d.woken = append(d.woken, s.Ordinal)
		case task.StepPending:
			if d.agg.unmet[i] == 0 || t.Stop.Kind == task.StopCancel {
				d.cancelStep(s)
			}
		case task.StepWaitingForRetry, task.StepWaiting:
			d.cancelStep(s)
		default: // terminal
		}
	}
}

func (d *Decision) askToStop(s *task.Step, reason string) {
	d.cancel = append(d.cancel, CancelAttempt{
		ID:       task.AttemptID{Task: d.agg.Task.ID, Ordinal: s.Ordinal, Number: s.Attempt.Number},
		Instance: s.Attempt.Instance, Reason: reason,
	})
}

func stopCode(k task.StopKind) string {
	switch k {
	case task.StopFailFast:
		return task.CodeFailFast
	case task.StopDeadline:
		return task.CodeDeadline
	default:
		return task.CodeCancelRequested
	}
}

// cancelStep cancels a step of a task that is winding down. A running attempt must
// have been closed or given up before.
func (d *Decision) cancelStep(s *task.Step) {
	s.Note = stopCode(d.agg.Task.Stop.Kind)
	if err := d.step(s, task.StepCancel); err != nil {
		d.fault = err
		return
	}
	d.publish.StepCancelled(s)
}

// failFast winds the task down after a step failed for good, if its template says so. It
// does not wind down already, or the step would have been cancelled.
func (d *Decision) failFast() error {
	if d.agg.Template.OnFailure == template.OnFailureFailFast {
		d.stop(task.Stop{Kind: task.StopFailFast, At: d.now})
	}
	return nil
}
