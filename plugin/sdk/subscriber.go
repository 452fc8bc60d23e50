package sdk

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// Subscribers are subscribers by the name of their subscription: [a-z][a-z0-9_-]{0,31}. The host keeps a cursor
// for "plugin/name", over restarts and versions of the plugin: another name is another subscription.
type Subscribers map[string]Subscriber

// Subscriber receives events. [On] and [OnNamed] make one of a function, [Routes] puts several under one
// subscription, and a pointer to a struct that embeds [BaseSubscriber] is one, whose methods say what it receives.
//
// A subscriber that returns nil is done with the event. An ordinary error has it delivered again later, and what
// follows it in its order waits; [RetryAfter] says when at the earliest. [Unavailable] says that what the
// subscriber needs is not there: the event waits for it, however long that takes. [Permanent] makes the event a dead
// letter, which an operator can have delivered again, and goes on with the next one. A panic is an ordinary error.
type Subscriber interface{ base() *BaseSubscriber }

// Event is one event as a subscriber receives it. Events may come more than once, with the same ID.
type Event[P any] struct {
	// ID is the same at every delivery: "task/number", or "host/epoch/number" for events without a task.
	ID string
	// Type is the event's name in the catalog, such as "step.completed".
	Type string
	// Seq is the event's place in the log; increasing, with gaps. That of a [Event.Trial] is no place.
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

// firstTrial is the first sequence of the events that are in no log.
const firstTrial = uint64(1) << 63

// Trial reports whether an operator tries the subscriber out (tasker event send): the event is in no log, and may be an
// example of what never happened. What counts or records events leaves it out.
func (e Event[P]) Trial() bool { return e.Seq >= firstTrial }

// Decode decodes the payload of an event that was received as it is: OnNamed("*", ...) gets any event, and decodes those
// that it knows. What does not decode is an error that is [Permanent].
func Decode[P any](e Event[json.RawMessage]) (Event[P], error) {
	out := Event[P]{
		ID: e.ID, Type: e.Type, Seq: e.Seq, At: e.At, Task: e.Task, TaskSeq: e.TaskSeq, Step: e.Step,
		Namespace: e.Namespace, Template: e.Template, Version: e.Version,
		CorrelationID: e.CorrelationID, Traceparent: e.Traceparent, Delivery: e.Delivery,
	}
	if err := decode(e.Payload, &out.Payload, false); err != nil {
		return out, Permanent(&payloadError{e.Type, reflect.TypeFor[P](), err})
	}
	return out, nil
}

// On makes a subscriber of a function. Which event it receives follows from its payload's type.
func On[P event.Payload](fn func(ctx context.Context, e Event[P]) error) Subscriber {
	place := "On[" + reflect.TypeFor[P]().String() + "]"
	return single(func() (*route, error) {
		if fn == nil {
			return nil, fmt.Errorf("%s: the function is nil", place)
		}
		name, err := eventName[P]()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", place, err)
		}
		return routeOf(name, place, fn), nil
	})
}

// OnNamed makes a subscriber of a function that receives the events of a name, or of a pattern: "orders.*" for
// all of a family, "*" for all but those of the family workflow. P is [json.RawMessage] to see payloads as they
// are, or any type that they decode into: it suits custom events of other plugins.
func OnNamed[P any](name string, fn func(ctx context.Context, e Event[P]) error) Subscriber {
	place := fmt.Sprintf("OnNamed(%q)", name)
	return single(func() (*route, error) {
		if fn == nil {
			return nil, fmt.Errorf("%s: the function is nil", place)
		}
		return routeOf(name, place, fn), nil
	})
}

// Routes puts several subscribers under one subscription: one cursor, one order. Each event goes to one of them:
// the one that names it, else the one with the longest pattern that it matches.
func Routes(subs ...Subscriber) Subscriber { return routes(subs) }

// Subscribe adds options to a subscriber. One that has a method SubscriberOptions takes no others, and what is put
// into [Routes] has none of its own.
func Subscribe(sub Subscriber, opts SubscriberOptions) Subscriber {
	return &subscribed{sub: sub, options: opts}
}

// SubscriberOptions say more about a subscriber. The zero value is a good subscriber.
type SubscriberOptions struct {
	// Description says what the subscriber does with the events, in plain text.
	Description string
	// Filter is a CEL expression over the event, such as `event.step == "charge"`; events for which it is false are not
	// delivered. Empty = all.
	Filter string
	// Order is what is kept in order. Zero = [GlobalOrder].
	Order Order
	// Start is where a new subscription starts: "now", "beginning" or an RFC 3339 time. Empty = "now".
	Start string
	// Window is how many batches the host sends ahead of answers. 0 = the host decides.
	Window int
	// MaxAttempts is how often an event is delivered before it becomes a dead letter. 0 = the host decides.
	MaxAttempts int
	// Timeout is how long one event may take: then its context ends. The host gives up a subscriber that takes twice
	// as long. 0 = [DefaultEventTimeout].
	Timeout time.Duration
	// Bound subscriptions receive events only through bindings in templates or in the host's configuration.
	Bound bool
	// Config is a value of the type that a binding's config decodes into, such as MailConfig{To: "ops"}; its
	// fields are the defaults. Read it with [BindingConfig]. A config that does not fit, or whose method Check refuses
	// it (see [Checker]), holds up the binding's events until it is mended. Nil = bindings carry no config.
	Config any
	// Lanes is how many tasks are handled at once in [TaskOrder]. 0 = [DefaultLanes].
	Lanes int
	// Untraced says that deliveries get no spans, whatever the host asks for: it is for subscribers that would trace
	// themselves. False = they get spans.
	Untraced bool
	// OnError decides about the errors that functions and methods return: nil for one that does not matter,
	// [Permanent] for one that no further delivery mends, another to have the event delivered again. Nil = errors
	// stay as they are.
	OnError func(ctx context.Context, err error) error
	// OnGap is told of events that will never come. Nil = a warning in the log.
	OnGap func(ctx context.Context, gap Gap)
}

// Defaults of [SubscriberOptions].
const (
	DefaultEventTimeout = time.Minute
	DefaultLanes        = 16
)

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
