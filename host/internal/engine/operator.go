package engine

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/tasker-engine/tasker/host/task"
)

// Cancel stops a task for good (rule S8). Cancelling a task that is being cancelled
// changes nothing.
type Cancel struct{ Op task.Operation }

func (in Cancel) apply(d *Decision) error {
	t := d.agg.Task
	if t.Stop != nil && t.Stop.Kind == task.StopCancel {
		return nil
	}
	if err := d.transition(task.TaskRequestCancel); err != nil {
		return err
	}
	d.publish.TaskCancelRequested(in.Op)
	d.stop(task.Stop{Kind: task.StopCancel, At: d.now, By: in.Op.By, Reason: in.Op.Reason})
	return nil
}

// Pause holds a task: running attempts end, nothing new is claimed.
type Pause struct{ Op task.Operation }

func (in Pause) apply(d *Decision) error {
	if d.agg.Task.Stop != nil {
		return d.stopping("paused")
	}
	if err := d.transition(task.TaskPause); err != nil {
		return err
	}
	d.publish.TaskPaused(in.Op)
	return nil
}

// Resume lets a paused task go on.
type Resume struct{ Op task.Operation }

func (in Resume) apply(d *Decision) error {
	if err := d.transition(task.TaskResume); err != nil {
		return err
	}
	d.publish.TaskResumed(in.Op)
	for _, o := range d.agg.ClaimableSteps(d.now) {
		d.becameReady(o)
	}
	return nil
}

func (d *Decision) stopping(verb string) error {
	return fmt.Errorf("task %s is winding down (%s) and cannot be %s: %w",
		d.agg.Task.ID, d.agg.Task.Stop.Kind, verb, task.ErrTransition)
}

// Retry runs a failed step again, or every failed step of a failed task when Op.Step
// is empty. It zeroes the step's failures and losses (rule R1).
type Retry struct{ Op task.Operation }

func (in Retry) apply(d *Decision) error {
	t := d.agg.Task
	if in.Op.Step != "" {
		s, err := d.operable(in.Op.Step, "retried")
		if err != nil {
			return err
		}
		return d.retryStep(s, in.Op, true)
	}
	steps, names := d.retryable()
	if err := d.transition(task.TaskRetry); err != nil {
		return err
	}
	d.reopened(t)
	d.publish.TaskRetryRequested(in.Op, names)
	for _, s := range steps {
		if err := d.retryStep(s, in.Op, false); err != nil {
			return err
		}
	}
	return nil
}

// retryable returns the steps that a retry of the whole task runs again.
func (d *Decision) retryable() (steps []*task.Step, names []task.StepName) {
	for i := range d.agg.Task.Steps {
		s := &d.agg.Task.Steps[i]
		if s.Status == task.StepError || s.Status == task.StepCancelled {
			steps, names = append(steps, s), append(names, s.Name)
		}
	}
	return steps, names
}

// operable returns a step that an operator may retry or resolve now.
func (d *Decision) operable(name task.StepName, verb string) (*task.Step, error) {
	t := d.agg.Task
	o, ok := d.agg.Template.StepByName(name)
	if !ok {
		return nil, fmt.Errorf("task %s has no step %q: %w", t.ID, name, task.ErrNotFound)
	}
	if t.Status.Terminal() && t.Status != task.Error {
		return nil, fmt.Errorf("step %s cannot be %s: task %s is %s: %w", name, verb, t.ID, t.Status, task.ErrTransition)
	}
	if !t.Status.Terminal() && t.Stop != nil {
		return nil, d.stopping(verb)
	}
	return &t.Steps[o], nil
}

func (d *Decision) retryStep(s *task.Step, op task.Operation, reopen bool) error {
	previous := s.Status
	row := task.StepRetry
	if previous == task.StepWaiting {
		row = task.StepRetryParked
	}
	if err := d.step(s, row); err != nil {
		return err
	}
	if reopen {
		d.reopen()
	}
	s.Failures, s.Losses, s.Note = 0, 0, ""
	s.ReadyAt = d.now
	d.publish.StepRetryRequested(s, op, previous)
	if row == task.StepRetryParked {
		d.publish.StepResumed(s)
	}
	if d.agg.unmet[s.Ordinal] == 0 {
		d.becameReady(s.Ordinal)
	}
	return nil
}

// reopen makes a failed task run again because one of its steps will.
func (d *Decision) reopen() {
	if t := d.agg.Task; t.Status == task.Error {
		if err := d.transition(task.TaskReopen); err != nil {
			return // unreachable: reopen leaves error
		}
		d.reopened(t)
	}
}

func (d *Decision) reopened(t *task.Task) {
	t.DeadlineSpent = t.DeadlineSpent || (t.Stop != nil && t.Stop.Kind == task.StopDeadline)
	t.Stop, t.Failure = nil, nil
}

// ResolveByHand closes a failed or parked step with Op.Results, or a whole failed
// task when Op.Step is empty.
type ResolveByHand struct{ Op task.Operation }

func (in ResolveByHand) apply(d *Decision) error {
	if in.Op.Step == "" {
		if err := d.transition(task.TaskResolve); err != nil {
			return err
		}
		d.agg.Task.Resolution = d.resolution(in.Op)
		d.publish.TaskResolvedManually(in.Op)
		return nil
	}
	s, err := d.operable(in.Op.Step, "resolved")
	if err != nil {
		return err
	}
	if len(in.Op.Results) > 0 && !json.Valid(in.Op.Results) {
		return fmt.Errorf("results of step %s are no JSON: %w", s.Name, task.ErrInvalid)
	}
	previous := s.Status
	if _, err := task.CheckStep(task.StepResolve, previous); err != nil {
		return fmt.Errorf("step %s: %w", s.Name, err)
	}
	results, err := d.value(in.Op.Results, task.ResultBlob(s.Ordinal))
	if err != nil {
		return fmt.Errorf("results of step %s: %w", s.Name, err)
	}
	s.Results, s.Note, s.Resolution = results, "", d.resolution(in.Op)
	s.RetryAt, s.HoldUntil = time.Time{}, time.Time{}
	if err := d.step(s, task.StepResolve); err != nil {
		return err
	}
	d.reopen()
	d.publish.StepResolvedManually(s, in.Op, previous)
	return nil
}

func (d *Decision) resolution(op task.Operation) *task.Resolution {
	return &task.Resolution{By: op.By, Reason: op.Reason, At: d.now}
}
