package sdk

import (
	"context"
	"errors"
	"time"
)

// Codes of the failures that the SDK itself reports. A handler's own codes are its own.
const (
	CodeInvalidInput   = "invalid_input"    // the input does not fit the handler's input type
	CodeInvalidConfig  = "invalid_config"   // the step's config does not fit the handler's config type
	CodeInvalidResult  = "invalid_result"   // what the handler returned cannot be marshalled
	CodeTooLarge       = "result_too_large" // what the handler returned is over [MaxValue]
	CodeUnknownHandler = "unknown_handler"  // the plugin has no such handler, or not in that version
	CodeInvalidEvent   = "invalid_event"    // a custom event is not declared, does not fit its schema, or is too large
	CodePanic          = "panic"            // the handler panicked
	CodeTimeout        = "timeout"          // the attempt ran out of time
)

// Limits of what an attempt may hand over.
const (
	// MaxValue is the size in bytes of the largest result, as JSON.
	MaxValue = 15 << 20
	// MaxCheckpoint is the size in bytes of the largest checkpoint, as JSON.
	MaxCheckpoint = 64 << 10
	// MaxDetails is the size in bytes of the largest error details, as JSON.
	MaxDetails = 4 << 10
	// MaxPartial is the size in bytes of the largest output that comes with an error, as JSON.
	MaxPartial = 64 << 10
)

// Sentinels for what a handler may want to tell apart.
var (
	// ErrCancelled is what the cause of an attempt's context is: errors.Is(context.Cause(ctx), sdk.ErrCancelled).
	// The cause is a [*CancelError], which knows the reason.
	ErrCancelled = errors.New("attempt cancelled")
	// ErrNoResult says that no dependency of that name has a result for the attempt.
	ErrNoResult = errors.New("no such dependency result")
	// ErrTooLarge says that a value is over its limit.
	ErrTooLarge = errors.New("value too large")
)

// Reasons of a [CancelError] that the SDK itself gives. The host has its own, such as "cancel_requested".
const (
	ReasonTimeout  = CodeTimeout // the attempt ran out of time
	ReasonHostGone = "host_gone" // the host, or the connection to it, is gone
	ReasonStopped  = "stopped"   // the process ends
)

// CancelError is the cause of the end of an attempt's context.
type CancelError struct {
	// Reason is a code, such as "cancel_requested" or [ReasonTimeout].
	Reason string
}

// Error implements error.
func (e *CancelError) Error() string { return "attempt cancelled: " + e.Reason }

// Is makes a CancelError an [ErrCancelled], and a [context.DeadlineExceeded] if time ran out, else a
// [context.Canceled].
func (e *CancelError) Is(target error) bool {
	switch target {
	case ErrCancelled:
		return true
	case context.DeadlineExceeded:
		return e.Reason == ReasonTimeout
	case context.Canceled:
		return e.Reason != ReasonTimeout
	default:
		return false
	}
}

// Verdict is what shall follow a failure.
type Verdict int

// The verdicts.
const (
	// Undecided: not said; an ordinary error, tried again.
	Undecided Verdict = iota
	// Retryable: tried again as the step's retry policy allows.
	Retryable
	// Final: not tried again. [Permanent] makes it.
	Final
	// Cancelled: the attempt stopped because it was asked to.
	Cancelled
)

// String returns the word for the verdict.
func (v Verdict) String() string {
	switch v {
	case Retryable:
		return "retryable"
	case Final:
		return "permanent"
	case Cancelled:
		return "cancelled"
	default:
		return "undecided"
	}
}

// Source is whose fault a failure is.
type Source int

// The sources.
const (
	// FromPlugin: the handler's own. The default.
	FromPlugin Source = iota
	// FromDownstream: something that the handler called.
	FromDownstream
)

// Error says more about a failure than its message. The functions [Permanent], [RetryAfter], [Unavailable],
// [WithCode], [WithDetails], [WithPartial] and [Downstream] each make one with one field set, around another error;
// write it as a literal to set several. Along a chain of them the outermost setting of each field counts.
type Error struct {
	// Err is the failure itself.
	Err error
	// Verdict is what shall follow. Zero = said further in, else retryable.
	Verdict Verdict
	// Code is a short code, such as "card_declined". Empty = said further in, else none.
	Code string
	// Details is anything that marshals to at most [MaxDetails] bytes of JSON. Nil = said further in, else none.
	Details any
	// Partial is output produced before the failure: anything that marshals to at most [MaxPartial]
	// bytes of JSON. Nil = said further in, else none.
	Partial any
	// Source is whose fault it is. Zero = said further in, else the plugin's.
	Source Source
	// RetryAfter is the least wait before the next attempt. 0 = said further in, else none.
	RetryAfter time.Duration
	// Unavailable says that what is needed is not there, which is not the event's fault. False = said further in,
	// else that it may be.
	Unavailable bool
}

// Error implements error: the message of the error inside, else the code.
func (e *Error) Error() string {
	switch {
	case e.Err != nil:
		return e.Err.Error()
	case e.Code != "":
		return e.Code
	default:
		return "failed"
	}
}

// Unwrap returns the error inside.
func (e *Error) Unwrap() error { return e.Err }

// Permanent says that another attempt would fail too: the step fails at once. Nil stays nil.
func Permanent(err error) error { return wrap(err, Error{Verdict: Final}) }

// RetryAfter says that another attempt makes sense after d, and not earlier. Nil stays nil.
func RetryAfter(err error, d time.Duration) error {
	return wrap(err, Error{Verdict: Retryable, RetryAfter: d})
}

// Unavailable says that what a subscriber needs is not there, such as a server that does not answer or refuses the
// plugin's password: it is not the event's fault. The event comes again until the need is met; it never becomes a dead
// letter for that. Meanwhile no other event that comes through the same binding is sent, and the host shows for how long
// that has been so. The host waits longer and longer, up to a minute; [RetryAfter] around it says for how long instead.
// Only answer so what would befall any other event, too: an event that is never available holds up all others.
//
// [Permanent] around it wins: then the event becomes a dead letter. In an attempt it is an ordinary error whose source is
// [FromDownstream], and counts like any other. Nil stays nil.
func Unavailable(err error) error {
	return wrap(err, Error{Verdict: Retryable, Source: FromDownstream, Unavailable: true})
}

// WithCode adds a short code, which templates, dashboards and people can rely on. Nil stays nil.
func WithCode(err error, code string) error { return wrap(err, Error{Code: code}) }

// WithDetails adds facts: anything that marshals to at most [MaxDetails] bytes of JSON. Nil stays nil.
func WithDetails(err error, details any) error { return wrap(err, Error{Details: details}) }

// WithPartial adds output that was produced before the failure: anything that marshals to at most [MaxPartial]
// bytes of JSON. Nil stays nil.
func WithPartial(err error, output any) error { return wrap(err, Error{Partial: output}) }

// Downstream says that the fault lies with something that the handler called. Nil stays nil.
func Downstream(err error) error { return wrap(err, Error{Source: FromDownstream}) }

func wrap(err error, with Error) error {
	if err == nil {
		return nil
	}
	with.Err = err
	return &with
}

// Explain gathers what a chain of errors says about a failure; Err is the chain itself. It is how the
// host will see the error, for unit tests of handlers that are called directly.
func Explain(err error) Error {
	all := Error{Err: err}
	walk(err, func(err error) {
		e, ok := err.(*Error) //nolint:errorlint // walk visits every link of the chain
		if !ok {
			return
		}
		if all.Verdict == Undecided {
			all.Verdict = e.Verdict
		}
		if all.Code == "" {
			all.Code = e.Code
		}
		if all.Details == nil {
			all.Details = e.Details
		}
		if all.Partial == nil {
			all.Partial = e.Partial
		}
		if all.Source == FromPlugin {
			all.Source = e.Source
		}
		if all.RetryAfter == 0 {
			all.RetryAfter = e.RetryAfter
		}
		all.Unavailable = all.Unavailable || e.Unavailable
	})
	return all
}

// walk visits err and all that it wraps, outermost first.
func walk(err error, visit func(error)) {
	for err != nil {
		visit(err)
		switch e := err.(type) { //nolint:errorlint // this is the walk itself
		case interface{ Unwrap() error }:
			err = e.Unwrap()
		case interface{ Unwrap() []error }:
			for _, inner := range e.Unwrap() {
				walk(inner, visit)
			}
			return
		default:
			return
		}
	}
}
