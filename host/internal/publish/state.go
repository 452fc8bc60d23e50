package publish

import (
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// Limits of what an event says of a task's other steps.
const (
	maxStateSteps = 128 // told of one by one
	// maxStateScan is how many steps a task may have for its failing steps to tell how the
	// task stands: looking at all of them costs, and many may fail. When the task fails it
	// is told in any case.
	maxStateScan  = 4096
	maxDependents = 128 // named when an attempt starts
)

// failedState is how the task stands when one of its steps has failed for good; nil when
// the task is too large.
func (p *Task) failedState() *event.WorkflowState {
	if len(p.task.Steps) > maxStateScan {
		return nil
	}
	return p.workflowState()
}

// workflowState is how the task stands: every step, or of a task of more than maxStateSteps
// those that somebody will ask for.
func (p *Task) workflowState() *event.WorkflowState {
	v := &stateView{steps: p.task.Steps, template: p.template, blocked: make([]known, len(p.task.Steps))}
	out := &event.WorkflowState{Counts: event.Totals{}, Steps: []event.StepState{}}
	all := len(v.steps) <= maxStateSteps
	for i := range v.steps {
		s := &v.steps[i]
		out.Counts[string(s.Status)]++
		blocked := v.isBlocked(task.Ordinal(i))
		told := all || blocked || s.Status == task.StepError || s.Status == task.StepInProgress
		if !told || len(out.Steps) == maxStateSteps {
			out.Omitted++
			continue
		}
		state := event.StepState{Name: string(s.Name), Status: string(s.Status), Attempts: s.Attempts, Blocked: blocked}
		if s.Failure != nil {
			state.ErrorCode = s.Failure.Code
		}
		out.Steps = append(out.Steps, state)
	}
	return out
}

// known is what is known of a step while others are looked at.
type known uint8

const (
	unknown known = iota
	no
	yes
)

// stateView finds out which steps cannot run any more.
type stateView struct {
	steps    []task.Step
	template *template.Template
	blocked  []known
}

// isBlocked reports whether a step waits for one that will not let it run: which failed, was
// cancelled, or is blocked itself.
func (v *stateView) isBlocked(o task.Ordinal) bool {
	if v.blocked[o] == unknown {
		v.blocked[o] = no
		if v.steps[o].Status == task.StepPending && v.neverMet(&v.template.Steps[o]) {
			v.blocked[o] = yes
		}
	}
	return v.blocked[o] == yes
}

func (v *stateView) neverMet(spec *template.Step) bool {
	dead := 0
	for _, dep := range spec.DependsOn {
		if s := v.steps[dep].Status; s == task.StepError || s == task.StepCancelled || v.isBlocked(dep) {
			dead++
		}
	}
	if spec.Join == template.JoinAny {
		return dead > 0 && dead == len(spec.DependsOn)
	}
	return dead > 0
}
