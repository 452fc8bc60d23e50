package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// tb is what *testing.T and *rapid.T share.
type tb interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

const (
	testTask  = task.ID("01HZXW5N8QJ3R6T9V0B2C4D7EF")
	testGrace = 10 * time.Second
)

var testStart = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// drive is a task that is driven by inputs only, as a host would, with everything that
// is always true checked after each decision (see laws_test.go).
type drive struct {
	t    tb
	host Host
	dec  Decision // one for all, so that nothing of an earlier one may show
	agg  *Aggregate
	now  time.Time

	stored  *model
	events  []*eventv1.Event
	last    Outcome
	applied []appliedInput // of the last decision
	ready   []task.Ordinal // what it said is ready
}

// step returns a template step "name<-dep,dep".
func step(text string, set ...func(*template.Step)) func([]template.Step) template.Step {
	return func(before []template.Step) template.Step {
		name, deps, _ := strings.Cut(text, "<-")
		s := template.Step{Name: task.StepName(name), Handler: task.HandlerRef{Plugin: "mock", Handler: "step"}}
		for dep := range strings.SplitSeq(deps, ",") {
			if dep == "" {
				continue
			}
			i := slices.IndexFunc(before, func(s template.Step) bool { return s.Name == task.StepName(dep) })
			s.DependsOn = append(s.DependsOn, task.Ordinal(i))
		}
		for _, f := range set {
			f(&s)
		}
		return s
	}
}

func optional(s *template.Step)  { s.Optional = true }
func skippable(s *template.Step) { s.Skippable = true }
func once(s *template.Step)      { s.Retryable = new(bool) }

func limit(n uint32) func(*template.Step) {
	return func(s *template.Step) { s.Retry = &task.Retry{Limit: n} }
}

// backoff is a constant wait between attempts.
func backoff(d time.Duration) func(*template.Step) {
	return func(s *template.Step) { s.Retry = &task.Retry{Backoff: task.BackoffConstant, Base: task.Duration(d)} }
}

func onCrash(c task.OnCrash) func(*template.Step) { return func(s *template.Step) { s.OnCrash = c } }

func timeout(d time.Duration) func(*template.Step) { return func(s *template.Step) { s.Timeout = &d } }

func heartbeat(d time.Duration) func(*template.Step) {
	return func(s *template.Step) { s.HeartbeatTimeout = &d }
}

func scheduleToStart(d time.Duration) func(*template.Step) {
	return func(s *template.Step) { s.ScheduleToStart = &d }
}

func totalTimeout(d time.Duration) func(*template.Step) {
	return func(s *template.Step) { s.TotalTimeout = &d }
}

// shape makes a template of steps.
func shape(t tb, steps ...func([]template.Step) template.Step) *template.Template {
	t.Helper()
	spec := template.Template{Name: "shape", Version: "1.0.0"}
	for _, s := range steps {
		spec.Steps = append(spec.Steps, s(spec.Steps))
	}
	tmpl, err := template.New(spec)
	if err != nil {
		t.Fatalf("template: %v", err)
	}
	return tmpl
}

func failFast(t tb, tmpl *template.Template) *template.Template {
	t.Helper()
	spec := *tmpl
	spec.OnFailure = template.OnFailureFailFast
	out, err := template.New(spec)
	if err != nil {
		t.Fatalf("template: %v", err)
	}
	return out
}

// start creates a task; set changes what it asks for.
func start(t tb, tmpl *template.Template, set ...func(*task.Spec, *Host)) *drive {
	t.Helper()
	d := prepare(t, tmpl, set...)
	d.decide(Create{})
	return d
}

// prepare makes a task that is still to be created.
func prepare(t tb, tmpl *template.Template, set ...func(*task.Spec, *Host)) *drive {
	spec := task.Spec{
		ID: testTask, Template: tmpl.Ref(), Input: task.Value{Inline: []byte(`{"n":1}`)},
		CorrelationID: string(testTask), CreatedAt: testStart,
	}
	d := &drive{
		t: t, now: testStart, stored: &model{},
		host: Host{Epoch: 7, CancelGrace: testGrace, Rand: func() float64 { return 0.5 }},
	}
	for _, f := range set {
		f(&spec, &d.host)
	}
	d.agg = New(spec, tmpl)
	return d
}

func workflow(_ *task.Spec, h *Host) { h.Workflow = true }

// apply makes one decision, checks the laws and returns what each input was answered.
func (d *drive) apply(inputs ...Input) []error {
	d.t.Helper()
	before := cloneTask(d.agg.Task)
	dec := &d.dec
	dec.Begin(d.agg, &d.host, d.now)
	claimable, wakes := d.agg.ClaimableSteps(dec.Now()), d.wakes(dec.Now())
	d.applied = nil
	errs := make([]error, len(inputs))
	for i, in := range inputs {
		seen := d.observe(dec)
		errs[i] = dec.Apply(in)
		did := seen.until(dec, errs[i])
		did.in = in
		d.applied = append(d.applied, did)
	}
	d.ready = slices.Clone(dec.Ready())
	for _, o := range d.agg.ClaimableSteps(dec.Now()) {
		if !slices.Contains(claimable, o) && !slices.Contains(d.ready, o) && before.Revision > 0 {
			d.t.Errorf("step %d became claimable and Ready is %v", o, d.ready)
		}
	}
	seen := d.observe(dec)
	out, err := dec.Finish()
	if err != nil {
		d.t.Fatalf("Finish: %v", err)
	}
	d.last = out
	d.checkWakes(wakes, d.wakes(dec.Now()))
	d.check(before, seen.until(dec, nil))
	return errs
}

// decide is apply for inputs that must be accepted.
func (d *drive) decide(inputs ...Input) Outcome {
	d.t.Helper()
	unresolved := false // a step that could not be started: fail_fast may have stopped the others
	for i, err := range d.apply(inputs...) {
		unresolved = unresolved || errors.Is(err, ErrUnresolved)
		if err != nil && !unresolved {
			d.t.Fatalf("input %d, %T%+v: %v", i, inputs[i], inputs[i], err)
		}
	}
	return d.last
}

// refused applies an input that must be refused and change nothing.
func (d *drive) refused(in Input, want error) {
	d.t.Helper()
	err := d.apply(in)[0]
	if !errors.Is(err, want) {
		d.t.Errorf("%T%+v: got error %v, want %v", in, in, err, want)
	}
	if d.last.WriteSet != nil {
		d.t.Errorf("%T%+v was refused and changed the task", in, in)
	}
}

func (d *drive) ordinal(name string) task.Ordinal {
	d.t.Helper()
	o, ok := d.agg.Template.StepByName(task.StepName(name))
	if !ok {
		d.t.Fatalf("no step %q", name)
	}
	return o
}

func (d *drive) step(name string) *task.Step {
	d.t.Helper()
	return d.agg.Step(d.ordinal(name))
}

func (d *drive) id(name string) task.AttemptID {
	d.t.Helper()
	s := d.step(name)
	return task.AttemptID{Task: d.agg.Task.ID, Ordinal: s.Ordinal, Number: s.Attempts}
}

func (d *drive) claimOf(o task.Ordinal) Claim {
	return Claim{Ordinal: o, Instance: "mock#1", Offer: &task.Offer{Plugin: "mock", PluginVersion: "1.0.0", Handler: "step", Version: 1}}
}

// claim starts the named steps, or every claimable one.
func (d *drive) claim(names ...string) Outcome {
	d.t.Helper()
	var inputs []Input
	for _, name := range names {
		inputs = append(inputs, d.claimOf(d.ordinal(name)))
	}
	if len(names) == 0 {
		for _, o := range d.agg.ClaimableSteps(d.now) {
			inputs = append(inputs, d.claimOf(o))
		}
	}
	return d.decide(inputs...)
}

func (d *drive) succeeded(name string) Result {
	d.t.Helper()
	output := fmt.Appendf(nil, `{"step":%q}`, name)
	return Result{Report: task.Report{ID: d.id(name), Instance: "mock#1", Kind: task.ReportSucceeded, Output: output}}
}

func (d *drive) failed(name string, kind task.ErrorKind) Result {
	d.t.Helper()
	return Result{Report: task.Report{
		ID: d.id(name), Instance: "mock#1", Kind: task.ReportFailed,
		Failure: &task.Failure{Kind: kind, Message: "boom", Class: "*errors.errorString", Source: task.SourcePlugin},
	}}
}

func (d *drive) succeed(name string) Outcome {
	d.t.Helper()
	return d.decide(d.succeeded(name))
}

func (d *drive) fail(name string, kind task.ErrorKind) Outcome {
	d.t.Helper()
	return d.decide(d.failed(name, kind))
}

func (d *drive) lose(name string, cause task.LossCause) Outcome {
	d.t.Helper()
	return d.decide(Lost{ID: d.id(name), Cause: cause})
}

func (d *drive) due(name string) Outcome {
	d.t.Helper()
	return d.decide(Due{Ordinal: d.ordinal(name)})
}

func (d *drive) op(step string) task.Operation {
	return task.Operation{Task: d.agg.Task.ID, Step: task.StepName(step), By: "ann", Reason: "because"}
}

func (d *drive) pass(by time.Duration) { d.now = d.now.Add(by) }

// wantStatus compares the statuses: the task's, then "name:status" of steps.
func (d *drive) wantStatus(want task.Status, steps ...string) {
	d.t.Helper()
	if got := d.agg.Task.Status; got != want {
		d.t.Errorf("task is %s, want %s", got, want)
	}
	for _, text := range steps {
		name, status, _ := strings.Cut(text, ":")
		if got := d.step(name).Status; string(got) != status {
			d.t.Errorf("step %s is %s, want %s", name, got, status)
		}
	}
}

// wantEvents compares the events of the last decision: "type" or "type step".
func (d *drive) wantEvents(want ...string) {
	d.t.Helper()
	var got []string
	if ws := d.last.WriteSet; ws != nil {
		for _, e := range d.events[len(d.events)-len(ws.Events):] {
			got = append(got, strings.TrimSpace(e.GetType()+" "+e.GetStep()))
		}
	}
	if !slices.Equal(got, want) {
		d.t.Errorf("events\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// count returns how many events of a type there are so far, about a step if it is named.
func (d *drive) count(typ, step string) int {
	n := 0
	for _, e := range d.events {
		if e.GetType() == typ && (step == "" || e.GetStep() == step) {
			n++
		}
	}
	return n
}

// completed returns the steps in the order of their completion.
func (d *drive) completed() string {
	var names []string
	for _, e := range d.events {
		if e.GetType() == "step.completed" {
			names = append(names, e.GetStep())
		}
	}
	return strings.Join(names, " ")
}

func decode(t tb, encoded []byte) *eventv1.Event {
	t.Helper()
	e := &eventv1.Event{}
	if err := proto.Unmarshal(encoded, e); err != nil {
		t.Fatalf("event does not decode: %v", err)
	}
	return e
}

// script says how the attempts of a simulated task go.
type script struct {
	fails map[string]int            // the first n attempts of a step fail
	kind  map[string]task.ErrorKind // how, retryable unless set
	takes map[string]time.Duration  // an attempt, 10ms unless set
	slots int                       // attempts at once, 0 = any number
	emits int                       // custom events that come with each answer
}

func (s *script) takesOf(name task.StepName) time.Duration {
	if d, ok := s.takes[string(name)]; ok {
		return d
	}
	return 10 * time.Millisecond
}

// play claims, answers and passes time until the task has ended or nothing is to come.
func (d *drive) play(s script) {
	d.t.Helper()
	for rounds := 0; !d.agg.Task.Status.Terminal(); rounds++ {
		if rounds > 100*len(d.agg.Task.Steps)+1000 {
			d.t.Fatalf("the task does not end")
		}
		d.fill(s.slots)
		at, inputs := d.next(&s)
		if len(inputs) == 0 {
			if len(d.agg.ClaimableSteps(d.now)) > 0 { // a claim failed its step and let others run
				continue
			}
			return
		}
		d.now = at
		d.decide(inputs...)
	}
}

// fill claims what is claimable as far as there are slots.
func (d *drive) fill(slots int) {
	d.t.Helper()
	free := len(d.agg.Task.Steps)
	if slots > 0 {
		free = max(slots-d.agg.in(task.StepInProgress), 0)
	}
	ready := d.agg.ClaimableSteps(d.now)
	inputs := make([]Input, 0, len(ready))
	for _, o := range ready[:min(free, len(ready))] {
		inputs = append(inputs, d.claimOf(o))
	}
	if len(inputs) > 0 {
		d.decide(inputs...)
	}
}

// next returns what happens next and when: the answers of attempts, or wake-ups.
func (d *drive) next(s *script) (at time.Time, inputs []Input) {
	consider := func(when time.Time, in Input) {
		switch {
		case when.IsZero():
		case at.IsZero() || when.Before(at):
			at, inputs = when, []Input{in}
		case when.Equal(at):
			inputs = append(inputs, in)
		}
	}
	for i := range d.agg.Task.Steps {
		st := &d.agg.Task.Steps[i]
		if st.Status == task.StepInProgress {
			name := string(st.Name)
			answer := d.succeeded(name)
			if int(st.Attempts) <= s.fails[name] {
				kind := s.kind[name]
				if kind == "" {
					kind = task.KindRetryable
				}
				answer = d.failed(name, kind)
			}
			for n := range s.emits {
				answer.Report.Emits = append(answer.Report.Emits, emit("mock.done", n))
			}
			consider(st.Attempt.StartedAt.Add(s.takesOf(st.Name)), answer)
		}
		consider(d.agg.Wake(st.Ordinal, d.now), Due{Ordinal: st.Ordinal})
	}
	return at, inputs
}
