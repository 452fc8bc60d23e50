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
	if err := d.notStopping("paused"); err != nil {
		return err
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
	if err := d.notStopping("resumed"); err != nil {
		return err
	}
	if err := d.transition(task.TaskResume); err != nil {
		return err
	}
	d.publish.TaskResumed(in.Op)
	for _, o := range d.agg.ClaimableSteps(d.now) {
		if s := &d.agg.Task.Steps[o]; !s.ReadyAt.Equal(d.now) {
			s.ReadyAt = d.now
			d.changed = append(d.changed, o)
		}
		d.becameReady(o)
	}
	return nil
}

// notStopping refuses what makes no sense for a task that is winding down.
func (d *Decision) notStopping(verb string) error {
	t := d.agg.Task
	if t.Stop == nil || t.Status.Terminal() {
		return nil
	}
	return fmt.Errorf("task %s is winding down (%s) and cannot be %s: %w", t.ID, t.Stop.Kind, verb, task.ErrTransition)
}

// Retry runs a failed step again, or every failed step of a failed task when Op.Step
// is empty. It zeroes the step's failures and losses (rule R1).
type Retry struct{ Op task.Operation }

func (in Retry) apply(d *Decision) error {
	if in.Op.Step != "" {
		s, err := d.operable(in.Op.Step, "retried")
		if err != nil {
			return err
		}
		if err := d.retryStep(s, in.Op); err != nil {
			return err
		}
		return d.reopen()
	}
	steps, names := d.retryable()
	if err := d.transition(task.TaskRetry); err != nil {
		return err
	}
	d.reopened()
	d.publish.TaskRetryRequested(in.Op, names)
	for _, s := range steps {
		if err := d.retryStep(s, in.Op); err != nil {
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
	if err := d.notStopping(verb); err != nil {
		return nil, err
	}
	return &t.Steps[o], nil
}

// retryStep makes a step pending again, as if it had not been started yet but for the
// number of its attempts, its settings and its last failure.
func (d *Decision) retryStep(s *task.Step, op task.Operation) error {
	previous := s.Status
	row := task.StepRetry
	if previous == task.StepWaiting {
		row = task.StepRetryParked
	}
	if err := d.step(s, row); err != nil {
		return err
	}
	s.Failures, s.Losses, s.Note = 0, 0, ""
	s.StartedAt, s.ReadyAt = time.Time{}, d.now
	if row == task.StepRetry {
		s.Round++
	}
	d.publish.StepRetryRequested(s, op, previous)
	if row == task.StepRetryParked {
		d.publish.StepResumed(s)
	}
	if d.agg.unmet[s.Ordinal] == 0 {
		d.unblocked = append(d.unblocked, s.Ordinal)
	}
	return nil
}

// reopen makes a failed task run again because one of its steps will.
func (d *Decision) reopen() error {
	if d.agg.Task.Status != task.Error {
		return nil
	}
	if err := d.transition(task.TaskReopen); err != nil {
		return err
	}
	d.reopened()
	return nil
}

// reopened forgets why the task had ended.
func (d *Decision) reopened() {
	t := d.agg.Task
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
	if err := d.step(s, task.StepResolve); err != nil {
		return err
	}
	d.publish.StepResolvedManually(s, in.Op, previous)
	return d.reopen()
}

func (d *Decision) resolution(op task.Operation) *task.Resolution {
	return &task.Resolution{By: op.By, Reason: op.Reason, At: d.now}
}
