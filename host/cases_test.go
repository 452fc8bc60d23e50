package host_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
)

func TestMain(m *testing.M) {
	host.LaunchPlugin() // of hosts of tests that take rights from plugins
	hosttest.Main(m)
}

// TestCases runs the cases that every release passes, as far as the end of the task and
// of its steps tell them; every one is also replayed against the transition tables.
func TestCases(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	tests := []struct {
		name     string
		template string
		status   task.Status
		steps    string
		reasons  map[task.StepName]string
	}{
		{
			name: "LINEAR6", template: linear6("f1"), status: task.Complete,
			steps: "a=complete/1 b=complete/1 c=complete/2 d=complete/1 e=complete/1 f=complete/1",
		},
		{
			name: "LINEAR6 exhausted", template: linear6("f5"), status: task.Error,
			steps:   "a=complete/1 b=complete/1 c=error/3 d=pending/0 e=pending/0 f=pending/0",
			reasons: map[task.StepName]string{"d": "blocked by c", "e": "blocked by c", "f": "blocked by c"},
		},
		{
			name: "DIAMOND7", template: diamond7("f1"), status: task.Complete,
			steps: "start=complete/1 p1=complete/2 v1=complete/1 p2=complete/2 v2=complete/1 merge=complete/1 end=complete/1",
		},
		{
			name: "DIAMOND7 exhausted", template: diamond7("f5"), status: task.Error,
			steps:   "start=complete/1 p1=error/3 v1=pending/0 p2=complete/2 v2=complete/1 merge=pending/0 end=pending/0",
			reasons: map[task.StepName]string{"v1": "blocked by p1", "merge": "blocked by p1", "end": "blocked by p1"},
		},
		{
			name: "PMERGE7", template: pmerge7(), status: task.Complete,
			steps: "user=complete/1 order=complete/2 inventory=complete/2 pricing=complete/1 " +
				"process_user=complete/1 process_order=complete/1 merge=complete/2",
		},
		{
			name: "TREE8", template: tree8(), status: task.Complete,
			steps: "root=complete/1 a=complete/1 b=complete/2 a1=complete/1 a2=complete/2 b1=complete/1 b2=complete/2 aggregate=complete/1",
		},
		{
			name: "MIXED9", template: mixed9(""), status: task.Complete,
			steps: "auth=complete/1 permissions=complete/2 config=complete/1 environment=complete/2 begin=complete/1 " +
				"critical=complete/3 optional=complete/1 cleanup=complete/1 finalize=complete/1",
		},
		{
			name: "MIXED9 one exhausted", template: mixed9("f5"), status: task.Error,
			steps: "auth=complete/1 permissions=complete/2 config=complete/1 environment=complete/2 begin=complete/1 " +
				"critical=complete/3 optional=error/3 cleanup=complete/1 finalize=complete/1",
		},
		{
			name: "MIXED9 one optional and exhausted", template: mixed9("f5, optional: true"), status: task.Complete,
			steps: "auth=complete/1 permissions=complete/2 config=complete/1 environment=complete/2 begin=complete/1 " +
				"critical=complete/3 optional=skipped/3 cleanup=complete/1 finalize=complete/1",
		},
		{
			name: "chain beside exhausted", template: graph("a | f5", "x", "y <- x", "z <- y"), status: task.Error,
			steps: "a=error/3 x=complete/1 y=complete/1 z=complete/1",
		},
		{
			name: "one gives up, another retries", template: graph("a | f5, retry: {limit: 1}", "b | f1"), status: task.Error,
			steps: "a=error/1 b=complete/2",
		},
		{
			name: "retryable false succeeds", template: graph("a | retryable: false"), status: task.Complete, steps: "a=complete/1",
		},
		{
			name: "retryable false fails", template: graph("a | f1, retryable: false"), status: task.Error, steps: "a=error/1",
		},
		{
			name: "retryable false wins over a limit", status: task.Error, steps: "a=error/1",
			template: graphWith("defaults: {retry: {limit: 9}}\n", "a | f1, retryable: false"),
		},
		{
			name: "permanent", template: graph("a | handler: mock/flaky, config: {times: 1, kind: permanent}"), status: task.Error,
			steps: "a=error/1",
		},
		{
			name: "panic is retried", template: graph("a | handler: mock/panic, config: {times: 1}"), status: task.Complete,
			steps: "a=complete/2",
		},
		{
			name: "optional failure lets its dependants run", status: task.Complete, steps: "a=skipped/1 b=complete/1",
			template: graph("a | handler: mock/flaky, config: {kind: permanent}, optional: true", "b <- a"),
		},
		{
			name: "timeout", template: graph("a | handler: mock/hang, timeout: 50ms, retry: {limit: 2}"), status: task.Error,
			steps: "a=error/2",
		},
		{
			name: "heartbeat timeout", template: graph("a | handler: mock/hang, heartbeat_timeout: 50ms, retry: {limit: 2}"), status: task.Error,
			steps: "a=error/2",
		},
		{
			name: "heartbeats keep an attempt alive", status: task.Complete, steps: "a=complete/1",
			template: graph("a | handler: mock/heartbeat, heartbeat_timeout: 1500ms, config: {every: 20ms, for: 2s}"),
		},
		{
			name: "total timeout", template: graph("a | f9, total_timeout: 50ms, retry: {limit: 9, base: 1h, cap: 1h}"), status: task.Error,
			steps: "a=error/1",
		},
		{
			name: "schedule to start", template: graph("a | handler: missing/handler, schedule_to_start: 50ms", "b"), status: task.Error,
			steps: "a=error/0 b=complete/1",
		},
		{
			name: "schedule to start, optional", status: task.Complete, steps: "a=skipped/0 b=complete/1",
			template: graph("a | handler: missing/handler, schedule_to_start: 50ms, optional: true", "b <- a"),
		},
		{
			name: "deadline", template: graphWith("deadline: 100ms\n", "a | handler: mock/hang", "b <- a"), status: task.Error,
			steps: "a=cancelled/1 b=pending/0",
		},
		{
			name: "fail fast", status: task.Error, steps: "a=error/1 b=cancelled/1 c=pending/0 d=complete/1",
			template: graphWith("on_failure: fail_fast\n", "a <- d | handler: mock/flaky, config: {kind: permanent}",
				"b | handler: mock/hang", "c <- b", "d | handler: mock/sleep, config: {for: 50ms}"),
		},
		{
			name: "a template of one step", template: graph("a"), status: task.Complete, steps: "a=complete/1",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := h.With(t)
			v := h.Checked(h.Create(test.template))
			h.WantTask(v, test.status)
			h.WantSteps(v, test.steps)
			for name, text := range test.reasons {
				if r := hosttest.Step(v, name).Reason; r == nil || r.Code != task.ReasonBlocked || r.Text != text {
					t.Errorf("step %s: reason %+v, want %q", name, r, text)
				}
			}
			wantBackoff(t, v, h.History(v.ID))
		})
	}
}

// wantBackoff checks that no attempt started before the time that its step's
// retry_scheduled named, and that this was at least the backoff after the failure.
func wantBackoff(t *testing.T, v *task.View, events []hosttest.Event) {
	t.Helper()
	for _, retry := range hosttest.Of(events, "step.retry_scheduled", "") {
		at := payload[struct {
			RetryAt time.Time `json:"retry_at"`
		}](t, retry).RetryAt
		if base := 20 * time.Millisecond; hosttest.Step(v, retry.Step).Losses == 0 && at.Sub(retry.At) < base {
			t.Errorf("%s: the retry is scheduled %s after the failure, want at least %s", retry, at.Sub(retry.At), base)
		}
		for _, start := range hosttest.Of(events, "step.started", retry.Step) {
			if start.TaskSeq > retry.TaskSeq && start.At.Before(at) {
				t.Errorf("%s at %s, its retry was scheduled for %s", start, start.At, at)
			}
		}
	}
}

func TestHistories(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	tests := []struct{ name, template, want string }{
		{
			name: "LINEAR6", template: linear6("f1"),
			want: `task.initialized task.started step.started(a) step.completed(a) step.started(b) step.completed(b)
				step.started(c) step.failed(c) step.retry_scheduled(c) step.started(c) step.completed(c)
				step.started(d) step.completed(d) step.started(e) step.completed(e) step.started(f) step.completed(f) task.completed`,
		},
		{
			name: "LINEAR6 exhausted", template: linear6("f5"),
			want: `task.initialized task.started step.started(a) step.completed(a) step.started(b) step.completed(b)
				step.started(c) step.failed(c) step.retry_scheduled(c) step.started(c) step.failed(c) step.retry_scheduled(c)
				step.started(c) step.failed(c) step.max_retries_reached(c) task.failed`,
		},
		{
			name: "optional", template: graph("a | f1, retry: {limit: 1}, optional: true"),
			want: `task.initialized task.started step.started(a) step.failed(a) step.max_retries_reached(a) step.skipped(a) task.completed`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := h.With(t)
			id := h.Create(test.template)
			h.Checked(id)
			h.WantHistory(id, test.want)
		})
	}
}

// TestOverlap proves what runs beside what, by the times that the events carry.
func TestOverlap(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	t.Run("DIAMOND7", func(t *testing.T) {
		t.Parallel()
		h := h.With(t)
		v := h.Checked(h.Create(graph("start", "p1 <- start | "+naps, "v1 <- p1", "p2 <- start | "+naps, "v2 <- p2",
			"merge <- v1, v2", "end <- merge")))
		wantOverlap(t, v, "p1", "p2")
		wantAfter(t, v, "merge", "v1")
		wantAfter(t, v, "merge", "v2")
	})
	t.Run("FORK3", func(t *testing.T) {
		t.Parallel()
		h := h.With(t)
		v := h.Checked(h.Create(fork3()))
		wantOverlap(t, v, "one", "two")
		wantAfter(t, v, "three", "one")
		wantAfter(t, v, "three", "two")
	})
	t.Run("no wave barrier", func(t *testing.T) {
		t.Parallel()
		h := h.With(t)
		id := h.Create(graph("a", "a2 <- a", "b | handler: mock/hang"))
		h.AwaitStep(id, "a2", task.StepComplete)
		h.AwaitStep(id, "b", task.StepInProgress)
	})
	t.Run("concurrency 12", func(t *testing.T) {
		t.Parallel()
		h := h.With(t)
		lines := make([]string, 25)
		for i := range lines {
			lines[i] = fmt.Sprintf("s%d | handler: mock/limited, config: {for: 30ms}", i)
		}
		id := h.Create(graph(lines...))
		h.WantTask(h.Checked(id), task.Complete)
		if most := mostAtOnce(h.History(id)); most != 12 {
			t.Errorf("up to %d attempts ran at once, want 12", most)
		}
	})
	t.Run("task error only after the other chain", func(t *testing.T) {
		t.Parallel()
		h := h.With(t)
		id := h.Create(graph("a | handler: mock/flaky, config: {kind: permanent}", "x", "y <- x | f1", "z <- y"))
		h.WantTask(h.Checked(id), task.Error)
		events := h.History(id)
		if last := events[len(events)-1]; last.Type != "task.failed" {
			t.Errorf("the last event is %s", last)
		}
	})
}

// mostAtOnce counts how many steps ran at once; all of them completed.
func mostAtOnce(events []hosttest.Event) (most int) {
	running := 0
	for _, e := range events {
		switch e.Type {
		case "step.started":
			running++
		case "step.completed":
			running--
		}
		most = max(most, running)
	}
	return most
}

func wantOverlap(t *testing.T, v *task.View, a, b task.StepName) {
	t.Helper()
	x, y := hosttest.Step(v, a), hosttest.Step(v, b)
	if !x.StartedAt.Before(y.CompletedAt) || !y.StartedAt.Before(x.CompletedAt) {
		t.Errorf("%s (%s to %s) and %s (%s to %s) do not overlap", a, x.StartedAt, x.CompletedAt, b, y.StartedAt, y.CompletedAt)
	}
}

func wantAfter(t *testing.T, v *task.View, later, earlier task.StepName) {
	t.Helper()
	if started, ended := hosttest.Step(v, later).StartedAt, hosttest.Step(v, earlier).CompletedAt; started.Before(ended) {
		t.Errorf("%s started at %s, before %s ended at %s", later, started, earlier, ended)
	}
}

// TestPriority proves that of the steps that wait for a slot the most important is
// claimed first, whatever task it belongs to.
func TestPriority(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	const limited = "handler: mock/limited, config: {for: 1ms}"
	busy := h.Create(graph(slices12("handler: mock/limited, config: {for: 1h}")...))
	h.Await(busy, func(v *task.View) bool { return strings.Count(hosttest.Describe(v), "in_progress") >= 12 })
	low := h.Create(graph("low | "+limited+", priority: -5", "high | "+limited+", priority: 5"))
	urgent := h.Create(graph("a | "+limited), func(r *task.Request) { r.Priority = 100 })
	h.Cancel(busy)
	for _, id := range []task.ID{low, urgent} {
		h.WantTask(h.Checked(id), task.Complete)
	}
	events := h.Log(queryStarted())
	if a, high := order(events, urgent, "a"), order(events, low, "high"); a > high {
		t.Error("priority 5 started before priority 100")
	} else if high > order(events, low, "low") {
		t.Error("priority -5 started before priority 5")
	}
}

func slices12(more string) []string {
	lines := make([]string, 12)
	for i := range lines {
		lines[i] = fmt.Sprintf("s%d | %s", i, more)
	}
	return lines
}

func order(events []hosttest.Event, id task.ID, step task.StepName) int {
	for i, e := range events {
		if e.TaskID == id && e.Step == step {
			return i
		}
	}
	return -1
}
