//go:build unix

package supervisor

import (
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host/task"
)

// TestCharge: which crashes are put down to steps instead of their plugin.
func TestCharge(t *testing.T) {
	type crash struct {
		after  time.Duration // since the one before
		lost   []task.Ordinal
		alone  bool
		blamed string
	}
	tests := []struct {
		name    string
		crashes []crash
	}{
		{"one input", []crash{
			{lost: []task.Ordinal{1}},
			{lost: []task.Ordinal{1}, blamed: "attempt " + string(testTask) + "/1/1 was in flight, as at a crash before"},
			{lost: []task.Ordinal{1}, blamed: "attempt " + string(testTask) + "/1/1 was in flight, as at 2 crashes before"},
			{lost: []task.Ordinal{1}, alone: true, blamed: "attempt " + string(testTask) + "/1/1 ran alone"},
		}},
		{"in company", []crash{
			{lost: []task.Ordinal{1, 2, 3}},
			{lost: []task.Ordinal{1, 2, 3}, blamed: "3 attempts were in flight that were so at a crash before"},
			{lost: []task.Ordinal{4}},
		}},
		{"a plugin that crashes with everything", []crash{
			{lost: []task.Ordinal{1, 2}},
			{lost: []task.Ordinal{1}, alone: true, blamed: "attempt " + string(testTask) + "/1/1 ran alone"},
			{lost: []task.Ordinal{2}, alone: true},
			{lost: []task.Ordinal{3}},
			{},
		}},
		{"long ago", []crash{
			{lost: []task.Ordinal{1}, alone: true, blamed: "attempt " + string(testTask) + "/1/1 ran alone"},
			{after: time.Hour, lost: []task.Ordinal{1}},
			{after: time.Hour, lost: []task.Ordinal{2}, alone: true, blamed: "attempt " + string(testTask) + "/2/1 ran alone"},
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var s suspects
			at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
			for i, c := range test.crashes {
				at = at.Add(c.after)
				var lost []task.AttemptID
				for _, o := range c.lost {
					lost = append(lost, task.AttemptID{Task: testTask, Ordinal: o, Number: 1})
				}
				if got := s.charge(at, lost, c.alone, 10*time.Minute); got != c.blamed {
					t.Errorf("crash %d: blamed %q, want %q", i+1, got, c.blamed)
				}
			}
		})
	}
}
