package sdk

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// Limits of the custom events of one attempt.
const (
	// MaxEmits is how many events an attempt may emit with its success.
	MaxEmits = 1000
	// MaxEmitBytes is the size in bytes of the payloads of these events, as JSON; each immediate event may have as much.
	MaxEmitBytes = 1 << 20
)

// ErrTooMany says that an attempt emits more than [MaxEmits] events.
var ErrTooMany = errors.New("too many events")

// Events are the custom events that a plugin's handlers emit; see [Declare] and [Emit].
type Events []DeclaredEvent

// EventOptions say more about a custom event. The zero value is a good event.
type EventOptions struct {
	// Version is the version of the payload's shape. 0 = 1. A new version may add fields; an event whose fields go or
	// change is another event, with another name.
	Version int
	// Description says what the event means, in plain text.
	Description string
	// Immediate events are recorded at once, whatever becomes of the attempt, and again by each further attempt. Else
	// an event is recorded with the attempt's success, exactly once.
	Immediate bool
}

// DeclaredEvent is a custom event, as [Declare] makes it.
type DeclaredEvent struct {
	example event.Payload
	options []EventOptions
}

// Declare declares a custom event by an example of its payload, a struct. Its method EventName gives its name,
// "plugin.event": the plugin's name, a dot, and [a-z][a-z0-9_]*. The payload's schema is derived from its type, as
// those of handlers are; payloads may have keys beside.
//
//	type Shipped struct {
//		OrderID string `json:"order_id"`
//	}
//
//	func (Shipped) EventName() string { return "orders.shipped" }
//
//	sdk.Plugin{Name: "orders", Events: sdk.Events{sdk.Declare(Shipped{OrderID: "o-1"})}, ...}
func Declare(example event.Payload, opts ...EventOptions) DeclaredEvent {
	return DeclaredEvent{example: example, options: opts}
}

// Emit records a custom event about the attempt's step: with the attempt's success, or at once where its
// declaration says so. It needs the context of the attempt. An error is [Permanent], as another attempt would have
// it too: the event is not declared, its payload does not fit its schema, or there is too much of it, which are
// [ErrTooMany] and [ErrTooLarge].
func Emit(ctx context.Context, payload event.Payload) error {
	a := attemptOf(ctx)
	switch {
	case deliveryOf(ctx) != nil:
		return errors.New("emit: subscribers emit no events, handlers do")
	case a == nil:
		return errors.New("emit: the context is not that of an attempt")
	case isNil(payload):
		return errors.New("emit: the payload is nil")
	}
	if err := a.emit(payload); err != nil {
		return Permanent(WithCode(fmt.Errorf("emit %s: %w", typeOf(payload), err), CodeInvalidEvent))
	}
	return nil
}

// emit checks an event and queues it, or keeps it for the result.
func (a *attempt) emit(payload event.Payload) error {
	decl := a.work.d.decl
	e := decl.events[typeOf(payload)]
	if e == nil {
		return fmt.Errorf("it is not declared%s: add sdk.Declare(%s{...}) to the plugin's Events", decl.declaredEvents(), typeOf(payload))
	}
	doc, err := encode(payload)
	if err != nil {
		return fmt.Errorf("it does not marshal to JSON: %w", err)
	}
	if bad := e.schema.check(doc); len(bad) > 0 {
		return fmt.Errorf("the payload does not fit the schema of %s: %s", e.name, problems(bad))
	}
	if len(doc) > MaxEmitBytes {
		return fmt.Errorf("%d bytes, the limit is %d: %w", len(doc), MaxEmitBytes, ErrTooLarge)
	}
	out := &pluginv1.Emit{Name: e.name, Payload: doc}
	if e.options.Immediate {
		a.work.send(a, &pluginv1.Update{Kind: &pluginv1.Update_Emit{Emit: out}})
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case len(a.emits) == MaxEmits:
		return fmt.Errorf("the attempt has emitted %d already: %w", MaxEmits, ErrTooMany)
	case a.emitted+len(doc) > MaxEmitBytes:
		return fmt.Errorf("with it the attempt emits %d bytes, the limit is %d: %w", a.emitted+len(doc), MaxEmitBytes, ErrTooLarge)
	}
	a.emits, a.emitted = append(a.emits, out), a.emitted+len(doc)
	return nil
}

// customEvent is a declared event that was found sound.
type customEvent struct {
	name    string
	options EventOptions
	schema  *schema
	example []byte
}

// typeOf returns the type of a payload, behind a pointer if need be.
func typeOf(payload event.Payload) reflect.Type {
	t := reflect.TypeOf(payload)
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

func (d *declaration) declareEvents(report func(place, format string, args ...any)) {
	d.events = make(map[reflect.Type]*customEvent)
	if n := len(d.plugin.Events); n > maxEvents {
		report("Events", "there are %d; want at most %d", n, maxEvents)
	}
	names := make(map[string]bool)
	for i, declared := range d.plugin.Events {
		e, err := d.newEvent(declared)
		if err != nil {
			report(fmt.Sprintf("Events[%d]", i), "%v", err)
			continue
		}
		if names[e.name] {
			report(fmt.Sprintf("Events[%d]", i), "%s is declared twice", e.name)
		}
		names[e.name] = true
		d.events[typeOf(declared.example)] = e
	}
}

// newEvent checks one custom event.
func (d *declaration) newEvent(declared DeclaredEvent) (*customEvent, error) {
	if isNil(declared.example) {
		return nil, errors.New("the example is nil; want a value such as Shipped{OrderID: \"o-1\"}")
	}
	if len(declared.options) > 1 {
		return nil, errors.New("options are given more than once")
	}
	of := typeOf(declared.example)
	e := &customEvent{name: declared.example.EventName()}
	if len(declared.options) == 1 {
		e.options = declared.options[0]
	}
	family, _, _ := strings.Cut(e.name, ".")
	switch {
	case of.Kind() != reflect.Struct:
		return nil, fmt.Errorf("the payload is a %s; want a struct", of)
	case len(e.name) > maxEventName || !matches(eventNames, e.name):
		return nil, fmt.Errorf("%s: %q is no name of an event; want %q, a dot and [a-z][a-z0-9_]*", of, cut(e.name, maxEventName), d.plugin.Name)
	case event.Reserved(family):
		return nil, fmt.Errorf("%s: %s is in the family %s, whose events are Tasker's own; want one of the plugin's own, such as %s.%s", of, e.name, family, d.plugin.Name, strings.TrimPrefix(e.name, family+"."))
	case family != d.plugin.Name:
		return nil, fmt.Errorf("%s: %s is not of this plugin; want %s.%s", of, e.name, d.plugin.Name, strings.TrimPrefix(e.name, family+"."))
	case e.options.Version < 0 || e.options.Version > math.MaxInt32:
		return nil, fmt.Errorf("option Version: %d is out of range; want 0 or a number from 1", e.options.Version)
	case len(e.options.Description) > maxText:
		return nil, fmt.Errorf("option Description: it has %d bytes; want at most %d", len(e.options.Description), maxText)
	}
	var err error
	if e.schema, err = deriveSchema(of, true); err != nil {
		return nil, err
	}
	if e.example, err = encode(declared.example); err != nil {
		return nil, fmt.Errorf("the example does not marshal to JSON: %w", err)
	}
	if bad := e.schema.check(e.example); len(bad) > 0 {
		return nil, fmt.Errorf("the example does not fit the schema of its own type: %s", problems(bad))
	}
	return e, nil
}

// sortedEvents returns the custom events by name.
func (d *declaration) sortedEvents() []*customEvent {
	return slices.SortedFunc(maps.Values(d.events), func(a, b *customEvent) int { return cmp.Compare(a.name, b.name) })
}

// declaredEvents lists the custom events, for people.
func (d *declaration) declaredEvents() string {
	if len(d.events) == 0 {
		return ""
	}
	var names []string
	for _, e := range d.sortedEvents() {
		names = append(names, e.name)
	}
	return ", unlike " + strings.Join(names, ", ")
}

// build makes the event's part of the manifest.
func (e *customEvent) build() *pluginv1.EventSpec {
	return &pluginv1.EventSpec{
		Name: e.name, Version: uint32(max(e.options.Version, 1)), Description: e.options.Description, //nolint:gosec // checked in newEvent
		Schema: e.schema.json(), Example: e.example, Immediate: e.options.Immediate,
	}
}
