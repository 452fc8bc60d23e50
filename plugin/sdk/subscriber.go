package sdk

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// Subscribers are subscribers by the name of their subscription: [a-z][a-z0-9_-]{0,31}. The host keeps a cursor
// for "plugin/name", over restarts and versions of the plugin: another name is another subscription.
type Subscribers map[string]Subscriber

// Subscriber receives events. [On] and [OnNamed] make one from a function, [Routes] puts several under one
// subscription, and a pointer to a struct that embeds [BaseSubscriber] is one, whose methods say what it receives.
type Subscriber interface{ subscribe() (*subscription, error) }

// Event is one event as a subscriber receives it. Events may come more than once, with the same ID.
type Event[P any] struct {
	// ID is the same at every delivery: "task/number", or "host/epoch/number" for events without a task.
	ID string
	// Type is the event's name in the catalog, such as "step.completed".
	Type string
	// Seq is the event's place in the log; increasing, with gaps. From 2^63 on the event is in no log: an operator
	// tries the subscriber out.
	Seq uint64
	// At is when it was recorded.
	At time.Time
	// Task is the id of the task, empty for events without one.
	Task string
	// TaskSeq is the event's number within its task, from 1 without gaps. 0 without a task.
	TaskSeq uint64
	// Step is the step's name, empty for events that are not about a step.
	Step string
	// Namespace, Template and Version name the template that the task runs. Empty without a task.
	Namespace, Template, Version string
	// CorrelationID belongs with every call that is made for the event.
	CorrelationID string
	// Traceparent is the W3C trace context of what caused the event. May be empty.
	Traceparent string
	// Delivery counts the deliveries of this event, from 1.
	Delivery int
	// Payload is what the event says.
	Payload P
}

// On makes a subscriber of a function. Which event it receives follows from its payload's type.
func On[P event.Payload](fn func(ctx context.Context, e Event[P]) error) Subscriber {
	return &subscription{}
}

// OnNamed makes a subscriber of a function that receives the events of a name, or of a pattern: "orders.*" for
// all of a family, "*" for all but those of the family workflow. P is [json.RawMessage] to see payloads as they
// are, or any type that they decode into: it suits custom events of other plugins.
func OnNamed[P any](name string, fn func(ctx context.Context, e Event[P]) error) Subscriber {
	return &subscription{}
}

// Routes puts several subscribers under one subscription: one cursor, one order. Each event goes to the one
// whose name or pattern says most about it.
func Routes(subs ...Subscriber) Subscriber { return &subscription{} }

// Subscribe adds options to a subscriber. One that has a method SubscriberOptions takes no others.
func Subscribe(sub Subscriber, opts SubscriberOptions) Subscriber { return &subscription{} }

// SubscriberOptions say more about a subscriber. The zero value is a good subscriber.
type SubscriberOptions struct {
	// Description says what the subscriber does with the events, in plain text.
	Description string
	// Filter is a CEL expression over the event; events for which it is false are not delivered. Empty = all.
	Filter string
	// Order is what is kept in order. Zero = [GlobalOrder].
	Order Order
	// Start is where a new subscription starts: "now", "beginning" or an RFC 3339 time. Empty = "now".
	Start string
	// Window is how many batches the host sends ahead of answers. 0 = the host decides.
	Window int
	// MaxAttempts is how often an event is delivered before it becomes a dead letter. 0 = the host decides.
	MaxAttempts int
	// Timeout is how long one event may take: then its context ends. 0 = a minute.
	Timeout time.Duration
	// Bound subscriptions receive events only through bindings in templates or in the host's configuration.
	Bound bool
	// Config is a value of the type that a binding's config decodes into, such as MailConfig{To: "ops"}; its
	// fields are the defaults. Read it with [BindingConfig]. Nil = bindings carry no config.
	Config any
	// Lanes is how many tasks are handled at once in [TaskOrder]. 0 = 16.
	Lanes int
	// OnError decides about the errors of the functions: nil for one that does not matter, [Permanent] for one
	// that no further delivery mends, another to be delivered again. Nil = errors stay as they are.
	OnError func(ctx context.Context, err error) error
	// OnGap is told of events that can never come. Nil = a warning in the log.
	OnGap func(ctx context.Context, gap Gap)
}

// Order is what a subscription keeps in order.
type Order int

// The orders.
const (
	// GlobalOrder: all events, one after the other.
	GlobalOrder Order = iota
	// TaskOrder: the events of each task, one after the other; different tasks at once.
	TaskOrder
)

// Gap tells of events that were cut from the log before they could be delivered.
type Gap struct {
	// Through is the sequence of the last one that may be missing.
	Through uint64
}

// BaseSubscriber makes a subscriber of the struct that embeds it:
//
//	type Notifier struct{ sdk.BaseSubscriber }
//
//	func (n *Notifier) OnStepFailed(ctx context.Context, e sdk.Event[event.StepFailed]) error
//
// A method On followed by an event's name in camel case receives that event, as event.StepFailed or as
// [json.RawMessage]. A method OnEvent(ctx, sdk.Event[json.RawMessage]) receives what [BaseSubscriber.SubscribeTo]
// asks for. Optional methods are SubscriberOptions() [SubscriberOptions], OnGap and OnError as those of the
// options, and those of [Checker] and [io.Closer].
type BaseSubscriber struct {
	mu       sync.Mutex
	patterns []string
	dedupe   *Dedupe
}

func (b *BaseSubscriber) subscribe() (*subscription, error) { return &subscription{}, nil }

// SubscribeTo adds names and patterns of events that the method OnEvent receives: "orders.shipped" or
// "orders.*". It counts until the plugin is served.
func (b *BaseSubscriber) SubscribeTo(patterns ...string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.patterns = append(b.patterns, patterns...)
}

// Logger returns a logger whose lines the host keeps with the event; see [Logger].
func (b *BaseSubscriber) Logger(ctx context.Context) hclog.Logger { return Logger(ctx) }

// Seen reports whether an event was handled already by this process, successfully; it remembers the last 10,000.
func (b *BaseSubscriber) Seen(id string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.dedupe.Seen(id)
}

// BindingConfig returns the config of the binding through which the event came: the value of
// [SubscriberOptions.Config], with what the binding sets. C is the type of that value. What the config refers to
// is shared by all events of the binding: do not change it. Outside a delivery it is the zero value.
func BindingConfig[C any](ctx context.Context) (C, error) {
	var c C
	return c, nil
}

// Fetch returns a value that is too large to travel inside its event.
func Fetch(ctx context.Context, ref event.Ref) (json.RawMessage, error) { return nil, nil }

// Value decodes a value of an event that travels inside it or, where it is large, by reference:
//
//	results, err := sdk.Value[Receipt](ctx, e.Payload.Results, e.Payload.ResultsRef)
func Value[T any](ctx context.Context, inline json.RawMessage, ref *event.Ref) (T, error) {
	var v T
	return v, nil
}

type subscription struct{}

func (s *subscription) subscribe() (*subscription, error) { return s, nil }
