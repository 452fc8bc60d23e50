package host_test

import (
	"encoding/json"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// deliveriesOf returns the deliveries of the events of a type that a recorder got.
func deliveriesOf(got []hosttest.Received, name string) (deliveries []int) {
	for _, r := range got {
		if r.Type == name {
			deliveries = append(deliveries, r.Delivery)
		}
	}
	return deliveries
}

// TestDeadLetters: an event that a subscriber cannot handle is put aside after its
// attempts, what follows it is delivered, and an operator has it delivered again.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t, hosttest.Recorder("one"), hosttest.Expect("an event is put aside"))
	h.Behave("one", hosttest.Behaviour{Type: event.NameTaskStarted, Do: "reject"}, hosttest.Behaviour{Type: event.NameStepCompleted, Do: "retry"})
	id := h.Create(graph("a"))
	h.WantTask(h.Checked(id), task.Complete)
	h.AwaitPlugin("one")
	log := h.Log(everything)
	h.AwaitDelivered("one/all", "one/lanes")
	checkReceived(t, h, "one", log)

	got := h.Received("one", "all")
	for name, want := range map[string][]int{event.NameTaskStarted: {1}, event.NameStepCompleted: {1, 2, 3, 4, 5}} {
		if deliveries := deliveriesOf(got, name); !slices.Equal(deliveries, want) {
			t.Errorf("deliveries of %s: %v, want %v", name, deliveries, want)
		}
	}
	letters, more, err := h.DeadLetters(t.Context(), "one/all", 0, 0)
	if err != nil || len(letters) != 2 || more {
		t.Fatalf("dead letters: %v, %t, %v; want two", letters, more, err)
	}
	if l := letters[0]; l.Reason != "never" || l.Deliveries != 1 || len(l.Encoded) == 0 {
		t.Errorf("first dead letter: %+v, want the reason and the event", l)
	}
	if l := letters[1]; l.Reason != "not now" || l.Deliveries != 5 {
		t.Errorf("second dead letter: %+v, want the last reason of five deliveries", l)
	}
	if all, _, err := h.DeadLetters(t.Context(), "", 0, 2); err != nil || len(all) != 2 || all[0].Seq != all[1].Seq {
		t.Errorf("dead letters of all: %v, %v; want those of both subscriptions by sequence", all, err)
	}
	h.AwaitLog(host.EventQuery{Type: event.NameSubscriberDeadLettered}, 4)
	h.Behave("one")
	if n, err := h.RetryDeadLetters(t.Context(), "one/all", []uint64{letters[1].Seq}); n != 1 || err != nil {
		t.Fatalf("RetryDeadLetters: %d, %v", n, err)
	}
	h.AwaitSubscription("one/all", "rid of a dead letter", func(s host.SubscriptionStatus) bool { return s.DeadLetters == 1 })
	if deliveries := deliveriesOf(h.Received("one", "all"), event.NameStepCompleted); len(deliveries) != 6 {
		t.Errorf("deliveries after the retry: %v, want one more", deliveries)
	}
	if n, err := h.DiscardDeadLetters(t.Context(), "one/all", nil); n != 1 || err != nil {
		t.Errorf("DiscardDeadLetters: %d, %v", n, err)
	}
	h.AwaitSubscription("one/all", "rid of both dead letters", func(s host.SubscriptionStatus) bool { return s.DeadLetters == 0 })
}

// TestEventThatEndsItsSubscriber: an event that ends the process each time it is alone
// there is put aside, and the rest goes on.
func TestEventThatEndsItsSubscriber(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t, hosttest.Recorder("one"), hosttest.Expect("plugin crashed", "an event is put aside"))
	h.AwaitSubscription("one/lanes", "connected", func(s host.SubscriptionStatus) bool { return s.Instance != "" })
	for _, name := range []string{"one/lanes", "one/bound"} {
		if err := h.PauseSubscription(t.Context(), name, task.Operation{By: "test"}); err != nil {
			t.Fatal(err)
		}
	}
	h.Behave("one", hosttest.Behaviour{Type: event.NameTaskCompleted, Do: "exit"})
	h.WantTask(h.Checked(h.Create(graph("a", "b <- a"))), task.Complete)
	h.AwaitSubscription("one/all", "rid of the event", func(s host.SubscriptionStatus) bool { return s.DeadLetters == 1 })
	h.Behave("one")
	log := h.Log(everything)
	h.AwaitDelivered("one/all")
	got := h.Received("one", "all")
	if err := hosttest.CheckDelivery(upTo(got, log), hosttest.Wanted(log, "one/all", "*")); err != nil {
		t.Error(err)
	}
	if _, _, err := h.DeadLetters(t.Context(), "one", 0, 0); !errors.Is(err, task.ErrNotFound) {
		t.Errorf("DeadLetters of a plugin with three subscriptions: %v, want %v", err, task.ErrNotFound)
	}
	letters, _, err := h.DeadLetters(t.Context(), "one/all", 0, 0)
	if err != nil || len(letters) != 1 {
		t.Fatalf("dead letters %v, %v; want one", letters, err)
	}
	if want := "the process ended 3 times while it held this event"; letters[0].Reason != want {
		t.Errorf("reason %q, want %q", letters[0].Reason, want)
	}
}

// upTo returns what was received of a log.
func upTo(got []hosttest.Received, log []hosttest.Event) []hosttest.Received {
	last := log[len(log)-1].Seq
	return slices.DeleteFunc(slices.Clone(got), func(r hosttest.Received) bool { return r.Seq > last })
}

// TestGap: a subscriber that was held for longer than events are kept is told that some
// are gone, and goes on with those that are left.
func TestGap(t *testing.T) {
	t.Parallel()
	var late atomic.Bool
	clock := hosttest.Options(func(o *host.Options) {
		o.EventsKeep = 24 * time.Hour
		o.Now = func() time.Time {
			if late.Load() {
				return time.Now().Add(48 * time.Hour)
			}
			return time.Now()
		}
	})
	h := hosttest.Start(t, hosttest.Recorder("one"), hosttest.Expect("events were cut"), clock)
	h.AwaitSubscription("one/all", "connected", func(s host.SubscriptionStatus) bool { return s.Instance != "" })
	h.AwaitDelivered("one/all")
	if err := h.PauseSubscription(t.Context(), "one/all", task.Operation{By: "ann", Reason: "it is slow"}); err != nil {
		t.Fatal(err)
	}
	h.WantTask(h.Checked(h.Create(graph("a", "b <- a"))), task.Complete)
	h.Stop()
	late.Store(true)
	h.Restart()
	h.WantTask(h.End(h.Create(graph("a"))), task.Complete)
	h.AwaitDelivered("one/lanes")
	s := h.Subscription("one/all")
	if s.State != "paused" || s.Paused == nil || s.Paused.By != "ann" || s.Paused.Reason != "it is slow" {
		t.Errorf("subscription after a restart: %+v, want it paused by ann", s)
	}
	log := h.Log(everything)
	if log[0].Seq <= s.Through+1 {
		t.Fatalf("the log begins with %d, want more than %d", log[0].Seq, s.Through+1)
	}
	if err := h.ResumeSubscription(t.Context(), "one/all"); err != nil {
		t.Fatal(err)
	}
	h.AwaitDelivered("one/all")
	told := h.AwaitLog(host.EventQuery{Type: event.NameSubscriberGap, Filter: `payload.subscription == "one/all"`}, 1)
	var gap event.SubscriberGap
	if err := json.Unmarshal(told[0].Payload, &gap); err != nil || gap.Subscription != "one/all" || gap.FromSeq != s.Through+1 || gap.ThroughSeq != log[0].Seq-1 {
		t.Errorf("gap %+v, %v; want one/all from %d through %d", gap, err, s.Through+1, log[0].Seq-1)
	}
	after := slices.DeleteFunc(h.Received("one", "all"), func(r hosttest.Received) bool { return r.Seq < log[0].Seq })
	if err := hosttest.CheckDelivery(upTo(after, log), hosttest.Wanted(log, "one/all", "*")); err != nil {
		t.Error(err)
	}
}

// TestOperateSubscriptions: what operators ask of subscriptions.
func TestOperateSubscriptions(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t, hosttest.Recorder("one"))
	ctx := t.Context()
	h.End(h.Create(graph("a")))
	h.AwaitSubscription("one/all", "connected", func(s host.SubscriptionStatus) bool { return s.Instance != "" })
	h.AwaitDelivered("one/all", "one/lanes", "one/bound")
	for name, call := range map[string]func(name string) error{
		"pause":   func(n string) error { return h.PauseSubscription(ctx, n, task.Operation{}) },
		"resume":  func(n string) error { return h.ResumeSubscription(ctx, n) },
		"rewind":  func(n string) error { _, err := h.RewindSubscription(ctx, n, host.Position{Seq: 1}); return err },
		"replay":  func(n string) error { return h.ReplaySubscription(ctx, n, host.Replay{From: host.Position{Seq: 1}}) },
		"forget":  func(n string) error { return h.ForgetSubscription(ctx, n) },
		"retry":   func(n string) error { _, err := h.RetryDeadLetters(ctx, n, nil); return err },
		"discard": func(n string) error { _, err := h.DiscardDeadLetters(ctx, n, nil); return err },
		"letters": func(n string) error { _, _, err := h.DeadLetters(ctx, n, 0, 0); return err },
		"try": func(n string) error {
			_, err := h.TryEvent(ctx, host.TryRequest{Subscription: n, Type: "task.started"})
			return err
		},
	} {
		for _, unknown := range []string{"one/al", "on", "two/all", "one"} {
			if err := call(unknown); !errors.Is(err, task.ErrNotFound) {
				t.Errorf("%s of %s: %v, want %v", name, unknown, err, task.ErrNotFound)
			}
		}
	}
	if err := h.ResumeSubscription(ctx, "one/all"); !errors.Is(err, task.ErrTransition) {
		t.Errorf("resume of one that runs: %v, want %v", err, task.ErrTransition)
	}
	if err := h.ForgetSubscription(ctx, "one/all"); !errors.Is(err, task.ErrTransition) {
		t.Errorf("forget of one that is declared: %v, want %v", err, task.ErrTransition)
	}
	before := len(h.Received("one", "all"))
	if next, err := h.RewindSubscription(ctx, "one/all", host.Position{Seq: 1}); err != nil || next != 1 {
		t.Errorf("rewind: %d, %v; want 1", next, err)
	}
	h.AwaitDelivered("one/all")
	if got := len(h.Received("one", "all")); got < 2*before {
		t.Errorf("got %d events after a rewind, want at least %d", got, 2*before)
	}
	if err := h.ReplaySubscription(ctx, "one/lanes", host.Replay{From: host.Position{Seq: 1}, Types: []string{"task.started"}}); err != nil {
		t.Fatal(err)
	}
	h.AwaitSubscription("one/lanes", "done with the replay", func(s host.SubscriptionStatus) bool { return len(s.Replays) == 0 })
	if got := deliveriesOf(h.Received("one", "lanes"), "task.started"); len(got) != 2 {
		t.Errorf("deliveries of task.started with the replay: %v, want two", got)
	}
}
