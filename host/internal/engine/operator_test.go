package engine

import (
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host/task"
)

// TestCancel (rule S8): what does not run is cancelled at once, what runs ends by its
// own result or with its grace, then the task is cancelled and stays so.
func TestCancel(t *testing.T) {
	tests := []struct {
		name    string
		end     func(d *drive)
		step    string
		attempt task.AttemptStatus
		events  []string
	}{
		{
			"success", func(d *drive) { d.succeed("a") }, "a:complete", task.AttemptSucceeded,
			[]string{"step.completed a", "task.cancelled"},
		},
		{
			"failure", func(d *drive) { d.fail("a", task.KindRetryable) }, "a:cancelled", task.AttemptFailed,
			[]string{"step.cancelled a", "task.cancelled"},
		},
		{
			"stopped as asked", func(d *drive) { d.fail("a", task.KindCancelled) }, "a:cancelled", task.AttemptCancelled,
			[]string{"step.cancelled a", "task.cancelled"},
		},
		{
			"lost", func(d *drive) { d.lose("a", task.LossCrashed) }, "a:cancelled", task.AttemptLost,
			[]string{"step.attempt_lost a", "step.cancelled a", "task.cancelled"},
		},
		{
			"no answer within its grace", func(d *drive) { d.pass(testGrace); d.due("a") }, "a:cancelled", task.AttemptCancelled,
			[]string{"step.cancelled a", "task.cancelled"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := start(t, shape(t, step("a"), step("b"), step("c<-a"), step("d")))
			d.claim("a", "d")
			d.fail("d", task.KindRetryable)
			out := d.decide(Cancel{d.op("")})
			d.wantEvents("task.cancel_requested", "step.cancelled b", "step.cancelled c", "step.cancelled d")
			d.wantStatus(task.InProgress, "a:in_progress", "b:cancelled", "c:cancelled", "d:cancelled")
			if len(out.Cancel) != 1 || out.Cancel[0].ID != d.id("a") || out.Cancel[0].Reason != task.CodeCancelRequested {
				t.Errorf("asked to stop: %+v, want %s", out.Cancel, d.id("a"))
			}
			if got, want := d.agg.Wake(0, d.now), d.now.Add(testGrace); !got.Equal(want) {
				t.Errorf("the grace ends at %s, want %s", got, want)
			}
			if d.decide(Cancel{d.op("")}); d.last.WriteSet != nil {
				t.Error("cancelling again changed the task")
			}
			for _, in := range []Input{Pause{d.op("")}, Resume{d.op("")}, Retry{d.op("b")}, ResolveByHand{d.op("b")}} {
				d.refused(in, task.ErrTransition)
			}
			d.pass(testGrace - 1)
			d.due("a")
			d.wantStatus(task.InProgress, "a:in_progress")
			d.pass(-time.Second)
			late := d.succeeded("a")
			tt.end(d)
			d.wantEvents(tt.events...)
			d.wantStatus(task.Cancelled, tt.step)
			if got := d.step("a").Attempt.Status; got != tt.attempt {
				t.Errorf("the attempt is %s, want %s", got, tt.attempt)
			}
			d.decide(late)
			d.wantStatus(task.Cancelled, tt.step)
			for _, in := range []Input{Retry{d.op("")}, Retry{d.op("b")}, ResolveByHand{d.op("b")}, Resume{d.op("")}} {
				d.refused(in, task.ErrTransition)
			}
		})
	}
}

func TestCancelBeforeAnythingRan(t *testing.T) {
	for _, paused := range []bool{false, true} {
		d := start(t, linear6(t))
		if paused {
			d.decide(Pause{d.op("")})
		}
		d.decide(Cancel{d.op("")})
		d.wantEvents("task.cancel_requested", "step.cancelled a", "step.cancelled b", "step.cancelled c",
			"step.cancelled d", "step.cancelled e", "step.cancelled f", "task.cancelled")
		d.wantStatus(task.Cancelled)
	}
}

// TestCancelFinished: a task that ended otherwise cannot be cancelled.
func TestCancelFinished(t *testing.T) {
	d := start(t, shape(t, step("a")))
	d.play(script{})
	d.refused(Cancel{d.op("")}, task.ErrTransition)
}

// TestFailFast (rule S4): a failed step cancels what is ready and asks what runs to
// stop; what is blocked stays, so that a retry brings everything back.
func TestFailFast(t *testing.T) {
	tmpl := failFast(t, shape(t, step("a", limit(1)), step("b"), step("c"), step("d<-b"), step("e<-a")))
	d := start(t, tmpl)
	d.claim("a", "b")
	out := d.fail("a", task.KindRetryable)
	d.wantEvents("step.failed a", "step.max_retries_reached a", "step.cancelled c")
	d.wantStatus(task.InProgress, "a:error", "b:in_progress", "c:cancelled", "d:pending", "e:pending")
	if len(out.Cancel) != 1 || out.Cancel[0].Reason != task.CodeFailFast {
		t.Errorf("asked to stop: %+v, want b because of fail_fast", out.Cancel)
	}
	d.succeed("b")
	d.wantEvents("step.completed b", "step.cancelled d", "task.failed")
	d.wantStatus(task.Error, "b:complete", "d:cancelled", "e:pending")
	d.decide(Retry{d.op("")})
	d.wantEvents("task.retry_requested", "step.retry_requested a", "step.retry_requested c", "step.retry_requested d")
	d.play(script{})
	d.wantStatus(task.Complete)
}

// TestFailFastThenCancel: a cancel overrides what fail_fast began.
func TestFailFastThenCancel(t *testing.T) {
	d := start(t, failFast(t, shape(t, step("a", limit(1)), step("b"), step("c<-b"))))
	d.claim("a", "b")
	d.fail("a", task.KindRetryable)
	d.decide(Cancel{d.op("")})
	d.wantEvents("task.cancel_requested", "step.cancelled c")
	d.fail("b", task.KindCancelled)
	d.wantStatus(task.Cancelled, "a:error", "b:cancelled", "c:cancelled")
}

// TestOptionalDoesNotFailFast: its exhaustion is by design.
func TestOptionalDoesNotFailFast(t *testing.T) {
	d := start(t, failFast(t, shape(t, step("a", limit(1), optional), step("b<-a"))))
	d.play(script{fails: map[string]int{"a": 1}})
	d.wantStatus(task.Complete, "a:skipped", "b:complete")
}

func TestPause(t *testing.T) {
	d := start(t, shape(t, step("a"), step("b<-a"), step("c")), workflow)
	d.claim("a")
	d.decide(Pause{d.op("")})
	d.wantEvents("task.paused")
	d.refused(d.claimOf(2), task.ErrTransition)
	d.refused(Pause{d.op("")}, task.ErrTransition)
	d.succeed("a")
	d.wantEvents("step.completed a")
	d.wantStatus(task.Paused, "a:complete", "b:pending")
	d.pass(time.Hour)
	d.decide(Resume{d.op("")})
	d.wantEvents("task.resumed", "workflow.viable_steps_discovered")
	d.play(script{})
	d.wantStatus(task.Complete)
	d.refused(Resume{d.op("")}, task.ErrTransition)
}

// TestPauseInBackoff: a retry that comes due meanwhile waits for the resume.
func TestPauseInBackoff(t *testing.T) {
	d := start(t, shape(t, step("a")))
	d.claim("a")
	d.fail("a", task.KindRetryable)
	d.decide(Pause{d.op("")})
	d.pass(time.Minute)
	d.due("a")
	d.refused(d.claimOf(0), task.ErrTransition)
	d.decide(Resume{d.op("")})
	d.claim("a")
}

// TestPauseBeforeTheFirstClaim: the task starts with its first claim all the same.
func TestPauseBeforeTheFirstClaim(t *testing.T) {
	d := start(t, shape(t, step("a")))
	d.decide(Pause{d.op("")})
	d.decide(Resume{d.op("")})
	d.pass(time.Minute)
	d.claim("a")
	d.wantEvents("task.started", "step.started a")
	if got := d.agg.Task.StartedAt; !got.Equal(d.now) {
		t.Errorf("started at %s, want %s", got, d.now)
	}
}

// TestPausedTaskEnds: when what ran was the last of it.
func TestPausedTaskEnds(t *testing.T) {
	for _, ok := range []bool{true, false} {
		d := start(t, shape(t, step("a", limit(1))))
		d.claim("a")
		d.decide(Pause{d.op("")})
		want := task.Complete
		if ok {
			d.succeed("a")
		} else {
			d.fail("a", task.KindRetryable)
			want = task.Error
		}
		d.wantStatus(want)
	}
}

// TestRetryStep (rules S1, R1): an operator's retry of what may be retried zeroes
// failures and losses and keeps the number of attempts; everything else is refused.
func TestRetryStep(t *testing.T) {
	d := start(t, shape(t, step("a", limit(2)), step("b<-a")))
	d.refused(Retry{d.op("a")}, task.ErrTransition)
	d.refused(Retry{d.op("x")}, task.ErrNotFound)
	d.claim("a")
	d.refused(Retry{d.op("a")}, task.ErrTransition)
	d.fail("a", task.KindRetryable)
	d.refused(Retry{d.op("a")}, task.ErrTransition) // it is in backoff: wait
	d.refused(Retry{d.op("")}, task.ErrTransition)  // the task has not failed
	d.pass(time.Minute)
	d.claim("a")
	d.fail("a", task.KindRetryable)
	d.wantStatus(task.Error, "a:error", "b:pending")
	d.refused(Retry{d.op("b")}, task.ErrTransition)
	d.pass(time.Hour)
	d.decide(Retry{d.op("a")})
	d.wantEvents("step.retry_requested a")
	d.wantStatus(task.InProgress, "a:pending")
	s := d.step("a")
	if s.Failures != 0 || s.Attempts != 2 || s.Failure == nil || !d.agg.Task.CompletedAt.IsZero() || d.agg.Task.Failure != nil {
		t.Errorf("%d failures, %d attempts, failure %v, task ended %s with %v", s.Failures, s.Attempts, s.Failure, d.agg.Task.CompletedAt, d.agg.Task.Failure)
	}
	d.claim("a")
	d.wantEvents("step.started a") // and no task.started again
	d.succeed("a")
	d.play(script{})
	d.wantStatus(task.Complete)
	d.refused(Retry{d.op("a")}, task.ErrTransition)
}

// TestRetryBelowAFailure: retrying what only another step blocks changes its status and
// leaves the task failed.
func TestRetryBelowAFailure(t *testing.T) {
	d := start(t, failFast(t, shape(t, step("a", limit(1)), step("b"), step("c<-b"))))
	d.claim("a", "b")
	d.fail("a", task.KindRetryable)
	d.fail("b", task.KindCancelled)
	d.wantStatus(task.Error, "a:error", "b:cancelled", "c:pending")
	d.decide(Retry{d.op("b")})
	d.wantStatus(task.InProgress, "b:pending")
	d.claim("b")
	d.succeed("b")
	d.claim("c")
	d.succeed("c")
	d.wantStatus(task.Error, "a:error", "b:complete", "c:complete")
	d.wantEvents("step.completed c", "task.failed")
}

func TestResolveStep(t *testing.T) {
	tests := []struct {
		name string
		fail func(d *drive)
	}{
		{"failed", func(d *drive) { d.fail("a", task.KindPermanent) }},
		{"parked", func(d *drive) { d.lose("a", task.LossCrashed) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := start(t, shape(t, step("a", onCrash(task.OnCrashPark)), step("b<-a")))
			d.claim("a")
			d.refused(ResolveByHand{d.op("a")}, task.ErrTransition)
			tt.fail(d)
			op := d.op("a")
			op.Results = []byte("{")
			d.refused(ResolveByHand{op}, task.ErrInvalid)
			op.Results = large(task.MaxValue + 1)
			d.refused(ResolveByHand{op}, task.ErrTooLarge)
			op.Results = []byte(`{"ok":true}`)
			d.decide(ResolveByHand{op})
			d.wantEvents("step.resolved_manually a")
			d.wantStatus(task.InProgress, "a:resolved_manually")
			if r := d.step("a").Resolution; r == nil || r.By != "ann" || r.Reason != "because" || !r.At.Equal(d.now) {
				t.Errorf("resolution %+v", r)
			}
			d.claim("b")
			if got := d.agg.Assignment(1, true).Results[0]; string(got.Value.Inline) != `{"ok":true}` || got.Status != task.StepResolvedManually {
				t.Errorf("b is given %+v", got)
			}
			d.succeed("b")
			d.wantStatus(task.Complete)
			d.refused(ResolveByHand{op}, task.ErrTransition)
		})
	}
}

func TestResolveLastStep(t *testing.T) {
	d := start(t, shape(t, step("a", limit(1))))
	d.play(script{fails: map[string]int{"a": 1}})
	d.decide(ResolveByHand{d.op("a")})
	d.wantEvents("step.resolved_manually a", "task.completed")
	d.wantStatus(task.Complete)
}

func TestResolveTask(t *testing.T) {
	d := start(t, shape(t, step("a", limit(1)), step("b<-a")))
	d.refused(ResolveByHand{d.op("")}, task.ErrTransition)
	d.play(script{fails: map[string]int{"a": 1}})
	d.decide(ResolveByHand{d.op("")})
	d.wantEvents("task.resolved_manually")
	d.wantStatus(task.ResolvedManually, "a:error", "b:pending")
	if !d.last.Ended || d.agg.Task.Resolution == nil || d.agg.Task.Resolution.By != "ann" {
		t.Errorf("ended %t, resolution %+v", d.last.Ended, d.agg.Task.Resolution)
	}
	for _, in := range []Input{Retry{d.op("")}, Retry{d.op("a")}, ResolveByHand{d.op("a")}, Cancel{d.op("")}} {
		d.refused(in, task.ErrTransition)
	}
}

// TestParked: the task waits for its operator and says so; other branches go on.
func TestParked(t *testing.T) {
	d := start(t, shape(t, step("a", onCrash(task.OnCrashPark)), step("b")))
	d.claim()
	d.lose("a", task.LossHostDied)
	d.succeed("b")
	d.wantStatus(task.InProgress, "a:waiting", "b:complete")
	v := d.agg.View(d.now, freeSlots{})
	if v.Derived != task.DerivedWaiting || v.Health != task.HealthBlocked || v.Action == "" {
		t.Errorf("derived %s, health %s, action %q; want waiting, blocked and a command", v.Derived, v.Health, v.Action)
	}
	d.pass(time.Second)
	d.decide(Retry{d.op("a")})
	d.wantEvents("step.retry_requested a", "step.resumed a")
	d.play(script{})
	d.wantStatus(task.Complete)
}

// TestInputsKeepTheirOrder: what is decided together is recorded in the order given.
func TestInputsKeepTheirOrder(t *testing.T) {
	d := start(t, shape(t, step("a"), step("b"), step("c"), step("d<-a,b,c")))
	d.claim()
	d.wantEvents("task.started", "step.started a", "step.started b", "step.started c")
	d.decide(d.succeeded("c"), d.failed("a", task.KindRetryable), d.succeeded("b"))
	d.wantEvents("step.completed c", "step.failed a", "step.retry_scheduled a", "step.completed b")
}

// TestBadInputBesideGoodOnes: a refused input does not take the others with it.
func TestBadInputBesideGoodOnes(t *testing.T) {
	d := start(t, shape(t, step("a"), step("b")))
	d.claim()
	errs := d.apply(d.succeeded("a"), d.claimOf(1), Retry{d.op("x")}, d.succeeded("b"))
	if errs[0] != nil || errs[1] == nil || errs[2] == nil || errs[3] != nil {
		t.Errorf("answers %v, want the middle ones refused", errs)
	}
	d.wantEvents("step.completed a", "step.completed b", "task.completed")
}
