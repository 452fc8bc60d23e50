package engine

import (
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// TestTimeLimits (rule R4): nothing happens a moment before a limit, and at the limit
// the attempt is closed and asked to stop.
func TestTimeLimits(t *testing.T) {
	tests := []struct {
		name  string
		set   []func(*template.Step)
		after time.Duration // the claim
		code  string
		step  task.StepStatus
	}{
		{"timeout", []func(*template.Step){timeout(5 * time.Second)}, 5 * time.Second, task.CodeTimeout, task.StepWaitingForRetry},
		{"heartbeat_timeout", []func(*template.Step){heartbeat(3 * time.Second)}, 3 * time.Second, task.CodeHeartbeatTimeout, task.StepWaitingForRetry},
		{"total_timeout", []func(*template.Step){totalTimeout(4 * time.Second)}, 4 * time.Second, task.CodeTotalTimeout, task.StepError},
		{
			"the earliest of all",
			[]func(*template.Step){timeout(5 * time.Second), heartbeat(6 * time.Second), totalTimeout(time.Minute)},
			5 * time.Second, task.CodeTimeout, task.StepWaitingForRetry,
		},
		{"the limit of failures", []func(*template.Step){timeout(time.Second), limit(1)}, time.Second, task.CodeTimeout, task.StepError},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := start(t, shape(t, step("a", tt.set...)))
			d.claim("a")
			at := d.now.Add(tt.after)
			if got := d.agg.Wake(0, d.now); !got.Equal(at) {
				t.Fatalf("wakes at %s, want %s", got, at)
			}
			d.now = at.Add(-1)
			if out := d.due("a"); out.WriteSet != nil || len(out.Changed) != 1 {
				t.Errorf("an early wake-up: write set %v, changed %v; want none, and to be asked again", out.WriteSet, out.Changed)
			}
			d.now = at
			out := d.due("a")
			d.wantStatus(d.agg.Task.Status, "a:"+string(tt.step))
			s := d.step("a")
			if s.Attempt.Status != task.AttemptTimedOut || s.Failure.Code != tt.code || s.Failure.Kind != task.KindTimeout || s.Failures != 1 {
				t.Errorf("attempt %s, failure %+v, %d failures; want timed_out, %s, 1", s.Attempt.Status, s.Failure, s.Failures, tt.code)
			}
			if len(out.Cancel) != 1 || out.Cancel[0].ID.Number != 1 || out.Cancel[0].Reason != tt.code {
				t.Errorf("asked to stop: %+v, want attempt 1 because of %s", out.Cancel, tt.code)
			}
		})
	}
}

func TestHeartbeats(t *testing.T) {
	d := start(t, shape(t, step("a", heartbeat(3*time.Second))))
	d.claim("a")
	for range 5 {
		d.pass(2 * time.Second)
		d.step("a").Attempt.BeatAt = d.now
	}
	d.pass(2 * time.Second)
	d.due("a")
	d.wantStatus(task.InProgress, "a:in_progress")
	d.pass(time.Second)
	d.due("a")
	d.wantStatus(task.InProgress, "a:waiting_for_retry")
}

// TestHold: the next attempt of a timed-out one is not claimed before the old one has
// answered, is gone, or its grace has passed (rule S8), whoever asks for it.
func TestHold(t *testing.T) {
	answer := func(d *drive) {
		r := d.failed("a", task.KindCancelled)
		r.Report.ID.Number = 1
		d.decide(r)
	}
	gone := func(d *drive) {
		d.decide(Lost{ID: task.AttemptID{Task: testTask, Ordinal: 0, Number: 1}, Cause: task.LossCrashed})
	}
	tests := []struct {
		name    string
		limit   uint32
		release func(d *drive)
		wait    time.Duration // from the time-out to the next claim
	}{
		{"its grace passes", 3, nil, testGrace},
		{"it answers", 3, answer, 2 * time.Second},
		{"its instance goes away", 3, gone, 2 * time.Second},
		{"an operator retries, its grace passes", 1, nil, testGrace},
		{"an operator retries, it answers", 1, answer, 2 * time.Second},
		{"an operator retries, its instance goes away", 1, gone, 2 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := start(t, shape(t, step("a", timeout(time.Second), func(s *template.Step) {
				s.Retry = &task.Retry{Limit: tt.limit, Backoff: task.BackoffConstant, Base: task.Duration(time.Second / 10)}
			})))
			d.claim("a")
			d.pass(time.Second)
			d.due("a")
			timedOut := d.now
			if tt.limit == 1 {
				d.wantStatus(task.Error, "a:error")
				d.decide(Retry{d.op("a")})
			}
			d.pass(2 * time.Second)
			d.due("a")
			d.refused(d.claimOf(0), task.ErrTransition)
			if got := d.agg.View(d.now, freeSlots{}).Steps[0].Reason; got.Code != task.ReasonHold || !got.Until.Equal(timedOut.Add(testGrace)) {
				t.Errorf("reason %+v, want %s until the grace ends", got, task.ReasonHold)
			}
			if got := d.agg.Derived(d.now); got != task.DerivedWaitingForRetry {
				t.Errorf("derived status %s, want %s", got, task.DerivedWaitingForRetry)
			}
			if tt.release != nil {
				tt.release(d)
			} else {
				at := d.agg.Wake(0, d.now)
				d.now = at
				d.due("a")
			}
			d.claim("a")
			if got := d.step("a").Attempt.StartedAt.Sub(timedOut); got != tt.wait {
				t.Errorf("claimed %s after the time-out, want %s", got, tt.wait)
			}
		})
	}
}

// TestTotalTimeout: an attempt that would not fit any more is not scheduled, and an
// operator's retry starts the clock anew.
func TestTotalTimeout(t *testing.T) {
	d := start(t, shape(t, step("a", totalTimeout(10*time.Second), backoff(4*time.Second))))
	d.claim("a")
	d.pass(time.Second)
	d.fail("a", task.KindRetryable)
	d.wantStatus(task.InProgress, "a:waiting_for_retry")
	d.pass(4 * time.Second)
	d.claim("a")
	d.pass(time.Second)
	d.fail("a", task.KindRetryable) // at 6s: the next would start at 10s
	d.wantStatus(task.Error, "a:error")
	d.pass(time.Hour)
	d.decide(Retry{d.op("a")})
	d.claim("a")
	if got, want := d.agg.Wake(0, d.now), d.now.Add(10*time.Second); !got.Equal(want) {
		t.Errorf("after an operator's retry the limit is at %s, want %s", got, want)
	}
}

// TestTotalTimeoutInBackoff: a step whose retry is due but gets no slot runs out of time.
func TestTotalTimeoutInBackoff(t *testing.T) {
	d := start(t, shape(t, step("a", totalTimeout(10*time.Second), backoff(4*time.Second))))
	d.claim("a")
	d.fail("a", task.KindRetryable)
	d.pass(4 * time.Second)
	d.due("a")
	if got, want := d.agg.Wake(0, d.now), testStart.Add(10*time.Second); !got.Equal(want) {
		t.Fatalf("wakes at %s, want %s", got, want)
	}
	d.pass(6 * time.Second)
	d.due("a")
	d.wantStatus(task.Error, "a:error")
	d.wantEvents("step.failed a", "task.failed")
	if got := d.step("a").Failure.Code; got != task.CodeTotalTimeout {
		t.Errorf("failure code %s, want %s", got, task.CodeTotalTimeout)
	}
}

// TestScheduleToStart: it runs from ready to claimed, for first and later attempts, and
// not while the task is paused.
func TestScheduleToStart(t *testing.T) {
	limit := scheduleToStart(5 * time.Second)
	tests := []struct {
		name  string
		set   []func(*template.Step)
		ready func(d *drive) // brings step b to where it waits for a slot
		want  string
	}{
		{"after its dependency", nil, func(d *drive) { d.succeed("a") }, "b:error"},
		{"optional", []func(*template.Step){optional}, func(d *drive) { d.succeed("a") }, "b:skipped"},
		{"after an operator's retry", nil, func(d *drive) {
			d.succeed("a")
			d.claim("b")
			d.fail("b", task.KindPermanent)
			d.pass(time.Hour)
			d.decide(Retry{d.op("b")})
		}, "b:error"},
		{"after its backoff", []func(*template.Step){backoff(time.Minute)}, func(d *drive) {
			d.succeed("a")
			d.claim("b")
			d.fail("b", task.KindRetryable)
			d.pass(time.Minute)
			d.due("b")
		}, "b:error"},
		{"after a pause", nil, func(d *drive) {
			d.succeed("a")
			d.decide(Pause{d.op("")})
			d.pass(time.Hour)
			d.due("b")
			d.decide(Resume{d.op("")})
		}, "b:error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := start(t, shape(t, step("a"), step("b<-a", append(tt.set, limit)...)))
			d.claim("a")
			if got := d.agg.Wake(1, d.now); !got.IsZero() {
				t.Errorf("a blocked step wakes at %s", got)
			}
			d.pass(time.Minute)
			tt.ready(d)
			at := d.now.Add(5 * time.Second)
			if got := d.agg.Wake(1, d.now); !got.Equal(at) {
				t.Fatalf("wakes at %s, want %s", got, at)
			}
			d.now = at.Add(-1)
			d.due("b")
			d.now = at
			d.due("b")
			d.wantStatus(d.agg.Task.Status, tt.want)
			if s := d.step("b"); s.Failure.Code != task.CodeScheduleToStart || s.Failure.Kind != task.KindTimeout {
				t.Errorf("failure %+v, want %s", s.Failure, task.CodeScheduleToStart)
			}
			if !d.agg.Task.Status.Terminal() {
				t.Errorf("the task is %s", d.agg.Task.Status)
			}
		})
	}
}

// TestDeadline (rule R4): what runs is asked to stop, what could run is cancelled, the
// task fails, and an operator's retry sets the deadline aside.
func TestDeadline(t *testing.T) {
	deadline := func(s *task.Spec, _ *Host) { s.Deadline = testStart.Add(time.Minute) }
	tmpl := shape(t, step("a"), step("b"), step("c<-a"))
	d := start(t, tmpl, deadline)
	if got, want := d.agg.DeadlineAt(), testStart.Add(time.Minute); !got.Equal(want) {
		t.Fatalf("deadline at %s, want %s", got, want)
	}
	d.claim("a")
	d.pass(time.Minute - 1)
	d.decide(DeadlineDue{})
	d.wantStatus(task.InProgress, "b:pending")
	d.pass(1)
	out := d.decide(DeadlineDue{})
	d.wantEvents("step.cancelled b")
	if len(out.Cancel) != 1 || out.Cancel[0].Reason != task.CodeDeadline {
		t.Errorf("asked to stop: %+v", out.Cancel)
	}
	d.decide(DeadlineDue{})
	d.wantEvents()
	d.succeed("a")
	d.wantStatus(task.Error, "a:complete", "b:cancelled", "c:cancelled")
	d.wantEvents("step.completed a", "step.cancelled c", "task.failed")
	if f := d.agg.Task.Failure; f == nil || f.Code != task.CodeDeadline {
		t.Errorf("the task's failure is %+v, want %s", f, task.CodeDeadline)
	}
	d.decide(Retry{d.op("")})
	if got := d.agg.DeadlineAt(); !got.IsZero() {
		t.Errorf("after an operator's retry the deadline is at %s", got)
	}
	d.play(script{})
	d.wantStatus(task.Complete)

	d = start(t, shape(t, step("a")), deadline)
	d.claim("a")
	d.pass(time.Minute)
	d.decide(DeadlineDue{})
	d.succeed("a")
	d.wantStatus(task.Complete) // it was done after all
}

// TestDueIsHarmless: a wake-up too many changes nothing, whatever the step is doing.
func TestDueIsHarmless(t *testing.T) {
	tests := []struct {
		name string
		do   func(d *drive)
	}{
		{"pending", func(*drive) {}},
		{"running", func(d *drive) { d.claim("a") }},
		{"in backoff", func(d *drive) { d.claim("a"); d.fail("a", task.KindRetryable) }},
		{"parked", func(d *drive) { d.claim("a"); d.lose("a", task.LossCrashed) }},
		{"complete", func(d *drive) { d.claim("a"); d.succeed("a") }},
		{"in error", func(d *drive) { d.claim("a"); d.fail("a", task.KindPermanent) }},
		{"cancelled", func(d *drive) { d.decide(Cancel{d.op("")}) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := start(t, shape(t, step("a", onCrash(task.OnCrashPark)), step("b<-a")), workflow)
			tt.do(d)
			d.decide(Due{0}, Due{1}, Due{7}, DeadlineDue{})
			if d.last.WriteSet != nil {
				t.Errorf("changed the task: %+v", d.last.WriteSet)
			}
		})
	}
}

// TestRetryBecomesViable: with workflow events, a retry that is due is a discovery; it
// changes no status, so the task's record carries revision and task_seq.
func TestRetryBecomesViable(t *testing.T) {
	d := start(t, shape(t, step("a")), workflow)
	d.claim("a")
	d.fail("a", task.KindRetryable)
	d.pass(time.Second)
	d.due("a")
	d.wantEvents("workflow.viable_steps_discovered")
}
