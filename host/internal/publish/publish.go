// Package publish records events. It has exactly one method per event of the catalog,
// named after it, and is the only place that builds payloads: a caller passes the
// subject and what only it knows, and everything else is taken from the task at hand,
// without any further read. One more method, [Task.Emitted], is for what plugins emit;
// the events that a template declares follow theirs by themselves.
package publish

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// Task publishes the events of one decision about one task. It is made for the decision,
// or begun anew for it in the memory of an earlier one, and read once with [Task.Events].
type Task struct {
	task     *task.Task
	template *template.Template
	now      time.Time
	base     event.Task
	seq      uint64
	events   []store.Event
	err      error

	// What follows is memory, used for one event after the other.
	encoded []byte   // the envelopes of events
	payload []byte   // being encoded
	id      []byte   // of a step or an event
	names   []string // of dependencies
	handler struct { // of the event before, most often the same
		ref  task.HandlerRef
		name string
	}
}

// Begin starts a list of events about t. The events continue t.Seq; now is the time of all
// of them. The memory of p is used again: its earlier events are not valid any more.
func (p *Task) Begin(t *task.Task, tmpl *template.Template, now time.Time) {
	if cap(p.encoded) > maxMemory || cap(p.payload) > maxMemory {
		*p = Task{} // one decision had much to tell
	}
	clear(p.events)
	p.task, p.template, p.now, p.seq, p.err = t, tmpl, now, t.Seq, nil
	p.events, p.encoded = p.events[:0], p.encoded[:0]
	p.base = event.Task{
		TaskID:        string(t.ID),
		Namespace:     t.Template.Namespace,
		Template:      t.Template.Name,
		Version:       t.Template.Version,
		CorrelationID: t.CorrelationID,
	}
}

// maxMemory is how many bytes a buffer may have to be used again.
const maxMemory = 1 << 20

// Events returns what was published, in order, and the task_seq of the last one.
func (p *Task) Events() (events []store.Event, seq uint64, err error) {
	return p.events, p.seq, p.err
}

// record encodes an event and adds it, and after it those that the template publishes
// with it.
func (p *Task) record(payload event.Payload, step task.StepName) {
	body, err := encodePayload(p.payload[:0], payload)
	p.recorded(payload.EventName(), step, body, err)
}

// recorded is record for a payload that was encoded into the memory of p.payload. The
// events of every task and step come here by themselves: as an interface, a payload would
// lie on the heap.
func (p *Task) recorded(name string, step task.StepName, payload []byte, err error) {
	if p.keep(name, payload, err) {
		p.add(name, step, payload)
		p.addTemplates(name, step, payload)
	}
}

// keep takes note of an encoded payload, whose memory serves the next one. Encoding fails
// only for payloads that hold broken JSON, which is refused where it comes in; the first
// error is kept for Events.
func (p *Task) keep(name string, payload []byte, err error) bool {
	if err != nil && p.err == nil {
		p.err = fmt.Errorf("publish %s: %w", name, err)
	}
	if p.err == nil {
		p.payload = payload
	}
	return p.err == nil
}

// add appends an event with its envelope. The payload is copied.
func (p *Task) add(name string, step task.StepName, payload []byte) {
	p.seq++
	p.id = append(append(p.id[:0], p.task.ID...), '/')
	p.id = strconv.AppendUint(p.id, p.seq, 10)
	from := len(p.encoded)
	p.encoded = appendEnvelope(p.encoded, p.id, &eventv1.Event{
		Type:          name,
		At:            p.now.UnixNano(),
		TaskId:        string(p.task.ID),
		TaskSeq:       p.seq,
		Step:          string(step),
		Namespace:     p.base.Namespace,
		Template:      p.base.Template,
		Version:       p.base.Version,
		CorrelationId: p.base.CorrelationID,
		Traceparent:   p.task.Traceparent,
		Payload:       payload,
	})
	p.events = append(p.events, store.Event{Type: name, Encoded: p.encoded[from:len(p.encoded):len(p.encoded)]})
}

// results is data for the results of a step.
func results(s *task.Step) (json.RawMessage, *event.Ref) {
	if s.Results.Ref == nil {
		return s.Results.Inline, nil
	}
	return data(s.Results, ResultRef(s.Ordinal))
}

// data splits a value into what travels inline and a reference: as it is stored, since
// both limits are one.
func data(v task.Value, ref string) (json.RawMessage, *event.Ref) {
	if v.Ref != nil {
		return nil, &event.Ref{Ref: ref, Size: v.Ref.Size, SHA256: v.Ref.SHA256}
	}
	return v.Inline, nil
}

// startedInput is data for the input in the event of every attempt: by reference from a
// lower limit on.
func (p *Task) startedInput(s *task.Step) (json.RawMessage, *event.Ref) {
	if len(p.template.Steps[s.Ordinal].With) > 0 {
		return data(s.Attempt.Input, StepInputRef(s.Ordinal))
	}
	v := p.task.Input
	if size := v.Size(); v.Ref == nil && size > event.MaxStartedInput {
		return nil, &event.Ref{Ref: InputRef, Size: size, SHA256: p.task.InputHash}
	}
	return data(v, InputRef)
}

// InputRef is the reference of a task's input.
const InputRef = "input"

// StepInputRef returns the reference of the input that a step makes for itself.
func StepInputRef(o task.Ordinal) string {
	return InputRef + "/" + strconv.FormatUint(uint64(o), 10)
}

// ResultRef returns the reference of a step's results.
func ResultRef(o task.Ordinal) string { return "result/" + strconv.FormatUint(uint64(o), 10) }
