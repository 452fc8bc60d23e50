package runner_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/internal/engine"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// TestWaits measures, in the time of a bubble, how long steps wait for their next
// attempt and when time limits strike: to the nanosecond.
func TestWaits(t *testing.T) {
	tests := []struct {
		name, keys, step string
		status           task.Status
		want             []time.Duration // between the starts of the attempts
		ends             time.Duration   // after the last start
	}{
		{
			name: "RetryAfter 60s, small backoff", status: task.Complete, want: []time.Duration{time.Minute},
			step: "a, handler: p/do, retry: {base: 10ms}, config: {fails: 1, retry_after: 60s}",
		},
		{
			name: "RetryAfter 1s, large backoff", status: task.Complete, want: []time.Duration{20 * time.Second},
			step: "a, handler: p/do, retry: {base: 20s, jitter: none}, config: {fails: 1, retry_after: 1s}",
		},
		{
			name: "the cap", status: task.Complete,
			step: "a, handler: p/do, retry: {limit: 10, base: 1s, jitter: none}, config: {fails: 9}",
			want: []time.Duration{
				1 * time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 16 * time.Second,
				30 * time.Second, 30 * time.Second, 30 * time.Second, 30 * time.Second,
			},
		},
		{
			name: "timeout, then the grace of the stubborn, then the retry", status: task.Error,
			step: "a, handler: p/do, timeout: 1h, retry: {limit: 2, base: 10ms}, config: {hangs: true, stubborn: true}",
			want: []time.Duration{time.Hour + time.Second}, ends: time.Hour,
		},
		{
			name: "total timeout", status: task.Error, ends: 90 * time.Minute,
			step: "a, handler: p/do, total_timeout: 90m, config: {hangs: true}",
		},
		{
			name: "heartbeat timeout", status: task.Error, ends: 10 * time.Minute,
			step: "a, handler: p/do, heartbeat_timeout: 10m, retry: {limit: 1}, config: {hangs: true}",
		},
		{
			name: "deadline", keys: "deadline: 24h", status: task.Error, ends: 24 * time.Hour,
			step: "a, handler: p/do, config: {hangs: true}",
		},
		{
			name: "deadline and a stubborn handler", keys: "deadline: 24h", status: task.Error, ends: 24*time.Hour + time.Second,
			step: "a, handler: p/do, config: {hangs: true, stubborn: true}",
		},
	}
	for _, test := range tests {
		dir := t.TempDir()
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t, dir, nil)
				defer g.close("")
				g.plugins.start("p#1", 4)
				id := g.create(parse(t, test.keys, test.step))
				v := g.end(id, test.status)
				starts := g.plugins.started(id, 0)
				var waits []time.Duration
				for i, at := range starts[1:] {
					waits = append(waits, at.Sub(starts[i]))
				}
				if diff := cmp.Diff(test.want, waits); diff != "" {
					t.Errorf("waits (-want +got):\n%s", diff)
				}
				if took := v.CompletedAt.Sub(starts[len(starts)-1]); took != test.ends {
					t.Errorf("the task ended %s after the last start, want %s", took, test.ends)
				}
			})
		})
	}
}

func TestScheduleToStart(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, dir, nil)
		defer g.close("")
		begun := time.Now()
		id := g.create(parse(t, "", "a, handler: missing/do, schedule_to_start: 3h"))
		g.end(id, task.Error)
		if took := time.Since(begun); took != 3*time.Hour {
			t.Errorf("it expired after %s, want 3h", took)
		}
	})
}

// TestClockSetBack sets the wall clock back while steps wait: nothing starts early, and
// no timer is lost.
func TestClockSetBack(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, dir, nil)
		defer g.close("")
		g.plugins.start("p#1", 1)
		begun := time.Now()
		retried := g.create(parse(t, "", "a, handler: p/do, retry: {base: 10m, cap: 1h, jitter: none}, config: {fails: 1}"))
		g.await(retried, func(v *task.Task) bool { return v.Steps[0].Status == task.StepWaitingForRetry })
		limited := g.create(parse(t, "deadline: 20m", "a, handler: missing/do"))
		g.clock.set(-time.Hour)
		g.end(retried, task.Complete)
		if took := time.Since(begun); took != 70*time.Minute {
			t.Errorf("the retry came after %s on a clock that was set back by an hour, want 1h10m", took)
		}
		g.end(limited, task.Error)
		if took := time.Since(begun); took != 80*time.Minute {
			t.Errorf("the deadline struck after %s, want 1h20m", took)
		}
	})
}

// TestClockSetBackBeforeTheClaim sets the clock back while a ready step waits for a slot:
// it starts when there is one.
func TestClockSetBackBeforeTheClaim(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, dir, nil)
		defer g.close("")
		g.plugins.start("p#1", 1)
		id := g.create(parse(t, "", "a, handler: p/do, config: {hangs: true}"))
		g.await(id, func(v *task.Task) bool { return v.Steps[0].Status == task.StepInProgress })
		g.plugins.kill("p#1", task.LossCrashed) // its retry is due at once
		g.await(id, func(v *task.Task) bool { return v.Steps[0].Status == task.StepWaitingForRetry })
		g.clock.set(-time.Hour)
		g.plugins.start("p#2", 1)
		v := g.await(id, func(v *task.Task) bool { return v.Steps[0].Attempts == 2 })
		if first, second := g.plugins.started(id, 0)[0], v.Steps[0].Attempt.StartedAt; second.Before(first) {
			t.Errorf("the second attempt is recorded at %s, before the first at %s", second, first)
		}
	})
}

// TestZones lets a host move across the date line while steps wait: nothing starts early
// or late.
func TestZones(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, dir, nil)
		g.clock.move("east", 13)
		g.plugins.start("p#1", 1)
		begun := time.Now()
		id := g.create(parse(t, "deadline: 3h", "a, handler: p/do, retry: {base: 1h, cap: 1h, jitter: none}, config: {fails: 1}",
			"b, handler: missing/do"))
		g.await(id, func(v *task.Task) bool { return v.Steps[0].Status == task.StepWaitingForRetry })
		g.close("")
		g.clock.move("west", -11)
		g.open(nil)
		defer g.close("")
		g.plugins.start("p#2", 1)
		g.await(id, func(v *task.Task) bool { return v.Steps[0].Status == task.StepComplete })
		if took := time.Since(begun); took != time.Hour {
			t.Errorf("the retry came after %s, want 1h", took)
		}
		g.end(id, task.Error)
		if took := time.Since(begun); took != 3*time.Hour {
			t.Errorf("the deadline struck after %s, want 3h", took)
		}
	})
}

// TestIdleHost keeps 10,000 waiting tasks for an hour: that costs timers and nothing
// else.
func TestIdleHost(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, dir, nil)
		defer g.close("")
		g.plugins.start("p#1", 256)
		const waiting = 10_000
		tmpl := parse(t, "", "a, handler: p/do, retry: {base: 2h, cap: 2h, jitter: none}, config: {fails: 1}")
		specs := make(chan task.Spec)
		var clients sync.WaitGroup
		for range 100 { // few enough for the race detector, many enough to share commits
			clients.Go(func() {
				for s := range specs {
					if err := g.Create(context.Background(), engine.New(s, tmpl)); err != nil {
						t.Errorf("create: %v", err)
					}
				}
			})
		}
		for range waiting {
			specs <- g.spec(tmpl)
		}
		close(specs)
		clients.Wait()
		<-time.NewTimer(time.Minute).C // every first attempt has failed
		before := g.commits()
		<-time.NewTimer(time.Hour).C
		if n := g.commits() - before; n != 0 {
			t.Errorf("%d commits in an hour in which nothing happened", n)
		}
		if n := len(g.plugins.starts); n != waiting {
			t.Errorf("%d attempts in all, want %d", n, waiting)
		}
	})
}

// TestHeartbeatWithTheClockSetBack sets the clock back under an attempt that goes on to
// give heartbeats, and has its task loaded anew: it is not taken for silent.
func TestHeartbeatWithTheClockSetBack(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var b *breaker
		g := newRig(t, dir, func(s store.Store) store.Store { b = newBreaker(s); return b })
		defer g.close("")
		g.plugins.start("p#1", 2)
		id := g.create(parse(t, "", "a, handler: p/do, heartbeat_timeout: 10s, config: {hangs: true}", "b, handler: p/do, config: {for: 12s}"))
		synctest.Wait()
		g.clock.set(-time.Hour)
		b.next(store.ErrConflict, 1) // the result of b
		a := task.AttemptID{Task: id, Ordinal: 0, Number: 1}
		for range 12 {
			<-time.NewTimer(5 * time.Second).C
			g.Reports([]task.Report{{ID: a, Instance: "p#1", Kind: task.ReportHeartbeat}})
		}
		synctest.Wait()
		v := g.load(id)
		if v.Steps[1].Status != task.StepComplete || v.Steps[0].Status != task.StepInProgress || v.Steps[0].Attempts != 1 {
			t.Errorf("steps %s, want a in its first attempt and b complete", statuses(v))
		}
		g.Reports([]task.Report{succeeded(a, "1")})
		g.end(id, task.Complete)
	})
}
