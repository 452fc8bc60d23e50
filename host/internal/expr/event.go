package expr

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/interpreter"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// Event is one event as conditions see it. Whatever has to be decoded for a condition is
// decoded when the first one asks for it, and once: give the same Event to all filters.
// It is safe for concurrent use.
type Event struct {
	envelope func() (*eventv1.Event, error)
	payload  func() (any, error)
}

// NewEvent returns the event of an encoded envelope, as the log holds it. The bytes must
// not change any more. If they are no event, [Filter.Match] says so.
func NewEvent(raw []byte) *Event {
	envelope := sync.OnceValues(func() (*eventv1.Event, error) {
		e := &eventv1.Event{}
		if err := proto.Unmarshal(raw, e); err != nil {
			return nil, fmt.Errorf("filters: no event: %w", err)
		}
		return e, nil
	})
	return &Event{envelope: envelope, payload: sync.OnceValues(func() (any, error) {
		e, err := envelope()
		if err != nil {
			return nil, err
		}
		return decodePayload(e.GetPayload())
	})}
}

// decode makes sure that there is an envelope.
func (e *Event) decode() error {
	_, err := e.envelope()
	return err
}

// head returns the envelope; [Event.decode] has succeeded before.
func (e *Event) head() *eventv1.Event {
	envelope, err := e.envelope()
	if err != nil {
		return nil // its getters return zeros
	}
	return envelope
}

// decodePayload decodes JSON: whole numbers become int64, others float64. No payload is
// an empty one.
func decodePayload(b []byte) (any, error) {
	if len(b) == 0 {
		return map[string]any{}, nil
	}
	v, err := decodeJSON(b, func(s string) any { return s }) // compared as a text, it equals no number
	if err != nil {
		return nil, fmt.Errorf("the payload is no JSON: %w", err)
	}
	return v, nil
}

// decodeJSON decodes a document; huge makes a value of a number that is out of range.
func decodeJSON(b []byte, huge func(string) any) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	return numbers(v, huge), nil
}

// numbers replaces the numbers of a decoded value, in place.
func numbers(v any, huge func(string) any) any {
	switch v := v.(type) {
	case json.Number:
		return number(string(v), huge)
	case []any:
		for i := range v {
			v[i] = numbers(v[i], huge)
		}
	case map[string]any:
		for k := range v {
			switch v[k].(type) {
			case json.Number, []any, map[string]any:
				v[k] = numbers(v[k], huge)
			}
		}
	}
	return v
}

func number(s string, huge func(string) any) any {
	if !strings.ContainsAny(s, ".eE") {
		if i, err := strconv.ParseInt(s, 10, 64); err == nil {
			return i
		}
		if u, err := strconv.ParseUint(s, 10, 64); err == nil {
			return u
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return huge(s)
	}
	return f
}

// The names of a condition.
const (
	eventName   = "event"
	payloadName = "payload"
	eventType   = "tasker.Event" // of the variable event
)

// ResolveName implements the evaluator's view of the names.
func (e *Event) ResolveName(name string) (any, bool) {
	switch name {
	case eventName:
		return e, true
	case payloadName:
		p, err := e.payload()
		if err != nil {
			return types.WrapErr(err), true
		}
		return p, true
	}
	return nil, false
}

// Parent implements the evaluator's view of the names: there is no outer scope.
func (e *Event) Parent() interpreter.Activation { return nil }

var _ interpreter.Activation = (*Event)(nil)

// field is one field of the variable event.
type field struct {
	name string
	typ  *types.Type
	get  func(e *Event) (any, error)
	set  func(e *Event) bool
}

// text is a field of the envelope that holds a text; empty counts as not set.
func text(name string, get func(*eventv1.Event) string) field {
	return field{
		name: name, typ: types.StringType,
		get: func(e *Event) (any, error) { return get(e.head()), nil },
		set: func(e *Event) bool { return get(e.head()) != "" },
	}
}

// fields returns the fields of the variable event.
func fields() []field {
	return []field{
		text("id", (*eventv1.Event).GetId),
		text("type", (*eventv1.Event).GetType),
		{
			"at", types.TimestampType,
			func(e *Event) (any, error) { return time.Unix(0, e.head().GetAt()).UTC(), nil },
			func(*Event) bool { return true },
		},
		text("task", (*eventv1.Event).GetTaskId),
		{
			"task_seq", types.IntType,
			func(e *Event) (any, error) { return int64(e.head().GetTaskSeq()), nil }, //nolint:gosec // counts events of a task
			func(e *Event) bool { return e.head().GetTaskSeq() != 0 },
		},
		text("step", (*eventv1.Event).GetStep),
		text("namespace", (*eventv1.Event).GetNamespace),
		text("template", (*eventv1.Event).GetTemplate),
		text("version", (*eventv1.Event).GetVersion),
		text("correlation_id", (*eventv1.Event).GetCorrelationId),
		{
			"payload", types.DynType,
			func(e *Event) (any, error) { return e.payload() },
			func(e *Event) bool { return len(e.head().GetPayload()) > 0 },
		},
	}
}

// provider adds the type of the variable event to the language's own types.
type provider struct{ *types.Registry }

// FindStructType implements [types.Provider].
func (p provider) FindStructType(name string) (*types.Type, bool) {
	if name == eventType {
		return types.NewTypeTypeWithParam(types.NewObjectType(eventType)), true
	}
	return p.Registry.FindStructType(name)
}

// FindStructFieldNames implements [types.Provider].
func (p provider) FindStructFieldNames(name string) ([]string, bool) {
	if name != eventType {
		return p.Registry.FindStructFieldNames(name)
	}
	return fieldNames(), true
}

func fieldNames() []string {
	var names []string
	for _, f := range fields() {
		names = append(names, f.name)
	}
	return names
}

// FindStructFieldType implements [types.Provider].
func (p provider) FindStructFieldType(typ, name string) (*types.FieldType, bool) {
	if typ != eventType {
		return p.Registry.FindStructFieldType(typ, name)
	}
	for _, f := range fields() {
		if f.name != name {
			continue
		}
		return &types.FieldType{
			Type:    f.typ,
			IsSet:   func(target any) bool { e, ok := target.(*Event); return ok && f.set(e) },
			GetFrom: func(target any) (any, error) { return get(f, target) },
		}, true
	}
	return nil, false
}

func get(f field, target any) (any, error) {
	e, ok := target.(*Event)
	if !ok {
		return nil, fmt.Errorf("%s of something that is no event", f.name)
	}
	return f.get(e)
}
