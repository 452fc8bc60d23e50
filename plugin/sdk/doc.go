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
// and a handler is a function, or a value with a method Process:
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
// # What the context carries
//
// The context of Process ends when the attempt is cancelled, runs out of time, or the host is gone;
// [context.Cause] says which, as a [*CancelError]. It also carries [Logger], [Heartbeat], [Checkpoint],
// [Config], [Result], [Attempt] and the rest of the functions here that take a context. Outside an attempt, such
// as in a unit test that calls a handler directly, all of them are harmless.
//
// # What the process owes the host
//
// Serve takes care of all of it: the handshake, mutual TLS, the manifest, flow of work in frames,
// a status while attempts run, draining, ending when the host is gone, and keeping stray output away
// from the protocol.
package sdk
