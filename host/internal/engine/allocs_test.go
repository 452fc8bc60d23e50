package engine

import (
	"testing"

	"github.com/tasker-engine/tasker/host/task"
)

// TestAllocations is the budget of a decision's memory: a task of five steps in a row,
// from its creation to its end, in the memory of an earlier decision. It counts what the
// caller makes for it too: the task's spec and an input for each step.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates, too")
	}
	const budget = 30
	tmpl := linear(t, 5)
	offer := &task.Offer{Plugin: "mock", PluginVersion: "1.0.0", Handler: "step", Version: 1}
	var d Decision
	if got := testing.AllocsPerRun(100, func() { benchRun(t, &d, tmpl, offer) }); got > budget {
		t.Errorf("a task of 5 steps allocates %.0f times, at most %d are allowed", got, budget)
	}
}
