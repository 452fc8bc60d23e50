package publish_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host/internal/publish"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// TestEmitted: a custom event has the payload that its plugin made, without white space,
// and the envelope that every event of its step has.
func TestEmitted(t *testing.T) {
	s := newSample(t)
	emit := task.Emit{Name: "orders.shipped", Payload: []byte("{ \"order\": \"<o> & 1\",\n\"n\": 12345678901234567890 }")}
	got := s.publish(t, onTask(nil, func(p *publish.Task) { p.Emitted(&s.task.Steps[2], emit) }))
	want := &eventv1.Event{
		Id: string(taskID) + "/42", Type: "orders.shipped", At: at.UnixNano(), TaskId: string(taskID), TaskSeq: 42, Step: "charge",
		Namespace: "shop", Template: "orders", Version: "1.2.0", CorrelationId: "corr-1", Traceparent: traceparent,
		Payload: []byte(`{"order":"<o> & 1","n":12345678901234567890}`),
	}
	if !proto.Equal(got, want) {
		t.Errorf("got\n%v\nwant\n%v", got, want)
	}
}

// TestBrokenEmit: a payload that is no JSON and got as far as here is an error of the
// decision, and nothing is recorded after it.
func TestBrokenEmit(t *testing.T) {
	s := newSample(t)
	for _, payload := range []string{"", "{", "1 2"} {
		p := forTask(s.task, s.tmpl, at)
		p.Emitted(&s.task.Steps[2], task.Emit{Name: "orders.shipped", Payload: []byte(payload)})
		p.Emitted(&s.task.Steps[2], task.Emit{Name: "orders.paid", Payload: []byte("1")})
		if events, _, err := p.Events(); err == nil || !strings.Contains(err.Error(), "orders.shipped") || len(events) != 0 {
			t.Errorf("payload %q: %d events, error %v; want an error that names the event", payload, len(events), err)
		}
	}
}

// TestTemplateEvents: the events that a template declares follow what they stand for, with
// its payload and about its step.
func TestTemplateEvents(t *testing.T) {
	s := newSample(t)
	s.tmpl.Events = []template.Event{
		{Name: "orders.paid", On: event.NameStepCompleted, Step: "charge"},
		{Name: "orders.checked", On: event.NameStepCompleted, Step: "validate"},
		{Name: "orders.booked", On: event.NameStepCompleted, Step: "charge"},
		{Name: "orders.unpaid", On: event.NameStepFailed, Step: "charge"},
		{Name: "orders.kept", On: event.NameStepSkipped, Step: "ship"},
		{Name: "orders.done", On: event.NameTaskCompleted},
		{Name: "orders.lost", On: event.NameTaskFailed},
		{Name: "orders.stopped", On: event.NameTaskCancelled},
	}
	charge, ship := &s.task.Steps[2], &s.task.Steps[3]
	tests := []struct {
		name string
		call func(*publish.Task)
		want string
	}{
		{"completed", func(p *publish.Task) { p.StepCompleted(charge) }, "step.completed orders.paid orders.booked"},
		{"another step", func(p *publish.Task) { p.StepCompleted(ship) }, "step.completed"},
		{"failed for good", func(p *publish.Task) { p.StepFailed(charge, true) }, "step.failed orders.unpaid"},
		{"failed, to be tried again", func(p *publish.Task) { p.StepFailed(charge, false) }, "step.failed"},
		{"skipped", func(p *publish.Task) { p.StepSkipped(ship) }, "step.skipped orders.kept"},
		{"started", func(p *publish.Task) { p.StepStarted(charge) }, "step.started"},
		{"task completed", (*publish.Task).TaskCompleted, "task.completed orders.done"},
		{"task failed", (*publish.Task).TaskFailed, "task.failed orders.lost"},
		{"task cancelled", (*publish.Task).TaskCancelled, "task.cancelled orders.stopped"},
		{"emitted", func(p *publish.Task) { p.Emitted(charge, task.Emit{Name: "orders.seen", Payload: []byte("{}")}) }, "orders.seen"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := forTask(s.task, s.tmpl, at)
			tt.call(p)
			events, seq, err := p.Events()
			if err != nil || seq != s.task.Seq+uint64(len(events)) {
				t.Fatalf("Events: seq %d, error %v", seq, err)
			}
			var names []string
			first := &eventv1.Event{}
			for i, raw := range events {
				e := &eventv1.Event{}
				if err := proto.Unmarshal(raw.Encoded, e); err != nil {
					t.Fatal(err)
				}
				if i == 0 {
					first = proto.CloneOf(e)
				}
				names = append(names, e.GetType())
				seq := s.task.Seq + 1 + uint64(i)
				first.Id, first.TaskSeq, first.Type = fmt.Sprintf("%s/%d", taskID, seq), seq, raw.Type
				if !proto.Equal(e, first) {
					t.Errorf("event %d is\n%v\nwant\n%v", i, e, first)
				}
			}
			if diff := cmp.Diff(names, strings.Fields(tt.want)); diff != "" {
				t.Errorf("events (-got +want):\n%s", diff)
			}
		})
	}
}
