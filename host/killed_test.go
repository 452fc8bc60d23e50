package host_test

import (
	"os"
	"strconv"
	"testing"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
)

// TestPluginsKilledUnderLoad kills a plugin with handlers and one with subscriptions again
// and again while tasks run: every task completes, every event is delivered, in order, and
// the log has no gap. TASKER_PLUGIN_KILLS says how often each is killed.
func TestPluginsKilledUnderLoad(t *testing.T) {
	t.Parallel()
	const tasks = 20 // in each round
	kills := 3
	if n, err := strconv.Atoi(os.Getenv("TASKER_PLUGIN_KILLS")); err == nil {
		kills = n
	}
	h := hosttest.Start(t, hosttest.Recorder("one"))
	h.AwaitPlugin("mock")
	h.AwaitPlugin("one")
	template := graph("a | handler: mock/sleep, config: {for: 20ms}", "b <- a | handler: mock/sleep, config: {for: 5ms}", "c <- b")
	for range kills {
		var ids []task.ID
		for range tasks {
			ids = append(ids, h.Create(template))
		}
		h.KillPlugin("mock")
		h.KillPlugin("one")
		for _, id := range ids { // a step that sees four processes end fails
			h.WantTask(h.Checked(id), task.Complete)
		}
		for _, name := range []string{"one/all", "one/lanes"} { // an event that sees three processes end is put aside
			before := h.Subscription(name).Delivered
			h.AwaitSubscription(name, "going on", func(s host.SubscriptionStatus) bool { return s.Delivered > before || s.Behind == 0 })
		}
	}
	log := h.Log(everything)
	for i := range log {
		if want := log[0].Seq + uint64(i); log[i].Seq != want {
			t.Fatalf("event %d of the log has the sequence %d, want %d", i, log[i].Seq, want)
		}
	}
	h.AwaitDelivered("one/all", "one/lanes")
	checkReceived(t, h, "one", log)
	if letters, _, err := h.DeadLetters(t.Context(), "", 0, 0); err != nil || len(letters) > 0 {
		t.Errorf("dead letters %v, %v; want none", letters, err)
	}
}
