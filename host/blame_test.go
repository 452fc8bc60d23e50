package host_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// startWorker starts a host with a recorder that has handlers, too.
func startWorker(t *testing.T, expect ...string) *hosttest.Host {
	t.Helper()
	home := filepath.Join(t.TempDir(), "home")
	dir := filepath.Join(home, "data", "one")
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "declare.json"), []byte(`{"works": true}`), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	h := hosttest.Start(t, hosttest.Recorder("one"), hosttest.Options(func(o *host.Options) { o.Home = home }), hosttest.Expect(expect...))
	h.AwaitPlugin("one")
	return h
}

// innocents creates tasks of a step that does no harm.
func innocents(h *hosttest.Host, n int) (ids []task.ID) {
	for range n {
		ids = append(ids, h.Create(graph("a | handler: one/nap")))
	}
	return ids
}

// TestPoisonStepBesideEvents: a step that ends its process each time fails. Events that
// were in flight each time are delivered, and the other steps complete.
func TestPoisonStepBesideEvents(t *testing.T) {
	t.Parallel()
	h := startWorker(t, "plugin crashed")
	h.Behave("one", hosttest.Behaviour{Type: event.NameStepStarted, After: 150}) // longer than the step takes
	poison := h.Create(graph("a | handler: one/exit"))
	h.AwaitLog(host.EventQuery{Type: event.NamePluginCrashed}, 1) // with one event in flight
	for _, id := range innocents(h, 2) {
		h.WantTask(h.Checked(id), task.Complete)
	}
	v := h.Checked(poison)
	h.WantTask(v, task.Error)
	if s := hosttest.Step(v, "a"); s.Failure.Code != task.CodeCrashesPlugin || s.Losses != task.DefaultLossLimit+1 {
		t.Errorf("%s after %d losses, want %s after %d", s.Failure.Code, s.Losses, task.CodeCrashesPlugin, task.DefaultLossLimit+1)
	}
	h.Behave("one")
	log := h.Log(everything)
	h.AwaitDelivered("one/all", "one/lanes")
	checkReceived(t, h, "one", log)
	if letters, _, err := h.DeadLetters(t.Context(), "", 0, 0); err != nil || len(letters) > 0 {
		t.Errorf("dead letters %v, %v; want none", letters, err)
	}
	h.AwaitPlugin("one")
}

// TestPoisonEventBesideSteps: an event that ends its process each time is put aside, and no
// other one. Steps that were in flight each time complete.
func TestPoisonEventBesideSteps(t *testing.T) {
	t.Parallel()
	h := startWorker(t, "plugin crashed", "an event is put aside")
	if err := h.PauseSubscription(t.Context(), "one/lanes", task.Operation{By: "test"}); err != nil {
		t.Fatal(err)
	}
	h.Behave("one", hosttest.Behaviour{Type: event.NameStepFailed, Do: "exit", After: 50}) // a step takes longer
	steps := innocents(h, 3)                                                               // in flight at the first crash, too
	h.WantTask(h.Checked(h.Create(graph("a | f1"))), task.Complete)
	for _, id := range steps {
		h.WantTask(h.Checked(id), task.Complete)
	}
	h.AwaitSubscription("one/all", "rid of the event", func(s host.SubscriptionStatus) bool { return s.DeadLetters == 1 })
	letters, _, err := h.DeadLetters(t.Context(), "", 0, 0)
	if err != nil || len(letters) != 1 || letters[0].Seq != h.Log(host.EventQuery{Type: event.NameStepFailed})[0].Seq {
		t.Errorf("dead letters %v, %v; want that of the one %s", letters, err, event.NameStepFailed)
	}
	h.AwaitPlugin("one")
	log := h.Log(everything)
	h.AwaitDelivered("one/all")
	if err := hosttest.CheckDelivery(upTo(h.Received("one", "all"), log), hosttest.Wanted(log, "one/all", "*")); err != nil {
		t.Error(err)
	}
	if events := h.Log(host.EventQuery{Type: event.NamePluginQuarantined}); len(events) > 0 {
		t.Errorf("the plugin was put into quarantine: %v", events)
	}
}
