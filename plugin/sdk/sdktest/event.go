package sdktest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// Event is one event as a host would deliver it: Event{Type: "step.failed"} is the example of the catalog, and
// Event{Payload: event.StepFailed{...}} has what it is given. What is left empty is taken from the payload, where that
// says it, else made up.
type Event struct {
	// Type is the event's name. Empty = that of the payload's type.
	Type string
	// Payload is anything that marshals to JSON; a json.RawMessage is taken as it is. Nil = the example of the
	// catalog, or of the plugin's own declaration.
	Payload any
	// Binding is the number of the binding through which it comes. 0 = the declared subscription.
	Binding int
	// Seq is its place in the log. 0 = after the last one.
	Seq uint64
	// Trial makes it an event that is in no log, as an operator sends one to try the subscriber out.
	Trial bool
	// TaskSeq is its number within its task. 0 = Seq.
	TaskSeq uint64
	// Delivery is the delivery's number. 0 = 1.
	Delivery int
	// At is when it was recorded. Zero = a fixed time.
	At time.Time
	// ID, Task, Step, Namespace, Template, Version, CorrelationID and Traceparent are the envelope's.
	ID, Task, Step, Namespace, Template, Version, CorrelationID, Traceparent string
}

// firstTrial is the first sequence of the events that are in no log.
const firstTrial = uint64(1) << 63

// next makes an event ready to be sent.
func (s *Subscription) next(tb testing.TB, e Event) *Delivered {
	tb.Helper()
	if p, ok := e.Payload.(event.Payload); ok && e.Type == "" {
		e.Type = p.EventName()
	}
	doc, err := document(e.Payload)
	if err != nil {
		tb.Fatalf("event %s: %v", e.Type, err)
	}
	if doc == nil {
		if doc = s.example(e.Type); doc == nil {
			tb.Fatalf("there is no example of the event %q: give it a payload", e.Type)
		}
	}
	s.mu.Lock()
	e.Seq = cmp.Or(e.Seq, s.seq+1)
	s.seq = e.Seq
	if e.Trial {
		e.Seq |= firstTrial
	}
	s.mu.Unlock()
	e.complete(doc)
	encoded, err := proto.Marshal(e.wire(doc))
	if err != nil {
		tb.Fatalf("event %s: %v", e.Type, err)
	}
	return &Delivered{s: s, task: e.Task, done: make(chan struct{}), wire: &pluginv1.SequencedEvent{
		Seq: e.Seq, Event: encoded, Delivery: uint32(e.Delivery), Binding: uint32(e.Binding), //nolint:gosec // small
	}}
}

// complete takes what is left empty from the payload, as it stands in the payloads of Tasker's own events, or makes
// it up.
func (e *Event) complete(payload []byte) {
	var said struct {
		Task          string `json:"task_id"`
		Step          string `json:"step_name"`
		Namespace     string `json:"namespace"`
		Template      string `json:"template"`
		Version       string `json:"version"`
		CorrelationID string `json:"correlation_id"`
	}
	_ = json.Unmarshal(payload, &said) // a payload of another form says nothing
	e.Task, e.Step = cmp.Or(e.Task, said.Task), cmp.Or(e.Step, said.Step)
	if family, _, _ := strings.Cut(e.Type, "."); e.Task == "" && !event.Reserved(family) { // custom events are about tasks
		e.Task, said.Namespace, said.Template, said.Version = "task-1", "default", "sdktest", "1.0.0"
	}
	if e.Task != "" {
		e.Namespace, e.Template = cmp.Or(e.Namespace, said.Namespace), cmp.Or(e.Template, said.Template)
		e.Version, e.CorrelationID = cmp.Or(e.Version, said.Version), cmp.Or(e.CorrelationID, said.CorrelationID, e.Task)
		e.TaskSeq = cmp.Or(e.TaskSeq, e.Seq)
	}
	e.Delivery = cmp.Or(e.Delivery, 1)
	e.ID = cmp.Or(e.ID, fmt.Sprintf("%s/%d", cmp.Or(e.Task, "host/1"), cmp.Or(e.TaskSeq, e.Seq)))
	if e.At.IsZero() {
		e.At = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	}
}

// wire makes the envelope.
func (e *Event) wire(payload []byte) *eventv1.Event {
	return &eventv1.Event{
		Id: e.ID, Type: e.Type, At: e.At.UnixNano(), TaskId: e.Task, TaskSeq: e.TaskSeq, Step: e.Step, Namespace: e.Namespace,
		Template: e.Template, Version: e.Version, CorrelationId: e.CorrelationID, Traceparent: e.Traceparent, Payload: payload,
	}
}
