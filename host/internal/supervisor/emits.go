package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/tasker-engine/tasker/host/task"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// emits checks the custom events of an instance against its manifest. It belongs to the
// goroutine that receives them.
type emits struct {
	declared []Emitted
	schemas  map[string]*jsonschema.Schema // compiled, of the events that were emitted so far
}

func newEmits(m *Manifest) *emits {
	return &emits{declared: m.Emits, schemas: make(map[string]*jsonschema.Schema)}
}

// ofResult checks the events that came with a result.
func (e *emits) ofResult(ws []*pluginv1.Emit) ([]task.Emit, error) {
	if len(ws) == 0 {
		return nil, nil
	}
	size := 0
	for _, w := range ws {
		size += len(w.GetPayload())
	}
	switch {
	case len(ws) > task.MaxEmits:
		return nil, fmt.Errorf("%d custom events in one result: want at most %d", len(ws), task.MaxEmits)
	case size > task.MaxEmitBytes:
		return nil, fmt.Errorf("custom events of %d bytes in one result: want at most %d", size, task.MaxEmitBytes)
	}
	out := make([]task.Emit, len(ws))
	for i, w := range ws {
		var err error
		if out[i], err = e.check(w, false); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// atOnce checks an event that came by itself.
func (e *emits) atOnce(w *pluginv1.Emit) (task.Emit, error) {
	if size := len(w.GetPayload()); size > task.MaxEmitBytes {
		return task.Emit{}, fmt.Errorf("event %s of %d bytes: want at most %d", cut(w.GetName(), maxCode), size, task.MaxEmitBytes)
	}
	return e.check(w, true)
}

func (e *emits) check(w *pluginv1.Emit, atOnce bool) (task.Emit, error) {
	name, payload := w.GetName(), w.GetPayload()
	d := e.declaration(name)
	switch {
	case d == nil:
		return task.Emit{}, fmt.Errorf("event %s is not declared; the manifest has %s", cut(name, maxCode), e.names())
	case d.Immediate && !atOnce:
		return task.Emit{}, fmt.Errorf("event %s is declared as immediate, but came with the result", name)
	case !d.Immediate && atOnce:
		return task.Emit{}, fmt.Errorf("event %s is not declared as immediate, but came before the result", name)
	case !isJSON(payload):
		return task.Emit{}, fmt.Errorf("event %s: the payload is no valid JSON", name)
	}
	if err := e.validate(d, payload); err != nil {
		return task.Emit{}, fmt.Errorf("event %s does not fit its schema: %w", name, err)
	}
	return task.Emit{Name: name, Payload: payload}, nil
}

func (e *emits) declaration(name string) *Emitted {
	for i := range e.declared {
		if e.declared[i].Name == name {
			return &e.declared[i]
		}
	}
	return nil
}

func (e *emits) names() string {
	if len(e.declared) == 0 {
		return "no events"
	}
	names := make([]string, len(e.declared))
	for i := range e.declared {
		names[i] = e.declared[i].Name
	}
	return cut(strings.Join(names, ", "), maxNote)
}

// validate checks a payload against the schema of its event, which is compiled once.
func (e *emits) validate(d *Emitted, payload []byte) error {
	if len(d.Schema) == 0 {
		return nil
	}
	schema, ok := e.schemas[d.Name]
	if !ok {
		var err error
		if schema, err = compileSchema(d.Schema); err != nil {
			return err
		}
		e.schemas[d.Name] = schema
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(payload))
	if err != nil {
		return err
	}
	err = schema.Validate(doc)
	if invalid, ok := errors.AsType[*jsonschema.ValidationError](err); ok {
		return errors.New(strings.Join(violations(invalid, message.NewPrinter(language.English)), "; "))
	}
	return err
}

// violations says where a document breaks its schema, and how.
func violations(v *jsonschema.ValidationError, p *message.Printer) []string {
	if len(v.Causes) == 0 {
		return []string{"at /" + strings.Join(v.InstanceLocation, "/") + ": " + v.ErrorKind.LocalizedString(p)}
	}
	var found []string
	for _, cause := range v.Causes {
		if !wantsNull(cause) || len(v.Causes) == 1 { // that something might also be null is no news
			found = append(found, violations(cause, p)...)
		}
	}
	return found
}

// wantsNull reports whether a document fails for not being null.
func wantsNull(v *jsonschema.ValidationError) bool {
	k, ok := v.ErrorKind.(*kind.Type)
	return ok && len(k.Want) == 1 && k.Want[0] == "null"
}
