// Package engine decides what happens to a task: a pure function from one task
// aggregate and some inputs to a write set and the actions that follow its commit. It
// does no I/O, reads no clock, starts no goroutine and mints no id; the same aggregate,
// inputs and time always give the same decision.
//
// A decision is made in three moves. [Aggregate.Begin] opens it at one instant;
// [Decision.Apply] takes the inputs in order, claims of the steps that became ready
// among them; [Decision.Finish] ends the task if nothing is left to do and returns what
// to commit. The aggregate is changed on the way: a caller whose commit fails drops the
// aggregate and loads the task again.
//
// The file of each input holds all its rules: claim.go, result.go, operator.go, due.go.
// Everything changes status through step and transition in this file, which guard it
// with the tables of package task and publish the events that the row names.
//
// Who decides again and again uses one [Decision] for all, so that a decision allocates
// nothing but what stays with the task.
package engine

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tasker-engine/tasker/host/internal/publish"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// Host is what a decision needs to know of the host; it is the same for all decisions.
type Host struct {
	Epoch       uint64         // the writer's epoch, stored with each attempt
	CancelGrace time.Duration  // how long a cancelled attempt may go on
	Workflow    bool           // record the workflow.* events
	Rand        func() float64 // [0, 1), decides the jitter of waits
}

// Input is something that happened to a task.
type Input interface {
	apply(d *Decision) error
}

// Decision is a decision in the making. The zero Decision waits for [Decision.Begin].
type Decision struct {
	agg     *Aggregate
	host    *Host
	now     time.Time
	publish publish.Task

	expected    uint64
	created     bool
	taskChanged bool
	changed     []task.Ordinal // whose record changed, with repetitions
	woken       []task.Ordinal // whose record may be the same, but not their wake-up time
	blobs       []store.Blob
	discovered  []task.Ordinal // became ready and were not published as viable yet
	unblocked   []task.Ordinal // by the input being applied, in that order
	undecided   []task.Ordinal // wait for nothing but a large value that their condition reads
	decoded     map[uint32]any // small values that expressions read, by blob number
	fault       error          // a status was to change against the tables: nothing is committed

	ready    []task.Ordinal
	dispatch []task.Ordinal
	cancel   []CancelAttempt

	set      store.WriteSet
	settings settingsCache
	spare    struct{ unblocked, ready []task.Ordinal } // memory that the lists above take turns with
}

// CancelAttempt asks an instance to stop an attempt.
type CancelAttempt struct {
	ID       task.AttemptID
	Instance string
	Reason   string // a code of package task
}

// Outcome is what a decision leads to. Nothing of it may be acted on before the write
// set is committed. It is in the decision's memory: valid until that begins anew.
type Outcome struct {
	// WriteSet is nil when nothing changed.
	WriteSet *store.WriteSet
	// Dispatch are the steps whose current attempt must be sent to its instance.
	Dispatch []task.Ordinal
	// Cancel are the attempts that must be asked to stop, after the dispatches.
	Cancel []CancelAttempt
	// Changed are the steps to ask [Aggregate.Wake] about again, ascending: every step that
	// wants to be woken earlier than before, and those for which a [Due] was applied, even
	// one that came too early.
	Changed []task.Ordinal
	// Ended says that the task is now terminal.
	Ended bool
}

// Begin opens a decision at the instant now, of which only the wall clock counts: that is
// what is stored. A clock that went backwards is held at the task's last transition, so
// that a child never starts before its parent ended.
func (a *Aggregate) Begin(h *Host, now time.Time) *Decision {
	d := &Decision{}
	d.Begin(a, h, now)
	return d
}

// Begin is [Aggregate.Begin] in the memory of an earlier decision.
func (d *Decision) Begin(a *Aggregate, h *Host, now time.Time) {
	now = now.Round(0).UTC()
	if now.Before(a.Task.UpdatedAt) {
		now = a.Task.UpdatedAt
	}
	d.agg, d.host, d.now = a, h, now
	d.expected, d.created, d.taskChanged, d.fault, d.decoded = a.Task.Revision, false, false, nil, nil
	clear(d.blobs) // large values must not live on here
	d.changed, d.woken, d.blobs, d.discovered = d.changed[:0], d.woken[:0], d.blobs[:0], d.discovered[:0]
	d.unblocked, d.undecided, d.ready = d.unblocked[:0], nil, d.ready[:0]
	d.dispatch, d.cancel = d.dispatch[:0], d.cancel[:0]
	d.set = store.WriteSet{Steps: d.set.Steps[:0]}
	d.publish.Begin(a.Task, a.Template, now)
}

// Now returns the instant of the decision.
func (d *Decision) Now() time.Time { return d.now }

// Apply applies one input. An error means that the input was refused and changed
// nothing, but for [ErrUnresolved]; the decision can go on with others.
func (d *Decision) Apply(in Input) error {
	d.evaluate()
	err := in.apply(d)
	d.settle()
	return err
}

// settle deals with the steps whose last dependency was satisfied by an input, after
// the input's own events: they are ready, skipped, or cancelled when the task is winding
// down. What is skipped lets further steps run.
func (d *Decision) settle() {
	for len(d.unblocked) > 0 {
		unblocked := ascending(d.unblocked)
		d.unblocked, d.spare.unblocked = d.spare.unblocked[:0], unblocked
		for i, o := range unblocked {
			s := &d.agg.Task.Steps[o]
			switch {
			case s.Status != task.StepPending:
			case d.agg.Task.Stop != nil:
				d.cancelStep(s)
			default:
				d.enter(o)
			}
			if len(d.unblocked) > 0 { // it was skipped: what follows is in order with the rest
				d.unblocked = append(d.unblocked, unblocked[i+1:]...)
				break
			}
		}
	}
}

// Ready returns the steps that became claimable in this decision and have not been
// claimed by it, in the order in which they became so, and forgets them. A step may be
// returned again by a later decision. The list is valid until the next call.
func (d *Decision) Ready() []task.Ordinal {
	d.evaluate()
	ready := d.ready
	d.ready, d.spare.ready = d.spare.ready[:0], ready
	return slices.DeleteFunc(ready, func(o task.Ordinal) bool { return !d.agg.Claimable(o, d.now) })
}

// Finish ends the task when nothing is left that could run, and returns what to commit
// and what follows.
func (d *Decision) Finish() (Outcome, error) {
	t := d.agg.Task
	d.evaluate()
	if len(d.undecided) > 0 {
		d.fault = errNotProvided
	}
	d.discoveredSteps()
	d.finalize()
	d.agg.dropLarge()
	events, seq, err := d.publish.Events()
	if d.fault != nil || err != nil {
		return Outcome{}, errors.Join(d.fault, err)
	}
	changed := ascending(d.changed)
	out := Outcome{
		Dispatch: d.dispatch, Cancel: d.cancel, Ended: t.Status.Terminal(),
		Changed: changed,
	}
	if len(d.woken) > 0 {
		d.woken = append(d.woken, changed...)
		out.Changed = ascending(d.woken)
	}
	if len(events) > 0 && len(changed) == 0 {
		d.taskMoved() // revision and task_seq are stored with a record
	}
	if !d.taskChanged && len(changed) == 0 {
		return out, nil
	}
	t.Seq = seq
	t.Revision++
	out.WriteSet = d.writeSet(events, changed)
	return out, nil
}

// ascending sorts os in place and drops repetitions.
func ascending(os []task.Ordinal) []task.Ordinal {
	slices.Sort(os)
	return slices.Compact(os)
}

func (d *Decision) writeSet(events []store.Event, changed []task.Ordinal) *store.WriteSet {
	t, ws := d.agg.Task, &d.set
	ws.TaskID, ws.Expected, ws.Revision, ws.Seq, ws.Events, ws.Blobs = t.ID, d.expected, t.Revision, t.Seq, events, d.blobs
	if d.created {
		ws.Create = &store.Creation{
			Spec: t.Spec, Template: d.agg.Template.Snapshot(), Steps: uint32(len(t.Steps)), //nolint:gosec // bounded by template.MaxSteps
		}
	}
	if d.taskChanged {
		ws.Task = t
	}
	for _, o := range changed {
		ws.Steps = append(ws.Steps, &t.Steps[o])
	}
	return ws
}

// step moves a step along a row of the table: the guard, the status, the counts and the
// readiness of what depends on it. The caller publishes the row's events.
func (d *Decision) step(s *task.Step, transition string) error {
	row, err := task.CheckStep(transition, s.Status)
	if err != nil {
		return fmt.Errorf("step %s: %w", s.Name, err)
	}
	before := s.Status
	d.agg.count(s, -1)
	s.Status = row.To
	d.agg.count(s, 1)
	d.changed = append(d.changed, s.Ordinal)
	d.agg.Task.UpdatedAt = d.now
	s.CompletedAt = time.Time{}
	if s.Status.Terminal() {
		s.CompletedAt = d.now
	}
	if s.Status != task.StepWaitingForRetry {
		s.RetryAt = time.Time{}
	}
	if s.Status == task.StepInProgress || s.Status.Satisfies() {
		s.HoldUntil = time.Time{}
	}
	if s.Status.Satisfies() != before.Satisfies() {
		d.satisfied(s)
	}
	return nil
}

// satisfied counts a step that now lets its dependants run, and finds those that have
// no other to wait for: O(dependants), never a scan.
func (d *Decision) satisfied(s *task.Step) {
	for _, o := range d.agg.Template.Steps[s.Ordinal].Dependents {
		child := &d.agg.Task.Steps[o]
		left := d.agg.unmet[o]
		if left == 0 { // with `join: any`
			continue
		}
		if left--; s.Status != task.StepSkipped && d.agg.Template.Steps[o].Join == template.JoinAny {
			left = 0
		}
		d.agg.count(child, -1)
		d.agg.unmet[o] = left
		d.agg.count(child, 1)
		if d.agg.unmet[o] == 0 {
			d.unblocked = append(d.unblocked, o)
		}
	}
}

func (d *Decision) becameReady(o task.Ordinal) {
	d.ready = append(d.ready, o)
	if d.agg.Template.Steps[o].ScheduleToStart != nil {
		d.woken = append(d.woken, o)
	}
	if d.host.Workflow {
		d.discovered = append(d.discovered, o)
	}
}

// transition moves the task along a row of its table. The caller publishes its events.
func (d *Decision) transition(name string) error {
	t := d.agg.Task
	row, err := task.CheckTask(name, t.Status)
	if err != nil {
		return fmt.Errorf("task %s: %w", t.ID, err)
	}
	if row.To != "" {
		t.Status = row.To
	}
	d.taskMoved()
	t.CompletedAt = time.Time{}
	if t.Status.Terminal() {
		t.CompletedAt = d.now
	}
	return nil
}

// taskMoved notes that the task's own record changed.
func (d *Decision) taskMoved() {
	d.taskChanged = true
	d.agg.Task.UpdatedAt = d.now
}

// discoveredSteps publishes which steps the decision made ready.
func (d *Decision) discoveredSteps() {
	if len(d.discovered) == 0 {
		return
	}
	var names []task.StepName
	for _, o := range ascending(d.discovered) {
		if d.agg.Claimable(o, d.now) {
			names = append(names, d.agg.Task.Steps[o].Name)
		}
	}
	d.discovered = d.discovered[:0]
	if len(names) > 0 {
		d.publish.WorkflowViableStepsDiscovered(names)
	}
}

// finalize ends the task when nothing runs and nothing can run any more (rules S2, S3).
func (d *Decision) finalize() {
	t := d.agg.Task
	if t.Status.Terminal() || d.agg.open() > 0 {
		return
	}
	name := task.TaskFail
	switch {
	case t.Stop != nil && t.Stop.Kind == task.StopCancel:
		name = task.TaskCancel
	case d.agg.allSatisfied():
		name = task.TaskFinish
	}
	if d.host.Workflow {
		if name == task.TaskFail {
			d.publish.WorkflowNoViableSteps(d.noViableReason())
		}
		d.publish.WorkflowTaskFinalizationStarted()
	}
	if err := d.transition(name); err != nil {
		d.fault = err
		return
	}
	switch name {
	case task.TaskCancel:
		d.publish.TaskCancelled()
	case task.TaskFinish:
		d.publish.TaskCompleted()
	default:
		t.Failure = d.taskFailure()
		d.publish.TaskFailed()
	}
	if d.host.Workflow {
		d.publish.WorkflowTaskFinalizationCompleted()
	}
}

func (d *Decision) noViableReason() string {
	if stop := d.agg.Task.Stop; stop != nil {
		return string(stop.Kind)
	}
	return string(task.DerivedBlocked)
}

// taskFailure sums up why the task failed: the deadline, or its first failed step.
func (d *Decision) taskFailure() *task.Failure {
	t := d.agg.Task
	if t.Stop != nil && t.Stop.Kind == task.StopDeadline {
		return &task.Failure{
			Kind: task.KindTimeout, Code: task.CodeDeadline, Source: task.SourceHost,
			Message: "the task's deadline passed at " + t.Stop.At.Format(time.RFC3339),
		}
	}
	for i := range t.Steps {
		if s := &t.Steps[i]; s.Status == task.StepError && s.Failure != nil {
			f := *s.Failure
			f.Message = "step " + string(s.Name) + ": " + f.Message
			f.Details, f.Partial, f.Stack = nil, nil, nil
			return &f
		}
	}
	return &task.Failure{Kind: task.KindPermanent, Source: task.SourceHost, Message: "steps were cancelled"}
}

// New returns the aggregate of a task that is about to be created; the first decision
// on it must apply [Create]. spec.Input may be inline at any size.
func New(spec task.Spec, tmpl *template.Template) *Aggregate {
	t := &task.Task{Spec: spec, Status: task.Pending, Steps: make([]task.Step, len(tmpl.Steps))}
	for i := range t.Steps {
		t.Steps[i] = task.Step{Ordinal: task.Ordinal(i), Status: task.StepPending}
	}
	return Restore(t, tmpl)
}
