package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"time"
)

// Handler executes steps. [Func] and [Typed] make one from typed code; implement it directly to see
// the input as it came.
type Handler interface {
	// Process executes one attempt and returns what the step results in: anything that marshals to
	// JSON, nil for null. It is called by many goroutines at once. The input is the JSON that the
	// step's mapping made, or the task's input; empty when there is none.
	Process(ctx context.Context, input json.RawMessage) (any, error)
}

// ResultsProcessor is the optional power of a [Handler] to shape what is stored. It is called after a
// successful Process, in the same attempt. An error or a panic fails the attempt like one of Process.
// Nil means "nothing to add": what Process returned is stored.
type ResultsProcessor interface {
	ProcessResults(ctx context.Context, output any) (any, error)
}

// Checker is an optional power of a handler, and of [Plugin.Config]. Check is called once, after the
// configuration was accepted and before any work. An error refuses the start and is shown to the
// operator: check what only an operator can mend, and leave what mends itself to the attempts.
//
// The type of [SubscriberOptions.Config] may have it, too: Check is called for each binding when it arrives, with its
// config, and may keep what it makes of it in fields of its own. While it fails, the plugin is degraded and the events
// of that binding are [Unavailable]: they come when the binding is mended. Each event that tries checks again.
type Checker interface {
	Check(ctx context.Context) error
}

// Options say more about a handler. The zero value is a good handler.
type Options struct {
	// Version is the handler's version, which templates may pin with "plugin/handler@2". 0 = 1. Raise
	// it when input, config or results change shape.
	Version int
	// Description says what the handler does, in plain text.
	Description string
	// Timeout is the default limit of one attempt. 0 = none of its own.
	Timeout time.Duration
	// HeartbeatTimeout is the default limit of silence: an attempt that calls neither [Heartbeat] nor
	// [Checkpoint] for so long is given up. 0 = none.
	HeartbeatTimeout time.Duration
	// Retry is the default retry policy. Zero fields take the host's.
	Retry Retry
	// Idempotency says what running twice does. Zero = [Keyed].
	Idempotency Idempotency
	// MaxConcurrency is how many attempts of this handler one process holds at once. 0 = the plugin's limit.
	MaxConcurrency int
	// NoResults says that the handler does not want the results of the dependencies. It saves their
	// transport.
	NoResults bool
	// ErrorCodes are the codes that the handler's errors may carry, for documentation.
	ErrorCodes []string
	// Config is a value of the type that a step's config decodes into, such as MailConfig{}; only its
	// type matters. Configs that do not fit fail before Process, and keys that it does not have are
	// refused. Read it with [Config]. Nil = anything.
	Config any
}

// Retry is a default retry policy. Zero fields take the host's.
type Retry struct {
	// Limit is the number of failures allowed, from 1.
	Limit int
	// Backoff is the form of growth. Zero = the host's, or [Listed] when List is set.
	Backoff Backoff
	// Base is the first wait.
	Base time.Duration
	// Factor is the growth of exponential backoff.
	Factor float64
	// Cap is the longest wait.
	Cap time.Duration
	// List are the waits of listed backoff; the last one repeats.
	List []time.Duration
}

// Backoff is how waits between attempts grow.
type Backoff string

// How waits grow.
const (
	Exponential Backoff = "exponential" // Base * Factor^(n-1)
	Linear      Backoff = "linear"      // Base * n
	Constant    Backoff = "constant"    // Base
	Listed      Backoff = "list"        // List[n-1]
)

// Idempotency says what running a handler twice for one step does.
type Idempotency int

// What running twice does.
const (
	// Keyed: harmless when whatever the handler calls honours [IdempotencyKey]. The default.
	Keyed Idempotency = iota
	// Idempotent: harmless.
	Idempotent
	// NotIdempotent: not safe. An attempt that is lost with its process waits for an operator.
	NotIdempotent
)

// With adds options to a handler that was not made by [Func] or [Typed].
func With(h Handler, opts Options) Handler { return &optioned{Handler: h, options: opts} }

// optioned is a handler with options.
type optioned struct {
	Handler

	options Options
}

func (o *optioned) bind() (*bound, error) {
	b, err := bind(o.Handler)
	if err != nil {
		return nil, err
	}
	return b.with([]Options{o.options})
}

// bound is a handler of any form, made ready to be called.
type bound struct {
	process func(context.Context, json.RawMessage) (any, error)
	results func(context.Context, any) (any, error) // nil: what process returned is stored
	options Options
	hasOpts bool
	in, out reflect.Type // nil: anything
	powers  any          // what is asked for Checker and io.Closer
}

// binder is implemented by the handlers of this package that are more than a Handler.
type binder interface{ bind() (*bound, error) }

// bind makes any handler ready to be called. An error says what is wrong with its declaration.
func bind(h Handler) (*bound, error) {
	if isNil(h) {
		return nil, errors.New("the handler is nil")
	}
	if b, ok := h.(binder); ok {
		return b.bind()
	}
	b := &bound{process: h.Process, powers: h}
	if rp, ok := h.(ResultsProcessor); ok {
		b.results = rp.ProcessResults
	} else if _, ok := reflect.TypeOf(h).MethodByName("ProcessResults"); ok {
		return nil, fmt.Errorf("%T has a method ProcessResults that would never be called: it must be ProcessResults(context.Context, any) (any, error)", h)
	}
	return b, nil
}

// with adds the options, of which there may be one value at most.
func (b *bound) with(opts []Options) (*bound, error) {
	switch {
	case len(opts) == 0:
		return b, nil
	case len(opts) > 1 || b.hasOpts:
		return nil, errors.New("options are given more than once")
	}
	b.options, b.hasOpts = opts[0], true
	return b, nil
}

// run executes one attempt: Process, then ProcessResults.
func (b *bound) run(ctx context.Context, input json.RawMessage) (any, error) {
	out, err := b.process(ctx, input)
	if err != nil || b.results == nil {
		return out, err
	}
	shaped, err := b.results(ctx, out)
	if err != nil {
		return nil, err
	}
	if isNil(shaped) {
		return out, nil
	}
	return shaped, nil
}

// check asks the handler's own check, if it has one.
func check(ctx context.Context, powers any) error {
	if c, ok := powers.(Checker); ok {
		return c.Check(ctx)
	}
	return nil
}

// closePowers closes what can be closed.
func closePowers(powers any) error {
	if c, ok := powers.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// isNil reports whether v is nil or holds a nil pointer, map, slice, function or interface.
func isNil(v any) bool {
	if v == nil {
		return true
	}
	switch r := reflect.ValueOf(v); r.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Func, reflect.Interface, reflect.Chan:
		return r.IsNil()
	default:
		return false
	}
}
