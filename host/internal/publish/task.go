package publish

import (
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// maxFailedSteps bounds the list of failed steps in an event.
const maxFailedSteps = 128

// TaskInitialized publishes [event.TaskInitialized].
func (p *Task) TaskInitialized() {
	e := event.TaskInitialized{
		Task: p.base, Steps: len(p.task.Steps), Initiator: p.task.Initiator, SourceSystem: p.task.SourceSystem,
		Reason: p.task.Reason, Tags: p.task.Tags, Priority: p.task.Priority, Deadline: p.task.Deadline.UTC(),
	}
	e.Input, e.InputRef = data(p.task.Input, InputRef)
	body, err := appendTaskInitialized(p.payload[:0], &e)
	p.recorded(event.NameTaskInitialized, "", body, err)
}

// TaskStarted publishes [event.TaskStarted].
func (p *Task) TaskStarted() {
	e := event.TaskStarted{Task: p.base, StartedAt: p.task.StartedAt}
	p.recorded(event.NameTaskStarted, "", appendTaskStarted(p.payload[:0], &e), nil)
}

// TaskCompleted publishes [event.TaskCompleted].
func (p *Task) TaskCompleted() {
	e := event.TaskCompleted{TaskEnded: p.ended()}
	p.recorded(event.NameTaskCompleted, "", appendTaskCompleted(p.payload[:0], &e), nil)
}

// TaskFailed publishes [event.TaskFailed] with the errors of the failed steps.
func (p *Task) TaskFailed() {
	e := event.TaskFailed{TaskEnded: p.ended(), FailedSteps: []event.FailedStep{}}
	if p.task.Stop != nil {
		e.Reason = string(p.task.Stop.Kind)
	}
	for i := range p.task.Steps {
		s := &p.task.Steps[i]
		if s.Status == task.StepError && s.Failure != nil && len(e.FailedSteps) < maxFailedSteps {
			e.FailedSteps = append(e.FailedSteps, event.FailedStep{
				Error: failure(s.Failure), StepName: string(s.Name), Attempts: s.Attempts,
			})
		}
	}
	e.WorkflowState = p.workflowState()
	p.record(e, "")
}

// TaskCancelRequested publishes [event.TaskCancelRequested].
func (p *Task) TaskCancelRequested(op task.Operation) {
	p.record(event.TaskCancelRequested{Task: p.base, Operator: operator(op)}, "")
}

// TaskCancelled publishes [event.TaskCancelled].
func (p *Task) TaskCancelled() {
	e := event.TaskCancelled{TaskEnded: p.ended()}
	if p.task.Stop != nil {
		e.Operator = event.Operator{By: p.task.Stop.By, Reason: p.task.Stop.Reason}
	}
	p.record(e, "")
}

// TaskPaused publishes [event.TaskPaused].
func (p *Task) TaskPaused(op task.Operation) {
	p.record(event.TaskPaused{Task: p.base, Operator: operator(op), Totals: p.totals()}, "")
}

// TaskResumed publishes [event.TaskResumed].
func (p *Task) TaskResumed(op task.Operation) {
	p.record(event.TaskResumed{Task: p.base, Operator: operator(op)}, "")
}

// TaskRetryRequested publishes [event.TaskRetryRequested] for the steps that will run
// again.
func (p *Task) TaskRetryRequested(op task.Operation, steps []task.StepName) {
	e := event.TaskRetryRequested{Task: p.base, Operator: operator(op), Steps: names(steps)}
	p.record(e, "")
}

// TaskResolvedManually publishes [event.TaskResolvedManually].
func (p *Task) TaskResolvedManually(op task.Operation) {
	p.record(event.TaskResolvedManually{TaskEnded: p.ended(), Operator: operator(op)}, "")
}

// WorkflowViableStepsDiscovered publishes [event.WorkflowViableStepsDiscovered].
func (p *Task) WorkflowViableStepsDiscovered(steps []task.StepName) {
	p.record(event.WorkflowViableStepsDiscovered{Task: p.base, StepNames: names(steps)}, "")
}

// WorkflowNoViableSteps publishes [event.WorkflowNoViableSteps].
func (p *Task) WorkflowNoViableSteps(reason string) {
	p.record(event.WorkflowNoViableSteps{Task: p.base, Reason: reason}, "")
}

// WorkflowTaskFinalizationStarted publishes [event.WorkflowTaskFinalizationStarted].
func (p *Task) WorkflowTaskFinalizationStarted() {
	p.record(event.WorkflowTaskFinalizationStarted{Task: p.base, Totals: p.totals()}, "")
}

// WorkflowTaskFinalizationCompleted publishes [event.WorkflowTaskFinalizationCompleted].
func (p *Task) WorkflowTaskFinalizationCompleted() {
	e := event.WorkflowTaskFinalizationCompleted{Task: p.base, Status: string(p.task.Status), Totals: p.totals()}
	p.record(e, "")
}

func (p *Task) ended() event.TaskEnded {
	return event.TaskEnded{
		Task: p.base, StartedAt: p.task.StartedAt, CompletedAt: p.now,
		TotalDuration: event.SecondsOf(p.now.Sub(p.task.CreatedAt)), Totals: p.totals(),
	}
}

func (p *Task) totals() event.Totals {
	totals := event.Totals{}
	for i := range p.task.Steps {
		totals[string(p.task.Steps[i].Status)]++
	}
	return totals
}

func operator(op task.Operation) event.Operator {
	return event.Operator{By: op.By, Reason: op.Reason}
}

func names(steps []task.StepName) []string {
	out := make([]string, len(steps))
	for i, s := range steps {
		out[i] = string(s)
	}
	return out
}
