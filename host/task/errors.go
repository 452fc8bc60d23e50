package task

import (
	"errors"
	"fmt"
)

// Errors that a caller of the host tells apart.
var (
	// ErrNotFound is returned for a task, template, plugin or blob that does not exist.
	ErrNotFound = errors.New("not found")
	// ErrAmbiguous is returned for an id prefix that several tasks share.
	ErrAmbiguous = errors.New("ambiguous")
	// ErrTransition is returned when a status may not be left that way.
	ErrTransition = errors.New("transition not allowed")
	// ErrInvalid is returned for a request that is wrong in itself; nothing was stored.
	ErrInvalid = errors.New("invalid request")
	// ErrKeyConflict is returned when an idempotency key is known with another input.
	ErrKeyConflict = errors.New("idempotency key was used with another input")
	// ErrTooLarge is returned for a value over a limit; the message names step, size and limit.
	ErrTooLarge = errors.New("too large")
	// ErrLocked is returned when another process holds the home.
	ErrLocked = errors.New("locked")
	// ErrStopping is returned for requests that reach a host which is draining.
	ErrStopping = errors.New("host is stopping")
)

// Limits of values. A value is one JSON document: an input, a result, a config.
const (
	// MaxInline is the size in bytes up to which a value lives in its record; larger
	// ones are stored as blobs and referred to.
	MaxInline = 64 << 10
	// MaxValue is the size in bytes above which a value is refused.
	MaxValue = 15 << 20
	// MaxCheckpoint is the size in bytes of the largest checkpoint.
	MaxCheckpoint = 64 << 10
	// MaxPartial is the size in bytes of the largest output kept with a failure.
	MaxPartial = 64 << 10
	// MaxErrorDetails is the size in bytes to which error details are kept.
	MaxErrorDetails = 4 << 10
	// MaxErrorMessage is the size in bytes to which error messages are cut.
	MaxErrorMessage = 8 << 10
	// MaxStackFrames is the number of stack frames kept with an error.
	MaxStackFrames = 10
)

// ErrorKind is a handler's verdict on a failure.
type ErrorKind string

// The kinds of failure.
const (
	KindRetryable ErrorKind = "retryable" // an ordinary error
	KindPermanent ErrorKind = "permanent" // no further attempt
	KindTimeout   ErrorKind = "timeout"   // a time limit of the host passed; retryable
	KindCancelled ErrorKind = "cancelled" // the attempt stopped because it was asked to
)

// ErrorSource says whose fault a failure is.
type ErrorSource string

// The sources of failures.
const (
	SourcePlugin     ErrorSource = "plugin"     // the handler's own code
	SourceDownstream ErrorSource = "downstream" // something the handler called
	SourceHost       ErrorSource = "host"       // Tasker: a time limit, a lost attempt, a size limit
)

// Codes of failures that the host itself reports.
const (
	CodeTimeout          = "timeout"           // one attempt took longer than timeout
	CodeHeartbeatTimeout = "heartbeat_timeout" // no heartbeat for heartbeat_timeout
	CodeScheduleToStart  = "schedule_to_start" // ready for longer than schedule_to_start
	CodeTotalTimeout     = "total_timeout"     // all attempts together took longer than total_timeout
	CodeDeadline         = "deadline_exceeded" // the task's deadline passed
	CodeCrashesPlugin    = "crashes_plugin"    // its attempts took down the instance too often
	CodeLost             = "attempt_lost"      // lost, and on_crash is fail
	CodeTooLarge         = "result_too_large"  // the result is over MaxValue
	CodeUnknownHandler   = "unknown_handler"   // the plugin says it has no such handler
	CodePanic            = "panic"             // the handler panicked
	CodeInvalidResult    = "invalid_result"    // the result is no JSON
	CodeInvalidEvent     = "invalid_event"     // a custom event does not fit its declaration
	CodeFailFast         = "fail_fast"         // another step failed and on_failure is fail_fast
	CodeCancelRequested  = "cancel_requested"  // somebody cancelled the task
	CodeWhenFailed       = "when_failed"       // the step's condition could not be evaluated
	CodeWithFailed       = "with_failed"       // the step's input could not be made
)

// Failure describes why an attempt failed (rule R9). It is stored with the attempt and
// copied into the events of the transition.
type Failure struct {
	Kind       ErrorKind
	Code       string      // the handler's or the host's, may be empty
	Message    string      // at most MaxErrorMessage bytes
	Class      string      // the real type of the error, such as "*net.OpError"
	Source     ErrorSource // whose fault it is
	Details    []byte      // JSON, at most MaxErrorDetails bytes, nil when none
	Partial    []byte      // JSON output produced before the failure, at most MaxPartial bytes, nil when none
	RetryAfter Duration    // the handler's wish, at most MaxRetryAfter, 0 when none
	Stack      []string    // at most MaxStackFrames frames
}

// Error makes a failure usable as an error: "code: message".
func (f *Failure) Error() string {
	if f.Code == "" {
		return f.Message
	}
	return fmt.Sprintf("%s: %s", f.Code, f.Message)
}
