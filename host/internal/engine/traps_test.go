package engine

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// Each test here stands for a defect of the engine that Tasker re-imagines, and would
// catch it.

func TestTrapAutomaticRetryWasNotWired(t *testing.T) {
	d := start(t, shape(t, step("a")))
	d.play(script{fails: map[string]int{"a": 2}})
	d.wantStatus(task.Complete)
	if got := d.step("a").Attempts; got != 3 {
		t.Errorf("%d attempts without an operator, want 3", got)
	}
}

func TestTrapNotRetryableNeverRan(t *testing.T) {
	d := start(t, shape(t, step("a", once)))
	d.play(script{})
	d.wantStatus(task.Complete, "a:complete")
}

func TestTrapPermanentErrorWasRetried(t *testing.T) {
	d := start(t, shape(t, step("a", limit(9))))
	d.play(script{fails: map[string]int{"a": 9}, kind: map[string]task.ErrorKind{"a": task.KindPermanent}})
	d.wantStatus(task.Error, "a:error")
	if got := d.step("a").Attempts; got != 1 {
		t.Errorf("%d attempts, want 1", got)
	}
}

func TestTrapRetryAfterWasIgnored(t *testing.T) {
	d := start(t, shape(t, step("a")))
	d.claim("a")
	r := d.failed("a", task.KindRetryable)
	r.Report.Failure.RetryAfter = task.Duration(time.Minute)
	d.decide(r)
	if got, want := d.agg.Wake(0, d.now), d.now.Add(time.Minute); !got.Equal(want) {
		t.Errorf("the next attempt is at %s, want %s", got, want)
	}
}

func TestTrapNoCrashRecovery(t *testing.T) {
	d := start(t, linear6(t))
	d.claim("a")
	d.succeed("a")
	d.claim("b")
	d.agg = d.stored.load(t) // the host died, another one starts
	d.host.Epoch++
	d.lose("b", task.LossHostDied)
	d.play(script{})
	d.wantStatus(task.Complete)
	if a, b := d.step("a"), d.step("b"); a.Attempts != 1 || b.Attempts != 2 || b.Losses != 0 || b.Attempt.Epoch != d.host.Epoch {
		t.Errorf("a has %d attempts, b has %d with %d losses and epoch %d", a.Attempts, b.Attempts, b.Losses, b.Attempt.Epoch)
	}
}

func TestTrapLoserOfARaceFailedTheWinnersStep(t *testing.T) {
	d := start(t, shape(t, step("a"), step("b<-a")))
	d.claim("a")
	loser := d.failed("a", task.KindPermanent)
	d.lose("a", task.LossHung)
	d.claim("a")
	d.decide(d.succeeded("a"), loser)
	d.wantStatus(task.InProgress, "a:complete", "b:pending")
	if got := d.count("step.failed", "a"); got != 0 {
		t.Errorf("the loser recorded %d step.failed", got)
	}
}

func TestTrapCancelDidNotStopARunningTask(t *testing.T) {
	d := start(t, linear6(t))
	d.claim("a")
	out := d.decide(Cancel{d.op("")})
	if len(out.Cancel) != 1 {
		t.Errorf("%d attempts are asked to stop, want 1", len(out.Cancel))
	}
	d.play(script{takes: map[string]time.Duration{"a": time.Hour}}) // it never listens
	d.wantStatus(task.Cancelled, "a:cancelled", "b:cancelled")
}

func TestTrapCancelledTaskWaitedForEver(t *testing.T) {
	d := start(t, linear6(t))
	d.decide(Cancel{d.op("")})
	d.wantStatus(task.Cancelled)
	d = start(t, shape(t, step("a", skippable)), bypass("a")) // the nearest thing to no steps at all
	d.wantStatus(task.Complete)
	if _, err := template.New(template.Template{Name: "empty", Version: "1.0.0"}); err == nil {
		t.Error("a template without steps is accepted")
	}
}

func TestTrapWaveBarrier(t *testing.T) {
	d := start(t, shape(t, step("a"), step("slow"), step("a2<-a")))
	d.play(script{takes: map[string]time.Duration{"slow": time.Hour}})
	if a2, slow := d.step("a2").Attempt, d.step("slow").Attempt; !a2.StartedAt.Before(slow.EndedAt) {
		t.Errorf("a2 started at %s, after slow ended at %s", a2.StartedAt, slow.EndedAt)
	}
}

func TestTrapAtMostTwelveAtOnce(t *testing.T) {
	steps := make([]func([]template.Step) template.Step, 25)
	for i := range steps {
		steps[i] = step(fmt.Sprintf("s%d", i))
	}
	d := start(t, shape(t, steps...))
	if got := len(d.claim().Dispatch); got != 25 {
		t.Errorf("%d steps started at once, want 25", got)
	}
}

func TestTrapTimeoutDidNotInterrupt(t *testing.T) {
	d := start(t, shape(t, step("a", timeout(time.Second), limit(1))))
	d.claim("a")
	d.pass(time.Second)
	out := d.due("a")
	d.wantStatus(task.Error, "a:error")
	if len(out.Cancel) != 1 || out.Cancel[0].Reason != task.CodeTimeout {
		t.Errorf("asked to stop: %+v, want the attempt", out.Cancel)
	}
}

func TestTrapSkippableAndPriorityWereIgnored(t *testing.T) {
	d := start(t, shape(t, step("a", skippable), step("b<-a", func(s *template.Step) { s.Priority = 5 })),
		bypass("a"), func(s *task.Spec, _ *Host) { s.Priority = 2 })
	d.wantStatus(task.Pending, "a:skipped")
	if got := d.agg.Priority(1); got != 7 {
		t.Errorf("b is claimed with priority %d, want 7", got)
	}
}

// TestTrapEventsFiredTwice: one event per transition, committed with the results that it
// tells of.
func TestTrapEventsFiredTwice(t *testing.T) {
	d := start(t, diamond7(t))
	d.play(script{fails: map[string]int{"p1": 1}})
	want := map[string]int{
		"task.initialized": 1, "task.started": 1, "step.started": 8, "step.failed": 1, "step.retry_scheduled": 1,
		"step.completed": 7, "task.completed": 1,
	}
	total := 0
	for typ, n := range want {
		if got := d.count(typ, ""); got != n {
			t.Errorf("%d %s, want %d", got, typ, n)
		}
		total += n
	}
	if len(d.events) != total {
		t.Errorf("%d events, want %d", len(d.events), total)
	}
	var payload struct {
		Results json.RawMessage `json:"results"`
	}
	for _, e := range d.events {
		if e.GetType() != "step.completed" {
			continue
		}
		if err := json.Unmarshal(e.GetPayload(), &payload); err != nil {
			t.Fatal(err)
		}
		if got, want := string(payload.Results), string(d.step(e.GetStep()).Results.Inline); got != want {
			t.Errorf("step.completed of %s tells of %s, stored is %s", e.GetStep(), got, want)
		}
	}
}

// TestTrapTimeZones: the same instants in other zones lead to the same decisions, and
// what is stored is in UTC.
func TestTrapTimeZones(t *testing.T) {
	zone := time.FixedZone("NPT", 5*3600+45*60)
	d := start(t, shape(t, step("a")))
	d.now = d.now.In(zone)
	d.claim("a")
	d.fail("a", task.KindRetryable)
	s := d.step("a")
	for _, at := range []time.Time{s.Attempt.StartedAt, s.Attempt.EndedAt, s.RetryAt, d.agg.Task.StartedAt, d.agg.Task.UpdatedAt} {
		if at.Location() != time.UTC {
			t.Errorf("stored as %s", at)
		}
	}
	d.now = s.RetryAt.In(zone).Add(-1)
	d.refused(d.claimOf(0), task.ErrTransition)
	d.now = s.RetryAt.In(zone)
	d.claim("a")
}

// TestTrapClockBackwards: no early retry, no lost timer, and no child that starts before
// its parent has ended.
func TestTrapClockBackwards(t *testing.T) {
	d := start(t, shape(t, step("a"), step("b<-a")))
	d.claim("a")
	d.fail("a", task.KindRetryable)
	at := d.agg.Wake(0, d.now)
	d.pass(-time.Hour)
	d.due("a")
	d.refused(d.claimOf(0), task.ErrTransition)
	if got := d.agg.Wake(0, d.now); !got.Equal(at) {
		t.Errorf("wakes at %s, want %s still", got, at)
	}
	d.now = at
	d.claim("a")
	d.succeed("a")
	d.pass(-time.Hour)
	d.claim("b")
	if b, a := d.step("b").Attempt.StartedAt, d.step("a").CompletedAt; b.Before(a) {
		t.Errorf("b started at %s, a ended at %s", b, a)
	}
}
