package task

import (
	"encoding/json"
	"time"
)

// Derived is the status of a task as the sum of its steps (rule S6): the first that
// matches.
type Derived string

// The derived statuses, in the order in which they are tried.
const (
	DerivedBlocked         Derived = "blocked_by_failures"      // nothing can run any more and something failed
	DerivedProcessing      Derived = "processing"               // an attempt is running
	DerivedReady           Derived = "has_ready_steps"          // a step could be claimed
	DerivedWaiting         Derived = "waiting"                  // a step waits for an operator
	DerivedWaitingForRetry Derived = "waiting_for_retry"        // a step is in backoff
	DerivedComplete        Derived = "all_complete"             // every step is done
	DerivedDependencies    Derived = "waiting_for_dependencies" // none of these
)

// Health is how a task is doing, for dashboards.
type Health string

// The healths.
const (
	HealthOK       Health = "ok"       // progresses or is done
	HealthWaiting  Health = "waiting"  // waits for a time, a slot or an operator
	HealthDegraded Health = "degraded" // progresses, but something has failed
	HealthBlocked  Health = "blocked"  // cannot go on without somebody
)

// ReasonCode is the machine-readable reason why a step is not running (rule S7).
type ReasonCode string

// The reasons.
const (
	ReasonBlocked         ReasonCode = "blocked_by"          // a dependency failed or was cancelled
	ReasonDependencies    ReasonCode = "waiting_for"         // dependencies have not ended yet
	ReasonNoPlugin        ReasonCode = "no_plugin"           // no plugin of that name is installed
	ReasonNoHandler       ReasonCode = "no_handler"          // the plugin does not offer the handler
	ReasonPluginDown      ReasonCode = "plugin_down"         // the plugin is not ready
	ReasonNoSlot          ReasonCode = "no_slot"             // every slot of the plugin is taken
	ReasonRetry           ReasonCode = "retry"               // in backoff until Until
	ReasonHold            ReasonCode = "old_attempt_running" // a timed-out attempt may still work
	ReasonParked          ReasonCode = "parked"              // lost, waits for an operator
	ReasonPaused          ReasonCode = "task_paused"
	ReasonStopping        ReasonCode = "task_stopping"
	ReasonNoHost          ReasonCode = "no_host" // no host is running
	ReasonReady           ReasonCode = "ready"   // about to be claimed
	ReasonFailed          ReasonCode = "failed"
	ReasonCancelledByStop ReasonCode = "cancelled"
	ReasonSkipped         ReasonCode = "skipped"
)

// Reason says why a step is not running. Derived when asked for, never stored.
type Reason struct {
	Code   ReasonCode
	Text   string    // a sentence for people
	Remedy string    // the next command to type; empty = nothing to do
	On     []string  // what it is about: step names, a plugin, a handler
	Since  time.Time // zero = unknown
	Until  time.Time // zero = open
}

// View is a task as readers see it: one consistent snapshot.
type View struct {
	Spec

	Status      Status
	Derived     Derived
	Health      Health
	Action      string // recommended action, empty = none
	Stop        *Stop
	Failure     *Failure
	Resolution  *Resolution
	StartedAt   time.Time
	CompletedAt time.Time
	UpdatedAt   time.Time
	Revision    uint64
	Seq         uint64
	Steps       []StepView
}

// StepView is a step as readers see it.
type StepView struct {
	Step

	Handler   HandlerRef
	DependsOn []StepName
	Join      string // all, or any: one of DependsOn is enough
	Optional  bool
	Limit     uint32  // the retry limit in force
	Reason    *Reason // nil while running and when complete
	// Progress and ProgressNote come from the last heartbeat that was stored.
	Progress     float64
	ProgressNote string
	// Output is the results as JSON, fetched where they lie in a blob; nil = none.
	Output json.RawMessage
	// Input is what the step's mapping made for its last attempt, fetched likewise; nil =
	// the task's input, or no attempt yet.
	Input json.RawMessage
	// Config is the step's config as the template has it; nil = none.
	Config json.RawMessage
}
