package hosttest

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// Event is one event of the log, decoded.
type Event struct {
	Seq     uint64 // in the log
	ID      string
	Type    string
	At      time.Time
	TaskID  task.ID
	TaskSeq uint64
	Step    task.StepName
	Payload json.RawMessage
}

// String returns "type" or "type(step)".
func (e Event) String() string {
	if e.Step == "" {
		return e.Type
	}
	return fmt.Sprintf("%s(%s)", e.Type, e.Step)
}

// DecodeEvent decodes an entry of the log.
func DecodeEvent(entry host.LogEntry) (Event, error) {
	var e eventv1.Event
	if err := proto.Unmarshal(entry.Encoded, &e); err != nil {
		return Event{}, fmt.Errorf("event %d: %w", entry.Seq, err)
	}
	return Event{
		Seq: entry.Seq, ID: e.GetId(), Type: e.GetType(), At: time.Unix(0, e.GetAt()).UTC(),
		TaskID: task.ID(e.GetTaskId()), TaskSeq: e.GetTaskSeq(), Step: task.StepName(e.GetStep()), Payload: e.GetPayload(),
	}, nil
}

// History returns the events of a task in order and checks that they are numbered
// without gaps.
func (h *Host) History(id task.ID) []Event {
	h.t.Helper()
	events := h.Log(host.EventQuery{Task: string(id)})
	for i, e := range events {
		if e.TaskSeq != uint64(i)+1 {
			h.t.Errorf("event %d of task %s has task_seq %d", i+1, id, e.TaskSeq)
		}
	}
	return events
}

// Log returns the events that a query selects.
func (h *Host) Log(q host.EventQuery) []Event {
	h.t.Helper()
	ctx, cancel := h.context()
	defer cancel()
	var events []Event
	err := h.Events(ctx, q, func(entry host.LogEntry) error {
		e, err := DecodeEvent(entry)
		events = append(events, e)
		return err
	})
	if err != nil {
		h.t.Fatalf("events: %v", err)
	}
	return events
}

// Checked is [Host.End] for a task whose events are then replayed against the tables:
// see [Check].
func (h *Host) Checked(id task.ID) *task.View {
	h.t.Helper()
	v := h.End(id)
	if err := Check(v, h.History(id)); err != nil {
		h.t.Errorf("events do not fit the task:\n%v\n%s", err, Describe(v))
	}
	return v
}

// WantHistory fails the test unless the events of a task are as wanted, in order:
// "type" or "type(step)", separated by blanks.
func (h *Host) WantHistory(id task.ID, want string) {
	h.t.Helper()
	var got []string
	for _, e := range h.History(id) {
		got = append(got, e.String())
	}
	if diff := cmp.Diff(strings.Fields(want), got); diff != "" {
		h.t.Errorf("events of task %s (-want +got):\n%s", id, diff)
	}
}

// Of returns the events of one type; those of one step when it is not empty.
func Of(events []Event, eventType string, step task.StepName) (found []Event) {
	for _, e := range events {
		if e.Type == eventType && (step == "" || e.Step == step) {
			found = append(found, e)
		}
	}
	return found
}
