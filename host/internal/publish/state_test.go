package publish

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// chain is a task of n steps, each after the one before, the first of which failed.
func chain(n int) (*task.Task, *template.Template) {
	t, tmpl := &task.Task{}, &template.Template{Steps: make([]template.Step, n)}
	for i := range n {
		name := task.StepName(fmt.Sprintf("s%d", i))
		t.Steps = append(t.Steps, task.Step{Ordinal: task.Ordinal(i), Name: name, Status: task.StepPending})
		tmpl.Steps[i].Name = name
		if i > 0 {
			tmpl.Steps[i].DependsOn = []task.Ordinal{task.Ordinal(i - 1)}
		}
	}
	t.Steps[0].Status, t.Steps[0].Attempts, t.Steps[0].Failure = task.StepError, 2, &task.Failure{Code: "boom"}
	return t, tmpl
}

func TestWorkflowState(t *testing.T) {
	few, fewSpecs := chain(4)
	few.Steps[3].Status = task.StepComplete
	few.Steps[2].Status = task.StepInProgress
	joined, joinedSpecs := chain(3)
	joinedSpecs.Steps[2].DependsOn, joinedSpecs.Steps[2].Join = []task.Ordinal{0, 1}, template.JoinAny
	joined.Steps[1].Status = task.StepInProgress
	for _, tt := range []struct {
		name  string
		task  *task.Task
		specs *template.Template
		want  event.WorkflowState
	}{
		{"few", few, fewSpecs, event.WorkflowState{
			Counts: event.Totals{"error": 1, "pending": 1, "in_progress": 1, "complete": 1},
			Steps: []event.StepState{
				{Name: "s0", Status: "error", Attempts: 2, ErrorCode: "boom"},
				{Name: "s1", Status: "pending", Blocked: true},
				{Name: "s2", Status: "in_progress"},
				{Name: "s3", Status: "complete"},
			},
		}},
		{"one of two is enough", joined, joinedSpecs, event.WorkflowState{
			Counts: event.Totals{"error": 1, "pending": 1, "in_progress": 1},
			Steps: []event.StepState{
				{Name: "s0", Status: "error", Attempts: 2, ErrorCode: "boom"}, {Name: "s1", Status: "in_progress"}, {Name: "s2", Status: "pending"},
			},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(*forTask(tt.task, tt.specs, time.Now()).workflowState(), tt.want); diff != "" {
				t.Errorf("workflowState() (-got +want):\n%s", diff)
			}
		})
	}
}

// TestWorkflowStateIsBounded: of a large task those steps are told of that somebody asks for,
// and a task of very many tells how it stands when it fails alone.
func TestWorkflowStateIsBounded(t *testing.T) {
	many, specs := chain(1000)
	for i := range many.Steps[100:] {
		many.Steps[100+i].Status = task.StepComplete
	}
	got := forTask(many, specs, time.Now()).workflowState()
	if len(got.Steps) != 100 || got.Omitted != 900 || got.Counts["complete"] != 900 || !got.Steps[99].Blocked {
		t.Errorf("%d steps, %d omitted, counts %v", len(got.Steps), got.Omitted, got.Counts)
	}
	many, specs = chain(maxStateScan + 1) // all are blocked, the last by a long chain
	p := forTask(many, specs, time.Now())
	if got := p.workflowState(); len(got.Steps) != maxStateSteps || got.Omitted != maxStateScan+1-maxStateSteps {
		t.Errorf("%d steps, %d omitted", len(got.Steps), got.Omitted)
	}
	if got := p.failedState(); got != nil {
		t.Errorf("a failed step of a task of %d steps tells of %d", len(many.Steps), len(got.Steps))
	}
}

// TestDependents: what an attempt's start says of the steps that wait for it is bounded.
func TestDependents(t *testing.T) {
	const n = maxDependents + 10
	tk, tmpl := chain(n)
	for i := 1; i < n; i++ {
		tmpl.Steps[0].Dependents = append(tmpl.Steps[0].Dependents, task.Ordinal(i))
	}
	tmpl.Steps[0].Level = 3
	tk.Steps[0].Attempt = &task.Attempt{Number: 1}
	var e event.StepStarted
	p := forTask(tk, tmpl, time.Now())
	p.StepStarted(&tk.Steps[0])
	if err := json.Unmarshal(p.payload, &e); err != nil {
		t.Fatal(err)
	}
	if len(e.Dependents) != maxDependents || e.Dependents[0] != "s1" || e.Level != 3 {
		t.Errorf("%d dependents from %q on, level %d", len(e.Dependents), e.Dependents[0], e.Level)
	}
}

func forTask(t *task.Task, tmpl *template.Template, now time.Time) *Task {
	p := &Task{}
	p.Begin(t, tmpl, now)
	return p
}
