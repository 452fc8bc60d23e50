//go:build unix

package supervisor

import (
	"runtime"
	"testing"

	"github.com/tasker-engine/tasker/host/task"
)

func TestMetrics(t *testing.T) {
	h := startHost(t, func(o *Options) { o.Metered = true }, "good")
	in := h.instanceOf("good", 1)
	run := func(ordinal int, handler string) *task.Assignment {
		a := attempt(ordinal, handler, `1`)
		h.Dispatch(in.ID, []*task.Assignment{a})
		return a
	}
	h.final(run(1, "echo").ID)
	h.final(run(2, "broken").ID)
	cancelled, late := run(3, "hold"), run(4, "hold")
	h.running(cancelled.ID)
	h.running(late.ID)
	h.Cancel(in.ID, cancelled.ID, task.CodeCancelRequested)
	h.Cancel(in.ID, late.ID, task.CodeTimeout)
	h.final(cancelled.ID)
	h.final(late.ID)
	held := run(5, "hold")
	h.running(held.ID)
	before := h.Metrics()[0]
	if runtime.GOOS == "linux" && (!before.HasUsage || before.Used.Memory <= 0) {
		t.Errorf("usage of a running process: %d bytes (%t), want some", before.Used.Memory, before.HasUsage)
	}
	run(6, "exit")
	h.instanceOf("good", 2)

	got := h.Metrics()[0]
	if got.Starts != 2 || got.Crashes != 1 {
		t.Errorf("%d starts and %d crashes, want 2 and 1", got.Starts, got.Crashes)
	}
	if got.CPU < before.CPU {
		t.Errorf("CPU time went from %s to %s with a new process", before.CPU, got.CPU)
	}
	want := map[string]map[string]uint64{
		"echo":   {"succeeded": 1},
		"broken": {"failed_permanent": 1},
		"hold":   {"cancelled": 1, "timed_out": 1, "lost": 1},
		"exit":   {"lost": 1},
	}
	for handler, outcomes := range want {
		for _, name := range outcomeNames() {
			if n := got.Handlers[handler].Outcomes[name]; n != outcomes[name] {
				t.Errorf("handler %s: %d attempts %s, want %d", handler, n, name, outcomes[name])
			}
		}
	}
	if e := got.Handlers["echo"]; e.Wire.Count != 1 || e.Handler.Count != 1 || e.Handler.Sum != tookNanos {
		t.Errorf("handler echo took %+v, on the wire %+v, want one each", e.Handler, e.Wire)
	}
}

// TestNotMetered: what nobody looks at is not measured.
func TestNotMetered(t *testing.T) {
	h := startHost(t, nil, "good")
	a := attempt(1, "echo", `1`)
	h.Dispatch(h.instanceOf("good", 1).ID, []*task.Assignment{a})
	h.final(a.ID)
	if got := h.Metrics(); got != nil {
		t.Errorf("Metrics() = %v, want nothing", got)
	}
}
