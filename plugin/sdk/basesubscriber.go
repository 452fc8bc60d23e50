package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/go-hclog"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// rememberedEvents is how many events a BaseSubscriber remembers.
const rememberedEvents = 10_000

// BaseSubscriber makes a subscriber of the struct that embeds it; a pointer to the struct is the subscriber:
//
//	type Notifier struct{ sdk.BaseSubscriber }
//
//	func (n *Notifier) OnStepFailed(ctx context.Context, e sdk.Event[event.StepFailed]) error
//
//	sdk.Subscribers{"failures": &Notifier{}}
//
// A method On followed by an event's name in camel case receives that event, as its type in the package event or
// as [json.RawMessage]. A custom event has a type of the author's, with a method EventName: OnOrdersShipped(ctx,
// sdk.Event[Shipped]). OnEvent(ctx, sdk.Event[json.RawMessage]) receives what [BaseSubscriber.SubscribeTo] asks for. Optional methods are SubscriberOptions() [SubscriberOptions], OnGap and OnError in the form that the options
// have, and those of [Checker] and [io.Closer].
type BaseSubscriber struct {
	mu       sync.Mutex
	patterns []string
	dedupe   *Dedupe
}

func (b *BaseSubscriber) base() *BaseSubscriber { return b }

// SubscribeTo adds names and patterns of events that the method OnEvent receives, such as "orders.shipped" or
// "orders.*". Call it before the plugin is served.
func (b *BaseSubscriber) SubscribeTo(patterns ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.patterns = append(b.patterns, patterns...)
}

// asked returns what SubscribeTo was asked for.
func (b *BaseSubscriber) asked() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.patterns)
}

// Logger returns a logger whose lines the host keeps with the event; it is [Logger].
func (*BaseSubscriber) Logger(ctx context.Context) hclog.Logger { return Logger(ctx) }

// Seen reports whether the event of an id was handled before: a method of this value returned nil for it. From its
// first call on, the last 10,000 events are remembered, or what [BaseSubscriber.DedupeWith] remembers.
//
//	if n.Seen(e.ID) {
//		return nil
//	}
func (b *BaseSubscriber) Seen(id string) bool {
	b.mu.Lock()
	if b.dedupe == nil {
		b.dedupe = NewDedupe(rememberedEvents)
	}
	d := b.dedupe
	b.mu.Unlock()
	return d.Seen(id)
}

// DedupeWith remembers events with d, such as one that outlives the process; see [OpenDedupe]. Closing it stays
// with the caller.
func (b *BaseSubscriber) DedupeWith(d *Dedupe) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dedupe = d
}

// handled remembers an event, if any are.
func (b *BaseSubscriber) handled(id string) error {
	b.mu.Lock()
	d := b.dedupe
	b.mu.Unlock()
	if d == nil {
		return nil
	}
	return d.Mark(id)
}

// The optional methods of a struct that embeds BaseSubscriber, beside those of Checker and io.Closer.
type (
	hasOptions interface{ SubscriberOptions() SubscriberOptions }
	hasOnGap   interface {
		OnGap(ctx context.Context, gap Gap)
	}
	hasOnError interface {
		OnError(ctx context.Context, err error) error
	}
)

// bindMethods finds out what the methods of a struct that embeds BaseSubscriber receive.
func bindMethods(sub Subscriber) (*subscription, []error) {
	s := &subscription{powers: sub, remember: sub.base()}
	patterns := s.remember.asked()
	var bad []error
	v := reflect.ValueOf(sub)
	onEvent := false
	for i := range v.NumMethod() {
		name := v.Type().Method(i).Name
		var err error
		switch {
		case !strings.HasPrefix(name, "On"):
		case name == "OnEvent":
			onEvent = true
			err = s.addOnEvent(v.Method(i), patterns)
		case name == "OnGap":
			if _, ok := sub.(hasOnGap); !ok {
				err = fmt.Errorf("OnGap is %s; want func(context.Context, sdk.Gap)", shortType(v.Method(i)))
			}
		case name == "OnError":
			if _, ok := sub.(hasOnError); !ok {
				err = fmt.Errorf("OnError is %s; want func(context.Context, error) error", shortType(v.Method(i)))
			}
		default:
			err = s.addMethod(name, v.Method(i))
		}
		if err != nil {
			bad = append(bad, err)
		}
	}
	if !onEvent && len(patterns) > 0 {
		bad = append(bad, fmt.Errorf("SubscribeTo(%q) has no receiver: there is no method OnEvent(context.Context, sdk.Event[json.RawMessage]) error", patterns))
	}
	if o, ok := sub.(hasOptions); ok {
		s.options, s.hasOptions = o.SubscriberOptions(), true
	} else if _, ok := v.Type().MethodByName("SubscriberOptions"); ok {
		bad = append(bad, fmt.Errorf("SubscriberOptions is %s; want func() sdk.SubscriberOptions", shortType(v.MethodByName("SubscriberOptions"))))
	}
	return s, append(bad, s.addHooks(sub)...)
}

// addHooks takes what the methods OnGap and OnError are for.
func (s *subscription) addHooks(sub Subscriber) (bad []error) {
	if h, ok := sub.(hasOnGap); ok {
		if s.options.OnGap != nil {
			bad = append(bad, errors.New("OnGap is given as a method and as an option"))
		}
		s.onGap = h.OnGap
	}
	if h, ok := sub.(hasOnError); ok {
		if s.options.OnError != nil {
			bad = append(bad, errors.New("OnError is given as a method and as an option"))
		}
		s.onError = h.OnError
	}
	return bad
}

// addOnEvent routes what SubscribeTo asks for to the method OnEvent.
func (s *subscription) addOnEvent(m reflect.Value, patterns []string) error {
	fn, ok := reflect.TypeAssert[func(context.Context, Event[json.RawMessage]) error](m)
	if !ok {
		return fmt.Errorf("OnEvent is %s; want func(context.Context, sdk.Event[json.RawMessage]) error", shortType(m))
	}
	if len(patterns) == 0 {
		return errors.New("OnEvent receives what SubscribeTo asks for, which was not called")
	}
	for _, pattern := range patterns {
		s.routes = append(s.routes, routeOf(pattern, fmt.Sprintf("SubscribeTo(%q)", pattern), fn))
	}
	return nil
}

// addMethod routes an event of the catalog to the method that is named after it. Other methods are left alone, if
// they do not look like ones that want to receive events.
func (s *subscription) addMethod(name string, m reflect.Value) error {
	payloads := catalogByMethod()
	want, known := payloads[name]
	takes := eventParameter(m.Type())
	if custom, ok := customEventOf(takes); ok && !known {
		if by := methodName(custom.name); by != name {
			return fmt.Errorf("%s has the payload of %s; want it named %s", name, custom.name, by)
		}
		want, known = custom, true
	}
	switch {
	case !known && takes == nil:
		return nil
	case !known:
		return fmt.Errorf("%s matches no event%s", name, meant(name, slices.Collect(maps.Keys(payloads))))
	}
	signature := fmt.Sprintf("func(context.Context, sdk.Event[%s]) error", want.of)
	if takes == nil || !receives(m.Type()) {
		return fmt.Errorf("%s is %s; want %s", name, shortType(m), signature)
	}
	if is := takes.payloadType(); is != want.of && is != reflect.TypeFor[json.RawMessage]() {
		return fmt.Errorf("%s has the payload %s, which is not that of %s; want %s, or sdk.Event[json.RawMessage]", name, is, want.name, signature)
	}
	s.routes = append(s.routes, takes.methodRoute(want.name, name, m))
	return nil
}

// shortType returns the type of a method, without the paths of packages that stand within type arguments.
func shortType(m reflect.Value) string {
	return regexp.MustCompile(`[\w.~-]+/`).ReplaceAllString(m.Type().String(), "")
}

// receives reports whether a method has the form of one that receives events.
func receives(m reflect.Type) bool {
	return m.NumIn() == 2 && m.In(0) == reflect.TypeFor[context.Context]() && !m.IsVariadic() &&
		m.NumOut() == 1 && m.Out(0) == reflect.TypeFor[error]()
}

// eventParameter returns the event that a method takes, nil when it takes none.
func eventParameter(m reflect.Type) anyEvent {
	for p := range m.Ins() {
		if p.Kind() != reflect.Struct {
			continue
		}
		if e, ok := reflect.TypeAssert[anyEvent](reflect.Zero(p)); ok {
			return e
		}
	}
	return nil
}

// catalogEvent is an event of the catalog and the type of its payload.
type catalogEvent struct {
	name string
	of   reflect.Type
}

// customEventOf returns the custom event whose payload an event has, false when that is none.
func customEventOf(e anyEvent) (catalogEvent, bool) {
	if e == nil || e.payloadType().Kind() != reflect.Struct {
		return catalogEvent{}, false
	}
	p, ok := reflect.TypeAssert[event.Payload](reflect.Zero(e.payloadType()))
	if !ok {
		return catalogEvent{}, false
	}
	family, _, _ := strings.Cut(p.EventName(), ".")
	return catalogEvent{p.EventName(), e.payloadType()}, !event.Reserved(family)
}

// catalogByMethod returns the events of the catalog by the names of the methods that receive them.
func catalogByMethod() map[string]catalogEvent {
	all := make(map[string]catalogEvent)
	for _, p := range event.Payloads() {
		all[methodName(p.EventName())] = catalogEvent{p.EventName(), reflect.TypeOf(p)}
	}
	return all
}

// methodName returns "OnStepMaxRetriesReached" for "step.max_retries_reached".
func methodName(event string) string {
	var b strings.Builder
	b.WriteString("On")
	for _, part := range strings.FieldsFunc(event, func(r rune) bool { return r == '.' || r == '_' || r == '-' }) {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}
