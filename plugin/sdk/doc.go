// Package sdk is what a plugin is written with. A plugin is one value:
//
//	func main() {
//		sdk.Serve(sdk.Plugin{
//			Name:     "greeter",
//			Version:  "1.0.0",
//			Handlers: sdk.Handlers{"greet": sdk.Func(greet)},
//		})
//	}
//
// It offers handlers, which execute steps, subscribers, which observe events, or both. A handler is a function, or a
// value with a method Process:
//
//	func greet(ctx context.Context, in Guest) (Greeting, error)
//
// The types of the function are the contract: the SDK derives JSON Schemas from them, refuses inputs
// that do not fit, and tells the host about both in the manifest.
//
// # What an attempt is
//
// A step is executed by attempts. Each attempt calls Process and then, where the handler has it,
// ProcessResults; what comes out is stored as the step's results and handed to the steps that depend
// on it. An attempt may run more than once for one step, also after it succeeded unseen (the process
// died before the host heard of it): pass [IdempotencyKey] to whatever must not happen twice.
//
// # How an attempt fails
//
// An ordinary error is tried again as the step's retry policy says. [Permanent] ends the step at once.
// [RetryAfter] waits at least so long. [WithCode], [WithDetails], [WithPartial] and [Downstream] say
// more; all of them wrap, so that [errors.Is] and [errors.As] see through. A panic fails the attempt
// and nothing else.
//
// # Subscribers
//
// A subscriber observes events: a function, whose payload's type says which event it receives,
//
//	sdk.On(func(ctx context.Context, e sdk.Event[event.StepFailed]) error { ... })
//
// or a struct that embeds [BaseSubscriber], whose methods say it: OnStepFailed, OnTaskCompleted. Both go into
// [Plugin.Subscribers] under the name of their subscription, for which the host keeps a cursor. It delivers each event
// at least once, in order, and goes on where it stopped when the plugin was away. Nil is done, an error brings the
// event again, [Permanent] puts it aside, and what follows in the same order waits meanwhile. Redelivered events have
// the ID that they had: [BaseSubscriber.Seen] and [Dedupe] remember those that were handled.
//
// A subscriber has as much time for an event as [SubscriberOptions] says; its context ends with it. A template or the
// host may bind it to some events only, with a config that [BindingConfig] returns. [Value] and [Fetch] get what is
// too large to travel inside an event.
//
// # Custom events
//
// A handler emits events of its own with [Emit]; [Declare] says in [Plugin.Events] which. They are recorded with the
// attempt's success, and other plugins subscribe to them by name: [OnNamed].
//
// # What the context carries
//
// The context of Process ends when the attempt is cancelled, runs out of time, or the host is gone;
// [context.Cause] says which, as a [*CancelError]. It also carries [Logger], [Heartbeat], [Checkpoint],
// [Config], [Result], [Attempt] and the rest of the functions here that take a context. Outside an attempt, such
// as in a unit test that calls a handler directly, all of them are harmless; but [Emit] and [Fetch], whose work is then
// not done, return an error.
//
// # Spans
//
// Each attempt is a span of its task's trace, and so is what it does below: calls by httpapi, and whatever makes spans by the API of
// OpenTelemetry with the attempt's context, be it the author's code or a library that is instrumented for it.
// [Serve] sets the global TracerProvider and propagators. Spans travel to the host with the attempt's result; a plugin needs no
// exporter. An attempt that makes none, in a trace that nobody records, pays nothing. Deliveries have spans in traces of
// their own, which link to what the event is about, where the host asks for them; see [SubscriberOptions].
//
// # What the process owes the host
//
// Serve takes care of all of it: the handshake, mutual TLS, the manifest, flow of work and events in frames,
// a status while attempts run, draining, ending when the host is gone, and keeping stray output away
// from the protocol.
package sdk
