package host_test

import (
	"slices"
	"testing"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
)

// TestDelivery: a subscriber gets every event, in order, and what a task did is delivered
// before the host stops.
func TestDelivery(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t, hosttest.Recorder("one", "two"))
	id := h.Create(graph("a | handler: mock/flaky, config: {times: 1}", "b <- a"))
	h.WantTask(h.Checked(id), task.Complete)
	h.AwaitPlugin("one")
	h.AwaitPlugin("two")
	log := h.Log(everything) // first, as it grows while plugins that nobody waits for become ready
	h.AwaitDelivered("one/all", "one/lanes", "two/all", "two/lanes", "two/bound")
	for _, name := range []string{"one", "two"} {
		checkReceived(t, h, name, log)
		if got := h.Received(name, "bound"); len(got) > 0 {
			t.Errorf("%s/bound got %v without a binding", name, got)
		}
	}
}

// everything selects the whole log.
var everything = host.EventQuery{}

// checkReceived proves that a recorder got what the log holds; it may not have got yet
// what came after that.
func checkReceived(t *testing.T, h *hosttest.Host, name string, log []hosttest.Event) {
	t.Helper()
	upTo := log[len(log)-1].Seq
	for subscription, patterns := range map[string][]string{"all": {"*"}, "lanes": {"task.*", "step.*"}} {
		var got []hosttest.Received
		for _, r := range h.Received(name, subscription) {
			if r.Seq <= upTo {
				got = append(got, r)
			}
		}
		full := name + "/" + subscription
		wanted := hosttest.Wanted(log, full, patterns...)
		err := hosttest.CheckLanes(got, wanted)
		if subscription == "all" {
			err = hosttest.CheckDelivery(got, wanted)
		}
		if err != nil {
			t.Errorf("%s: %v", full, err)
		}
	}
}

// TestDeliveryWhileKilled kills a subscriber again and again while tasks run: it gets
// every event at least once and in order.
func TestDeliveryWhileKilled(t *testing.T) {
	t.Parallel()
	const kills = 4
	tasks := 1000
	if testing.Short() {
		tasks = 60
	}
	h := hosttest.Start(t, hosttest.Recorder("one"))
	template := graph("a | handler: mock/flaky, config: {times: 1}, retry: {base: 1ms}", "b | handler: mock/sleep, config: {for: 5ms}", "c <- a, b")
	var ids []task.ID
	for range kills {
		for range tasks / kills {
			ids = append(ids, h.Create(template))
		}
		h.KillPlugin("one")
		for _, name := range []string{"one/all", "one/lanes"} { // an event that sees three processes end is put aside
			before := h.Subscription(name).Delivered
			h.AwaitSubscription(name, "going on", func(s host.SubscriptionStatus) bool { return s.Delivered > before || s.Behind == 0 })
		}
	}
	for _, id := range ids {
		h.WantTask(h.Checked(id), task.Complete)
	}
	log := h.Log(everything)
	h.AwaitDelivered("one/all", "one/lanes")
	checkReceived(t, h, "one", log)
	if letters, _, err := h.DeadLetters(t.Context(), "", 0, 0); err != nil || len(letters) > 0 {
		t.Errorf("dead letters %v, %v; want none", letters, err)
	}
}

// TestDeliveryAfterAbsence: a subscriber that was away for a whole run of the host gets
// everything when it is back, and what happened at the end of a run before the host ends.
func TestDeliveryAfterAbsence(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t, hosttest.Recorder("one"))
	h.Create(graph("a"))
	h.AwaitSubscription("one/all", "connected", func(s host.SubscriptionStatus) bool { return s.Instance != "" })
	h.Stop()
	home := hosttest.Options(func(o *host.Options) { o.Home = h.Home() })

	h = hosttest.Start(t, home)
	if got := deliveriesOf(h.Received("one", "all"), "host.stopping"); len(got) != 1 {
		t.Errorf("deliveries of host.stopping before the host ended: %v, want one", got)
	}
	before := h.Subscription("one/all")
	h.WantTask(h.Checked(h.Create(graph("a", "b <- a"))), task.Complete)
	if s := h.Subscription("one/all"); s.State != "absent" || s.Through != before.Through || s.Behind < 10 {
		t.Errorf("subscription of a plugin that is not there: %+v, want it absent and left behind", s)
	}
	h.Stop()

	h = hosttest.Start(t, home, hosttest.Recorder("one"))
	h.AwaitPlugin("one")
	log := h.Log(everything)
	h.AwaitDelivered("one/all", "one/lanes")
	checkReceived(t, h, "one", log)
}

// TestShortRun: a host that ran one task lets subscribers start and have its events.
func TestShortRun(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t, hosttest.Recorder("one"), hosttest.Options(func(o *host.Options) { o.Mode = host.ModeRun }))
	h.End(h.Create(graph("a")))
	h.Stop()
	got := h.Received("one", "all")
	for _, want := range []string{"task.completed", "host.stopping"} {
		if !slices.ContainsFunc(got, func(r hosttest.Received) bool { return r.Type == want }) {
			t.Errorf("got %d events, among them no %s", len(got), want)
		}
	}
}
