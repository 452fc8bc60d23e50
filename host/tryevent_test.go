package host_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// TestTryEvent: a subscriber is tried out with an example, a payload or an event of a
// task; its cursor stays where it is.
func TestTryEvent(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t, hosttest.Recorder("one"))
	id := h.Create(graph("a"))
	h.WantTask(h.Checked(id), task.Complete)
	h.AwaitSubscription("one/all", "connected", func(s host.SubscriptionStatus) bool { return s.Instance != "" })
	h.AwaitDelivered("one/all", "one/lanes")
	h.Behave("one", hosttest.Behaviour{Type: event.NameStepFailed, Do: "reject"}, hosttest.Behaviour{Type: event.NameTaskPaused, Do: "retry"})
	example, _ := event.Lookup(event.NameTaskStarted)
	for _, tt := range []struct {
		name    string
		request host.TryRequest
		want    host.TryResult
	}{
		{"the example of the catalog", host.TryRequest{Type: event.NameTaskStarted}, host.TryResult{Verdict: "acked"}},
		{"a payload", host.TryRequest{Type: event.NameTaskStarted, Payload: example.Example}, host.TryResult{Verdict: "acked"}},
		{"an event of a task", host.TryRequest{Type: event.NameStepCompleted, FromTask: string(id)}, host.TryResult{Verdict: "acked"}},
		{"one that it rejects", host.TryRequest{Type: event.NameStepFailed}, host.TryResult{Verdict: "rejected", Reason: "never"}},
		{"one that it wants again", host.TryRequest{Type: event.NameTaskPaused}, host.TryResult{Verdict: "retry", Reason: "not now"}},
	} {
		tt.request.Subscription = "one/all"
		got, err := h.TryEvent(t.Context(), tt.request)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		} else if got.Verdict != tt.want.Verdict || got.Reason != tt.want.Reason || got.Took <= 0 {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
	for _, tt := range []struct {
		name    string
		request host.TryRequest
		want    string
	}{
		{"an event that there is not", host.TryRequest{Type: "task.stated"}, `there is no event "task.stated": did you mean task.started`},
		{"a payload of another form", host.TryRequest{Type: event.NameTaskStarted, Payload: json.RawMessage(`{"task_id":1}`)}, "at /task_id: got number, want string"},
		{"a payload that is no JSON", host.TryRequest{Type: event.NameTaskStarted, Payload: json.RawMessage(`{`)}, "no valid JSON"},
		{"an event that the task does not have", host.TryRequest{Type: event.NameTaskFailed, FromTask: string(id)}, "has no event task.failed"},
	} {
		tt.request.Subscription = "one/all"
		if _, err := h.TryEvent(t.Context(), tt.request); !errors.Is(err, task.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	trials := slices.DeleteFunc(h.Received("one", "all"), func(r hosttest.Received) bool { return r.Seq < 1<<63 })
	if len(trials) != 5 || trials[2].ID != h.History(id)[len(h.History(id))-2].ID {
		t.Errorf("trials %+v, want five, the third the step.completed of the task", trials)
	}
	if s := h.Subscription("one/all"); s.DeadLetters != 0 || s.Behind != 0 {
		t.Errorf("subscription after the trials: %+v, want it as it was", s)
	}
}

// TestEventQueries: events since a time and by a condition.
func TestEventQueries(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t, hosttest.Recorder("one"))
	first := h.Create(graph("a"))
	h.End(first)
	between := time.Now()
	second := h.Create(graph("a", "b <- a"))
	h.End(second)
	for _, e := range h.Log(host.EventQuery{Type: "task.*", Since: between}) {
		if e.TaskID != second {
			t.Errorf("since the first task ended: %s of task %s", e, e.TaskID)
		}
	}
	got := h.Log(host.EventQuery{Type: "step.*", Filter: `event.type == "step.completed" && event.step == "b"`})
	if len(got) != 1 || got[0].TaskID != second {
		t.Errorf("with a filter: %v, want one event of task %s", got, second)
	}
	if got := h.Log(host.EventQuery{Task: string(second), Since: between, Type: "task.completed"}); len(got) != 1 {
		t.Errorf("of a task since a time: %v, want one", got)
	}
	for _, q := range []host.EventQuery{
		{Filter: "event.typ == 'x'"},
		{Since: between, Last: 3},
		{Type: "ta*sk"},
	} {
		err := h.Events(t.Context(), q, func(host.LogEntry) error { return nil })
		if !errors.Is(err, task.ErrInvalid) {
			t.Errorf("events %+v: %v, want %v", q, err, task.ErrInvalid)
		}
	}
	if err := h.Events(t.Context(), host.EventQuery{Subscription: "two/all"}, nil); !errors.Is(err, task.ErrNotFound) {
		t.Errorf("events of an unknown subscription: %v, want %v", err, task.ErrNotFound)
	}
}

// TestFollowSubscription: who follows what a subscription gets goes on when its plugin is
// started again, and misses nothing of what happened meanwhile.
func TestFollowSubscription(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t, hosttest.Recorder("one"))
	h.AwaitPlugin("one")
	got := make(chan string, 100)
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		q := host.EventQuery{Subscription: "one/all", Type: "task.completed", Follow: true}
		ended <- h.Events(ctx, q, func(entry host.LogEntry) error {
			e, err := hosttest.DecodeEvent(entry)
			got <- string(e.TaskID)
			return err
		})
	}()
	for range 2 {
		id := h.Create(graph("a"))
		h.End(id)
		if first := <-got; first != string(id) {
			t.Errorf("it was told of task %s, want %s", first, id)
		}
		h.KillPlugin("one")
	}
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("events: %v", err)
	}
}

// TestReaderOfSubscriptions: without a host there is still what the store knows.
func TestReaderOfSubscriptions(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t, hosttest.Recorder("one"), hosttest.Expect("an event is put aside"))
	h.Behave("one", hosttest.Behaviour{Type: event.NameTaskStarted, Do: "reject"})
	h.End(h.Create(graph("a")))
	h.AwaitSubscription("one/all", "connected", func(s host.SubscriptionStatus) bool { return s.Instance != "" })
	h.AwaitDelivered("one/all", "one/lanes")
	if err := h.PauseSubscription(t.Context(), "one/lanes", task.Operation{By: "ann"}); err != nil {
		t.Fatal(err)
	}
	entries, err := h.Catalog(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		want := []string{"one/all"}
		switch e.Category {
		case "task", "step":
			want = append(want, "one/lanes")
		case "workflow":
			want = nil
		}
		if !slices.Equal(e.Subscribers, want) {
			t.Errorf("subscribers of %s: %v, want %v", e.Name, e.Subscribers, want)
		}
	}
	h.Stop()
	r, err := host.OpenReader(t.Context(), host.Options{Home: h.Home()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	list, err := r.Subscriptions(t.Context())
	if err != nil || len(list) != 3 {
		t.Fatalf("subscriptions %+v, %v; want three", list, err)
	}
	if s := list[0]; s.Name != "one/all" || s.State != "absent" || s.DeadLetters != 1 || s.Behind > 4 {
		t.Errorf("one/all: %+v, want it absent, with a dead letter and up to the end of the host", s)
	}
	if s := list[2]; s.Name != "one/lanes" || s.State != "paused" || s.Behind == 0 || s.BehindFor <= 0 {
		t.Errorf("one/lanes: %+v, want it paused and behind", s)
	}
	if letters, _, err := r.DeadLetters(t.Context(), "one/all", 0, 0); err != nil || len(letters) != 1 {
		t.Errorf("dead letters %v, %v; want one", letters, err)
	}
	if all, err := r.Catalog(t.Context()); err != nil || len(all) != len(entries) {
		t.Errorf("catalog of %d events, %v; want %d", len(all), err, len(entries))
	}
	if err := r.ResumeSubscription(t.Context(), "one/lanes"); !errors.Is(err, host.ErrNoHost) {
		t.Errorf("resume without a host: %v, want %v", err, host.ErrNoHost)
	}
}
