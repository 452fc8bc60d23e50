package engine

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// drawTemplate draws a template of up to eight steps, each depending on some of those
// before it, with any settings.
func drawTemplate(t *rapid.T, set ...func(*template.Step)) *template.Template {
	spec := template.Template{Name: "any", Version: "1.0.0"}
	if rapid.Bool().Draw(t, "fail_fast") {
		spec.OnFailure = template.OnFailureFailFast
	}
	n := rapid.IntRange(1, 8).Draw(t, "steps")
	for i := range n {
		s := template.Step{
			Name: task.StepName(fmt.Sprintf("s%d", i)), Handler: task.HandlerRef{Plugin: "mock", Handler: "step"},
			Optional: rapid.IntRange(0, 4).Draw(t, "optional") == 0, Skippable: rapid.Bool().Draw(t, "skippable"),
			OnCrash: rapid.SampledFrom([]task.OnCrash{"", task.OnCrashRetry, task.OnCrashFail, task.OnCrashPark}).Draw(t, "on_crash"),
			Retry:   &task.Retry{Limit: rapid.Uint32Range(1, 3).Draw(t, "limit"), Base: task.Duration(time.Second)},
		}
		if rapid.IntRange(0, 4).Draw(t, "once") == 0 {
			s.Retryable = new(bool)
		}
		s.Timeout = drawLimit(t, "timeout")
		s.HeartbeatTimeout = drawLimit(t, "heartbeat_timeout")
		s.ScheduleToStart = drawLimit(t, "schedule_to_start")
		s.TotalTimeout = drawLimit(t, "total_timeout")
		for dep := range i {
			if rapid.IntRange(0, 2).Draw(t, "edge") == 0 {
				s.DependsOn = append(s.DependsOn, task.Ordinal(dep))
			}
		}
		for _, f := range set {
			f(&s)
		}
		spec.Steps = append(spec.Steps, s)
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "events") {
		e := template.Event{
			Name: fmt.Sprintf("any.event%d", i), On: rapid.SampledFrom(template.EventSources()).Draw(t, "on"),
		}
		if strings.HasPrefix(e.On, "step.") {
			e.Step = spec.Steps[rapid.IntRange(0, n-1).Draw(t, "of")].Name
		}
		spec.Events = append(spec.Events, e)
	}
	tmpl, err := template.New(spec)
	if err != nil {
		t.Fatalf("template: %v", err)
	}
	return tmpl
}

// drawValues draws joins, conditions and mappings, some of which fail: a result that is
// null has no fields.
func drawValues(t *rapid.T) func(*template.Step) {
	return func(s *template.Step) {
		if len(s.DependsOn) > 1 && rapid.IntRange(0, 2).Draw(t, "join") == 0 {
			s.Join = template.JoinAny
		}
		whens, withs := []string{"", "", "", "input.n == 1", "input.n > 1"}, []string{"", "", "", `{"a":"=input.n"}`}
		if len(s.DependsOn) > 0 {
			dep := fmt.Sprintf("s%d", s.DependsOn[0])
			whens = append(whens, fmt.Sprintf("has(results.%s) && results.%s.step != %q", dep, dep, dep))
			withs = append(withs, fmt.Sprintf(`{"a":"=results.%s.step"}`, dep))
		}
		s.When = rapid.SampledFrom(whens).Draw(t, "when")
		s.With = []byte(rapid.SampledFrom(withs).Draw(t, "with"))
	}
}

// drawTaken draws joins, conditions and mappings that neither skip nor fail a step.
func drawTaken(t *rapid.T) func(*template.Step) {
	return func(s *template.Step) {
		if len(s.DependsOn) > 1 && rapid.IntRange(0, 2).Draw(t, "join") == 0 {
			s.Join = template.JoinAny
		}
		s.When = rapid.SampledFrom([]string{"", "input.n == 1"}).Draw(t, "when")
		s.With = []byte(rapid.SampledFrom([]string{"", `{"a":"=input.n"}`, `"=input"`}).Draw(t, "with"))
	}
}

func drawLimit(t *rapid.T, name string) *time.Duration {
	if rapid.IntRange(0, 3).Draw(t, name+" set") > 0 {
		return nil
	}
	d := time.Duration(rapid.IntRange(1, 30).Draw(t, name)) * time.Second
	return &d
}

// drawSpec draws what a task is asked to do beside its template.
func drawSpec(t *rapid.T, tmpl *template.Template) func(*task.Spec, *Host) {
	return func(s *task.Spec, h *Host) {
		h.Workflow = rapid.Bool().Draw(t, "workflow")
		if rapid.IntRange(0, 3).Draw(t, "deadline") == 0 {
			s.Deadline = s.CreatedAt.Add(time.Minute)
		}
		for i := range tmpl.Steps {
			if tmpl.Steps[i].Skippable && rapid.IntRange(0, 3).Draw(t, "bypass") == 0 {
				s.Bypass = append(s.Bypass, tmpl.Steps[i].Name)
			}
		}
	}
}

// drawInput draws anything that may happen to the task, sensible or not.
func (d *drive) drawInput(t *rapid.T) Input {
	o := task.Ordinal(rapid.IntRange(0, len(d.agg.Task.Steps)-1).Draw(t, "step"))
	s := d.agg.Step(o)
	name := string(s.Name)
	id := task.AttemptID{Task: testTask, Ordinal: o, Number: s.Attempts}
	if s.Attempts > 1 && rapid.IntRange(0, 3).Draw(t, "old attempt") == 0 {
		id.Number--
	}
	switch rapid.IntRange(0, 21).Draw(t, "input") {
	case 0, 1, 2, 3, 4:
		return d.claimOf(o)
	case 5, 6, 7, 8:
		r := d.emitted(name, drawEmits(t)...)
		r.Report.ID = id
		return r
	case 20, 21:
		return Emitted{ID: id, Emits: drawEmits(t)}
	case 9, 10:
		r := d.failed(name, rapid.SampledFrom([]task.ErrorKind{task.KindRetryable, task.KindRetryable, task.KindPermanent, task.KindCancelled}).Draw(t, "kind"))
		r.Report.ID = id
		r.Report.Emits = drawEmits(t)
		r.Report.Failure.RetryAfter = task.Duration(rapid.IntRange(0, 5).Draw(t, "retry_after")) * task.Duration(time.Second)
		return r
	case 11, 12:
		return Lost{ID: id, Cause: rapid.SampledFrom([]task.LossCause{task.LossCrashed, task.LossHung, task.LossDrained, task.LossHostDied, task.LossUnsent}).Draw(t, "cause")}
	case 13, 14:
		return Due{Ordinal: o}
	case 15:
		return DeadlineDue{}
	case 16:
		return Retry{d.op(rapid.SampledFrom([]string{"", name}).Draw(t, "of"))}
	case 17:
		return ResolveByHand{d.op(rapid.SampledFrom([]string{"", name, name}).Draw(t, "of"))}
	case 18:
		if rapid.Bool().Draw(t, "pause") {
			return Pause{d.op("")}
		}
		return Resume{d.op("")}
	default:
		if rapid.IntRange(0, 3).Draw(t, "cancel") == 0 {
			return Cancel{d.op("")}
		}
		return Resume{d.op("")}
	}
}

// drawEmits draws the custom events that come with something.
func drawEmits(t *rapid.T) []task.Emit {
	emits := make([]task.Emit, rapid.IntRange(0, 3).Draw(t, "emits"))
	for i := range emits {
		emits[i] = emit(rapid.SampledFrom([]string{"mock.seen", "mock.done"}).Draw(t, "event"), i)
	}
	return emits
}

// drawInputs moves the clock, backwards too, and draws what is decided together.
func (d *drive) drawInputs(t *rapid.T) []Input {
	d.pass(time.Duration(rapid.IntRange(-5, 15).Draw(t, "seconds")) * time.Second)
	inputs := make([]Input, rapid.IntRange(1, 3).Draw(t, "inputs"))
	for i := range inputs {
		inputs[i] = d.drawInput(t)
	}
	return inputs
}

// TestAnyInputs: whatever happens in whatever order, the laws of laws_test.go hold after
// each decision, and the same decision made on what is stored is the same to the byte.
func TestAnyInputs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tmpl := drawTemplate(t, drawValues(t))
		d := start(t, tmpl, drawSpec(t, tmpl))
		for range rapid.IntRange(1, 40).Draw(t, "decisions") {
			inputs := d.drawInputs(t)
			twin := d.stored.load(t)
			copyBeats(twin, d.agg)
			again := twin.Begin(&d.host, d.now)
			for _, in := range inputs {
				_ = again.Apply(in) // refused or not, as below
			}
			out, err := again.Finish()
			if err != nil {
				t.Fatal(err)
			}
			d.apply(inputs...)
			sameOutcome(t, out, d.last)
		}
	})
}

// copyBeats: heartbeats are not stored.
func copyBeats(to, from *Aggregate) {
	for i := range from.Task.Steps {
		if a := from.Task.Steps[i].Attempt; a != nil {
			to.Task.Steps[i].Attempt.BeatAt = a.BeatAt
		}
	}
}

func sameOutcome(t *rapid.T, a, b Outcome) {
	t.Helper()
	if (a.WriteSet == nil) != (b.WriteSet == nil) || fmt.Sprint(a.Dispatch, a.Cancel, a.Changed, a.Ended) != fmt.Sprint(b.Dispatch, b.Cancel, b.Changed, b.Ended) {
		t.Fatalf("the same inputs lead to %+v and %+v", a, b)
	}
	if a.WriteSet == nil {
		return
	}
	if len(a.WriteSet.Events) != len(b.WriteSet.Events) {
		t.Fatalf("the same inputs record %d and %d events", len(a.WriteSet.Events), len(b.WriteSet.Events))
	}
	for i := range a.WriteSet.Events {
		if !bytes.Equal(a.WriteSet.Events[i].Encoded, b.WriteSet.Events[i].Encoded) {
			t.Fatalf("event %d differs:\n%s\n%s", i, a.WriteSet.Events[i].Encoded, b.WriteSet.Events[i].Encoded)
		}
	}
	if len(a.WriteSet.Steps) != len(b.WriteSet.Steps) {
		t.Fatalf("the same inputs change %d and %d steps", len(a.WriteSet.Steps), len(b.WriteSet.Steps))
	}
	for i := range a.WriteSet.Steps {
		if diff := cmp.Diff(a.WriteSet.Steps[i], b.WriteSet.Steps[i]); diff != "" {
			t.Fatalf("step %d differs:\n%s", i, diff)
		}
	}
}

// TestEveryTaskEnds: however it was treated before, a task whose attempts all answer,
// and whose operator resumes it and retries what is parked, ends; so does one whose host
// dies at any moment, and then no completed step runs again.
func TestEveryTaskEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tmpl := drawTemplate(t, drawValues(t))
		d := start(t, tmpl, drawSpec(t, tmpl))
		for range rapid.IntRange(0, 15).Draw(t, "decisions before") {
			d.apply(d.drawInputs(t)...)
		}
		fails := make(map[string]int)
		for i := range tmpl.Steps {
			fails[string(tmpl.Steps[i].Name)] = rapid.IntRange(0, 6).Draw(t, "fails")
		}
		d.pass(time.Minute) // the clock is past everything that was recorded
		if rapid.Bool().Draw(t, "host dies") {
			d.crash(t)
		}
		for rounds := 0; !d.agg.Task.Status.Terminal(); rounds++ {
			if rounds > 50 {
				t.Fatalf("the task does not end: %s", d.agg.Derived(d.now))
			}
			if d.agg.Task.Status == task.Paused && d.agg.Task.Stop == nil {
				d.decide(Resume{d.op("")})
			}
			d.play(script{fails: fails, slots: rapid.IntRange(0, 2).Draw(t, "slots"), emits: 1})
			for i := range d.agg.Task.Steps {
				if s := &d.agg.Task.Steps[i]; s.Status == task.StepWaiting {
					d.decide(Retry{d.op(string(s.Name))})
				}
			}
		}
		for _, s := range d.agg.Task.Steps {
			if n := d.count("step.completed", string(s.Name)); n > 1 || (s.Status == task.StepComplete) != (n == 1) {
				t.Fatalf("step %s is %s and completed %d times", s.Name, s.Status, n)
			}
		}
	})
}

// crash replaces the aggregate by what is stored, as a host that starts does, and
// tells it that the running attempts are lost.
func (d *drive) crash(t *rapid.T) {
	d.agg = d.stored.load(t)
	d.host.Epoch++
	var inputs []Input
	for i := range d.agg.Task.Steps {
		s := &d.agg.Task.Steps[i]
		if s.Status == task.StepInProgress {
			inputs = append(inputs, Lost{ID: d.id(string(s.Name)), Cause: task.LossHostDied})
		}
	}
	d.decide(inputs...)
}

// TestCrashAtEachDecision: the host dies after every single decision of a task.
func TestCrashAtEachDecision(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := start(t, drawTemplate(t, onCrash(task.OnCrashRetry), drawTaken(t)))
		for rounds := 0; !d.agg.Task.Status.Terminal(); rounds++ {
			if rounds > 200 {
				t.Fatalf("the task does not end: %s", d.agg.Derived(d.now))
			}
			d.fill(0)
			if rapid.IntRange(0, 3).Draw(t, "crash between claim and result") == 0 {
				d.crash(t)
				continue
			}
			at, inputs := d.next(&script{emits: 2})
			if len(inputs) == 0 {
				t.Fatalf("nothing is to come: %s", d.agg.Derived(d.now))
			}
			d.now = at
			d.decide(inputs...)
			d.crash(t)
		}
		d.wantStatus(task.Complete)
		for _, s := range d.agg.Task.Steps {
			if n := d.count("step.completed", string(s.Name)); n != 1 || s.Losses != 0 {
				t.Fatalf("step %s completed %d times with %d losses", s.Name, n, s.Losses)
			}
			if n := d.count("mock.done", string(s.Name)); n != 2 {
				t.Fatalf("step %s emitted %d events, want 2", s.Name, n)
			}
		}
	})
}
