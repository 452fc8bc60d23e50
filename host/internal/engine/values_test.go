package engine

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

func when(source string) func(*template.Step) {
	return func(s *template.Step) { s.When = source }
}

func with(doc string) func(*template.Step) {
	return func(s *template.Step) { s.With = json.RawMessage(doc) }
}

func joinAny(s *template.Step) { s.Join = template.JoinAny }

// TestWhen: what conditions do to their steps and to those below (rule S2).
func TestWhen(t *testing.T) {
	tests := map[string]struct {
		steps []func([]template.Step) template.Step
		fails map[string]int
		kind  task.ErrorKind
		want  task.Status
		is    []string
		notes string
	}{
		"true": {
			steps: []func([]template.Step) template.Step{step("a", when("input.n == 1"))},
			want:  task.Complete, is: []string{"a:complete"},
		},
		"false": {
			steps: []func([]template.Step) template.Step{step("a", when("input.n > 1")), step("b")},
			want:  task.Complete, is: []string{"a:skipped", "b:complete"}, notes: "a=when",
		},
		"all steps are skipped": {
			steps: []func([]template.Step) template.Step{step("a", when("false")), step("b<-a"), step("c<-b")},
			want:  task.Complete, is: []string{"a:skipped", "b:skipped", "c:skipped"},
			notes: "a=when b=when_dependencies c=when_dependencies",
		},
		"one of the dependencies is skipped": {
			steps: []func([]template.Step) template.Step{step("a", when("false")), step("b"), step("c<-a,b", with(`{"a": "=results.a", "b": "=results.b.step"}`))},
			want:  task.Complete, is: []string{"a:skipped", "b:complete", "c:complete"}, notes: "a=when",
		},
		"by a result": {
			steps: []func([]template.Step) template.Step{step("a"), step("b<-a", when(`results.a.step == "a"`)), step("c<-a", when(`results.a.step != "a"`)), step("d<-b,c")},
			want:  task.Complete, is: []string{"b:complete", "c:skipped", "d:complete"}, notes: "c=when",
		},
		"optional and failed is not by a condition": {
			steps: []func([]template.Step) template.Step{step("a", optional), step("b<-a")}, fails: map[string]int{"a": 9}, kind: task.KindPermanent,
			want: task.Complete, is: []string{"a:skipped", "b:complete"}, notes: "a=optional",
		},
		"cannot be evaluated": {
			steps: []func([]template.Step) template.Step{step("a", when("input.absent > 1")), step("b<-a"), step("c")},
			want:  task.Error, is: []string{"a:error", "b:pending", "c:complete"},
		},
		"cannot be evaluated, optional": {
			steps: []func([]template.Step) template.Step{step("a", when("input.absent > 1"), optional), step("b<-a")},
			want:  task.Complete, is: []string{"a:skipped", "b:complete"}, notes: "a=optional",
		},
		"an input that cannot be made": {
			steps: []func([]template.Step) template.Step{step("a", with(`{"x": "=input.absent"}`)), step("b<-a"), step("c")},
			want:  task.Error, is: []string{"a:error", "b:pending", "c:complete"},
		},
		"an input that cannot be made, optional": {
			steps: []func([]template.Step) template.Step{step("a", with(`{"x": "=input.absent"}`), optional), step("b<-a")},
			want:  task.Complete, is: []string{"a:skipped", "b:complete"}, notes: "a=optional",
		},
		"any: the first one": {
			steps: []func([]template.Step) template.Step{step("a"), step("b"), step("c<-a,b", joinAny)},
			want:  task.Complete, is: []string{"a:complete", "b:complete", "c:complete"},
		},
		"any: the branch that is taken": {
			steps: []func([]template.Step) template.Step{step("a", when("false")), step("b"), step("c<-a,b", joinAny, with(`"=results.b"`))},
			want:  task.Complete, is: []string{"a:skipped", "b:complete", "c:complete"}, notes: "a=when",
		},
		"any: no branch is taken": {
			steps: []func([]template.Step) template.Step{step("a", when("false")), step("b", when("false")), step("c<-a,b", joinAny)},
			want:  task.Complete, is: []string{"c:skipped"}, notes: "a=when b=when c=when_dependencies",
		},
		"any: one failed, one did not": {
			steps: []func([]template.Step) template.Step{step("a"), step("b"), step("c<-a,b", joinAny)}, fails: map[string]int{"a": 9}, kind: task.KindPermanent,
			want: task.Error, is: []string{"a:error", "b:complete", "c:complete"},
		},
		"any: all failed": {
			steps: []func([]template.Step) template.Step{step("a"), step("b"), step("c<-a,b", joinAny)}, fails: map[string]int{"a": 9, "b": 9}, kind: task.KindPermanent,
			want: task.Error, is: []string{"a:error", "b:error", "c:pending"},
		},
		"any: one skipped, one failed": {
			steps: []func([]template.Step) template.Step{step("a", when("false")), step("b"), step("c<-a,b", joinAny)}, fails: map[string]int{"b": 9}, kind: task.KindPermanent,
			want: task.Error, is: []string{"a:skipped", "b:error", "c:pending"}, notes: "a=when",
		},
		"any: all optional and failed": {
			steps: []func([]template.Step) template.Step{step("a", optional), step("b", optional), step("c<-a,b", joinAny)}, fails: map[string]int{"a": 9, "b": 9}, kind: task.KindPermanent,
			want: task.Complete, is: []string{"a:skipped", "b:skipped", "c:complete"}, notes: "a=optional b=optional",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			d := start(t, shape(t, tt.steps...))
			kinds := make(map[string]task.ErrorKind)
			for step := range tt.fails {
				kinds[step] = tt.kind
			}
			d.play(script{fails: tt.fails, kind: kinds})
			d.wantStatus(tt.want, tt.is...)
			var notes []string
			for _, s := range d.agg.Task.Steps {
				if s.Note != "" {
					notes = append(notes, string(s.Name)+"="+s.Note)
				}
			}
			if got := strings.Join(notes, " "); got != tt.notes {
				t.Errorf("notes %q, want %q", got, tt.notes)
			}
		})
	}
}

// TestWhenFailed: the failure says what is wrong, and an operator can retry or resolve it.
func TestWhenFailed(t *testing.T) {
	d := start(t, shape(t, step("a"), step("b<-a", when("results.a.absent > 1")), step("c<-b")))
	d.claim("a")
	d.succeed("a")
	d.wantEvents("step.completed a", "step.failed b", "task.failed")
	f := d.step("b").Failure
	if f.Code != task.CodeWhenFailed || f.Kind != task.KindPermanent || f.Source != task.SourceHost ||
		f.Message != `when: results.a.absent > 1: there is no "absent"` {
		t.Errorf("failure %+v", f)
	}
	d.decide(Retry{d.op("b")})
	d.wantStatus(task.Error, "b:error")
	d.decide(ResolveByHand{d.op("b")})
	d.wantStatus(task.InProgress, "b:resolved_manually", "c:pending")
	d.claim("c")
}

// TestWithFailed: a claim whose input cannot be made says so, and nothing has started.
func TestWithFailed(t *testing.T) {
	d := start(t, shape(t, step("a", with(`{"deep": ["=input.absent.x"]}`)), step("b<-a")))
	err := d.apply(d.claimOf(0))[0]
	if !errors.Is(err, ErrUnresolved) {
		t.Errorf("claim: %v, want %v", err, ErrUnresolved)
	}
	d.wantEvents("step.failed a", "task.failed")
	f := d.step("a").Failure
	if f.Code != task.CodeWithFailed || f.Message != `with: /deep/0: =input.absent.x: there is no "absent"` {
		t.Errorf("failure %+v", f)
	}
	if d.step("a").Attempts != 0 || len(d.last.Dispatch) > 0 {
		t.Errorf("%d attempts, dispatched %v", d.step("a").Attempts, d.last.Dispatch)
	}
	d.wantStatus(task.Error, "a:error", "b:pending")
}

// TestSkippedEvents: the events of steps that are not taken come in ordinal order, with
// the condition, behind what caused them.
func TestSkippedEvents(t *testing.T) {
	d := start(t, shape(t, step("a"), step("b<-a", when("input.n > 1")), step("c<-a"), step("d<-b"), step("e<-c")))
	d.claim("a")
	d.succeed("a")
	d.wantEvents("step.completed a", "step.skipped b", "step.skipped d")
	var e event.StepSkipped
	for _, raw := range d.events {
		if raw.GetType() == "step.skipped" && raw.GetStep() == "b" {
			if err := json.Unmarshal(raw.GetPayload(), &e); err != nil {
				t.Fatal(err)
			}
		}
	}
	if e.Reason != task.NoteWhen || e.When != "input.n > 1" {
		t.Errorf("step.skipped with reason %q and condition %q", e.Reason, e.When)
	}
	view := d.agg.View(d.now, freeSlots{})
	texts := []string{view.Steps[1].Reason.Text, view.Steps[3].Reason.Text}
	want := []string{"skipped: when input.n > 1 was false", "skipped: the conditions of all its dependencies were false"}
	if diff := cmp.Diff(want, texts); diff != "" {
		t.Errorf("reasons (-want +got):\n%s", diff)
	}
}

// TestJoinAnyReasons: a step that waits for any is blocked only when nothing is left to
// hope for (rule S7), and gets the results that are there.
func TestJoinAnyReasons(t *testing.T) {
	d := start(t, shape(t, step("a"), step("b"), step("b2<-b"), step("c<-a,b2", joinAny), step("d<-c")))
	reason := func(name string) string {
		r := d.agg.View(d.now, freeSlots{}).Steps[d.ordinal(name)].Reason
		return string(r.Code) + ": " + r.Text
	}
	if got, want := reason("c"), "waiting_for: waits for the first of a, b2"; got != want {
		t.Errorf("c: %s, want %s", got, want)
	}
	d.claim("a", "b")
	d.fail("a", task.KindPermanent)
	if got, want := reason("c"), "waiting_for: waits for the first of a, b2"; got != want {
		t.Errorf("c below a failed step: %s, want %s", got, want)
	}
	if got, want := reason("d"), "waiting_for: waits for c"; got != want {
		t.Errorf("d: %s, want %s", got, want)
	}
	d.fail("b", task.KindPermanent)
	if got, want := reason("c"), "blocked_by: blocked by a, b"; got != want {
		t.Errorf("c with nothing left: %s, want %s", got, want)
	}
	if got, want := reason("d"), "blocked_by: blocked by a"; got != want {
		t.Errorf("d with nothing left: %s, want %s", got, want)
	}
	d.wantStatus(task.Error)
	d.decide(Retry{d.op("a")})
	d.claim("a")
	ready := d.now
	d.succeed("a")
	d.claim("c")
	if got := d.agg.readyAt(d.step("c")); !got.Equal(ready) {
		t.Errorf("ready at %s, want %s", got, ready)
	}
	a := d.agg.Assignment(d.ordinal("c"), true)
	if len(a.Results) != 1 || a.Results[0].Step != "a" {
		t.Errorf("results %+v, want those of a", a.Results)
	}
}

// TestInput: the input of an attempt is what the mapping makes, the same for every
// attempt, and recorded with its event; without a mapping it is the task's.
func TestInput(t *testing.T) {
	d := start(t, shape(t, step("a"), step("b<-a", with(`{"from": "=results.a.step", "n": "=input.n + 1", "task": "=task.id", "x": [1]}`))))
	d.claim("a")
	if a := d.agg.Assignment(0, true); a.OwnInput || string(a.Input.Inline) != `{"n":1}` {
		t.Errorf("input of a: %+v", a.Input)
	}
	d.succeed("a")
	d.claim("b")
	want := `{"from":"a","n":2,"task":"` + string(testTask) + `","x":[1]}`
	for range 2 {
		a := d.agg.Assignment(1, true)
		if !a.OwnInput || string(a.Input.Inline) != want {
			t.Errorf("input of attempt %d of b: %s, want %s", d.step("b").Attempts, a.Input.Inline, want)
		}
		started := d.events[len(d.events)-1]
		var e event.StepStarted
		if err := json.Unmarshal(started.GetPayload(), &e); err != nil || string(e.Inputs) != want {
			t.Errorf("%s with the inputs %s, %v", started.GetType(), e.Inputs, err)
		}
		if d.step("b").Attempts == 1 {
			d.fail("b", task.KindRetryable)
			d.now = d.step("b").RetryAt
			d.claim("b")
		}
	}
}

// TestLargeReads: the decision says which blobs it wants, none that it writes itself, and
// forgets them when no step will read them.
func TestLargeReads(t *testing.T) {
	large := `{"text":"` + strings.Repeat("x", task.MaxInline) + `","n":1}`
	tmpl := shape(t, step("a"), step("b"), step("c<-a,b", when("results.a.n == 1"), with(`{"n": "=results.a.n", "m": "=input.n", "b": "=results.b"}`)), step("d<-c"))
	d := start(t, tmpl)
	d.claim("a", "b")
	result := d.succeeded("a")
	result.Report.Output = []byte(large)
	d.decide(result)
	if !d.agg.hasLarge(task.ResultBlob(0)) == (d.step("a").Results.Ref == nil) {
		t.Errorf("results of a: %+v", d.step("a").Results.Ref)
	}
	d.agg = d.stored.load(t) // as another host
	dec := d.agg.Begin(&d.host, d.now)
	if wants := dec.Wants(); len(wants) > 0 {
		t.Errorf("before anything is ready it wants %v", wants)
	}
	last := d.succeeded("b")
	last.Report.Output = []byte(large)
	if err := dec.Apply(last); err != nil {
		t.Fatal(err)
	}
	if ready := dec.Ready(); len(ready) > 0 {
		t.Errorf("ready without the value that the condition reads: %v", ready)
	}
	if wants := dec.Wants(); !slices.Equal(wants, []uint32{task.ResultBlob(0)}) {
		t.Fatalf("wants %v, want the results of a", wants)
	}
	if err := dec.Provide(task.ResultBlob(0), []byte(large)); err != nil {
		t.Fatal(err)
	}
	if wants, ready := dec.Wants(), dec.Ready(); len(wants) > 0 || !slices.Equal(ready, []task.Ordinal{2}) {
		t.Errorf("wants %v, ready %v", wants, ready)
	}
	if needs := dec.Needs(2); len(needs) > 0 {
		t.Errorf("a claim needs %v", needs)
	}
	if err := dec.Apply(d.claimOf(2)); err != nil {
		t.Fatal(err)
	}
	out, err := dec.Finish()
	if err != nil {
		t.Fatal(err)
	}
	var blobs []uint32
	for _, b := range out.WriteSet.Blobs {
		blobs = append(blobs, b.N)
	}
	if !slices.Equal(blobs, []uint32{task.ResultBlob(1), task.StepInputBlob(2)}) {
		t.Errorf("blobs %v", blobs)
	}
	if ref := d.step("c").Attempt.Input.Ref; ref == nil || ref.N != task.StepInputBlob(2) {
		t.Errorf("input of c: %+v", d.step("c").Attempt.Input)
	}
	if len(d.agg.large) > 0 {
		t.Errorf("%d large values are kept for nobody", len(d.agg.large))
	}
}

// TestNotProvided: a decision that goes on without what it wants is not committed.
func TestNotProvided(t *testing.T) {
	large := json.RawMessage(`{"text":"` + strings.Repeat("x", task.MaxInline) + `"}`)
	for name, set := range map[string]func(*template.Step){"when": when("results.a.text != ''"), "with": with(`"=results.a"`)} {
		t.Run(name, func(t *testing.T) {
			d := start(t, shape(t, step("a"), step("b"), step("c<-a,b", set)))
			d.claim("a", "b")
			result := d.succeeded("a")
			result.Report.Output = large
			d.decide(result)
			d.agg = d.stored.load(t)
			dec := d.agg.Begin(&d.host, d.now)
			_ = dec.Apply(d.succeeded("b"))
			_ = dec.Apply(d.claimOf(2)) // refused, or a fault
			if _, err := dec.Finish(); !errors.Is(err, errNotProvided) {
				t.Errorf("Finish: %v, want %v", err, errNotProvided)
			}
		})
	}
	d := start(t, shape(t, step("a")))
	if err := d.agg.Begin(&d.host, d.now).Provide(1, []byte("{")); err == nil {
		t.Error("what is no JSON was taken")
	}
}

// TestInputTooLarge: a mapping that makes too much fails its step.
func TestInputTooLarge(t *testing.T) {
	spread := `[input, input, input, input, input, input, input, input]`
	d := start(t, shape(t, step("a", with(`{"x": "=`+spread+strings.Repeat(".map(i, [i, i, i, i, i, i, i, i])", 7)+`"}`))))
	_ = d.apply(d.claimOf(0))
	if f := d.step("a").Failure; f == nil || f.Code != task.CodeWithFailed || !strings.Contains(f.Message, "too large: over 15728640 bytes") {
		t.Errorf("failure %+v", f)
	}
}
