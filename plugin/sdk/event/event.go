// Package event holds the types of the events that Tasker records: one Go type per
// event, whose JSON is the event's payload. Hosts build the payloads, subscribers read
// them; both meet here, so the package imports only the standard library.
//
// Names are noun.verb_past. Times are UTC, durations are seconds with three decimals.
// Within a task, events are numbered without gaps by their task_seq.
package event

import (
	"encoding/json"
	"math"
	"time"
)

// Payload is implemented by every event type.
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
	Ref    string `json:"ref"`
	Size   int64  `json:"size"` // bytes
	SHA256 string `json:"sha256,omitempty"`
}

// MaxInline is the size in bytes above which inputs and results are replaced by a [Ref].
const MaxInline = 64 << 10

// MaxStartedInput is the lower limit for the task's input in [StepStarted], in bytes: that
// event is recorded for every attempt, and [TaskInitialized] has the input.
const MaxStartedInput = 4 << 10

// MaxErrorData is the size in bytes above which the details of an error and the partial
// output that came with it are left out.
const MaxErrorData = 4 << 10

// Task is the part that all events about a task share.
type Task struct {
	TaskID        string `json:"task_id"`
	Namespace     string `json:"namespace"`
	Template      string `json:"template"`
	Version       string `json:"version"`
	CorrelationID string `json:"correlation_id"`
}

// Totals counts the steps of a task by status; statuses without steps are absent.
type Totals map[string]int

// Error says why an attempt, a step or a task failed.
type Error struct {
	Message   string   `json:"error_message"`
	Class     string   `json:"error_class,omitempty"`
	Code      string   `json:"error_code,omitempty"`
	Source    string   `json:"error_source,omitempty"` // plugin, downstream or host
	Backtrace []string `json:"backtrace,omitempty"`    // at most 10 frames
	Kind      string   `json:"error_kind,omitempty"`   // retryable, permanent, timeout or cancelled
	// Details and Partial are what the handler said beside the message, up to MaxErrorData
	// bytes each. Events that sum up the errors of several steps leave them out.
	Details json.RawMessage `json:"error_details,omitempty"`
	Partial json.RawMessage `json:"partial,omitempty"`
}

// Operator says who asked for something, and why.
type Operator struct {
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// TaskInitialized is recorded when a task is created.
type TaskInitialized struct {
	Task

	Input        json.RawMessage `json:"input,omitempty"`
	InputRef     *Ref            `json:"input_ref,omitempty"`
	Steps        int             `json:"steps"`
	Initiator    string          `json:"initiator,omitempty"`
	SourceSystem string          `json:"source_system,omitempty"`
	Reason       string          `json:"reason,omitempty"`
	Tags         []string        `json:"tags,omitempty"`
	Priority     int32           `json:"priority,omitempty"`
	Deadline     time.Time       `json:"deadline,omitzero"`
}

// TaskStarted is recorded with the first claim of one of the task's steps.
type TaskStarted struct {
	Task

	StartedAt time.Time `json:"started_at"`
}

// TaskEnded is the part that the events about the end of a task share.
type TaskEnded struct {
	Task

	StartedAt     time.Time `json:"started_at,omitzero"`
	CompletedAt   time.Time `json:"completed_at"`
	TotalDuration Seconds   `json:"total_duration"` // from creation to end
	Totals        Totals    `json:"totals"`
}

// TaskCompleted is recorded when every step is done.
type TaskCompleted struct{ TaskEnded }

// FailedStep names a step that failed and why.
type FailedStep struct {
	Error

	StepName string `json:"step_name"`
	Attempts uint32 `json:"attempts"`
}

// TaskFailed is recorded when nothing can run any more and something failed.
type TaskFailed struct {
	TaskEnded

	Reason      string       `json:"reason,omitempty"` // fail_fast or deadline_exceeded, empty when the steps failed
	FailedSteps []FailedStep `json:"failed_steps"`
}

// TaskCancelRequested is recorded when somebody asks to cancel a task.
type TaskCancelRequested struct {
	Task
	Operator
}

// TaskCancelled is recorded when a task whose cancellation was asked for has stopped.
type TaskCancelled struct {
	TaskEnded
	Operator
}

// TaskPaused is recorded when an operator holds a task.
type TaskPaused struct {
	Task
	Operator

	Totals Totals `json:"totals"`
}

// TaskResumed is recorded when an operator lets a held task go on.
type TaskResumed struct {
	Task
	Operator
}

// TaskRetryRequested is recorded when an operator retries a failed task; each of its
// failed steps gets a [StepRetryRequested] too.
type TaskRetryRequested struct {
	Task
	Operator

	Steps []string `json:"steps"` // that will run again
}

// TaskResolvedManually is recorded when an operator closes a failed task by hand.
type TaskResolvedManually struct {
	TaskEnded
	Operator
}

// Step is the part that all events about a step share.
type Step struct {
	Task

	StepID        string    `json:"step_id"`
	StepName      string    `json:"step_name"`
	Handler       string    `json:"handler"`
	AttemptNumber uint32    `json:"attempt_number"`        // of the current or last attempt, 0 before the first
	RetryLimit    uint32    `json:"retry_limit"`           // in force since the first attempt, 0 before it
	StartedAt     time.Time `json:"started_at,omitzero"`   // of the attempt
	CompletedAt   time.Time `json:"completed_at,omitzero"` // of the attempt
}

// StepStarted is recorded with the claim of an attempt.
type StepStarted struct {
	Step

	Inputs       json.RawMessage `json:"inputs,omitempty"`
	InputsRef    *Ref            `json:"inputs_ref,omitempty"`
	Dependencies []string        `json:"dependencies,omitempty"`
	Instance     string          `json:"instance"`
}

// StepCompleted is recorded when an attempt succeeded.
type StepCompleted struct {
	Step

	ExecutionDuration Seconds         `json:"execution_duration"`
	Results           json.RawMessage `json:"results,omitempty"`
	ResultsRef        *Ref            `json:"results_ref,omitempty"`
}

// StepFailed is recorded when an attempt failed or a time limit passed.
type StepFailed struct {
	Step
	Error

	Retryable         bool    `json:"retryable"`
	Final             bool    `json:"final"` // no further attempt follows by itself
	ExecutionDuration Seconds `json:"execution_duration"`
}

// StepRetryScheduled is recorded when another attempt will follow.
type StepRetryScheduled struct {
	Step

	PreviousAttempts uint32    `json:"previous_attempts"`
	RetryAt          time.Time `json:"retry_at"`
	Reason           string    `json:"reason"` // failed, timed_out or lost
	BackoffKind      string    `json:"backoff_kind"`
}

// StepMaxRetriesReached is recorded after the last failure that the limit allows.
type StepMaxRetriesReached struct {
	Step

	Failures uint32 `json:"failures"`
}

// StepRetryRequested is recorded when an operator retries a step.
type StepRetryRequested struct {
	Step
	Operator

	PreviousStatus string `json:"previous_status"`
}

// StepCancelled is recorded when a step is stopped or will not run.
type StepCancelled struct {
	Step

	Reason string `json:"reason"` // cancel_requested, fail_fast or deadline_exceeded
}

// StepResolvedManually is recorded when an operator supplies a step's results.
type StepResolvedManually struct {
	Step
	Operator

	PreviousStatus string          `json:"previous_status"`
	Results        json.RawMessage `json:"results,omitempty"`
	ResultsRef     *Ref            `json:"results_ref,omitempty"`
}

// StepSkipped is recorded when a step is skipped by design.
type StepSkipped struct {
	Step

	Reason string `json:"reason"` // bypassed or optional
}

// StepWaiting is recorded when a step waits for an operator.
type StepWaiting struct {
	Step

	Reason string `json:"reason"` // parked
}

// StepResumed is recorded when a waiting step may run again.
type StepResumed struct{ Step }

// StepAttemptLost is recorded when an attempt ended without a result because its
// instance or host went away. It has an error when the attempt gave one, being stopped,
// or when its loss ended the step.
type StepAttemptLost struct {
	Step
	*Error

	Cause    string `json:"cause"` // crashed, hung, drained, host_died or unsent
	Instance string `json:"instance"`
	Losses   uint32 `json:"losses"` // that count against the step so far
}

// WorkflowViableStepsDiscovered is recorded when a decision made steps ready. Only with
// the host's setting events.workflow.
type WorkflowViableStepsDiscovered struct {
	Task

	StepNames []string `json:"step_names"`
}

// WorkflowNoViableSteps is recorded when a decision left an unfinished task with
// nothing ready, running or timed. Only with the host's setting events.workflow.
type WorkflowNoViableSteps struct {
	Task

	Reason string `json:"reason"`
}

// WorkflowTaskFinalizationStarted is recorded before the event that ends a task. Only
// with the host's setting events.workflow.
type WorkflowTaskFinalizationStarted struct {
	Task

	Totals Totals `json:"totals"`
}

// WorkflowTaskFinalizationCompleted is recorded after the event that ends a task. Only
// with the host's setting events.workflow.
type WorkflowTaskFinalizationCompleted struct {
	Task

	Status string `json:"status"`
	Totals Totals `json:"totals"`
}

// Plugin is the part that all events about a plugin share.
type Plugin struct {
	Plugin   string `json:"plugin"`
	Version  string `json:"version,omitempty"`
	Instance string `json:"instance,omitempty"`
	Cause    string `json:"cause,omitempty"`
}

// PluginStarted is recorded when a plugin's process was started.
type PluginStarted struct{ Plugin }

// PluginReady is recorded when a plugin takes work.
type PluginReady struct {
	Plugin

	Handlers []string `json:"handlers"` // "name@version"
}

// PluginCrashed is recorded when a plugin's process ended or fell silent by itself.
type PluginCrashed struct {
	Plugin

	RetryAt time.Time `json:"retry_at,omitzero"`
}

// PluginQuarantined is recorded when a plugin crashed too often to be started again.
type PluginQuarantined struct {
	Plugin

	Crashes int `json:"crashes"`
}

// PluginStopped is recorded when a plugin was stopped on purpose.
type PluginStopped struct{ Plugin }

// HostStarted is recorded when a host has opened its store.
type HostStarted struct {
	HostID  string `json:"host_id"`
	Epoch   uint64 `json:"epoch"`
	Version string `json:"version"`
}

// HostStopping is recorded when a host stops taking work.
type HostStopping struct {
	HostID string `json:"host_id"`
	Epoch  uint64 `json:"epoch"`
	Reason string `json:"reason"`
}
