package host_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// TestPublishingReadsNothing compares what a host asks its store for while it runs a task
// of a few steps and one of many, each of which emits a custom event, too: deciding and
// publishing read nothing, so a further step costs no further read. What reads the log is
// not about deciding.
func TestPublishingReadsNothing(t *testing.T) {
	t.Parallel()
	h := startEmitter(t)
	h.AwaitPlugin("emitter")
	steps := func(n int) string {
		lines := make([]string, n)
		for i := range lines {
			lines[i] = emitting("s"+strings.Repeat("x", i), "notices: 1, dones: 1")
			if i > 0 {
				lines[i] = strings.Replace(lines[i], " |", " <- s"+strings.Repeat("x", i-1)+" |", 1)
			}
		}
		return graph(lines...)
	}
	few, many := readsOf(t, h, steps(2)), readsOf(t, h, steps(60))
	if few["submit"] == 0 {
		t.Errorf("reads %v: those of a creation are not counted", few)
	}
	for _, op := range slices.Sorted(maps.Keys(many)) {
		if many[op] != few[op] {
			t.Errorf("%s: 60 steps read %d records, 2 steps %d", op, many[op], few[op])
		}
	}
}

// readsOf runs a task and returns how many records each operation of the store read
// meanwhile, those apart that read the log or are asked for by the test.
func readsOf(t *testing.T, h *hosttest.Host, template string) map[string]uint64 {
	t.Helper()
	operations := func() map[string]uint64 {
		stats, err := h.StoreStats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		reads := make(map[string]uint64)
		for name, op := range stats.Operations {
			reads[name] = op.Reads
		}
		return reads
	}
	before := operations()
	id := h.Create(template)
	err := h.Events(t.Context(), host.EventQuery{Type: event.NameTaskCompleted, Follow: true}, func(entry host.LogEntry) error {
		e, err := hosttest.DecodeEvent(entry)
		if err == nil && e.TaskID == id {
			return errSeen
		}
		return err
	})
	if !errors.Is(err, errSeen) {
		t.Fatalf("task %s did not complete: %v", id, err)
	}
	after := operations()
	h.WantTask(h.Checked(id), task.Complete)
	reads := make(map[string]uint64)
	for name, n := range after {
		switch name {
		case "events", "first_seq", "last_seq", "seq_at", "stats":
		default:
			reads[name] = n - before[name]
		}
	}
	return reads
}
