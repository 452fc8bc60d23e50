package supervisor

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/task"
)

func TestRunsAttemptsAndDrains(t *testing.T) {
	h := startHost(t, nil, "good")
	in := h.instanceOf("good", 1)
	if got, want := in.ID, "good#1"; got != want {
		t.Errorf("instance id = %q, want %q", got, want)
	}
	if got, want := in.Capacity, 8; got != want {
		t.Errorf("capacity = %d, want %d", got, want)
	}
	echo := attempt(1, "echo", `{"n":12345678901234567890}`)
	hold := attempt(2, "hold", `1`)
	h.Dispatch(in.ID, []*task.Assignment{echo, hold})
	if got, want := string(h.final(echo.ID).Output), `{"n":12345678901234567890}`; got != want {
		t.Errorf("output = %s, want %s", got, want)
	}
	h.running(hold.ID)
	h.Drain(context.Background())
	if got, want := string(h.final(hold.ID).Output), `"drained"`; got != want {
		t.Errorf("output of the attempt in flight = %s, want %s", got, want)
	}
	if got := h.lost(in.ID); got != task.LossDrained {
		t.Errorf("cause = %s, want %s", got, task.LossDrained)
	}
	h.stop()
	var states []task.PluginState
	for _, l := range h.life {
		states = append(states, l.State)
	}
	want := []task.PluginState{
		task.PluginStarting, task.PluginHandshaking, task.PluginConfiguring, task.PluginReady, task.PluginDraining, task.PluginStopped,
	}
	if diff := cmp.Diff(want, states); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	if len(h.crashes) > 0 {
		t.Errorf("crash reports = %v, want none", h.crashes)
	}
}
