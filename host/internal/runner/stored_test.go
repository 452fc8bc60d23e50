package runner_test

import (
	"cmp"
	"testing"
	"testing/synctest"

	"github.com/tasker-engine/tasker/host/task"
)

// TestEmittedIsAnswered: whatever becomes of an immediate event, who holds back others
// until then is told, once.
func TestEmittedIsAnswered(t *testing.T) {
	tests := []struct {
		name     string
		payloads []string
		task     task.ID // "" = the one that runs
		late     bool
		log      string
	}{
		{name: "recorded", payloads: []string{"1", "2"}},
		{name: "dropped, beside others", payloads: []string{"1", "{", "2"}, log: "custom events cannot be stored; they are dropped"},
		{name: "of an unknown task", payloads: []string{"1"}, task: "01ARZ3NDEKTSV4RRFFQ69G5FAV", log: "unknown task"},
		{name: "late", payloads: []string{"1"}, late: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t, dir, nil)
				defer g.close(tt.log)
				g.plugins.start("p#1", 1)
				id := hanging(t, g, "")
				if tt.late {
					g.plugins.kill("p#1", task.LossCrashed)
				}
				id.Task = cmp.Or(tt.task, id.Task)
				told := make([]int, len(tt.payloads))
				for i, payload := range tt.payloads {
					r := emitted(id, emit("p.seen", payload))
					r.Stored = func() { told[i]++ }
					g.Reports([]task.Report{r})
				}
				synctest.Wait()
				for i, n := range told {
					if n != 1 {
						t.Errorf("event %d: told %d times, want once", i, n)
					}
				}
			})
		})
	}
}
