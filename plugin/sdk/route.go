package sdk

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// route is what brings the events of a name or pattern to a function of the author's.
type route struct {
	pattern string
	place   string       // for people: what of the subscriber it is
	payload reflect.Type // what the function takes
	call    func(ctx context.Context, d *delivery) error
}

// payloadError says that a payload does not decode into what a function takes.
type payloadError struct {
	event string
	into  reflect.Type
	err   error
}

func (e *payloadError) Error() string {
	return fmt.Sprintf("the payload of %s does not decode into %s: %v", e.event, e.into, e.err)
}

func (e *payloadError) Unwrap() error { return e.err }

// routeOf makes a route of a function.
func routeOf[P any](pattern, place string, fn func(context.Context, Event[P]) error) *route {
	r := &route{pattern: pattern, place: place, payload: reflect.TypeFor[P]()}
	if raw, ok := any(fn).(func(context.Context, Event[json.RawMessage]) error); ok {
		r.call = func(ctx context.Context, d *delivery) error {
			e := eventOf[json.RawMessage](d)
			e.Payload = d.payload
			return raw(ctx, e)
		}
		return r
	}
	r.call = func(ctx context.Context, d *delivery) error {
		e := eventOf[P](d)
		if err := decode(d.payload, &e.Payload, false); err != nil {
			return &payloadError{d.name, reflect.TypeFor[P](), err}
		}
		return fn(ctx, e)
	}
	return r
}

// eventOf makes an event, but for its payload.
func eventOf[P any](d *delivery) Event[P] {
	return Event[P]{
		ID: d.id, Type: d.name, Seq: d.seq, At: time.Unix(0, d.at).UTC(), Task: d.task, TaskSeq: d.taskSeq, Step: d.step,
		Namespace: d.namespace, Template: d.template, Version: d.version,
		CorrelationID: d.correlationID, Traceparent: d.traceparent, Delivery: int(d.number),
	}
}

// anyEvent is an Event of any payload, as reflection finds it.
type anyEvent interface {
	payloadType() reflect.Type
	methodRoute(name, place string, m reflect.Value) *route
}

func (Event[P]) payloadType() reflect.Type { return reflect.TypeFor[P]() }

// methodRoute makes a route of a method that takes such events.
func (Event[P]) methodRoute(name, place string, m reflect.Value) *route {
	fn, _ := reflect.TypeAssert[func(context.Context, Event[P]) error](m) // the caller has looked at its type
	return routeOf(name, place, fn)
}

// eventName returns the name that a payload type gives itself.
func eventName[P event.Payload]() (name string, err error) {
	if reflect.TypeFor[P]().Kind() == reflect.Pointer {
		return "", fmt.Errorf("the payload is a pointer; want %s", reflect.TypeFor[P]().Elem())
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("its method EventName panics: %v", p)
		}
	}()
	var payload P
	return payload.EventName(), nil
}

// The forms of the names of events: of one, and of those that a subscription lists.
const (
	eventNames    = `[a-z][a-z0-9_-]*\.[a-z][a-z0-9_]*`
	eventPatterns = `([a-z][a-z0-9_-]*(\.[a-z0-9_]*)?)?\*`
	maxEventName  = 128 // bytes
)

// check returns what is wrong with what the route receives.
func (r *route) check() error {
	if len(r.pattern) > maxEventName || !matches(eventNames, r.pattern) && !matches(eventPatterns, r.pattern) {
		return fmt.Errorf("%s: %q is no event; want a name such as step.failed, or a pattern such as task.*", r.place, cut(r.pattern, maxEventName))
	}
	family, _, _ := strings.Cut(r.pattern, ".")
	var names []string
	known := false
	for _, e := range event.Catalog() {
		names = append(names, e.Name)
		known = known || event.Match(r.pattern, e.Name)
	}
	switch {
	case known || !event.Reserved(family):
	case strings.HasSuffix(r.pattern, "*"):
		return fmt.Errorf("%s: the pattern matches no event%s", r.place, meant(strings.TrimSuffix(r.pattern, "*"), names))
	default:
		return fmt.Errorf("%s: there is no event %s%s", r.place, r.pattern, meant(r.pattern, names))
	}
	return r.checkPayload()
}

// checkPayload refuses a payload that is another event's.
func (r *route) checkPayload() error {
	p, ok := reflect.TypeAssert[event.Payload](reflect.Zero(r.payload))
	if !ok || r.payload.Kind() == reflect.Pointer || r.payload.Kind() == reflect.Interface {
		return nil
	}
	name := p.EventName()
	if name != r.pattern {
		return fmt.Errorf("%s: the payload %s is that of %s; want json.RawMessage, or a type without a method EventName", r.place, r.payload, name)
	}
	for _, own := range event.Payloads() {
		if is := reflect.TypeOf(own); own.EventName() == name && is != r.payload {
			return fmt.Errorf("%s: the payload of %s is %s; rename the event, or use OnNamed with a type without a method EventName", r.place, name, is)
		}
	}
	return nil
}

// subscription is a subscriber of any form, made ready to be called.
type subscription struct {
	name       string
	routes     []*route
	options    SubscriberOptions
	hasOptions bool
	onError    func(context.Context, error) error // nil: errors stay as they are
	onGap      func(context.Context, Gap)         // nil: a warning
	powers     any                                // what is asked for Checker and io.Closer
	remember   *BaseSubscriber                    // is told what was handled; nil: nobody
	config     *schema                            // nil: bindings carry none
	defaults   []byte                             // JSON of the option Config
	checked    bool                               // the config has a method Check

	exact    map[string]*route
	patterns []*route // the longest first
}

// binder of subscribers: the forms of this package.
type subscriberBinder interface {
	bind() (*subscription, []error)
}

// bindSubscriber makes any subscriber ready to be called. The errors say what is wrong with its declaration.
func bindSubscriber(sub Subscriber) (*subscription, []error) {
	if b, ok := sub.(subscriberBinder); ok {
		return b.bind()
	}
	if isNil(sub) {
		return nil, []error{errors.New("the subscriber is nil")}
	}
	if sub.base() == nil {
		return nil, []error{fmt.Errorf("%T embeds a nil *sdk.BaseSubscriber; embed sdk.BaseSubscriber", sub)}
	}
	return bindMethods(sub)
}

// single is a subscriber of one function.
type single func() (*route, error)

func (single) base() *BaseSubscriber { return nil }

func (f single) bind() (*subscription, []error) {
	r, err := f()
	if err != nil {
		return nil, []error{err}
	}
	return &subscription{routes: []*route{r}}, nil
}

// routes are several subscribers under one subscription.
type routes []Subscriber

func (routes) base() *BaseSubscriber { return nil }

func (r routes) bind() (*subscription, []error) {
	all := &subscription{}
	var bad []error
	for i, sub := range r {
		one, errs := bindSubscriber(sub)
		bad = append(bad, errs...)
		switch {
		case one == nil:
		case one.hasOptions:
			bad = append(bad, fmt.Errorf("subscriber %d of Routes has options of its own: give them to the whole, with Subscribe(Routes(...), options)", i))
		case one.remember != nil:
			bad = append(bad, fmt.Errorf("subscriber %d of Routes is a struct, which is a subscriber by itself; Routes takes On and OnNamed", i))
		default:
			all.routes = append(all.routes, one.routes...)
		}
	}
	return all, bad
}

// subscribed is a subscriber with options.
type subscribed struct {
	sub     Subscriber
	options SubscriberOptions
}

func (*subscribed) base() *BaseSubscriber { return nil }

func (o *subscribed) bind() (*subscription, []error) {
	s, bad := bindSubscriber(o.sub)
	if s == nil {
		return nil, bad
	}
	if s.hasOptions {
		return s, append(bad, errors.New("options are given more than once"))
	}
	s.options, s.hasOptions = o.options, true
	return s, bad
}

// ready checks the whole and makes it ready to be asked for routes.
func (s *subscription) ready() (bad []error) {
	switch {
	case len(s.routes) > 0:
	case s.remember != nil:
		return []error{errors.New("it receives no event: it has no method such as OnStepFailed(context.Context, sdk.Event[event.StepFailed]) error")}
	default:
		return []error{errors.New("it receives no event")}
	}
	if n := len(s.routes); n > maxEvents {
		bad = append(bad, fmt.Errorf("it receives %d names and patterns; want at most %d", n, maxEvents))
	}
	s.exact = make(map[string]*route)
	seen := make(map[string]*route)
	for _, r := range s.routes {
		if err := r.check(); err != nil {
			bad = append(bad, err)
			continue
		}
		if other := seen[r.pattern]; other != nil {
			bad = append(bad, fmt.Errorf("%s is received twice, by %s and %s", r.pattern, other.place, r.place))
			continue
		}
		seen[r.pattern] = r
		if strings.HasSuffix(r.pattern, "*") {
			s.patterns = append(s.patterns, r)
		} else {
			s.exact[r.pattern] = r
		}
	}
	slices.SortFunc(s.patterns, func(a, b *route) int { return cmp.Compare(len(b.pattern), len(a.pattern)) })
	if s.options.OnError != nil {
		s.onError = s.options.OnError
	}
	if s.options.OnGap != nil {
		s.onGap = s.options.OnGap
	}
	if err := s.options.problem(); err != nil {
		bad = append(bad, err)
	}
	return append(bad, s.readyConfig()...)
}

// readyConfig derives the schema of what bindings may carry.
func (s *subscription) readyConfig() []error {
	of := reflect.TypeOf(s.options.Config)
	if of == nil {
		return nil
	}
	if of.Kind() != reflect.Struct {
		return []error{fmt.Errorf("option Config: is a %s; want a struct, whose fields are the defaults", of)}
	}
	var err error
	s.checked = reflect.PointerTo(of).Implements(reflect.TypeFor[Checker]())
	if s.config, err = deriveSchema(of, false); err != nil {
		return []error{fmt.Errorf("option Config: %w", err)}
	}
	if s.defaults, err = encode(s.options.Config); err != nil {
		return []error{fmt.Errorf("option Config: %w", err)}
	}
	return nil
}

// route returns what receives the events of a name, nil when nothing does.
func (s *subscription) route(name string) *route {
	if r := s.exact[name]; r != nil {
		return r
	}
	for _, r := range s.patterns {
		if event.Match(r.pattern, name) {
			return r
		}
	}
	return nil
}

// Limits of the options of subscribers; hosts have the same.
const (
	maxSubscriptions = 64  // of a plugin
	maxEvents        = 256 // of a plugin, and of a subscription
	maxWindow        = 64
	maxDeliveries    = 1000
	maxText          = 4096 // bytes of a description or a filter
	maxLanes         = 1024
)

// problem returns what is wrong with the options.
func (o *SubscriberOptions) problem() error {
	switch {
	case o.Order != GlobalOrder && o.Order != TaskOrder:
		return fmt.Errorf("option Order: %d is unknown; want GlobalOrder or TaskOrder", o.Order)
	case o.Window < 0 || o.Window > maxWindow:
		return fmt.Errorf("option Window: %d is out of range; want 0 (the host decides) to %d", o.Window, maxWindow)
	case o.MaxAttempts < 0 || o.MaxAttempts > maxDeliveries:
		return fmt.Errorf("option MaxAttempts: %d is out of range; want 0 (the host decides) to %d", o.MaxAttempts, maxDeliveries)
	case o.Timeout < 0:
		return fmt.Errorf("option Timeout: %s is negative", o.Timeout)
	case o.Lanes < 0 || o.Lanes > maxLanes:
		return fmt.Errorf("option Lanes: %d is out of range; want 0 (%d) to %d", o.Lanes, DefaultLanes, maxLanes)
	case o.Lanes > 0 && o.Order != TaskOrder:
		return errors.New("option Lanes: there is one lane in GlobalOrder; want Order TaskOrder with it")
	case len(o.Filter) > maxText:
		return fmt.Errorf("option Filter: it has %d bytes; want at most %d", len(o.Filter), maxText)
	case len(o.Description) > maxText:
		return fmt.Errorf("option Description: it has %d bytes; want at most %d", len(o.Description), maxText)
	}
	switch o.Start {
	case "", "now", "beginning":
		return nil
	}
	if _, err := time.Parse(time.RFC3339, o.Start); err != nil {
		return fmt.Errorf(`option Start: %q is no start; want "now", "beginning" or a time such as "2006-01-02T15:04:05Z"`, o.Start)
	}
	return nil
}

// meant returns "; did you mean X?" for what is nearest, else "".
func meant(name string, names []string) string {
	best, distance := "", max(len(name)/3, 2)+1
	slices.Sort(names)
	for _, n := range names {
		if d := edits(name, n); d < distance {
			best, distance = n, d
		}
	}
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

// edits counts the bytes to insert, delete or replace that make b of a.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// matches reports whether the whole text fits a pattern.
func matches(pattern, text string) bool {
	return regexp.MustCompile(`^(?:` + pattern + `)$`).MatchString(text)
}
