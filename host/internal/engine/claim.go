package engine

import (
	"fmt"
	"slices"
	"time"

	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// Claim starts an attempt of a claimable step: a slot of an instance was reserved for
// it (rule S9).
type Claim struct {
	Ordinal  task.Ordinal
	Instance string      // "plugin#n"
	Offer    *task.Offer // what the instance's manifest says about the handler; it never changes
}

func (c Claim) apply(d *Decision) error {
	s := d.agg.Step(c.Ordinal)
	if s == nil || !d.agg.Claimable(c.Ordinal, d.now) || slices.Contains(d.undecided, c.Ordinal) {
		return fmt.Errorf("step %d cannot be claimed now: %w", c.Ordinal, task.ErrTransition)
	}
	input, err := d.input(s)
	if d.fault != nil {
		return d.fault
	}
	d.discoveredSteps() // before the step.started of one of them
	if err != nil {
		d.refuse(s, task.CodeWithFailed, err)
		return fmt.Errorf("step %s: %w: %w", s.Name, ErrUnresolved, err)
	}
	if err := d.step(s, task.StepClaim); err != nil {
		return err
	}
	if s.Settings == nil {
		s.Settings = d.settings.resolve(&d.agg.Template.Steps[c.Ordinal], c.Offer, d.host.CancelGrace)
	}
	s.Attempts++
	s.Attempt = &task.Attempt{
		Number: s.Attempts, Status: task.AttemptRunning, Epoch: d.host.Epoch, Instance: c.Instance, StartedAt: d.now, Input: input,
	}
	s.ReadyAt, s.Note = time.Time{}, ""
	if s.StartedAt.IsZero() {
		s.StartedAt = d.now
	}
	if err := d.startTask(); err != nil {
		return err
	}
	d.publish.StepStarted(s)
	d.dispatch = append(d.dispatch, c.Ordinal)
	return nil
}

// settingsCache keeps what claims resolved: the same step of many tasks has the same
// settings, which never change.
type settingsCache struct {
	known map[settingsKey]*task.Settings
}

type settingsKey struct {
	spec  *template.Step
	offer *task.Offer
	grace time.Duration
}

// maxSettings bounds the cache; beyond it the cache starts anew.
const maxSettings = 4096

func (c *settingsCache) resolve(spec *template.Step, offer *task.Offer, grace time.Duration) *task.Settings {
	key := settingsKey{spec, offer, grace}
	if s, ok := c.known[key]; ok {
		return s
	}
	if c.known == nil || len(c.known) >= maxSettings {
		c.known = make(map[settingsKey]*task.Settings)
	}
	s := Resolve(spec, offer, grace)
	c.known[key] = &s
	return &s
}

// Resolve computes the effective settings of a step: what the template says, then what
// the handler's manifest says, then the host's defaults (rule C2).
func Resolve(spec *template.Step, offer *task.Offer, grace time.Duration) task.Settings {
	out := task.Settings{
		HandlerVersion: offer.Version, PluginVersion: offer.PluginVersion,
		Retryable:        spec.Retryable == nil || *spec.Retryable,
		Timeout:          firstDuration(spec.Timeout, offer.Timeout),
		HeartbeatTimeout: firstDuration(spec.HeartbeatTimeout, offer.HeartbeatTimeout),
		ScheduleToStart:  firstDuration(spec.ScheduleToStart, 0),
		TotalTimeout:     firstDuration(spec.TotalTimeout, 0),
		CancelGrace:      grace, OnCrash: spec.OnCrash,
	}
	if retry := template.MergeRetry(spec.Retry, offer.Retry); retry != nil {
		out.Retry = *retry
	}
	out.Retry = out.Retry.WithDefaults()
	if out.OnCrash == "" {
		out.OnCrash = task.OnCrashRetry
		if offer.Idempotent == task.IdempotentNo {
			out.OnCrash = task.OnCrashPark
		}
	}
	return out
}

func firstDuration(set *time.Duration, otherwise time.Duration) time.Duration {
	if set != nil {
		return *set
	}
	return otherwise
}

// startTask records the first claim of a task.
func (d *Decision) startTask() error {
	t := d.agg.Task
	if !t.StartedAt.IsZero() {
		return nil
	}
	if err := d.transition(task.TaskStart); err != nil {
		return err
	}
	t.StartedAt = d.now
	d.publish.TaskStarted()
	return nil
}
