package host_test

import (
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
	h.AwaitDelivered("one/all", "one/lanes", "two/all", "two/lanes", "two/bound")
	log := h.Log(everything)
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
