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

// Task publishes the events of one decision about one task. It is made for the
// decision and read once with [Task.Events].
type Task struct {
	task     *task.Task
	template *template.Template
	now      time.Time
	base     event.Task
	seq      uint64
	events   []store.Event
	scratch  []byte // the payload being encoded
	err      error
}

// ForTask starts a list of events about t. The events continue t.Seq; now is the time
// of all of them.
func ForTask(t *task.Task, tmpl *template.Template, now time.Time) *Task {
	return &Task{
		task: t, template: tmpl, now: now, seq: t.Seq,
		base: event.Task{
			TaskID:        string(t.ID),
			Namespace:     t.Template.Namespace,
			Template:      t.Template.Name,
			Version:       t.Template.Version,
			CorrelationID: t.CorrelationID,
		},
	}
}

// Events returns what was published, in order, and the task_seq of the last one.
func (p *Task) Events() (events []store.Event, seq uint64, err error) {
	return p.events, p.seq, p.err
}

// usualPayload is the size in bytes that most payloads stay below.
const usualPayload = 1 << 10

// record encodes one event, and after it those that the template publishes with it.
// Encoding fails only for payloads that hold broken JSON, which is refused where it comes
// in; the first error is kept for Events.
func (p *Task) record(payload event.Payload, step task.StepName) {
	if p.err != nil {
		return
	}
	if p.scratch == nil {
		p.scratch = make([]byte, 0, usualPayload)
	}
	name := payload.EventName()
	body, err := encodePayload(p.scratch[:0], payload)
	if err != nil {
		p.err = fmt.Errorf("publish %s: %w", name, err)
		return
	}
	p.scratch = body // its memory serves the next one
	p.add(name, step, body)
	if len(p.template.Events) > 0 {
		p.addTemplates(payload, step, body)
	}
}

// add appends an event with its envelope. The payload is copied.
func (p *Task) add(name string, step task.StepName, payload []byte) {
	p.seq++
	p.events = append(p.events, store.Event{Type: name, Encoded: encodeEnvelope(&eventv1.Event{
		Id:            string(p.task.ID) + "/" + strconv.FormatUint(p.seq, 10),
		Type:          name,
		At:            p.now.UnixNano(),
		TaskId:        string(p.task.ID),
		TaskSeq:       p.seq,
		Step:          string(step),
		Namespace:     p.base.Namespace,
		Template:      p.base.Template,
		Version:       p.base.Version,
		CorrelationId: p.base.CorrelationID, Traceparent: p.task.Traceparent,
		Payload:       payload,
	})})
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
