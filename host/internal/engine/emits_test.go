package engine

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// custom reports whether an event is not of the catalog.
func custom(e *eventv1.Event) bool {
	_, known := event.Lookup(e.GetType())
	return !known
}

// checkCustom: what a plugin emitted stands right before the completion that it came
// with, or alone when it came at once; what the template declares stands right behind its
// source and has its payload. Nothing else is recorded beside the catalog's events.
func (d *drive) checkCustom(a appliedInput) {
	d.t.Helper()
	line := func(name, step string, payload []byte) string { return fmt.Sprintf("%s(%s) %s", name, step, payload) }
	var got, want []string
	for _, e := range a.events {
		got = append(got, line(e.GetType(), e.GetStep(), e.GetPayload()))
	}
	emits := func(id task.AttemptID, es []task.Emit) {
		for _, e := range es {
			want = append(want, line(e.Name, string(a.after.Steps[id.Ordinal].Name), e.Payload))
		}
	}
	if in, ok := a.in.(Emitted); ok && a.err == nil && runs(a.before, in.ID) {
		emits(in.ID, in.Emits)
	}
	for _, e := range a.events {
		if custom(e) {
			continue
		}
		if in, ok := a.in.(Result); ok && e.GetType() == event.NameStepCompleted {
			emits(in.Report.ID, in.Report.Emits)
		}
		want = append(want, line(e.GetType(), e.GetStep(), e.GetPayload()))
		var failed event.StepFailed
		if err := json.Unmarshal(e.GetPayload(), &failed); err != nil {
			d.t.Fatalf("payload of %s: %v", e.GetType(), err)
		}
		for _, declared := range d.agg.Template.Events {
			if declared.On == e.GetType() && string(declared.Step) == e.GetStep() && (declared.On != event.NameStepFailed || failed.Final) {
				want = append(want, line(declared.Name, e.GetStep(), e.GetPayload()))
			}
		}
	}
	if !slices.Equal(got, want) {
		d.t.Errorf("%T recorded (-got +want):\n%s", a.in, cmp.Diff(got, want))
	}
}

// runs reports whether an attempt is the running one of its step.
func runs(t *task.Task, id task.AttemptID) bool {
	a := t.Steps[id.Ordinal].Attempt
	return a != nil && a.Number == id.Number && a.Status == task.AttemptRunning
}

// emitted is a success with events.
func (d *drive) emitted(name string, emits ...task.Emit) Result {
	r := d.succeeded(name)
	r.Report.Emits = emits
	return r
}

func emit(name string, n int) task.Emit {
	return task.Emit{Name: name, Payload: fmt.Appendf(nil, `{"n":%d}`, n)}
}

// TestEmitsOfSuccess: they are recorded with the success and before it, in the order in
// which they were emitted.
func TestEmitsOfSuccess(t *testing.T) {
	d := start(t, shape(t, step("a"), step("b<-a")))
	d.claim()
	d.decide(d.emitted("a", emit("orders.paid", 1), emit("orders.shipped", 2), emit("orders.paid", 3)))
	d.wantEvents("orders.paid a", "orders.shipped a", "orders.paid a", "step.completed a")
	d.claim()
	d.decide(d.emitted("b", emit("orders.done", 1)))
	d.wantEvents("orders.done b", "step.completed b", "task.completed")
}

// TestEmitsWithoutSuccess: what came with an attempt that did not succeed, or too late, is
// dropped.
func TestEmitsWithoutSuccess(t *testing.T) {
	tests := []struct {
		name string
		end  func(d *drive)
		late uint32
	}{
		{"failure", func(d *drive) {
			r := d.failed("a", task.KindRetryable)
			r.Report.Emits = []task.Emit{emit("orders.paid", 1)}
			d.decide(r)
		}, 0},
		{"success that cannot be stored", func(d *drive) {
			r := d.emitted("a", emit("orders.paid", 1))
			r.Report.Output = large(task.MaxValue + 1)
			d.decide(r)
		}, 0},
		{"refused result", func(d *drive) { d.decide(d.emitted("a", emit("orders.paid", 1)).Refused(task.ErrTooLarge)) }, 0},
		{"success after the loss", func(d *drive) {
			d.lose("a", task.LossCrashed)
			d.decide(d.emitted("a", emit("orders.paid", 1)))
		}, 1},
		{"success after a time limit", func(d *drive) {
			d.pass(time.Minute)
			d.due("a")
			d.decide(d.emitted("a", emit("orders.paid", 1)))
		}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := start(t, shape(t, step("a", timeout(time.Minute)), step("b")))
			d.claim()
			tt.end(d)
			if n := d.count("orders.paid", ""); n != 0 {
				t.Errorf("%d events, want none", n)
			}
			if got := d.step("a").LateCount; got != tt.late {
				t.Errorf("%d late results, want %d", got, tt.late)
			}
		})
	}
}

// TestEmittedAtOnce: they are recorded while the attempt runs and change nothing else; the
// next attempt records its own.
func TestEmittedAtOnce(t *testing.T) {
	d := start(t, shape(t, step("a", backoff(time.Second)), step("b<-a")))
	d.claim()
	before := cloneTask(d.agg.Task)
	d.pass(time.Second)
	d.decide(Emitted{ID: d.id("a"), Emits: []task.Emit{emit("orders.seen", 1), emit("orders.seen", 2)}})
	d.wantEvents("orders.seen a", "orders.seen a")
	before.Seq, before.Revision, before.UpdatedAt = before.Seq+2, before.Revision+1, d.now
	if diff := diffTasks(d.agg.Task, before); diff != "" {
		t.Errorf("the task changed (-got +want):\n%s", diff)
	}
	if out := d.last; len(out.Dispatch) > 0 || len(out.Cancel) > 0 || out.Ended || out.WriteSet.Task == nil || len(out.WriteSet.Steps) > 0 {
		t.Errorf("outcome %+v, want only the record of the task", out)
	}
	d.fail("a", task.KindRetryable)
	d.pass(time.Second)
	d.claim("a")
	d.decide(Emitted{ID: d.id("a"), Emits: []task.Emit{emit("orders.seen", 1)}}, d.emitted("a", emit("orders.paid", 1)))
	d.wantEvents("orders.seen a", "orders.paid a", "step.completed a")
	if n := d.count("orders.seen", "a"); n != 3 {
		t.Errorf("%d events, want those of both attempts", n)
	}
}

// TestEmittedAfterCancel: the attempt that is asked to stop still says what it did.
func TestEmittedAfterCancel(t *testing.T) {
	d := start(t, shape(t, step("a")))
	d.claim()
	d.decide(Cancel{d.op("")})
	d.decide(Emitted{ID: d.id("a"), Emits: []task.Emit{emit("orders.seen", 1)}})
	d.wantEvents("orders.seen a")
}

// TestEmittedLate: the events of an attempt that runs no more are dropped, and counted.
func TestEmittedLate(t *testing.T) {
	d := start(t, shape(t, step("a", timeout(time.Minute)), step("b")))
	d.claim()
	first := d.id("a")
	d.pass(time.Minute)
	d.due("a")
	held := d.step("a").HoldUntil
	d.decide(Emitted{ID: first, Emits: []task.Emit{emit("orders.seen", 1)}})
	d.wantEvents()
	want := &task.LateResult{Number: 1, Outcome: "emitted", At: d.now}
	if s := d.step("a"); s.LateCount != 1 || cmp.Diff(s.Late, want) != "" || !s.HoldUntil.Equal(held) {
		t.Errorf("late %d, %+v, held until %s; want %+v, and held as before: the attempt works", s.LateCount, s.Late, s.HoldUntil, want)
	}
	d.pass(time.Hour)
	d.claim("a")
	d.decide(Emitted{ID: first, Emits: []task.Emit{emit("orders.seen", 1)}})
	d.wantEvents()
	if s := d.step("a"); s.LateCount != 2 {
		t.Errorf("late %d, want 2", s.LateCount)
	}
}

// TestEmittedRefused: nobody else's attempt records anything.
func TestEmittedRefused(t *testing.T) {
	d := start(t, shape(t, step("a"), step("b<-a")))
	d.claim("a")
	ids := []task.AttemptID{d.id("a"), d.id("a"), d.id("a"), {Task: testTask, Ordinal: 1, Number: 1}, {Task: testTask, Ordinal: 2, Number: 1}}
	ids[0].Number, ids[1].Number, ids[2].Task = 2, 0, "01HZXW5N8QJ3R6T9V0B2C4D7XX"
	for _, id := range ids {
		d.refused(Emitted{ID: id, Emits: []task.Emit{emit("orders.seen", 1)}}, task.ErrInvalid)
	}
}

// TestTemplateEvents: what a template declares is recorded with its source wherever that
// is decided.
func TestTemplateEvents(t *testing.T) {
	spec := *shape(t, step("a", skippable), step("b", limit(2)), step("c", optional, limit(1)))
	spec.Events = []template.Event{
		{Name: "shape.skipped", On: event.NameStepSkipped, Step: "a"},
		{Name: "shape.broken", On: event.NameStepFailed, Step: "b"},
		{Name: "shape.left_out", On: event.NameStepSkipped, Step: "c"},
		{Name: "shape.failed", On: event.NameTaskFailed},
	}
	tmpl, err := template.New(spec)
	if err != nil {
		t.Fatal(err)
	}
	d := start(t, tmpl, func(s *task.Spec, h *Host) { s.Bypass, h.Workflow = []task.StepName{"a"}, true })
	d.wantEvents("task.initialized", "step.skipped a", "shape.skipped a", "workflow.viable_steps_discovered")
	d.claim()
	d.fail("b", task.KindRetryable)
	d.wantEvents("step.failed b", "step.retry_scheduled b")
	d.fail("c", task.KindPermanent)
	d.wantEvents("step.failed c", "step.skipped c", "shape.left_out c")
	d.pass(time.Minute)
	d.claim("b")
	d.fail("b", task.KindRetryable)
	d.wantEvents("step.failed b", "shape.broken b", "step.max_retries_reached b", "workflow.no_viable_steps",
		"workflow.task_finalization_started", "task.failed", "shape.failed", "workflow.task_finalization_completed")
}
