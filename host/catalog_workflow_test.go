package host_test

import (
	"encoding/json"
	"fmt"

	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// checkWorkflow checks the workflow events of a task, which no transition table has:
// each end stands between its two finalization events, a failure has its no_viable_steps
// before them, none of these is anywhere else, and every attempt is of a step that was
// discovered once.
func checkWorkflow(events []hosttest.Event) error {
	ready := make(map[task.StepName]bool)
	at := func(i int) string {
		if i < 0 || i >= len(events) {
			return ""
		}
		return events[i].Type
	}
	const started, completed = event.NameWorkflowTaskFinalizationStarted, event.NameWorkflowTaskFinalizationCompleted
	ends := func(i int) bool {
		return at(i) == event.NameTaskCompleted || at(i) == event.NameTaskFailed || at(i) == event.NameTaskCancelled
	}
	for i, e := range events {
		fits := true
		switch e.Type {
		case started:
			fits = ends(i + 1)
		case completed:
			fits = ends(i - 1)
		case event.NameTaskCompleted, event.NameTaskCancelled:
			fits = at(i-1) == started && at(i+1) == completed && at(i-2) != event.NameWorkflowNoViableSteps
		case event.NameTaskFailed:
			fits = at(i-2) == event.NameWorkflowNoViableSteps && at(i-1) == started && at(i+1) == completed
		case event.NameWorkflowNoViableSteps:
			fits = at(i+2) == event.NameTaskFailed
		default:
			if err := discovered(e, ready); err != nil {
				return err
			}
		}
		if !fits {
			return fmt.Errorf("event %s %s stands in the wrong place", e.ID, e)
		}
	}
	return nil
}

// discovered follows which steps are ready. Who resumes a task discovers its ready steps
// anew.
func discovered(e hosttest.Event, ready map[task.StepName]bool) error {
	switch e.Type {
	case event.NameTaskResumed:
		clear(ready)
	case event.NameStepStarted:
		if !ready[e.Step] {
			return fmt.Errorf("%s started without having been discovered", e.Step)
		}
		delete(ready, e.Step)
	case event.NameWorkflowViableStepsDiscovered:
		var found event.WorkflowViableStepsDiscovered
		if err := json.Unmarshal(e.Payload, &found); err != nil {
			return fmt.Errorf("event %s: %w", e.ID, err)
		}
		for _, name := range found.StepNames {
			if ready[task.StepName(name)] {
				return fmt.Errorf("%s was discovered twice", name)
			}
			ready[task.StepName(name)] = true
		}
	}
	return nil
}
