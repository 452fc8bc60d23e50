package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// model keeps what write sets say and nothing else, as a store does.
type model struct {
	task     task.Task // without steps
	steps    []task.Step
	template []byte
	parsed   *template.Template // of those bytes
}

func (m *model) apply(ws *store.WriteSet) {
	if ws.Create != nil {
		m.task.Spec, m.template = ws.Create.Spec, ws.Create.Template
		m.steps = make([]task.Step, ws.Create.Steps)
		for i := range m.steps {
			m.steps[i] = task.Step{Ordinal: task.Ordinal(i), Status: task.StepPending}
		}
	}
	if ws.Task != nil {
		record := *cloneTask(ws.Task)
		record.Spec, record.Steps = m.task.Spec, nil
		m.task = record
	}
	for _, s := range ws.Steps {
		record := cloneStep(s)
		record.Name = ""
		if record.Attempt != nil {
			record.Attempt.BeatAt = time.Time{}
		}
		m.steps[s.Ordinal] = record
	}
	if ws.Task != nil || len(ws.Steps) > 0 { // both kinds of record carry them
		m.task.Revision, m.task.Seq = ws.Revision, ws.Seq
	}
}

// load returns the task as a host would load it.
func (m *model) load(t tb) *Aggregate {
	t.Helper()
	if m.parsed == nil {
		var err error
		if m.parsed, err = template.FromSnapshot(m.template); err != nil {
			t.Fatalf("template snapshot: %v", err)
		}
	}
	stored := m.task
	stored.Steps = m.steps
	return Restore(cloneTask(&stored), m.parsed)
}

func clone[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

func cloneTask(t *task.Task) *task.Task {
	out := *t
	out.Stop, out.Failure, out.Resolution = clone(t.Stop), clone(t.Failure), clone(t.Resolution)
	out.Steps = make([]task.Step, len(t.Steps))
	for i := range t.Steps {
		out.Steps[i] = cloneStep(&t.Steps[i])
	}
	return &out
}

func cloneStep(s *task.Step) task.Step {
	out := *s
	out.Settings, out.Attempt, out.Failure = clone(s.Settings), clone(s.Attempt), clone(s.Failure)
	out.Resolution, out.Late = clone(s.Resolution), clone(s.Late)
	if out.Attempt != nil {
		out.Attempt.Failure = clone(out.Attempt.Failure)
	}
	return out
}

// moment is what an observer sees of a decision in the making.
type moment struct {
	d      *drive
	task   *task.Task
	events int
}

func (d *drive) observe(dec *Decision) moment {
	events, _, _ := dec.publish.Events()
	return moment{d: d, task: cloneTask(d.agg.Task), events: len(events)}
}

// appliedInput is what one input, or the end of the decision, did.
type appliedInput struct {
	in            Input // nil = the end of the decision
	before, after *task.Task
	events        []*eventv1.Event
	err           error
}

func (m moment) until(dec *Decision, err error) appliedInput {
	out := appliedInput{before: m.task, after: cloneTask(m.d.agg.Task), err: err}
	events, _, _ := dec.publish.Events()
	for _, e := range events[m.events:] {
		out.events = append(out.events, decode(m.d.t, e.Encoded))
	}
	return out
}

// check holds the last decision against everything that is always true.
func (d *drive) check(before *task.Task, finish appliedInput) {
	d.t.Helper()
	for _, a := range d.applied {
		d.checkInput(a)
	}
	d.checkFinish(finish)
	d.checkWriteSet(before)
	d.checkCounts()
	d.checkSteps(before)
	d.checkLiveness()
	d.checkReasons()
}

// checkInput: the events of each step and of the task are those of the row that it
// moved along, and the steps follow each other by ordinal behind the input's own.
func (d *drive) checkInput(a appliedInput) {
	d.t.Helper()
	d.checkCustom(a)
	if a.err != nil && !errors.Is(a.err, ErrUnresolved) {
		if diff := diffTasks(a.after, a.before); diff != "" || len(a.events) > 0 {
			d.t.Errorf("a refused input (%v) recorded %d events and changed the task (-after +before):\n%s", a.err, len(a.events), diff)
		}
		return
	}
	var order []task.Ordinal
	types := make(map[task.Ordinal][]string)
	var ofTask []string
	for _, e := range a.events {
		switch {
		case strings.HasPrefix(e.GetType(), "workflow.") || custom(e):
		case e.GetStep() == "":
			ofTask = append(ofTask, e.GetType())
		default:
			o := d.ordinal(e.GetStep())
			if len(order) == 0 || order[len(order)-1] != o {
				order = append(order, o)
			}
			types[o] = append(types[o], e.GetType())
		}
	}
	own := 1 // steps that the input itself is about, or that a refused one has stopped
	switch a.in.(type) {
	case Create, Retry:
		own = len(order)
	default:
		if d.agg.Template.OnFailure == template.OnFailureFailFast && d.agg.Template.HasValues() {
			own = len(order)
		}
	}
	if len(order) > own && !slices.IsSorted(order[own:]) {
		d.t.Errorf("consequences are not in ordinal order: %v", order)
	}
	for i := range a.after.Steps {
		from, to := a.before.Steps[i].Status, a.after.Steps[i].Status
		got := types[task.Ordinal(i)]
		if from == to && len(got) == 0 {
			continue
		}
		if !alongRows(from, to, got, 2) {
			d.t.Errorf("step %s went from %s to %s with the events %v: no row says so", a.after.Steps[i].Name, from, to, got)
		}
	}
	d.checkTaskRow(a, ofTask)
}

// alongRows reports whether rows lead from one status to another with these events: one,
// or two for a step that is retried and then found not to be taken.
func alongRows(from, to task.StepStatus, events []string, most int) bool {
	return slices.ContainsFunc(task.StepTransitions(), func(row task.StepTransition) bool {
		n := len(row.Events)
		if !slices.Contains(row.From, from) || len(events) < n || !slices.Equal(row.Events, events[:n]) {
			return false
		}
		if n == len(events) {
			return row.To == to
		}
		return most > 1 && row.To == task.StepPending && alongRows(row.To, to, events[n:], most-1)
	})
}

func (d *drive) checkTaskRow(a appliedInput, got []string) {
	d.t.Helper()
	from, to := a.before.Status, a.after.Status
	if from == to && len(got) == 0 {
		return
	}
	ok := slices.ContainsFunc(task.TaskTransitions(), func(row task.TaskTransition) bool {
		left := slices.Contains(row.From, from) || (row.From == nil && a.before.Revision == 0)
		return left && (row.To == to || (row.To == "" && from == to)) && slices.Equal(row.Events, got)
	})
	if !ok {
		d.t.Errorf("the task went from %s to %s with the events %v: no row says so", from, to, got)
	}
}

// checkFinish: the end of a decision records nothing about a step, and ends the task
// with the events of a row, framed by the workflow events.
func (d *drive) checkFinish(a appliedInput) {
	d.t.Helper()
	d.checkCustom(a)
	var ofTask, all []string
	for _, e := range a.events {
		if custom(e) {
			continue
		}
		all = append(all, e.GetType())
		if e.GetStep() != "" {
			d.t.Errorf("%s of step %s comes after the inputs", e.GetType(), e.GetStep())
		}
		if !strings.HasPrefix(e.GetType(), "workflow.") {
			ofTask = append(ofTask, e.GetType())
		}
	}
	d.checkTaskRow(a, ofTask)
	if !d.host.Workflow && len(all) > len(ofTask) {
		d.t.Errorf("workflow events without the setting: %v", all)
	}
	if len(ofTask) == 0 || !d.host.Workflow {
		return
	}
	tail := []string{"workflow.task_finalization_started", ofTask[0], "workflow.task_finalization_completed"}
	if ofTask[0] == "task.failed" {
		tail = append([]string{"workflow.no_viable_steps"}, tail...)
	}
	if len(all) < len(tail) || !slices.Equal(all[len(all)-len(tail):], tail) {
		d.t.Errorf("the task ends with the events %v, want %v at the end", all, tail)
	}
}

// checkWriteSet: it holds exactly what changed, its numbers are dense, its events
// decode, and what a store makes of it is the live task.
func (d *drive) checkWriteSet(before *task.Task) {
	d.t.Helper()
	ws, after := d.last.WriteSet, d.agg.Task
	changed := make([]task.Ordinal, 0, len(after.Steps))
	for i := range after.Steps {
		if !reflect.DeepEqual(before.Steps[i], after.Steps[i]) {
			changed = append(changed, task.Ordinal(i))
		}
	}
	if ws == nil {
		if diff := diffTasks(after, before); diff != "" {
			d.t.Errorf("no write set for (-after +before):\n%s", diff)
		}
		return
	}
	got := make([]task.Ordinal, 0, len(ws.Steps))
	for _, s := range ws.Steps {
		got = append(got, s.Ordinal)
	}
	// A retried step that cannot be started fails again, at the same instant and alike.
	if !slices.Equal(got, changed) && (!d.agg.Template.HasValues() || !subset(changed, got)) {
		d.t.Errorf("the write set holds the steps %v, but %v changed", got, changed)
	}
	if !subset(got, d.last.Changed) {
		d.t.Errorf("Changed is %v, want at least %v", d.last.Changed, got)
	}
	if changed := taskChanged(before, after); changed != (ws.Task != nil) && len(ws.Events) == 0 {
		d.t.Errorf("the write set holds the task = %t, but it changed = %t", ws.Task != nil, changed)
	}
	if ws.TaskID != after.ID || ws.Expected != before.Revision || ws.Revision != before.Revision+1 || after.Revision != ws.Revision {
		d.t.Errorf("write set of %s from revision %d to %d, task from %d to %d", ws.TaskID, ws.Expected, ws.Revision, before.Revision, after.Revision)
	}
	if (ws.Create != nil) != (before.Revision == 0) || (ws.Task == nil && len(ws.Steps) == 0) {
		d.t.Errorf("write set with creation = %t, task = %t, %d steps at revision %d", ws.Create != nil, ws.Task != nil, len(ws.Steps), ws.Revision)
	}
	d.checkEvents(ws, before)
	d.stored.apply(ws)
	if diff := diffLive(d.stored.load(d.t).Task, after); diff != "" {
		d.t.Errorf("what is stored differs from the live task (-stored +live):\n%s", diff)
	}
}

func subset(a, b []task.Ordinal) bool {
	return !slices.ContainsFunc(a, func(o task.Ordinal) bool { return !slices.Contains(b, o) })
}

// taskChanged compares what is stored of a task besides its steps.
func taskChanged(before, after *task.Task) bool {
	a, b := *before, *after
	for _, t := range []*task.Task{&a, &b} {
		t.Steps, t.Revision, t.Seq, t.UpdatedAt = nil, 0, 0, time.Time{}
	}
	return !reflect.DeepEqual(a, b) || before.Revision == 0
}

// diffLive compares a loaded task with the live one: heartbeats are not stored.
func diffLive(stored, live *task.Task) string {
	l := cloneTask(live)
	for i := range l.Steps {
		if a := l.Steps[i].Attempt; a != nil {
			a.BeatAt = time.Time{}
		}
	}
	return diffTasks(stored, l)
}

// diffTasks is cmp.Diff, which takes its time even when there is nothing to tell.
func diffTasks(a, b *task.Task) string {
	if reflect.DeepEqual(a, b) {
		return ""
	}
	return cmp.Diff(a, b)
}

func (d *drive) checkEvents(ws *store.WriteSet, before *task.Task) {
	d.t.Helper()
	if ws.Seq != before.Seq+uint64(len(ws.Events)) || d.agg.Task.Seq != ws.Seq {
		d.t.Errorf("task_seq goes from %d to %d with %d events", before.Seq, ws.Seq, len(ws.Events))
	}
	for i, raw := range ws.Events {
		e := decode(d.t, raw.Encoded)
		seq := before.Seq + 1 + uint64(i)
		want := proto.CloneOf(e)
		want.Id, want.TaskSeq, want.Type = fmt.Sprintf("%s/%d", testTask, seq), seq, raw.Type
		want.TaskId, want.CorrelationId = string(testTask), d.agg.Task.CorrelationID
		ref := d.agg.Template.Ref()
		want.Namespace, want.Template, want.Version = ref.Namespace, ref.Name, ref.Version
		if !proto.Equal(e, want) {
			d.t.Errorf("envelope %v, want %v", e, want)
		}
		if at := time.Unix(0, e.GetAt()).UTC(); at.Before(before.UpdatedAt) {
			d.t.Errorf("%s at %s, before the last transition at %s", e.GetType(), at, before.UpdatedAt)
		}
		if !json.Valid(e.GetPayload()) {
			d.t.Errorf("%s: payload is no JSON: %s", e.GetType(), e.GetPayload())
		}
		d.events = append(d.events, e)
	}
}

// checkCounts: what is counted along the way is what a fresh count finds.
func (d *drive) checkCounts() {
	d.t.Helper()
	fresh := Restore(cloneTask(d.agg.Task), d.agg.Template)
	if d.agg.ready != fresh.ready || d.agg.byStatus != fresh.byStatus || !slices.Equal(d.agg.unmet, fresh.unmet) {
		d.t.Errorf("counts: ready %d, by status %v, unmet %v; a recount finds %d, %v, %v",
			d.agg.ready, d.agg.byStatus, d.agg.unmet, fresh.ready, fresh.byStatus, fresh.unmet)
	}
}

// checkSteps: attempts are numbered without gaps and never change once closed, failures
// stay within the limit, nothing starts before its dependencies satisfy, and nothing
// leaves a terminal status but by an operator.
func (d *drive) checkSteps(before *task.Task) {
	d.t.Helper()
	for i := range d.agg.Task.Steps {
		old, s := &before.Steps[i], &d.agg.Task.Steps[i]
		if s.Attempts < old.Attempts || (s.Attempt != nil && s.Attempt.Number != s.Attempts) {
			d.t.Errorf("step %s: attempt %+v after %d, %d in all", s.Name, s.Attempt, old.Attempts, s.Attempts)
		}
		if s.Settings != nil && s.Failures > s.Settings.Retry.Limit {
			d.t.Errorf("step %s: %d failures, limit %d", s.Name, s.Failures, s.Settings.Retry.Limit)
		}
		if (s.Status == task.StepInProgress) != (s.Attempt != nil && s.Attempt.Status == task.AttemptRunning) {
			d.t.Errorf("step %s is %s with attempt %+v", s.Name, s.Status, s.Attempt)
		}
		if s.Status.Terminal() == s.CompletedAt.IsZero() {
			d.t.Errorf("step %s is %s, completed at %s", s.Name, s.Status, s.CompletedAt)
		}
		if !s.RetryAt.IsZero() && s.Status != task.StepWaitingForRetry {
			d.t.Errorf("step %s is %s with a retry at %s", s.Name, s.Status, s.RetryAt)
		}
		if !s.HoldUntil.IsZero() && (s.Status == task.StepInProgress || s.Status.Satisfies()) {
			d.t.Errorf("step %s is %s and held until %s", s.Name, s.Status, s.HoldUntil)
		}
		same := old.Attempt != nil && s.Attempt != nil && old.Attempt.Number == s.Attempt.Number
		if same && old.Attempt.Status != task.AttemptRunning && !reflect.DeepEqual(old.Attempt, s.Attempt) {
			d.t.Errorf("step %s: closed attempt %+v became %+v", s.Name, old.Attempt, s.Attempt)
		}
		if s.Attempts == old.Attempts {
			continue
		}
		spec := &d.agg.Template.Steps[i]
		if (len(spec.With) > 0) != resolved(s) {
			d.t.Errorf("step %s started with the input %+v, its mapping is %s", s.Name, s.Attempt.Input, spec.With)
		}
		for _, dep := range spec.DependsOn {
			parent := &d.agg.Task.Steps[dep]
			if spec.Join == template.JoinAny && slices.ContainsFunc(spec.DependsOn, d.agg.succeeded) {
				continue
			}
			if !parent.Status.Satisfies() || s.Attempt.StartedAt.Before(parent.CompletedAt) {
				d.t.Errorf("step %s started at %s, its dependency %s is %s since %s", s.Name, s.Attempt.StartedAt, parent.Name, parent.Status, parent.CompletedAt)
			}
		}
	}
}

// checkLiveness: an unfinished task has something that runs, can run or waits for a
// time or an operator (rule S2), and what waits for a time has a wake-up.
func (d *drive) checkLiveness() {
	d.t.Helper()
	t := d.agg.Task
	if t.Status.Terminal() {
		return
	}
	alive := false
	for i := range t.Steps {
		s := &t.Steps[i]
		switch {
		case s.Status == task.StepInProgress || s.Status == task.StepWaiting:
			alive = true
		case !d.agg.idle(s):
		default:
			alive = true
			held := t.Status == task.Paused
			if !held && !d.agg.Claimable(s.Ordinal, d.now) && d.agg.Wake(s.Ordinal, d.now).IsZero() {
				d.t.Errorf("step %s is %s, cannot be claimed, and nobody wakes it", s.Name, s.Status)
			}
		}
	}
	if !alive {
		d.t.Errorf("the task is %s and nothing can happen any more", t.Status)
	}
}

// wakes returns when each step wants to be woken.
func (d *drive) wakes(now time.Time) []time.Time {
	out := make([]time.Time, len(d.agg.Task.Steps))
	for i := range out {
		out[i] = d.agg.Wake(task.Ordinal(i), now)
	}
	return out
}

// checkWakes: a host hears of every step that is to be woken earlier than before; a
// timer that fires too early is harmless, one that fires too late is not.
func (d *drive) checkWakes(before, after []time.Time) {
	d.t.Helper()
	for i, at := range after {
		earlier := !at.IsZero() && (before[i].IsZero() || at.Before(before[i]))
		if earlier && !slices.Contains(d.last.Changed, task.Ordinal(i)) {
			d.t.Errorf("step %d wakes at %s instead of %s, and Changed is %v", i, at, before[i], d.last.Changed)
		}
	}
}

// checkReasons: a step is said to be about to be claimed exactly when it is claimable,
// every other one that does not run has another reason, and a task in which nothing can
// happen looks blocked (rules S6, S7).
func (d *drive) checkReasons() {
	d.t.Helper()
	view := d.agg.View(d.now, freeSlots{})
	for i := range view.Steps {
		s := &view.Steps[i]
		claimable := d.agg.Claimable(s.Ordinal, d.now)
		if ready := s.Reason != nil && s.Reason.Code == task.ReasonReady; ready != claimable {
			d.t.Errorf("step %s: reason %+v, claimable = %t", s.Name, s.Reason, claimable)
		}
		none := s.Status == task.StepInProgress || s.Status == task.StepComplete || s.Status == task.StepResolvedManually
		if none != (s.Reason == nil) {
			d.t.Errorf("step %s is %s with the reason %+v", s.Name, s.Status, s.Reason)
		}
	}
	if d.agg.open() == 0 && !d.agg.allSatisfied() && view.Derived != task.DerivedBlocked {
		d.t.Errorf("nothing can happen and the task looks %s", view.Derived)
	}
}

// freeSlots is a host whose plugins are all ready.
type freeSlots struct{}

func (freeSlots) Handler(task.HandlerRef) *task.Reason { return nil }
