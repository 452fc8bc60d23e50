//go:build unix

package supervisor

import (
	"fmt"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host/task"
)

// TestCharge: which crashes are put down to steps instead of their plugin.
func TestCharge(t *testing.T) {
	type crash struct {
		after  time.Duration // since the one before
		steps  []task.Ordinal
		events []uint64
		alone  bool
		blamed string
	}
	attempt := func(o string) string { return "attempt " + string(testTask) + "/" + o + "/1" }
	tests := []struct {
		name    string
		crashes []crash
	}{
		{"one step", []crash{
			{steps: []task.Ordinal{1}},
			{steps: []task.Ordinal{1}, blamed: attempt("1") + " was in flight, as at a crash before"},
			{steps: []task.Ordinal{1}, blamed: attempt("1") + " was in flight, as at 2 crashes before"},
			{steps: []task.Ordinal{1}, alone: true, blamed: attempt("1") + " ran alone"},
		}},
		{"one event", []crash{
			{}, // in a batch of many
			{events: []uint64{7}},
			{events: []uint64{7}, blamed: "event 7 of main was in flight, as at a crash before"},
			{events: []uint64{7}, alone: true, blamed: "event 7 of main ran alone"},
		}},
		{"in company", []crash{
			{steps: []task.Ordinal{1, 2, 3}},
			{steps: []task.Ordinal{1, 2, 3}, blamed: "3 inputs were in flight that were so at a crash before"},
			{steps: []task.Ordinal{4}},
		}},
		{"a step and an event", []crash{
			{steps: []task.Ordinal{1}, events: []uint64{7}},
			{steps: []task.Ordinal{1}, events: []uint64{7}, blamed: "2 inputs were in flight that were so at a crash before"},
			{events: []uint64{7}, alone: true, blamed: "event 7 of main ran alone"},
			{steps: []task.Ordinal{1}, alone: true}, // each by itself
		}},
		{"a plugin that crashes with everything", []crash{
			{steps: []task.Ordinal{1, 2}},
			{steps: []task.Ordinal{1}, alone: true, blamed: attempt("1") + " ran alone"},
			{steps: []task.Ordinal{2}, alone: true},
			{steps: []task.Ordinal{3}},
			{},
		}},
		{"long ago", []crash{
			{steps: []task.Ordinal{1}, alone: true, blamed: attempt("1") + " ran alone"},
			{after: time.Hour, steps: []task.Ordinal{1}},
			{after: time.Hour, steps: []task.Ordinal{2}, alone: true, blamed: attempt("2") + " ran alone"},
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var s suspects
			at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
			for i, c := range test.crashes {
				at = at.Add(c.after)
				var held []input
				for _, o := range c.steps {
					id := task.AttemptID{Task: testTask, Ordinal: o, Number: 1}
					held = append(held, input{key: fmt.Sprint(id.Step()), what: "attempt " + id.String(), alone: c.alone})
				}
				for _, seq := range c.events {
					what := fmt.Sprintf("event %d of main", seq)
					held = append(held, input{key: what, what: what, alone: c.alone})
				}
				if got := s.charge(at, held, 10*time.Minute); got != c.blamed {
					t.Errorf("crash %d: blamed %q, want %q", i+1, got, c.blamed)
				}
			}
		})
	}
}
