// Package event holds the types of the events that Tasker records: one Go type per
// event, whose JSON is the event's payload, with its entry of the catalog beside it.
// Hosts build the payloads, subscribers read them; both meet here, so the package imports
// only the standard library.
//
// Names are noun.verb_past. Times are UTC, durations are seconds with three decimals.
// Within a task, events are numbered without gaps by their task_seq.
//
// [Catalog] lists every event with its schema, an example and who fires it. It is what
// `tasker event list` and docs/events.md show; nothing else lists events.
package event

import (
	"encoding/json"
	"math"
	"time"
)

// Payload is implemented by every event type. What the fields of a payload mean stands in
// their tags `doc`, from which the catalog's schema takes it.
type Payload interface {
	// EventName is the event's name in the catalog, such as "step.completed".
	EventName() string
}

// Seconds is a duration in JSON: seconds with three decimals.
type Seconds float64

// SecondsOf rounds a duration to milliseconds.
func SecondsOf(d time.Duration) Seconds {
	return Seconds(math.Round(d.Seconds()*1000) / 1000)
}

// Ref stands in for a value that is too large to travel inside an event. It can be
// fetched by its reference.
type Ref struct {
	Ref    string `json:"ref" doc:"under which the value can be fetched"`
	Size   int64  `json:"size" doc:"bytes"`
	SHA256 string `json:"sha256,omitempty" doc:"of the value, in hexadecimal digits"`
}

// MaxInline is the size in bytes above which inputs and results are replaced by a [Ref].
const MaxInline = 64 << 10

// MaxStartedInput is the lower limit for the task's input in [StepStarted], in bytes: that
// event is recorded for every attempt, and [TaskInitialized] has the input.
const MaxStartedInput = 4 << 10

// MaxErrorData is the size in bytes above which the details of an error and the partial
// output that came with it are left out.
const MaxErrorData = 4 << 10

// Totals counts the steps of a task by status; statuses without steps are absent.
type Totals map[string]int

// Error says why an attempt, a step or a task failed. Events that sum up the errors of
// several steps leave Details and Partial out.
type Error struct {
	Message   string          `json:"error_message" doc:"what went wrong, for people"`
	Class     string          `json:"error_class,omitempty" doc:"type of the error in the handler's language"`
	Code      string          `json:"error_code,omitempty" doc:"stable code, for programs"`
	Source    string          `json:"error_source,omitempty" doc:"where it comes from: plugin, downstream or host"`
	Backtrace []string        `json:"backtrace,omitempty" doc:"at most 10 frames"`
	Kind      string          `json:"error_kind,omitempty" doc:"retryable, permanent, timeout or cancelled"`
	Details   json.RawMessage `json:"error_details,omitempty" doc:"what the handler said beside the message; left out above 4 KiB"`
	Partial   json.RawMessage `json:"partial,omitempty" doc:"output that the attempt gave all the same; left out above 4 KiB"`
}

// Operator says who asked for something, and why.
type Operator struct {
	By     string `json:"by,omitempty" doc:"who asked for it"`
	Reason string `json:"reason,omitempty" doc:"why, in the operator's words"`
}
