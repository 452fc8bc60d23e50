package task

import (
	"fmt"
	"slices"
	"strings"
)

// Status is the status of a task.
type Status string

// The statuses of a task.
const (
	Pending          Status = "pending"           // created, no step was claimed yet
	InProgress       Status = "in_progress"       // a step was claimed, or an operator resumed it
	Paused           Status = "paused"            // an operator holds it: nothing new is claimed
	Complete         Status = "complete"          // every step is complete, resolved_manually or skipped
	Error            Status = "error"             // nothing can run any more and something failed
	Cancelled        Status = "cancelled"         // cancel was requested and everything has stopped
	ResolvedManually Status = "resolved_manually" // an operator closed a failed task by hand
)

// Statuses lists every task status in the order of the life of a task.
func Statuses() []Status {
	return []Status{Pending, InProgress, Paused, Complete, Error, Cancelled, ResolvedManually}
}

// Terminal reports whether a task in this status is finished. Only an operator's
// retry or resolve leaves a terminal status, and only [Error].
func (s Status) Terminal() bool {
	return s == Complete || s == Error || s == Cancelled || s == ResolvedManually
}

// StepStatus is the status of a step.
type StepStatus string

// The statuses of a step.
const (
	StepPending          StepStatus = "pending"           // blocked, or ready and not yet claimed
	StepInProgress       StepStatus = "in_progress"       // an attempt is running
	StepWaitingForRetry  StepStatus = "waiting_for_retry" // the next attempt may be claimed from RetryAt on
	StepWaiting          StepStatus = "waiting"           // parked: waits for an operator
	StepComplete         StepStatus = "complete"          // an attempt succeeded
	StepError            StepStatus = "error"             // exhausted or failed permanently
	StepCancelled        StepStatus = "cancelled"         // stopped by a cancel, fail_fast or the task's deadline
	StepResolvedManually StepStatus = "resolved_manually" // an operator supplied the result
	StepSkipped          StepStatus = "skipped"           // by design: bypassed, not taken, or optional and exhausted
)

// StepStatuses lists every step status in the order of the life of a step.
func StepStatuses() []StepStatus {
	return []StepStatus{
		StepPending, StepInProgress, StepWaitingForRetry, StepWaiting,
		StepComplete, StepError, StepCancelled, StepResolvedManually, StepSkipped,
	}
}

// Terminal reports whether a step in this status is finished.
func (s StepStatus) Terminal() bool {
	return s.Satisfies() || s == StepError || s == StepCancelled
}

// Satisfies reports whether a dependency in this status lets its dependants run
// (rule S2: complete, resolved_manually or skipped).
func (s StepStatus) Satisfies() bool {
	return s == StepComplete || s == StepResolvedManually || s == StepSkipped
}

// AttemptStatus is the status of one attempt; once it is not [AttemptRunning] it
// never changes.
type AttemptStatus string

// The statuses of an attempt.
const (
	AttemptRunning   AttemptStatus = "running"
	AttemptSucceeded AttemptStatus = "succeeded"
	AttemptFailed    AttemptStatus = "failed"
	AttemptTimedOut  AttemptStatus = "timed_out"
	AttemptCancelled AttemptStatus = "cancelled"
	AttemptLost      AttemptStatus = "lost" // its instance or host went away without a result
)

// StepTransition is a row of the step transition table: the only way a step's
// status changes.
type StepTransition struct {
	Name string       // unique, an operator's or the engine's verb
	From []StepStatus // statuses it may leave
	To   StepStatus
	// Events are recorded in the transition's transaction, in this order. Each has
	// exactly one publishing method.
	Events []string
}

// The names of the step transitions.
const (
	StepClaim           = "claim"
	StepSucceed         = "succeed"
	StepFailRetry       = "fail_retry"
	StepFailPermanent   = "fail_permanent"
	StepFailLimit       = "fail_limit"
	StepFailOptional    = "fail_optional"
	StepFailLimitOption = "fail_limit_optional"
	StepExpire          = "expire"
	StepExpireOptional  = "expire_optional"
	StepLoseRetry       = "lose_retry"
	StepLoseFail        = "lose_fail"
	StepLoseOptional    = "lose_optional"
	StepLosePark        = "lose_park"
	StepLoseCancel      = "lose_cancel"
	StepBypass          = "bypass"
	StepSkip            = "skip"
	StepRefuse          = "refuse"
	StepRefuseOptional  = "refuse_optional"
	StepCancel          = "cancel"
	StepRetry           = "retry"
	StepRetryParked     = "retry_parked"
	StepResolve         = "resolve"
)

// StepTransitions is the transition table of steps.
//
//	pending ----claim----> in_progress --succeed--> complete
//	   ^  \                  |  |  |  `--fail_permanent, fail_limit, lose_fail--> error
//	   |   `--bypass, skip-> |  |  `--fail_optional, ..., lose_optional--> skipped
//	   |     skipped         |  `--lose_park--> waiting (an operator decides)
//	   |                     `--fail_retry, lose_retry--> waiting_for_retry --claim--> in_progress
//	   `--retry-- error, cancelled          error, cancelled, waiting --resolve--> resolved_manually
//
// A step whose retry is due is claimed straight from waiting_for_retry. cancel leads
// from every non-terminal status to cancelled, as lose_cancel does when the attempt of a
// step that is to stop is lost; expire (a time limit passed while the step was not
// running) and refuse (its condition or its input cannot be made) lead to error. skip is
// what a condition that is false does.
func StepTransitions() []StepTransition { return slices.Clone(stepTransitions) }

// stepTransitions is made once, because every change of a status looks into it, and
// never changed.
var stepTransitions = func() []StepTransition {
	idle := []StepStatus{StepPending, StepWaitingForRetry}
	running := []StepStatus{StepInProgress}
	return []StepTransition{
		{StepClaim, idle, StepInProgress, []string{"step.started"}},
		{StepSucceed, running, StepComplete, []string{"step.completed"}},
		{StepFailRetry, running, StepWaitingForRetry, []string{"step.failed", "step.retry_scheduled"}},
		{StepFailPermanent, running, StepError, []string{"step.failed"}},
		{StepFailLimit, running, StepError, []string{"step.failed", "step.max_retries_reached"}},
		{StepFailOptional, running, StepSkipped, []string{"step.failed", "step.skipped"}},
		{StepFailLimitOption, running, StepSkipped, []string{"step.failed", "step.max_retries_reached", "step.skipped"}},
		{StepExpire, idle, StepError, []string{"step.failed"}},
		{StepExpireOptional, idle, StepSkipped, []string{"step.failed", "step.skipped"}},
		{StepLoseRetry, running, StepWaitingForRetry, []string{"step.attempt_lost", "step.retry_scheduled"}},
		{StepLoseFail, running, StepError, []string{"step.attempt_lost", "step.failed"}},
		{StepLoseOptional, running, StepSkipped, []string{"step.attempt_lost", "step.failed", "step.skipped"}},
		{StepLosePark, running, StepWaiting, []string{"step.attempt_lost", "step.waiting"}},
		{StepLoseCancel, running, StepCancelled, []string{"step.attempt_lost", "step.cancelled"}},
		{StepBypass, []StepStatus{StepPending}, StepSkipped, []string{"step.skipped"}},
		{StepSkip, []StepStatus{StepPending}, StepSkipped, []string{"step.skipped"}},
		{StepRefuse, idle, StepError, []string{"step.failed"}},
		{StepRefuseOptional, idle, StepSkipped, []string{"step.failed", "step.skipped"}},
		{
			StepCancel,
			[]StepStatus{StepPending, StepWaitingForRetry, StepWaiting, StepInProgress},
			StepCancelled,
			[]string{"step.cancelled"},
		},
		{StepRetry, []StepStatus{StepError, StepCancelled}, StepPending, []string{"step.retry_requested"}},
		{StepRetryParked, []StepStatus{StepWaiting}, StepPending, []string{"step.retry_requested", "step.resumed"}},
		{
			StepResolve,
			[]StepStatus{StepError, StepCancelled, StepWaiting},
			StepResolvedManually,
			[]string{"step.resolved_manually"},
		},
	}
}()

// TaskTransition is a row of the task transition table.
type TaskTransition struct {
	Name   string
	From   []Status // nil for creation: there is none before it
	To     Status   // empty when the status stays as it is
	Events []string
}

// The names of the task transitions.
const (
	TaskCreate        = "create"
	TaskStart         = "start"
	TaskFinish        = "complete"
	TaskFail          = "fail"
	TaskRequestCancel = "request_cancel"
	TaskCancel        = "cancel"
	TaskPause         = "pause"
	TaskResume        = "resume"
	TaskReopen        = "reopen"
	TaskRetry         = "retry"
	TaskResolve       = "resolve"
)

// TaskTransitions is the transition table of tasks.
//
//	(create) -> pending --start--> in_progress --complete--> complete
//	               |                 ^  |  |   `--fail--> error --retry, reopen--> in_progress
//	             pause          resume  |  `--cancel--> cancelled
//	               |                 |  |               error --resolve--> resolved_manually
//	               `---> paused -----'  |
//	                       ^---pause----'
//
// A task also ends from pending and from paused: when all its steps were bypassed, or
// when what ran before the pause was all there was to do or failed. start comes with the
// first claim, also when the task was paused and resumed before it. request_cancel
// changes no status: it records the wish, and the task is cancelled when its running
// steps have stopped. reopen is what retrying or resolving a single step does to a
// failed task.
func TaskTransitions() []TaskTransition { return slices.Clone(taskTransitions) }

// taskTransitions is made once and never changed.
var taskTransitions = func() []TaskTransition {
	open := []Status{Pending, InProgress, Paused}
	return []TaskTransition{
		{TaskCreate, nil, Pending, []string{"task.initialized"}},
		{TaskStart, []Status{Pending, InProgress}, InProgress, []string{"task.started"}},
		{TaskFinish, open, Complete, []string{"task.completed"}},
		{TaskFail, open, Error, []string{"task.failed"}},
		{TaskRequestCancel, open, "", []string{"task.cancel_requested"}},
		{TaskCancel, open, Cancelled, []string{"task.cancelled"}},
		{TaskPause, []Status{Pending, InProgress}, Paused, []string{"task.paused"}},
		{TaskResume, []Status{Paused}, InProgress, []string{"task.resumed"}},
		{TaskReopen, []Status{Error}, InProgress, nil},
		{TaskRetry, []Status{Error}, InProgress, []string{"task.retry_requested"}},
		{TaskResolve, []Status{Error}, ResolvedManually, []string{"task.resolved_manually"}},
	}
}()

// CheckStep returns an error wrapping [ErrTransition] unless the named step
// transition may leave the status from. It is the one guard of every path.
func CheckStep(name string, from StepStatus) (StepTransition, error) {
	for _, t := range stepTransitions {
		if t.Name != name {
			continue
		}
		if slices.Contains(t.From, from) {
			return t, nil
		}
		return t, fmt.Errorf("cannot %s a step that is %s: %w", name, from, ErrTransition)
	}
	return StepTransition{}, fmt.Errorf("step transition %q: %w", name, ErrTransition)
}

// CheckTask is [CheckStep] for tasks.
func CheckTask(name string, from Status) (TaskTransition, error) {
	for _, t := range taskTransitions {
		if t.Name != name {
			continue
		}
		if t.From == nil || slices.Contains(t.From, from) {
			return t, nil
		}
		return t, fmt.Errorf("cannot %s a task that is %s: %w", strings.TrimPrefix(name, "request_"), from, ErrTransition)
	}
	return TaskTransition{}, fmt.Errorf("task transition %q: %w", name, ErrTransition)
}
