package host_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
)

// TestKillPluginMidStep kills the process of a plugin with attempts in flight: they are
// lost, the next attempts start without help, and nothing completes twice.
func TestKillPluginMidStep(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	id := h.Create(graph("a | handler: mock/sleep, config: {for: 1s}", "b | handler: mock/sleep, config: {for: 1s}", "c <- a, b"))
	h.AwaitStep(id, "a", task.StepInProgress)
	h.AwaitStep(id, "b", task.StepInProgress)
	instance := h.KillPlugin("mock")
	v := h.Checked(id)
	h.WantTask(v, task.Complete)
	h.WantSteps(v, "a=complete/2 b=complete/2 c=complete/1")
	for _, name := range []task.StepName{"a", "b"} {
		lost := hosttest.Of(h.History(id), "step.attempt_lost", name)
		if len(lost) != 1 {
			t.Fatalf("%d attempts of %s are lost, want 1", len(lost), name)
		}
		if s := hosttest.Step(v, name); s.Losses != 1 || s.Failures != 0 {
			t.Errorf("step %s has %d losses and %d failures, want 1 and 0", name, s.Losses, s.Failures)
		}
	}
	crashes, err := h.Crashes(context.Background(), "mock")
	if err != nil || len(crashes) != 1 || crashes[0].Instance != instance || len(crashes[0].Attempts) != 2 {
		t.Errorf("crashes %+v, %v; want one of %s with two attempts", crashes, err, instance)
	}
}

func TestOnCrash(t *testing.T) {
	t.Parallel()
	t.Run("retry", func(t *testing.T) {
		t.Parallel()
		h := hosttest.Start(t, hosttest.Expect("plugin crashed"))
		v := h.Checked(h.Create(graph("a | handler: mock/exit, config: {times: 1, code: 3}", "b <- a")))
		h.WantTask(v, task.Complete)
		h.WantSteps(v, "a=complete/2 b=complete/1")
	})
	t.Run("fail", func(t *testing.T) {
		t.Parallel()
		h := hosttest.Start(t, hosttest.Expect("plugin crashed"))
		v := h.Checked(h.Create(graph("a | handler: mock/exit, config: {times: 1}, on_crash: fail", "b <- a")))
		h.WantTask(v, task.Error)
		h.WantSteps(v, "a=error/1 b=pending/0")
		if code := hosttest.Step(v, "a").Failure.Code; code != task.CodeLost {
			t.Errorf("code %q, want %q", code, task.CodeLost)
		}
	})
	t.Run("park, then retried by an operator", func(t *testing.T) {
		t.Parallel()
		h := hosttest.Start(t, hosttest.Expect("plugin crashed"))
		id := h.Create(graph("a | handler: mock/exit, config: {times: 1}, on_crash: park", "b <- a"))
		h.AwaitStep(id, "a", task.StepWaiting)
		if v := h.View(id); v.Derived != task.DerivedWaiting || v.Health != task.HealthBlocked {
			t.Errorf("the task is %s and %s", v.Derived, v.Health)
		}
		h.Retry(id, "a")
		v := h.Checked(id)
		h.WantTask(v, task.Complete)
		h.WantSteps(v, "a=complete/2 b=complete/1")
	})
	t.Run("park, then resolved by hand", func(t *testing.T) {
		t.Parallel()
		h := hosttest.Start(t, hosttest.Expect("plugin crashed"))
		id := h.Create(graph("a | handler: mock/exit, on_crash: park", "b <- a"))
		h.AwaitStep(id, "a", task.StepWaiting)
		h.Resolve(id, "a", "1")
		v := h.Checked(id)
		h.WantTask(v, task.Complete)
		h.WantSteps(v, "a=resolved_manually/1 b=complete/1")
	})
}

// TestLossBudget lets a step take down its plugin until nobody wants it any more. A step
// beside it that is lost every time, too, has an instance of its own in the end, and completes.
func TestLossBudget(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t, hosttest.Expect("plugin crashed"))
	id := h.Create(graph("ok", "poison <- ok | handler: mock/exit"))
	h.AwaitStep(id, "ok", task.StepComplete)
	var neighbours []task.ID
	for range 3 {
		neighbours = append(neighbours, h.Create(graph("a | handler: mock/sleep, config: {for: 500ms}")))
	}
	for _, neighbour := range neighbours {
		h.WantTask(h.Checked(neighbour), task.Complete)
	}
	v := h.Checked(id)
	h.WantTask(v, task.Error)
	h.WantSteps(v, "ok=complete/1 poison=error/4")
	s := hosttest.Step(v, "poison")
	if s.Failure.Code != task.CodeCrashesPlugin || s.Losses != 4 || s.Failures != 0 {
		t.Errorf("%s after %d losses and %d failures, want %s after 4 and 0", s.Failure.Code, s.Losses, s.Failures, task.CodeCrashesPlugin)
	}
}

// TestPluginDownBurnsNoAttempts lets steps wait for a plugin that is not there.
func TestPluginDownBurnsNoAttempts(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	h.KillPlugin("mock")
	id := h.Create(graph("a"))
	v := h.Checked(id)
	h.WantTask(v, task.Complete)
	h.WantSteps(v, "a=complete/1")
}

// TestGracefulStopFinishesWhatRuns drains: the running attempt ends, the next step runs
// when the home is opened again.
func TestGracefulStopFinishesWhatRuns(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	id := h.Create(graph("a | handler: mock/sleep, config: {for: 200ms}", "b <- a"))
	h.AwaitStep(id, "a", task.StepInProgress)
	h.Restart()
	v := h.Checked(id)
	h.WantTask(v, task.Complete)
	h.WantSteps(v, "a=complete/1 b=complete/1")
	if lost := hosttest.Of(h.History(id), "step.attempt_lost", ""); len(lost) != 0 {
		t.Errorf("%d attempts were lost by a stop that waits for them", len(lost))
	}
	types := make([]string, 0, 8)
	for _, e := range h.Log(host.EventQuery{Type: "host.*"}) {
		types = append(types, e.Type)
	}
	if want := []string{"host.started", "host.stopping", "host.started"}; !slices.Equal(types, want) {
		t.Errorf("events of the host %v, want %v", types, want)
	}
}

// TestRestartKeepsTimers stops the host while steps wait for a retry and for a deadline.
func TestRestartKeepsTimers(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	retry := h.Create(graph("a | f1, retry: {base: 700ms}"))
	deadline := h.Create(graphWith("deadline: 2s\n", "a | f9, retry: {base: 1h, cap: 1h}"))
	h.AwaitStep(retry, "a", task.StepWaitingForRetry)
	h.AwaitStep(deadline, "a", task.StepWaitingForRetry)
	h.Restart()
	v := h.Checked(retry)
	h.WantSteps(v, "a=complete/2")
	events := h.History(retry)
	failed, started := hosttest.Of(events, "step.failed", "a")[0], hosttest.Of(events, "step.started", "a")[1]
	if wait := started.At.Sub(failed.At); wait < 700*time.Millisecond {
		t.Errorf("the retry came %s after the failure, want at least 700ms", wait)
	}
	v = h.Checked(deadline)
	h.WantTask(v, task.Error)
	h.WantSteps(v, "a=cancelled/1")
}

// TestTimedOutAttemptIsWaitedFor proves that two attempts of a step do not run at once:
// the next one starts when the old one has answered or its grace is over.
func TestTimedOutAttemptIsWaitedFor(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t, hosttest.Options(func(o *host.Options) { o.CancelGrace = 400 * time.Millisecond }))
	id := h.Create(graph("a | handler: mock/hang, timeout: 20ms, retry: {limit: 2, base: 1ms}, config: {ignore_cancel: true}"))
	h.Checked(id)
	starts := hosttest.Of(h.History(id), "step.started", "a")
	failed := hosttest.Of(h.History(id), "step.failed", "a")
	if wait := starts[1].At.Sub(failed[0].At); wait < 400*time.Millisecond {
		t.Errorf("the next attempt started %s after the timeout of one that did not answer, want at least 400ms", wait)
	}
}
