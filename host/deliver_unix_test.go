//go:build unix

package host_test

import (
	"testing"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
)

// TestDeliveryToOneThatHangs: a subscriber whose process hangs holds up neither tasks nor
// others. It is found out, ended and started again, and gets what it missed.
func TestDeliveryToOneThatHangs(t *testing.T) {
	if testing.Short() {
		t.Skip("a process may be silent for a while")
	}
	t.Parallel()
	h := hosttest.Start(t, hosttest.Recorder("one", "two"), hosttest.Expect("plugin crashed"))
	h.AwaitSubscription("one/lanes", "connected", func(s host.SubscriptionStatus) bool { return s.Instance != "" })
	h.FreezePlugin("one")
	for range 20 {
		h.WantTask(h.Checked(h.Create(graph("a", "b <- a"))), task.Complete)
	}
	h.AwaitPlugin("two")
	log := h.Log(everything)
	h.AwaitDelivered("two/all", "two/lanes")
	checkReceived(t, h, "two", log)
	if s := h.Subscription("one/all"); s.Behind == 0 {
		t.Errorf("subscription of a process that hangs: %+v, want it behind", s)
	}
	h.AwaitDelivered("one/all", "one/lanes")
	checkReceived(t, h, "one", log)
	crashes, err := h.Crashes(t.Context(), "one")
	if err != nil || len(crashes) != 1 {
		t.Errorf("crashes %+v, %v; want one", crashes, err)
	}
}
