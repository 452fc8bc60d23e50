package hosttest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
)

// busy goes through many rows of the tables.
const busy = `name: busy
version: 1.0.0
defaults: {retry: {base: 1ms, limit: 2}}
steps:
- {name: a, handler: mock/flaky, config: {times: 1}}
- {name: b, handler: mock/echo, depends_on: [a]}
- {name: c, handler: mock/flaky, optional: true}
- {name: d, handler: mock/flaky, config: {times: 2}, depends_on: [c]}
`

// TestCheckFindsFaults takes a true history and spoils it in every simple way.
func TestCheckFindsFaults(t *testing.T) {
	h := hosttest.Start(t)
	id := h.Create(busy)
	h.WantTask(h.Checked(id), task.Error)
	h.Retry(id, "d")
	v := h.Checked(id)
	h.WantTask(v, task.Complete)
	recorded := h.History(id)
	renumber := func(events []hosttest.Event) []hosttest.Event {
		for i := range events {
			events[i].TaskSeq, events[i].ID, events[i].Seq = uint64(i+1), eventID(id, i+1), uint64(i+1)
			events[i].At = recorded[0].At
		}
		return events
	}
	if err := hosttest.Check(v, renumber(slices.Clone(recorded))); err != nil {
		t.Fatalf("a true history: %v", err)
	}
	for i := range recorded {
		missing := renumber(slices.Delete(slices.Clone(recorded), i, i+1))
		if hosttest.Check(v, missing) == nil {
			t.Errorf("nothing is found when event %d, %s, is missing", i+1, recorded[i])
		}
		double := renumber(slices.Insert(slices.Clone(recorded), i, recorded[i]))
		if hosttest.Check(v, double) == nil {
			t.Errorf("nothing is found when event %d, %s, is there twice", i+1, recorded[i])
		}
		gap := slices.Clone(recorded)
		gap[i].TaskSeq += 7
		if hosttest.Check(v, gap) == nil {
			t.Errorf("nothing is found when event %d is misnumbered", i+1)
		}
	}
}

// TestCheckFindsStrayEvents: a custom event belongs into an attempt of its step, or behind
// what it stands for.
func TestCheckFindsStrayEvents(t *testing.T) {
	h := hosttest.Start(t)
	id := h.Create(header() + "- {name: a, handler: mock/noop}\n")
	v := h.Checked(id)
	recorded := h.History(id)
	for i := range len(recorded) + 1 {
		for _, stands := range []bool{false, true} {
			e := hosttest.Event{Type: "shop.paid", Step: "a", Payload: []byte("{}")}
			if stands && i > 0 {
				e.Step, e.Payload = recorded[i-1].Step, recorded[i-1].Payload
			}
			events := slices.Insert(slices.Clone(recorded), i, e)
			for n := range events {
				events[n].TaskID, events[n].TaskSeq, events[n].ID, events[n].Seq = id, uint64(n+1), eventID(id, n+1), uint64(n+1)
				events[n].At = recorded[0].At
			}
			good := i > 0 && (stands || recorded[i-1].Type == "step.started")
			if err := hosttest.Check(v, events); (err == nil) != good {
				t.Errorf("%s as number %d of %v: %v", e, i+1, events, err)
			}
		}
	}
}

func TestLedger(t *testing.T) {
	h := hosttest.Start(t)
	ledger := filepath.Join(t.TempDir(), "ledger")
	if starts, err := hosttest.ReadLedger(ledger); err != nil || len(starts) != 0 {
		t.Errorf("a ledger that nobody wrote: %v, %v", starts, err)
	}
	id := h.Create(header() + "- {name: a, handler: mock/flaky, retry: {base: 1ms}, config: {times: 1, ledger: " + ledger + "}}\n")
	v := h.Checked(id)
	starts, err := hosttest.ReadLedger(ledger)
	if err != nil || len(starts) != 2 {
		t.Fatalf("ledger %v, %v; want two attempts", starts, err)
	}
	if err := hosttest.CheckLedger(v, starts); err != nil {
		t.Errorf("a true ledger: %v", err)
	}
	first := task.AttemptID{Task: id, Number: 1}
	starts[first]++
	if hosttest.CheckLedger(v, starts) == nil {
		t.Error("nothing is found when an attempt was executed twice")
	}
	starts[first] = 1
	starts[task.AttemptID{Task: id, Number: 3}] = 1
	if hosttest.CheckLedger(v, starts) == nil {
		t.Error("nothing is found when an attempt was executed that was never started")
	}
	if err := os.WriteFile(ledger, []byte("nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := hosttest.ReadLedger(ledger); err == nil {
		t.Error("nonsense is read")
	}
}

func header() string { return "name: ledger\nversion: 1.0.0\nsteps:\n" }

func eventID(id task.ID, n int) string { return fmt.Sprintf("%s/%d", id, n) }
