package main

import (
	"slices"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// change is what an event changes about what is in flight. It is one line of the journal.
type change struct {
	Seq       uint64    `json:"seq"`
	At        time.Time `json:"at"`
	Kind      kind      `json:"kind,omitempty"`
	Task      string    `json:"task,omitempty"`
	Namespace string    `json:"namespace,omitempty"`
	Template  string    `json:"template,omitempty"`
	Step      string    `json:"step,omitempty"`
	Host      string    `json:"host,omitempty"` // the home that the log belongs to
}

// kind is the kind of a change.
type kind string

// The kinds of changes.
const (
	nothing     kind = ""
	taskOpen    kind = "task_open"    // the task goes on: it is new, or was taken up again
	taskCreated kind = "task_created" // the same, and At is when it was created
	taskDone    kind = "task_done"
	stepBegins  kind = "step_begins"
	stepEnds    kind = "step_ends"
	forget      kind = "forget" // all that is known may be wrong
)

// kindOf returns what an event of a type changes. Several types tell of a task that goes on: so a task becomes known
// even when its creation was never seen.
func kindOf(eventType string) kind {
	switch eventType {
	case event.NameTaskInitialized:
		return taskCreated
	case event.NameTaskStarted, event.NameTaskResumed, event.NameTaskRetryRequested, event.NameStepRetryScheduled,
		event.NameStepRetryRequested, event.NameStepResumed, event.NameStepResolvedManually:
		return taskOpen
	case event.NameTaskCompleted, event.NameTaskFailed, event.NameTaskCancelled, event.NameTaskResolvedManually:
		return taskDone
	case event.NameStepStarted:
		return stepBegins
	case event.NameStepCompleted, event.NameStepFailed, event.NameStepCancelled, event.NameStepSkipped,
		event.NameStepWaiting, event.NameStepAttemptLost:
		return stepEnds
	default:
		return nothing
	}
}

// changeOf returns what an event changes.
func changeOf[P any](e sdk.Event[P]) change {
	c := change{Seq: e.Seq, At: e.At, Kind: kindOf(e.Type)}
	if c.Kind != nothing {
		c.Task, c.Namespace, c.Template, c.Step = e.Task, e.Namespace, e.Template, e.Step
	}
	return c
}

// flight is a task that has not ended.
type flight struct {
	namespace, template string
	created             time.Time // zero: not seen
	steps               []string  // of which an attempt is being made
}

// inFlight knows the tasks that have not ended. Each change sets and none adds up, so that what was missed once heals
// with the next event of the task.
type inFlight struct {
	tasks  map[string]*flight
	onTask func(namespace, template string, by float64)
	onStep func(namespace, template, step string, by float64)
}

// apply makes a change and tells of what it led to.
func (f *inFlight) apply(c change) {
	t := f.tasks[c.Task]
	switch c.Kind {
	case nothing:
	case forget:
		for id := range f.tasks {
			f.end(id)
		}
	case taskDone:
		f.end(c.Task)
	case stepEnds:
		if t == nil {
			return
		}
		if i := slices.Index(t.steps, c.Step); i >= 0 {
			t.steps = slices.Delete(t.steps, i, i+1)
			f.onStep(t.namespace, t.template, c.Step, -1)
		}
	case taskOpen, taskCreated, stepBegins:
		if t == nil {
			t = &flight{namespace: c.Namespace, template: c.Template}
			f.tasks[c.Task] = t
			f.onTask(t.namespace, t.template, 1)
		}
		if c.Kind == taskCreated {
			t.created = c.At
		}
		if c.Kind == stepBegins && !slices.Contains(t.steps, c.Step) {
			t.steps = append(t.steps, c.Step)
			f.onStep(t.namespace, t.template, c.Step, 1)
		}
	}
}

// end takes a task out, with the attempts that have not been seen to end.
func (f *inFlight) end(task string) {
	t := f.tasks[task]
	if t == nil {
		return
	}
	delete(f.tasks, task)
	f.onTask(t.namespace, t.template, -1)
	for _, step := range t.steps {
		f.onStep(t.namespace, t.template, step, -1)
	}
}

// running reports whether an attempt at a step is being made. Of a task that is not known it is taken for granted:
// what is seen of it ends something.
func (f *inFlight) running(task, step string) bool {
	t := f.tasks[task]
	return t == nil || slices.Contains(t.steps, step)
}

// created returns when a task was created. Zero = that was not seen.
func (f *inFlight) created(task string) time.Time {
	if t := f.tasks[task]; t != nil {
		return t.created
	}
	return time.Time{}
}

// changes returns changes that lead from nothing to what is in flight.
func (f *inFlight) changes() []change {
	var all []change
	for id, t := range f.tasks {
		c := change{Kind: taskOpen, Task: id, Namespace: t.namespace, Template: t.template}
		if !t.created.IsZero() {
			c.Kind, c.At = taskCreated, t.created
		}
		all = append(all, c)
		for _, step := range t.steps {
			all = append(all, change{Kind: stepBegins, Task: id, Namespace: t.namespace, Template: t.template, Step: step})
		}
	}
	return all
}
