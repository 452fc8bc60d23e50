package hosttest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

// errEnough ends a watch that has seen what it waited for.
var errEnough = errors.New("enough")

// RequestOption changes the request of a task.
type RequestOption func(*task.Request)

// Input sets the input of a task, JSON.
func Input(doc string) RequestOption {
	return func(r *task.Request) { r.Input = json.RawMessage(doc) }
}

// Create creates a task of a template given as YAML.
func (h *Host) Create(yaml string, options ...RequestOption) task.ID {
	h.t.Helper()
	created, err := h.TryCreate(yaml, options...)
	if err != nil {
		h.t.Fatalf("create task: %v", err)
	}
	return created.ID
}

// TryCreate is [Host.Create] for tasks that may be refused.
func (h *Host) TryCreate(yaml string, options ...RequestOption) (task.Created, error) {
	r := task.Request{Source: []byte(yaml), SourceName: "test.yaml"}
	for _, o := range options {
		o(&r)
	}
	ctx, cancel := h.context()
	defer cancel()
	return h.CreateTask(ctx, r)
}

// View returns a task as it is now.
func (h *Host) View(id task.ID) *task.View {
	h.t.Helper()
	ctx, cancel := h.context()
	defer cancel()
	v, err := h.Task(ctx, string(id))
	if err != nil {
		h.t.Fatalf("task %s: %v", id, err)
	}
	return v
}

// Await waits until a task is as wanted; it is woken by the task's changes. A task that
// ends otherwise fails the test.
func (h *Host) Await(id task.ID, wanted func(*task.View) bool) *task.View {
	h.t.Helper()
	ctx, cancel := h.context()
	defer cancel()
	var last *task.View
	err := h.WatchTask(ctx, string(id), func(v *task.View) error {
		last = v
		if wanted(v) {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		h.t.Fatalf("task %s did not become as wanted: %v (%v)\n%s", id, err, context.Cause(ctx), Describe(last))
	}
	return last
}

// AwaitStep waits until a step has a status.
func (h *Host) AwaitStep(id task.ID, name task.StepName, status task.StepStatus) *task.View {
	h.t.Helper()
	return h.Await(id, func(v *task.View) bool { return Step(v, name).Status == status })
}

// End waits until a task has ended and returns it with its results.
func (h *Host) End(id task.ID) *task.View {
	h.t.Helper()
	h.Await(id, func(v *task.View) bool { return v.Status.Terminal() })
	return h.View(id)
}

// Cancel cancels a task.
func (h *Host) Cancel(id task.ID) { h.operate(h.CancelTask, id, task.Operation{}) }

// Pause pauses a task.
func (h *Host) Pause(id task.ID) { h.operate(h.PauseTask, id, task.Operation{}) }

// Resume resumes a task.
func (h *Host) Resume(id task.ID) { h.operate(h.ResumeTask, id, task.Operation{}) }

// Retry retries a step, or a whole task when the step is "".
func (h *Host) Retry(id task.ID, step task.StepName) {
	h.operate(h.RetryTask, id, task.Operation{Step: step})
}

// Resolve resolves a step by hand with results in JSON, or a whole task when the step
// is "".
func (h *Host) Resolve(id task.ID, step task.StepName, results string) {
	h.operate(h.ResolveTask, id, task.Operation{Step: step, Results: json.RawMessage(results)})
}

func (h *Host) operate(f func(context.Context, string, task.Operation) error, id task.ID, op task.Operation) {
	h.t.Helper()
	op.By = "hosttest"
	ctx, cancel := h.context()
	defer cancel()
	if err := f(ctx, string(id), op); err != nil {
		h.t.Fatalf("operate on task %s: %v", id, err)
	}
}

// Step returns a step of a view by name; a step that is not there is the zero value.
func Step(v *task.View, name task.StepName) task.StepView {
	for i := range v.Steps {
		if v.Steps[i].Name == name {
			return v.Steps[i]
		}
	}
	return task.StepView{}
}

// WantTask fails the test unless the task has the status.
func (h *Host) WantTask(v *task.View, want task.Status) {
	h.t.Helper()
	if v.Status != want {
		h.t.Errorf("task is %s, want %s\n%s", v.Status, want, Describe(v))
	}
}

// WantSteps fails the test unless the steps are as wanted: "name=status/attempts" for
// each, in the order of the template, separated by blanks.
func (h *Host) WantSteps(v *task.View, want string) {
	h.t.Helper()
	wantSteps(h.t, v, want)
}

// WantEvents fails the test unless the task has these events in this order; others may lie between: see
// [Simulated.WantEvents].
func (h *Host) WantEvents(id task.ID, want string) {
	h.t.Helper()
	if diff := missingEvents(h.History(id), strings.Fields(want)); diff != "" {
		h.t.Errorf("events of task %s:\n%s", id, diff)
	}
}

// Describe renders a task for the message of a failed test.
func Describe(v *task.View) string {
	if v == nil {
		return "no task"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "task %s is %s (%s, %s)", v.ID, v.Status, v.Derived, v.Health)
	if v.Failure != nil {
		fmt.Fprintf(&b, ": %s", v.Failure)
	}
	for i := range v.Steps {
		s := &v.Steps[i]
		fmt.Fprintf(&b, "\n  %-20s %-18s %d attempts", s.Name, s.Status, s.Attempts)
		if s.Failure != nil {
			fmt.Fprintf(&b, ", %s", s.Failure)
		}
		if s.Reason != nil {
			fmt.Fprintf(&b, " [%s: %s]", s.Reason.Code, s.Reason.Text)
		}
	}
	return b.String() + "\n"
}

// Tasks returns how many tasks the host keeps.
func (h *Host) Tasks() int {
	h.t.Helper()
	ctx, cancel := h.context()
	defer cancel()
	page, next, err := h.ListTasks(ctx, host.Filter{}, host.Page{Limit: host.MaxPage})
	if err != nil || next != "" {
		h.t.Fatalf("list tasks: %v, more after: %s", err, next)
	}
	return len(page)
}
