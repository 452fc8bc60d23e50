package host_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
)

// The handler that an operator's retry finds repaired: it fails three times in all.
const repaired = "f3"

func TestRetryStepCompletesTask(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	id := h.Create(linear6(repaired))
	h.WantSteps(h.Checked(id), "a=complete/1 b=complete/1 c=error/3 d=pending/0 e=pending/0 f=pending/0")
	h.Retry(id, "c")
	v := h.Checked(id)
	h.WantTask(v, task.Complete)
	h.WantSteps(v, "a=complete/1 b=complete/1 c=complete/4 d=complete/1 e=complete/1 f=complete/1")
	if n := hosttest.Step(v, "c").Failures; n != 0 {
		t.Errorf("step c has %d failures, an operator's retry zeroes them", n)
	}
}

func TestRetryTask(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	id := h.Create(graph("a | "+repaired, "b | handler: mock/flaky, config: {kind: permanent, times: 1}", "c <- a, b"))
	h.WantTask(h.Checked(id), task.Error)
	h.Retry(id, "")
	v := h.Checked(id)
	h.WantTask(v, task.Complete)
	h.WantSteps(v, "a=complete/4 b=complete/2 c=complete/1")
	if len(hosttest.Of(h.History(id), "task.retry_requested", "")) != 1 {
		t.Error("no task.retry_requested")
	}
}

func TestResolvedParentLetsChildRun(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	id := h.Create(graph("parent | handler: mock/flaky, config: {kind: permanent}", "child <- parent"))
	h.WantSteps(h.Checked(id), "parent=error/1 child=pending/0")
	h.Resolve(id, "parent", `{"by":"hand"}`)
	v := h.Checked(id)
	h.WantTask(v, task.Complete)
	h.WantSteps(v, "parent=resolved_manually/1 child=complete/1")
	if got, want := string(hosttest.Step(v, "child").Output), `{"input":{},"results":{"parent":{"by":"hand"}}}`; got != want {
		t.Errorf("child saw %s, want %s", got, want)
	}
}

func TestResolveTask(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	id := h.TaskIn(task.Error)
	h.Resolve(id, "", "")
	h.WantTask(h.Checked(id), task.ResolvedManually)
	err := h.RetryTask(context.Background(), string(id), task.Operation{})
	if !errors.Is(err, task.ErrTransition) {
		t.Errorf("retry of a resolved task: %v, want %v", err, task.ErrTransition)
	}
}

// TestCancelStopsARunningTask is also the trap "cancel did not stop a running task".
func TestCancelStopsARunningTask(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	id := h.Create(graph("a | handler: mock/hang", "b <- a", "waits | f9, retry: {base: 1h, cap: 1h}"))
	h.AwaitStep(id, "a", task.StepInProgress)
	h.AwaitStep(id, "waits", task.StepWaitingForRetry)
	h.Cancel(id)
	v := h.Checked(id)
	h.WantTask(v, task.Cancelled)
	h.WantSteps(v, "a=cancelled/1 b=cancelled/0 waits=cancelled/1")
	if got := hosttest.Step(v, "a").Attempt.Status; got != task.AttemptCancelled {
		t.Errorf("the running attempt is %s: its handler was told and answered, want %s", got, task.AttemptCancelled)
	}
}

// TestCancelDoesNotWaitForTheStubborn cancels an attempt that never answers: the task
// ends when the grace is over, and stays so when the attempt's instance goes.
func TestCancelDoesNotWaitForTheStubborn(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t, hosttest.Options(func(o *host.Options) { o.CancelGrace = 20 * time.Millisecond }))
	id := h.Create(graph("stubborn | handler: mock/hang, config: {ignore_cancel: true}"))
	h.AwaitStep(id, "stubborn", task.StepInProgress)
	h.Cancel(id)
	v := h.Checked(id)
	h.WantTask(v, task.Cancelled)
	h.KillPlugin("mock")
	h.AwaitPlugin("mock")
	h.WantTask(h.Checked(id), task.Cancelled)
	h.WantSteps(h.View(id), "stubborn=cancelled/1")
}

func TestPauseHoldsAndResumeGoesOn(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	id := h.Create(graph("a | handler: mock/sleep, config: {for: 700ms}", "b <- a"))
	h.AwaitStep(id, "a", task.StepInProgress)
	h.Pause(id)
	v := h.AwaitStep(id, "a", task.StepComplete)
	h.WantTask(v, task.Paused)
	if r := hosttest.Step(h.View(id), "b").Reason; r == nil || r.Code != task.ReasonPaused {
		t.Errorf("step b: reason %+v, want %s", r, task.ReasonPaused)
	}
	h.Restart() // a paused task stays paused
	h.WantSteps(h.View(id), "a=complete/1 b=pending/0")
	h.Resume(id)
	v = h.Checked(id)
	h.WantTask(v, task.Complete)
	h.WantSteps(v, "a=complete/1 b=complete/1")
}

func TestBypass(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	bypass := func(names ...task.StepName) hosttest.RequestOption {
		return func(r *task.Request) { r.Bypass = names }
	}
	template := graph("a", "b <- a | skippable: true", "c <- b")
	v := h.Checked(h.Create(template, bypass("b")))
	h.WantTask(v, task.Complete)
	h.WantSteps(v, "a=complete/1 b=skipped/0 c=complete/1")
	all := h.Checked(h.Create(graph("a | skippable: true"), bypass("a")))
	h.WantTask(all, task.Complete)
	for _, names := range [][]task.StepName{{"a"}, {"nobody"}} {
		if _, err := h.TryCreate(template, bypass(names...)); !errors.Is(err, task.ErrInvalid) {
			t.Errorf("bypass of %v: %v, want %v", names, err, task.ErrInvalid)
		}
	}
	if n := h.Tasks(); n != 2 {
		t.Errorf("%d tasks are stored, want 2: what is refused is not stored", n)
	}
}

func TestOperationsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	ctx := context.Background()
	done, failed := string(h.TaskIn(task.Complete)), string(h.TaskIn(task.Error))
	tests := []struct {
		name string
		err  error
		want error
	}{
		{"cancel a complete task", h.CancelTask(ctx, done, task.Operation{}), task.ErrTransition},
		{"pause a complete task", h.PauseTask(ctx, done, task.Operation{}), task.ErrTransition},
		{"resume a failed task", h.ResumeTask(ctx, failed, task.Operation{}), task.ErrTransition},
		{"retry a complete step", h.RetryTask(ctx, done, task.Operation{Step: "it"}), task.ErrTransition},
		{"resolve a complete step", h.ResolveTask(ctx, done, task.Operation{Step: "it"}), task.ErrTransition},
		{"retry a step that does not exist", h.RetryTask(ctx, failed, task.Operation{Step: "nobody"}), task.ErrNotFound},
		{"resolve with what is no JSON", h.ResolveTask(ctx, failed, task.Operation{Step: "it", Results: []byte("{")}), task.ErrInvalid},
		{"cancel a task that does not exist", h.CancelTask(ctx, "01ARZ3NDEKTSV4RRFFQ69G5FAV", task.Operation{}), task.ErrNotFound},
	}
	for _, test := range tests {
		if !errors.Is(test.err, test.want) {
			t.Errorf("%s: %v, want %v", test.name, test.err, test.want)
		}
	}
	for _, id := range []string{done, failed} {
		h.Checked(task.ID(id))
	}
}

func TestWatchEndsWithTheHost(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	id, _ := h.StepIn(task.StepWaitingForRetry)
	ended := make(chan error, 1)
	seen := make(chan struct{}, 64)
	go func() {
		ended <- h.WatchTask(context.Background(), string(id), func(*task.View) error {
			seen <- struct{}{}
			return nil
		})
	}()
	<-seen
	h.Stop()
	if err := <-ended; !errors.Is(err, task.ErrStopping) {
		t.Errorf("watch ended with %v, want %v", err, task.ErrStopping)
	}
}

func TestEventsFollow(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	id := h.Create(graph("a"))
	h.End(id)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var got []string
	first := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- h.Events(ctx, host.EventQuery{Type: "task.*", Follow: true}, func(entry host.LogEntry) error {
			e, err := hosttest.DecodeEvent(entry)
			if got = append(got, e.Type); len(got) == 1 {
				close(first)
			}
			if len(got) == 6 {
				cancel()
			}
			return err
		})
	}()
	<-first
	h.End(h.Create(graph("a")))
	if err := <-ended; err != nil {
		t.Errorf("events: %v", err)
	}
	once := []string{"task.initialized", "task.started", "task.completed"}
	if want := slices.Concat(once, once); !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
}
