package host_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
)

// TestRest: plugins that have nothing to do have no process; a step and an event start them,
// and no attempt is spent on it. The host remembers what they declare.
func TestRest(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t, hosttest.Recorder("one"), hosttest.Options(func(o *host.Options) {
		rest := host.PluginRest{Lazy: true, After: time.Second} // longer than an attempt takes to reach a plugin that is ready
		o.PluginRests = map[string]host.PluginRest{"mock": rest, "one": rest}
	}))
	rest := func() {
		t.Helper()
		h.AwaitPlugins("all idle", func(plugins []host.PluginInfo) bool {
			return len(plugins) == 2 && !slices.ContainsFunc(plugins, func(p host.PluginInfo) bool { return p.State != task.PluginIdle })
		})
	}
	events := uint64(0)
	run := func() {
		t.Helper()
		id := h.Create(graph("a", "b <- a | handler: mock/sleep, config: {for: 1500ms}")) // longer than it may be idle
		v := h.Checked(id)
		h.WantTask(v, task.Complete)
		for _, step := range []task.StepName{"a", "b"} {
			if n := hosttest.Step(v, step).Attempts; n != 1 {
				t.Errorf("step %s took %d attempts, want 1", step, n)
			}
		}
		events += uint64(len(h.History(id)))
		h.AwaitSubscription("one/lanes", "given the events of all tasks", func(s host.SubscriptionStatus) bool { return s.Delivered >= events })
	}
	rest()
	run()
	rest()
	h.AwaitSubscription("one/lanes", "behind with nothing: it wants no events of plugins", func(s host.SubscriptionStatus) bool { return s.Behind == 0 })
	if p := h.Plugin("mock"); p.PID != 0 || !strings.Contains(p.Cause, "nothing to do for 1s") || len(p.Handlers) == 0 {
		t.Errorf("a plugin that rests: %+v, want no process, the cause and its handlers", p)
	}
	h.Stop()
	h.Restart()
	h.AwaitPlugins("idle, and never started", func(plugins []host.PluginInfo) bool {
		return slices.ContainsFunc(plugins, func(p host.PluginInfo) bool {
			return p.Name == "mock" && p.State == task.PluginIdle && p.Instance == "" && len(p.Handlers) > 0
		})
	})
	run()
}
