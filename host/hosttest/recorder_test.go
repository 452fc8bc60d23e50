package hosttest_test

import (
	"strings"
	"testing"

	"github.com/tasker-engine/tasker/host/hosttest"
)

// TestCheckDelivery: what must fail a test does.
func TestCheckDelivery(t *testing.T) {
	wanted := []hosttest.Event{
		{Seq: 1, ID: "h/1/1", Type: "host.started"},
		{Seq: 3, ID: "T/1", Type: "task.initialized", TaskID: "T", TaskSeq: 1},
		{Seq: 4, ID: "T/2", Type: "task.started", TaskID: "T", TaskSeq: 2},
		{Seq: 7, ID: "U/1", Type: "task.initialized", TaskID: "U", TaskSeq: 1},
	}
	all := make([]hosttest.Received, len(wanted))
	for i, e := range wanted {
		all[i] = hosttest.Received{Seq: e.Seq, ID: e.ID, Type: e.Type, Task: e.TaskID, TaskSeq: e.TaskSeq}
	}
	pick := func(places ...int) (got []hosttest.Received) {
		for _, i := range places {
			got = append(got, all[i])
		}
		return got
	}
	other := pick(0, 1, 2, 3)
	other[2].ID = "T/3"
	leap := pick(0, 1, 2, 3)
	leap[2].TaskSeq = 3
	tests := []struct {
		name         string
		got          []hosttest.Received
		order, lanes string // what is wrong, empty = nothing
	}{
		{"each once", pick(0, 1, 2, 3), "", ""},
		{"some again", pick(0, 1, 0, 1, 2, 2, 0, 1, 2, 3), "", ""},
		{"tasks in another order", pick(0, 3, 1, 2), "got event 7 task.initialized before 3 task.initialized", ""},
		{"one too early", pick(0, 2, 1, 2, 3), "got event 4 task.started before 3 task.initialized", "got event 4 task.started before 3 task.initialized"},
		{"one missing", pick(0, 1, 2), "got 3 of 4 events; the first that is missing is 7 task.initialized", "task U: got 0 of 1 events"},
		{"none", nil, "got 0 of 4 events", "got 0 of 1 events"},
		{"one that is not wanted", append(pick(0), hosttest.Received{Seq: 2, ID: "x", Task: "V"}), "got event 2 x , which it did not want", "task V: got 1 events that it did not want"},
		{"another event", other, "which is T/2 task.started", "which is T/2 task.started"},
		{"a gap in the numbers", leap, "got task_seq 3 of task T after 1", "got task_seq 3 of task T after 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, check := range []struct {
				name string
				err  error
				want string
			}{
				{"CheckDelivery", hosttest.CheckDelivery(tt.got, wanted), tt.order},
				{"CheckLanes", hosttest.CheckLanes(tt.got, wanted), tt.lanes},
			} {
				if check.want == "" && check.err != nil || check.want != "" && (check.err == nil || !strings.Contains(check.err.Error(), check.want)) {
					t.Errorf("%s: %v, want %q", check.name, check.err, check.want)
				}
			}
		})
	}
}
