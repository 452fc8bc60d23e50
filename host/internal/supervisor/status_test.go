//go:build unix

package supervisor

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/task"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// livesOf returns the changes to a state that the sink was told.
func (h *host) livesOf(state task.PluginState) []task.PluginLife {
	h.recorder.mu.Lock()
	defer h.recorder.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(h.life), func(l task.PluginLife) bool { return l.State != state })
}

// TestStatusTextIsNoChange: what a plugin says of itself is kept, and told only with
// another state; ready comes once per instance, and again after trouble.
func TestStatusTextIsNoChange(t *testing.T) {
	h := startHost(t, nil, "good")
	in := h.instanceOf("good", 1)
	says := func(handler string, n int, text string) {
		t.Helper()
		a := attempt(n, handler, `1`)
		h.Dispatch(in.ID, []*task.Assignment{a})
		h.final(a.ID)
		h.until(in.ID, text, func() bool { return h.Plugins()[0].Cause == text })
	}
	says("chatter", 1, "19 in the queue")
	if got := h.livesOf(task.PluginReady); len(got) != 1 || got[0].Again || len(got[0].Handlers) == 0 {
		t.Errorf("told of ready: %+v, want it once, with handlers", got)
	}
	says("degrade", 2, "database is slow")
	says("chatter", 3, "19 in the queue")
	got := h.livesOf(task.PluginReady)
	if len(got) != 2 || !got[1].Again {
		t.Errorf("told of ready: %+v, want it a second time, marked as again", got)
	}
	if n := len(h.livesOf(task.PluginDegraded)); n != 1 {
		t.Errorf("told of degraded %d times, want once", n)
	}
}

// TestPluginThatAnnouncesItsEndIsReplaced: it finishes what it holds, and its successor
// takes what comes.
func TestPluginThatAnnouncesItsEndIsReplaced(t *testing.T) {
	h := startHost(t, nil, "good")
	in := h.instanceOf("good", 1)
	hold, last := attempt(1, "hold", `1`), attempt(2, "retire", `1`)
	h.Dispatch(in.ID, []*task.Assignment{hold})
	h.running(hold.ID)
	h.Dispatch(in.ID, []*task.Assignment{last})
	if got, want := string(h.final(hold.ID).Output), `"drained"`; got != want {
		t.Errorf("output of the attempt in flight = %s, want %s", got, want)
	}
	if got := h.end(in.ID); got.cause != task.LossDrained || len(got.sent) > 0 {
		t.Errorf("end = %+v, want it drained without a loss", got)
	}
	next := h.instanceOf("good", 2)
	echo := attempt(3, "echo", `1`)
	h.Dispatch(next.ID, []*task.Assignment{echo})
	h.final(echo.ID)
	if got := h.livesOf(task.PluginDraining); len(got) != 1 || got[0].Cause != "by itself: memory is low" {
		t.Errorf("told of draining: %+v, want its own reason", got)
	}
}

// gate is a sink that holds the supervisor back when it tells of a state.
type gate struct {
	*recorder

	state   task.PluginState
	release chan struct{}
}

func (g *gate) Life(l task.PluginLife) {
	g.recorder.Life(l)
	if l.State == g.state {
		<-g.release
	}
}

// TestPluginThatLeavesAsAnnouncedHasNotCrashed: it may be gone before the host comes to
// drain it.
func TestPluginThatLeavesAsAnnouncedHasNotCrashed(t *testing.T) {
	g := &gate{state: task.PluginDegraded, release: make(chan struct{})}
	h := startHost(t, func(o *Options) {
		g.recorder, _ = o.Sink.(*recorder)
		o.Sink = g
	}, "good")
	in := h.instanceOf("good", 1)
	process := h.instance(in.ID)
	for n, handler := range []string{"degrade", "retire"} {
		a := attempt(n, handler, `1`)
		h.Dispatch(in.ID, []*task.Assignment{a})
		h.final(a.ID)
	}
	h.until(in.ID, "an announced end", func() bool { return process.latest().GetState() == pluginv1.State_STATE_DRAINING })
	h.Dispatch(in.ID, []*task.Assignment{attempt(9, "quit", `1`)})
	<-process.launch.process.exited
	close(g.release)
	if got := h.lost(in.ID); got != task.LossDrained {
		t.Errorf("cause = %s, want %s", got, task.LossDrained)
	}
	h.instanceOf("good", 2)
	if got := h.crashesOf("good"); len(got) > 0 {
		t.Errorf("crash reports = %+v, want none", got)
	}
}

// TestCrashOfADrainingPluginIsACrash: only a good end is an orderly one.
func TestCrashOfADrainingPluginIsACrash(t *testing.T) {
	h := startHost(t, nil, "deaf")
	in := h.instanceOf("deaf", 1)
	hold, last := attempt(1, "hold", `1`), attempt(2, "retire", `1`)
	h.Dispatch(in.ID, []*task.Assignment{hold})
	h.running(hold.ID)
	process := h.instance(in.ID)
	h.Dispatch(in.ID, []*task.Assignment{last})
	h.final(last.ID)
	h.inState("deaf", task.PluginDraining)
	process.launch.process.kill() // as somebody else may
	if got := h.end(in.ID); got.cause != task.LossCrashed || !cmp.Equal(got.sent, []task.AttemptID{hold.ID}) {
		t.Errorf("end = %+v, want a crash that took %s with it", got, hold.ID)
	}
	if c := h.crash(in.ID); !strings.HasPrefix(c.Cause, "signal: killed") {
		t.Errorf("cause = %q, want the signal", c.Cause)
	}
	h.instanceOf("deaf", 2)
}

// TestPluginThatOnlyComesAndGoesIsHeldBack: without a use it is started again after a
// wait, and never quarantined: it does not crash.
func TestPluginThatOnlyComesAndGoesIsHeldBack(t *testing.T) {
	h := startHost(t, nil, "leaving")
	for n := 1; n <= 7; n++ {
		h.instanceOf("leaving", n)
	}
	waits := h.livesOf(task.PluginBackoff)
	if len(waits) < 6 || waits[0].Crashed || waits[0].RetryAt.IsZero() {
		t.Errorf("told of waits: %+v, want six that are no crashes", waits)
	}
	if got := h.crashesOf("leaving"); len(got) > 0 {
		t.Errorf("crash reports = %+v, want none", got)
	}
}
