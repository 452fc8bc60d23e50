// Package timeline makes of a task's events what happened when: for each step the spans
// in which it waited, ran or stood back before its next attempt. It looks at the events
// alone, so it tells the same of a running task, of one that ended long ago, and of one
// whose first events are no longer in the log.
package timeline

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// Kind is what a step does in a span of time.
type Kind string

// The kinds.
const (
	Blocked Kind = "blocked" // waits for steps that it depends on
	Ready   Kind = "ready"   // could run: waits for a slot, its plugin, its task or a host
	Running Kind = "running" // an attempt
	Backoff Kind = "backoff" // stands back before its next attempt
	Parked  Kind = "parked"  // waits for an operator
	Waiting Kind = "waiting" // waits for its first attempt; the log does not say for what
)

// Bar is one span of a step. The bars of a step follow each other in time and do not
// overlap.
type Bar struct {
	Kind     Kind
	From, To time.Time
	Open     bool               // it goes on: To is now
	Attempt  uint32             // with Running: its number
	Outcome  task.AttemptStatus // with Running: how it ended; with Open task.AttemptRunning
	Note     string             // with Running: why it did not succeed
	Instance string             // with Running: the process, "plugin#n", when the log says it
}

// Row is one step.
type Row struct {
	Step    string
	Handler string
	Status  task.StepStatus
	Reason  string // why it was skipped or cancelled
	Bars    []Bar
}

// Timeline is a task in time.
type Timeline struct {
	From, To time.Time
	Open     bool        // the task has not ended: To is now
	Status   task.Status // as the log says
	Missing  uint64      // events of the task that are gone from the log's beginning
	Pauses   []Bar       // times in which an operator held the task; their Kind is Parked
	Rows     []Row       // in the order of the shape, else of the steps' first events
}

// Step is what the caller knows of a step beside the log.
type Step struct {
	Name      string
	Handler   string
	DependsOn []string
	Status    task.StepStatus
}

// Of makes the timeline of a task's events, which are all of one task and in order; now
// ends what has not ended. The shape, which may be nil, names the steps that the log does
// not, and says of each what it waits for. No events give an empty timeline. Error: a
// payload of a known event that cannot be read.
func Of(events []*eventv1.Event, shape []Step, now time.Time) (*Timeline, error) {
	b := &builder{rows: make(map[string]*row), now: now}
	for i := range shape {
		s := &shape[i]
		r := b.row(s.Name)
		r.Handler, r.dependsOn, r.known, r.before = s.Handler, s.DependsOn, true, s.Status
	}
	if len(events) == 0 {
		return &Timeline{From: now, To: now, Open: true}, nil
	}
	facts := make([]facts, len(events))
	for i, e := range events {
		if err := facts[i].read(e); err != nil {
			return nil, fmt.Errorf("event %s (%s): %w", e.GetId(), e.GetType(), err)
		}
	}
	b.begin(events[0], facts)
	for i := range facts {
		b.apply(&facts[i])
	}
	return b.end(), nil
}

// facts is what a timeline needs of an event.
type facts struct {
	kind string // the event's name
	step string
	at   time.Time

	Handler      string    `json:"handler"`
	Attempt      uint32    `json:"attempt_number"`
	StartedAt    time.Time `json:"started_at"`
	Dependencies []string  `json:"dependencies"`
	Instance     string    `json:"instance"`
	Message      string    `json:"error_message"`
	Code         string    `json:"error_code"`
	ErrorKind    string    `json:"error_kind"`
	RetryAt      time.Time `json:"retry_at"`
	Final        bool      `json:"final"`
	Reason       string    `json:"reason"`
	Cause        string    `json:"cause"`
}

// read takes the facts of an event of the catalog; of others only that there was one.
func (f *facts) read(e *eventv1.Event) error {
	if _, ok := event.Lookup(e.GetType()); ok {
		if err := json.Unmarshal(e.GetPayload(), f); err != nil {
			return fmt.Errorf("payload: %w", err)
		}
	}
	f.kind, f.step, f.at = e.GetType(), e.GetStep(), time.Unix(0, e.GetAt()).UTC()
	return nil
}

// failure is why an attempt did not succeed.
func (f *facts) failure() string {
	if f.Code != "" && f.Message != "" {
		return f.Code + ": " + f.Message
	}
	return f.Code + f.Message
}

// row is a step while its events are read.
type row struct {
	Row

	dependsOn []string
	known     bool            // dependsOn is known
	unmet     int             // how many of dependsOn keep it from running
	waiters   []*row          // whose dependsOn names it, in the order of the rows
	before    task.StepStatus // as the caller knows it
	told      bool            // an event was about it
	open      *Bar            // what it does now; nil = nothing, or unknown
	until     time.Time       // with an open Backoff: when it may run again
}

// builder reads the events one after the other.
type builder struct {
	now     time.Time
	last    time.Time // of the last event: time does not run backwards
	begun   time.Time // the timeline's begin
	missing uint64
	status  task.Status
	order   []string
	rows    map[string]*row
	pauses  []Bar
	paused  bool // the last of pauses is open
}

func (b *builder) row(name string) *row {
	r, ok := b.rows[name]
	if !ok {
		r = &row{Row: Row{Step: name, Status: task.StepPending}}
		b.rows[name] = r
		b.order = append(b.order, name)
	}
	return r
}

// begin opens the first bars: all steps begin with the task. When the log begins later,
// it is not known what they were doing.
func (b *builder) begin(first *eventv1.Event, all []facts) {
	b.begun, b.last, b.status = all[0].at, all[0].at, task.Pending
	if n := first.GetTaskSeq(); n > 1 {
		b.missing = n - 1
	}
	told := make(map[string]bool)
	for i := range all {
		f := &all[i]
		if f.step == "" {
			continue
		}
		told[f.step] = true
		if r := b.row(f.step); f.kind == event.NameStepStarted && !r.known {
			r.dependsOn, r.known = f.Dependencies, true
		}
	}
	for name, r := range b.rows {
		switch {
		case b.missing > 0 && !told[name] && r.before != "":
			r.Status = r.before // it became so before the log begins
		case b.missing > 0:
		case r.known && len(r.dependsOn) == 0:
			r.open = &Bar{Kind: Ready, From: b.begun}
		case r.known:
			r.open = &Bar{Kind: Blocked, From: b.begun}
		default:
			r.open = &Bar{Kind: Waiting, From: b.begun}
		}
	}
	b.link()
}

// link finds out who waits for whom.
func (b *builder) link() {
	for _, name := range b.order {
		r := b.rows[name]
		for _, dep := range r.dependsOn {
			d, ok := b.rows[dep]
			if ok {
				d.waiters = append(d.waiters, r)
			}
			if !ok || !d.Status.Satisfies() {
				r.unmet++
			}
		}
	}
}

// satisfied reports whether nothing keeps a step from running.
func (r *row) satisfied() bool { return r.known && r.unmet == 0 }

// become gives a step a status; those that wait for it count it.
func (r *row) become(s task.StepStatus) {
	before, after := r.Status.Satisfies(), s.Satisfies()
	r.Status = s
	for _, w := range r.waiters {
		switch {
		case after && !before:
			w.unmet--
		case before && !after:
			w.unmet++
		}
	}
}

// apply reads the next event.
func (b *builder) apply(f *facts) {
	f.at = latest(f.at, b.last)
	b.last = f.at
	switch f.kind {
	case event.NameTaskInitialized:
	case event.NameTaskStarted, event.NameTaskRetryRequested:
		b.status = task.InProgress
	case event.NameTaskPaused:
		b.status = task.Paused
		b.hold(f.at)
	case event.NameTaskResumed:
		b.status = task.InProgress
		b.release(f.at)
	case event.NameTaskCompleted:
		b.closed(task.Complete, f.at)
	case event.NameTaskFailed:
		b.closed(task.Error, f.at)
	case event.NameTaskCancelled:
		b.closed(task.Cancelled, f.at)
	case event.NameTaskResolvedManually:
		b.closed(task.ResolvedManually, f.at)
	default:
		if f.step != "" {
			b.applyStep(b.row(f.step), f)
		}
	}
}

func (b *builder) closed(s task.Status, at time.Time) {
	b.status = s
	b.release(at)
}

func (b *builder) hold(at time.Time) {
	if !b.paused {
		b.pauses, b.paused = append(b.pauses, Bar{Kind: Parked, From: at}), true
	}
}

func (b *builder) release(at time.Time) {
	if b.paused {
		b.pauses[len(b.pauses)-1].To, b.paused = at, false
	}
}

// applyStep reads an event about a step. Custom events move nothing.
func (b *builder) applyStep(r *row, f *facts) {
	switch f.kind {
	case event.NameStepStarted:
		b.revive()
		r.become(task.StepInProgress)
		r.to(&Bar{Kind: Running, From: f.at, Attempt: f.Attempt, Outcome: task.AttemptRunning, Instance: f.Instance})
	case event.NameStepCompleted:
		b.ended(r, f, task.AttemptSucceeded, "")
		r.finish(task.StepComplete, f)
	case event.NameStepFailed:
		outcome := task.AttemptFailed
		if f.ErrorKind == string(task.KindTimeout) {
			outcome = task.AttemptTimedOut
		}
		b.ended(r, f, outcome, f.failure())
		if f.Final {
			r.finish(task.StepError, f)
		}
	case event.NameStepAttemptLost:
		b.ended(r, f, task.AttemptLost, f.Cause)
	case event.NameStepRetryScheduled:
		b.ended(r, f, task.AttemptFailed, f.Reason) // only when the events before it are gone
		r.become(task.StepWaitingForRetry)
		r.until = f.RetryAt
		r.to(&Bar{Kind: Backoff, From: f.at})
	case event.NameStepWaiting:
		r.become(task.StepWaiting)
		r.to(&Bar{Kind: Parked, From: f.at})
	case event.NameStepRetryRequested, event.NameStepResumed:
		b.revive()
		r.become(task.StepPending)
		r.Reason = ""
		r.to(&Bar{Kind: r.waitKind(), From: f.at})
	case event.NameStepCancelled:
		b.ended(r, f, task.AttemptCancelled, f.Reason)
		r.finish(task.StepCancelled, f)
	case event.NameStepSkipped:
		r.finish(task.StepSkipped, f)
	case event.NameStepResolvedManually:
		r.finish(task.StepResolvedManually, f)
	default:
		return
	}
	r.told = true
	if f.Handler != "" {
		r.Handler = f.Handler
	}
}

// revive opens a task again that an operator lets go on after its end.
func (b *builder) revive() {
	if b.status.Terminal() {
		b.status = task.InProgress
	}
}

func (r *row) waitKind() Kind {
	if r.satisfied() {
		return Ready
	}
	return Blocked
}

// ended closes the attempt that an event tells the end of. Of one that began before the
// log does, the event says when.
func (b *builder) ended(r *row, f *facts, outcome task.AttemptStatus, note string) {
	if r.open == nil && !r.told && !f.StartedAt.IsZero() {
		from := f.StartedAt
		if b.missing == 0 || from.After(f.at) {
			from = f.at
		}
		if from.Before(b.begun) {
			b.begun = from
		}
		r.to(&Bar{Kind: Running, From: from, Attempt: f.Attempt, Instance: f.Instance})
	}
	if r.open != nil && r.open.Kind == Running {
		r.open.Outcome, r.open.Note = outcome, note
		r.close(f.at)
	}
}

// finish ends what a step does, and lets those go on that waited for it.
func (r *row) finish(s task.StepStatus, f *facts) {
	r.close(f.at)
	r.become(s)
	r.Reason = ""
	if s == task.StepSkipped || s == task.StepCancelled {
		r.Reason = f.Reason
	}
	if !s.Satisfies() {
		return
	}
	for _, d := range r.waiters {
		waits := d.open != nil && d.open.Kind == Blocked ||
			d.open == nil && !d.told && d.Status == task.StepPending // as it has since before the log begins
		if waits && d.satisfied() {
			d.to(&Bar{Kind: Ready, From: f.at})
		}
	}
}

// to ends what a step does and begins something else, at the same time.
func (r *row) to(next *Bar) {
	r.close(next.From)
	r.open = next
}

// close ends what a step does. An attempt is kept however short it was.
func (r *row) close(at time.Time) {
	bar := r.open
	r.open = nil
	if bar == nil {
		return
	}
	bar.To = latest(at, bar.From)
	if bar.Kind == Backoff && bar.From.Before(r.until) && r.until.Before(bar.To) {
		r.Bars = append(r.Bars, Bar{Kind: Backoff, From: bar.From, To: r.until})
		bar = &Bar{Kind: Ready, From: r.until, To: bar.To, Open: bar.Open}
	}
	if bar.Kind == Running || bar.To.After(bar.From) || bar.Open {
		r.Bars = append(r.Bars, *bar)
	}
}

// end closes what is open: at the end of the task, or now.
func (b *builder) end() *Timeline {
	t := &Timeline{From: b.begun, To: b.last, Open: !b.status.Terminal(), Status: b.status, Missing: b.missing, Pauses: b.pauses}
	if t.Open {
		t.To = latest(b.now, b.last)
	}
	if b.paused {
		p := &t.Pauses[len(t.Pauses)-1]
		p.To, p.Open = t.To, t.Open
	}
	for _, name := range b.order {
		r := b.rows[name]
		if r.open != nil {
			r.open.Open = t.Open
		}
		r.close(t.To)
		t.Rows = append(t.Rows, r.Row)
	}
	return t
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
