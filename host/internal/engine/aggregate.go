package engine

import (
	"slices"
	"time"

	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// Aggregate is one task with everything that a decision about it needs. It belongs to
// one goroutine.
type Aggregate struct {
	Task     *task.Task
	Template *template.Template

	// unmet counts, per step, the dependencies that do not let it run yet; with `join: any`
	// it is 0 as soon as one has succeeded.
	unmet []uint32
	// byStatus counts steps by status; ready counts the pending ones without unmet
	// dependencies.
	byStatus [9]int
	ready    int

	large     map[uint32]any            // decoded blobs that expressions read, by number
	readersOf map[uint32][]task.Ordinal // who reads a blob; nil = not asked for yet
}

// Restore makes an aggregate from a stored task and the template of its snapshot, which
// has as many steps. It fills in the names of the steps, and the time of the last
// transition, which the store keeps with whatever record that transition changed.
func Restore(t *task.Task, tmpl *template.Template) *Aggregate {
	a := &Aggregate{Task: t, Template: tmpl, unmet: make([]uint32, len(tmpl.Steps))}
	for i := range tmpl.Steps {
		t.Steps[i].Name = tmpl.Steps[i].Name
		for _, dep := range tmpl.Steps[i].DependsOn {
			if !t.Steps[dep].Status.Satisfies() {
				a.unmet[i]++
			}
		}
		if tmpl.Steps[i].Join == template.JoinAny && slices.ContainsFunc(tmpl.Steps[i].DependsOn, a.succeeded) {
			a.unmet[i] = 0
		}
	}
	for i := range t.Steps {
		s := &t.Steps[i]
		a.count(s, 1)
		t.UpdatedAt = latest(t.UpdatedAt, latest(s.CompletedAt, s.ReadyAt))
		if s.Attempt != nil {
			t.UpdatedAt = latest(t.UpdatedAt, latest(s.Attempt.StartedAt, s.Attempt.EndedAt))
		}
	}
	return a
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// count adds n to the counts that a step is in.
func (a *Aggregate) count(s *task.Step, n int) {
	a.byStatus[statusIndex(s.Status)] += n
	if s.Status == task.StepPending && a.unmet[s.Ordinal] == 0 {
		a.ready += n
	}
}

func statusIndex(s task.StepStatus) int {
	switch s {
	case task.StepPending:
		return 0
	case task.StepInProgress:
		return 1
	case task.StepWaitingForRetry:
		return 2
	case task.StepWaiting:
		return 3
	case task.StepComplete:
		return 4
	case task.StepError:
		return 5
	case task.StepCancelled:
		return 6
	case task.StepResolvedManually:
		return 7
	default:
		return 8 // skipped
	}
}

func (a *Aggregate) in(s task.StepStatus) int { return a.byStatus[statusIndex(s)] }

// open counts the steps that run or can still run.
func (a *Aggregate) open() int {
	return a.ready + a.in(task.StepInProgress) + a.in(task.StepWaitingForRetry) + a.in(task.StepWaiting)
}

func (a *Aggregate) allSatisfied() bool {
	done := a.in(task.StepComplete) + a.in(task.StepResolvedManually) + a.in(task.StepSkipped)
	return done == len(a.Task.Steps)
}

// Step returns the step with the ordinal, nil when there is none.
func (a *Aggregate) Step(o task.Ordinal) *task.Step {
	if int(o) >= len(a.Task.Steps) {
		return nil
	}
	return &a.Task.Steps[o]
}

// Claimable reports whether the step could be claimed at the instant now, slots apart.
func (a *Aggregate) Claimable(o task.Ordinal, now time.Time) bool {
	t := a.Task
	if t.Stop != nil || (t.Status != task.Pending && t.Status != task.InProgress) {
		return false
	}
	s := &t.Steps[o]
	return a.idle(s) && !now.Before(notBefore(s))
}

// idle reports whether only time, the task as a whole or a slot keeps the step from
// being claimed.
func (a *Aggregate) idle(s *task.Step) bool {
	return s.Status == task.StepWaitingForRetry || (s.Status == task.StepPending && a.unmet[s.Ordinal] == 0)
}

// ClaimableSteps returns every claimable step in ordinal order: for boot and resume,
// never on a step's path.
func (a *Aggregate) ClaimableSteps(now time.Time) []task.Ordinal { return a.appendClaimable(nil, now) }

func (a *Aggregate) appendClaimable(out []task.Ordinal, now time.Time) []task.Ordinal {
	for i := range a.Task.Steps {
		if o := a.Task.Steps[i].Ordinal; a.Claimable(o, now) {
			out = append(out, o)
		}
	}
	return out
}

// notBefore is when a step may be claimed again: at its retry time, and not while a
// timed-out attempt may still work (rule S8). Zero for a step that never failed.
func notBefore(s *task.Step) time.Time { return latest(s.RetryAt, s.HoldUntil) }

// succeeded reports whether a step has what another one with `join: any` waits for. A
// skipped one has not: a branch that was not taken must not start what comes after another.
func (a *Aggregate) succeeded(o task.Ordinal) bool {
	s := a.Task.Steps[o].Status
	return s == task.StepComplete || s == task.StepResolvedManually
}

// readyAt is since when a step could have been claimed, as far as time limits go.
func (a *Aggregate) readyAt(s *task.Step) time.Time {
	at := latest(notBefore(s), s.ReadyAt)
	if s.Status == task.StepWaitingForRetry {
		return at
	}
	at = latest(at, a.Task.CreatedAt)
	return latest(at, a.joinedAt(&a.Template.Steps[s.Ordinal]))
}

// joinedAt is when the last dependency that a step had to wait for ended.
func (a *Aggregate) joinedAt(spec *template.Step) time.Time {
	var last, first time.Time
	for _, dep := range spec.DependsOn {
		end := a.Task.Steps[dep].CompletedAt
		last = latest(last, end)
		if spec.Join == template.JoinAny && a.succeeded(dep) {
			first = earliest(first, end)
		}
	}
	if !first.IsZero() {
		return first
	}
	return last
}

// Priority returns the priority with which a step is claimed: the task's plus the
// step's own.
func (a *Aggregate) Priority(o task.Ordinal) int32 {
	return a.Task.Priority + a.Template.Steps[o].Priority
}

// Assignment returns what the instance needs to execute the step's current attempt.
// The results of the dependencies are included if the handler wants them.
func (a *Aggregate) Assignment(o task.Ordinal, results bool) *task.Assignment {
	t, s, spec := a.Task, &a.Task.Steps[o], &a.Template.Steps[o]
	id := task.AttemptID{Task: t.ID, Ordinal: o, Number: s.Attempt.Number}
	memory := &struct { // in one piece, with what is usual
		task.Assignment
		results [1]task.DependencyResult
	}{Assignment: task.Assignment{
		ID: id, Template: t.Template, Step: s.Name, Handler: spec.Handler, Limit: s.Settings.Retry.Limit,
		IdempotencyKey: id.Step().String(), Input: t.Input, Config: spec.Config,
		Timeout: s.Settings.Timeout, HeartbeatTimeout: s.Settings.HeartbeatTimeout,
		Tags: t.Tags, CorrelationID: t.CorrelationID, Previous: s.Failure,
		Traceparent: t.Traceparent, Tracestate: t.Tracestate, Round: s.Round,
	}}
	out := &memory.Assignment
	out.Handler.Version = s.Settings.HandlerVersion
	if len(spec.With) > 0 {
		out.Input, out.OwnInput = s.Attempt.Input, true
	}
	if !results || len(spec.DependsOn) == 0 {
		return out
	}
	out.Results = memory.results[:0]
	if len(spec.DependsOn) > len(memory.results) {
		out.Results = make([]task.DependencyResult, 0, len(spec.DependsOn))
	}
	for _, dep := range spec.DependsOn {
		if d := &t.Steps[dep]; d.Status.Satisfies() { // with `join: any` others may be on their way
			out.Results = append(out.Results, task.DependencyResult{Step: d.Name, Ordinal: dep, Status: d.Status, Value: d.Results})
		}
	}
	return out
}
