package task

import (
	"encoding/json"
	"time"
)

// TemplateRef names the template version that a task runs. Hash is the SHA-256, in
// hex, of the snapshot stored with the task; later edits of the file never change it.
type TemplateRef struct {
	Namespace string
	Name      string
	Version   string // semver
	Hash      string
}

// String returns "namespace/name@version".
func (r TemplateRef) String() string { return r.Namespace + "/" + r.Name + "@" + r.Version }

// Value is one JSON document: inline up to [MaxInline] bytes, else a reference to a
// blob of its task. The zero Value means "none".
type Value struct {
	Inline json.RawMessage
	Ref    *BlobRef
}

// Size returns the size of the document in bytes, wherever it lies.
func (v Value) Size() int64 {
	if v.Ref != nil {
		return v.Ref.Size
	}
	return int64(len(v.Inline))
}

// BlobRef refers to a large value of the same task.
type BlobRef struct {
	N      uint32 // blob number in the task: see [InputBlob], [ResultBlob] and [StepInputBlob]
	Size   int64  // bytes
	SHA256 string // hex
}

// InputBlob is the blob number of a task's input.
const InputBlob uint32 = 0

// ResultBlob returns the blob number of a step's results.
func ResultBlob(o Ordinal) uint32 { return uint32(o) + 1 }

// firstInputBlob is the blob number of the first step's own input.
const firstInputBlob uint32 = 1 << 31

// StepInputBlob returns the blob number of the input that a step makes for itself.
func StepInputBlob(o Ordinal) uint32 { return firstInputBlob + uint32(o) }

// BlobStep returns the step that a blob number belongs to, and whether it is the step's
// input and not its results. false for the task's input.
func BlobStep(n uint32) (o Ordinal, input, ok bool) {
	switch {
	case n >= firstInputBlob:
		return Ordinal(n - firstInputBlob), true, true
	case n > InputBlob:
		return Ordinal(n - 1), false, true
	default:
		return 0, false, false
	}
}

// Spec is what a task was asked to do; it never changes after creation.
type Spec struct {
	ID            ID
	Template      TemplateRef
	Input         Value
	InputHash     string // SHA-256 of the input in hex, for idempotency keys
	CorrelationID string
	// CorrelationSet says that the caller chose the correlation id, so that it is indexed.
	CorrelationSet bool
	Initiator      string
	SourceSystem   string
	Reason         string
	Tags           []string // sorted, unique
	Priority       int32    // higher is claimed first; 0 is normal
	Bypass         []StepName
	Deadline       time.Time // zero = none
	CreatedAt      time.Time
	IdempotencyKey string        // empty = every request is distinct
	KeyTTL         time.Duration // how long the key outlives creation at least
	// Traceparent and Tracestate are the W3C trace context that the creator gave. Empty =
	// the task begins a trace.
	Traceparent, Tracestate string
}

// StopKind is why a task is winding down before its steps are done.
type StopKind string

// The reasons to wind down.
const (
	StopCancel   StopKind = "cancel"            // somebody cancelled it: ends cancelled
	StopFailFast StopKind = "fail_fast"         // a step failed and on_failure is fail_fast: ends error
	StopDeadline StopKind = "deadline_exceeded" // its deadline passed: ends error
)

// Stop records that a task is winding down.
type Stop struct {
	Kind   StopKind
	At     time.Time
	By     string // who asked, may be empty
	Reason string // free text, may be empty
}

// Task is one run of a template with all its steps, in the template's order.
type Task struct {
	Spec

	Status      Status
	Stop        *Stop // nil while it runs normally
	Failure     *Failure
	StartedAt   time.Time
	CompletedAt time.Time // when it became terminal
	UpdatedAt   time.Time // the time of its last transition
	// Resolution is set when an operator closed the task by hand.
	Resolution *Resolution
	// DeadlineSpent says that the deadline has stopped the task once and an operator's
	// retry set it aside.
	DeadlineSpent bool

	// Revision counts the write sets of the task; each carries the revision it expects.
	Revision uint64
	// Seq is the task_seq of its last event: dense, from 1.
	Seq uint64

	Steps []Step
}

// Resolution says who closed a step or a task by hand, and why.
type Resolution struct {
	By     string
	Reason string
	At     time.Time
}

// Step is one node of a task.
type Step struct {
	Ordinal Ordinal
	Name    StepName
	Status  StepStatus

	Attempts uint32 // starts, never reset
	Failures uint32 // failed and timed-out attempts since the last operator's retry
	Losses   uint32 // attempts lost to their instance since the last operator's retry
	Round    uint32 // how often an operator has begun it anew after it had ended

	// Settings are resolved and stored by the first claim; nil before.
	Settings *Settings
	Attempt  *Attempt // the current or last attempt; nil before the first claim

	StartedAt   time.Time // the first claim since the last operator's retry
	CompletedAt time.Time // when it became terminal
	// ReadyAt is set where readiness cannot be derived from the dependencies' ends: an
	// operator's retry, a resume. Zero otherwise, and from the next claim on.
	ReadyAt time.Time
	RetryAt time.Time // with waiting_for_retry: not before
	// HoldUntil keeps the next attempt from being claimed while a timed-out one may still
	// work (rule S8); cleared when that one answers or is lost.
	HoldUntil time.Time

	Results Value
	Failure *Failure // the last failure, kept after success and when skipped as optional
	// Note is why the step is cancelled, skipped or waiting: a code of this package.
	Note       string
	Resolution *Resolution

	// Late is the last result that came after its attempt was closed (never applied);
	// LateCount counts them.
	Late      *LateResult
	LateCount uint32

	// HasCheckpoint says that the store may hold a checkpoint of the step.
	HasCheckpoint bool
}

// Notes of steps that are skipped or waiting.
const (
	NoteBypassed = "bypassed" // named in bypass_steps
	NoteOptional = "optional" // optional, and its attempts are exhausted
	NoteParked   = "parked"   // its attempt was lost and on_crash is park
	NoteWhen     = "when"     // its condition was false
	// NoteWhenDependencies: all its dependencies were skipped by their conditions.
	NoteWhenDependencies = "when_dependencies"
)

// Attempt is one execution of a step by a handler.
type Attempt struct {
	Number    uint32
	Status    AttemptStatus
	Epoch     uint64 // the writer's epoch at the claim: a later epoch means it is lost
	Instance  string // the plugin instance, "plugin#n"
	StartedAt time.Time
	EndedAt   time.Time
	Failure   *Failure // unless running or succeeded
	// Input is what the step's mapping made; it is the same for all attempts. The zero Value
	// means the task's input.
	Input Value
	// BeatAt is when the attempt was last heard of; not stored.
	BeatAt time.Time
}

// LateResult is an answer that came too late to count.
type LateResult struct {
	Number  uint32 // of the attempt that it answers
	Outcome string // "succeeded" or "failed"; "emitted" when it was custom events
	At      time.Time
}

// OnCrash is what follows the loss of an attempt.
type OnCrash string

// The answers to a lost attempt (rule R5).
const (
	OnCrashRetry OnCrash = "retry"
	OnCrashFail  OnCrash = "fail"
	OnCrashPark  OnCrash = "park"
)

// Settings are the effective settings of a step: step > template defaults > plugin
// manifest > host. Zero durations mean no limit.
type Settings struct {
	HandlerVersion   uint32        `json:"handler_version,omitempty"`
	PluginVersion    string        `json:"plugin_version,omitempty"`
	Retry            Retry         `json:"retry"`
	Retryable        bool          `json:"retryable"`
	Timeout          time.Duration `json:"timeout,omitempty"`
	HeartbeatTimeout time.Duration `json:"heartbeat_timeout,omitempty"`
	ScheduleToStart  time.Duration `json:"schedule_to_start,omitempty"`
	TotalTimeout     time.Duration `json:"total_timeout,omitempty"`
	CancelGrace      time.Duration `json:"cancel_grace,omitempty"`
	OnCrash          OnCrash       `json:"on_crash"`
}

// Idempotency is what a handler declares about running twice.
type Idempotency string

// What a handler may declare.
const (
	IdempotentYes   Idempotency = "yes"   // running again is harmless
	IdempotentKeyed Idempotency = "keyed" // harmless with the idempotency key (the default)
	IdempotentNo    Idempotency = "no"    // a lost attempt parks the step
)

// Offer is what a plugin's manifest says about one handler; zero fields say nothing.
type Offer struct {
	Plugin           string
	PluginVersion    string
	Handler          string
	Version          uint32 // >= 1
	Description      string
	Retry            *Retry
	Timeout          time.Duration
	HeartbeatTimeout time.Duration
	Idempotent       Idempotency
	MaxConcurrency   int // 0 = the plugin's
	Results          ResultsWanted
}

// ResultsWanted is which dependency results a handler wants with an attempt.
type ResultsWanted string

// What a handler may want.
const (
	ResultsAll  ResultsWanted = "all" // of every direct dependency (the default)
	ResultsNone ResultsWanted = "none"
)

// DependencyResult is the result of a step that an attempt's step depends on; a
// skipped step has the zero Value.
type DependencyResult struct {
	Step    StepName
	Ordinal Ordinal
	Status  StepStatus
	Value   Value
}

// Assignment is everything an instance needs to execute one attempt.
type Assignment struct {
	ID               AttemptID
	Template         TemplateRef
	Step             StepName
	Handler          HandlerRef // with the resolved version
	Limit            uint32     // the retry limit
	IdempotencyKey   string
	Input            Value
	OwnInput         bool // Input was made by the step's mapping
	Config           json.RawMessage
	Results          []DependencyResult
	Checkpoint       json.RawMessage // the last checkpoint of an earlier attempt
	Timeout          time.Duration
	HeartbeatTimeout time.Duration
	Tags             []string
	CorrelationID    string
	Previous         *Failure // of the attempt before
	Suspect          bool     // another loss fails the step for good: the instance holds nothing else
	// Traceparent and Tracestate are the task's; Round is the step's.
	Traceparent, Tracestate string
	Round                   uint32
}

// ReportKind is what an instance says about an attempt.
type ReportKind uint8

// The kinds of reports.
const (
	ReportHeartbeat ReportKind = iota + 1 // the attempt is alive
	ReportSucceeded                       // final: Output holds the results
	ReportFailed                          // final: Failure says why
	ReportEmitted                         // the attempt goes on: Emits are recorded at once
)

// Report is what an instance says about one attempt. Exactly one final report ends
// an attempt; what comes after it is a late result.
type Report struct {
	ID       AttemptID
	Instance string
	Kind     ReportKind

	Output  json.RawMessage // empty, or one JSON document in valid UTF-8: who makes a report sees to it
	Failure *Failure

	Progress   float64 // 0 to 1, with heartbeats
	Note       string
	Checkpoint json.RawMessage // nil = none with this heartbeat

	// Emits are custom events: with success recorded in its transaction if it is applied.
	Emits []Emit
	// Stored is called once the events of a [ReportEmitted] are recorded, or never will be.
	// nil = nobody waits.
	Stored func()
}

// Emit is one custom event that an attempt emitted; its plugin declared it and its
// payload fits the declared schema.
type Emit struct {
	Name    string // "orders.shipped"
	Payload json.RawMessage
}

// Limits of the custom events of one result.
const (
	MaxEmits     = 1000    // events
	MaxEmitBytes = 1 << 20 // of all their payloads
)

// LossCause is why attempts ended without a result.
type LossCause string

// The causes of losses; only those that are the instance's own doing count against a
// step (rule R1).
const (
	LossCrashed  LossCause = "crashed" // the process died
	LossHung     LossCause = "hung"    // the process was silent and was killed
	LossDrained  LossCause = "drained" // stopped on purpose before it answered
	LossHostDied LossCause = "host_died"
	LossUnsent   LossCause = "unsent" // no instance ever got it: nothing ran
)

// Counts reports whether a loss of this cause counts against the step.
func (c LossCause) Counts() bool { return c == LossCrashed || c == LossHung }

// Ran reports whether the handler may have begun to work on an attempt that was lost
// for this cause; one that never ran is simply started again, whatever on_crash says.
func (c LossCause) Ran() bool { return c != LossUnsent }
