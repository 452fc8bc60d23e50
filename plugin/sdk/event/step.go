package event

import (
	"encoding/json"
	"time"
)

// Step is the part that all events about a step share.
type Step struct {
	Task

	StepID        string    `json:"step_id" doc:"id of the task, a slash, and the step's place in the template from 0"`
	StepName      string    `json:"step_name" doc:"name of the step in the template"`
	Handler       string    `json:"handler" doc:"who carries it out: plugin/handler, and @version once one is chosen"`
	AttemptNumber uint32    `json:"attempt_number" doc:"of the current or last attempt, 0 before the first"`
	RetryLimit    uint32    `json:"retry_limit" doc:"how many failures the step may have; in force since the first attempt, 0 before it"`
	StartedAt     time.Time `json:"started_at,omitzero" doc:"when the attempt started"`
	CompletedAt   time.Time `json:"completed_at,omitzero" doc:"when the attempt ended"`
	Round         uint32    `json:"round,omitempty" doc:"how often an operator has begun the step anew after it had ended"`
}

// StepStarted is recorded with the claim of an attempt.
type StepStarted struct {
	Step

	Inputs       json.RawMessage `json:"inputs,omitempty" doc:"input of the task, up to 4 KiB"`
	InputsRef    *Ref            `json:"inputs_ref,omitempty" doc:"stands in for a larger input"`
	Dependencies []string        `json:"dependencies,omitempty" doc:"names of the steps whose results the attempt gets"`
	Dependents   []string        `json:"dependents,omitempty" doc:"names of the steps that wait for this one, at most 128"`
	Level        uint32          `json:"level,omitempty" doc:"how many steps lie before this one on the longest way to it"`
	Instance     string          `json:"instance" doc:"process that carries it out: plugin#number"`
}

// StepCompleted is recorded when an attempt succeeded.
type StepCompleted struct {
	Step

	ExecutionDuration Seconds         `json:"execution_duration" doc:"seconds that the attempt took"`
	Results           json.RawMessage `json:"results,omitempty" doc:"what the handler returned, up to 64 KiB"`
	ResultsRef        *Ref            `json:"results_ref,omitempty" doc:"stands in for larger results"`
}

// StepFailed is recorded when an attempt failed or a time limit passed.
type StepFailed struct {
	Step
	Error

	Retryable         bool    `json:"retryable" doc:"whether another attempt could help"`
	Final             bool    `json:"final" doc:"whether no further attempt follows by itself"`
	ExecutionDuration Seconds `json:"execution_duration" doc:"seconds that the attempt took"`

	WorkflowState *WorkflowState `json:"workflow_state,omitempty" doc:"how the task stands, when final; absent in tasks of more than 4096 steps"`
}

// WorkflowState is how a task stands when something in it has failed.
type WorkflowState struct {
	Counts  Totals      `json:"counts" doc:"number of steps by status; statuses without steps are absent"`
	Steps   []StepState `json:"steps" doc:"each step; in tasks of more than 128 those that failed, run or are blocked, at most 128"`
	Omitted int         `json:"omitted,omitempty" doc:"how many steps are not told of one by one"`
}

// StepState is how a step stands.
type StepState struct {
	Name      string `json:"name" doc:"name of the step in the template"`
	Status    string `json:"status" doc:"its status"`
	Attempts  uint32 `json:"attempts,omitempty" doc:"how many were started"`
	ErrorCode string `json:"error_code,omitempty" doc:"of its last failure"`
	Blocked   bool   `json:"blocked,omitempty" doc:"whether a step that it waits for will not let it run"`
}

// StepRetryScheduled is recorded when another attempt will follow.
type StepRetryScheduled struct {
	Step

	PreviousAttempts uint32    `json:"previous_attempts" doc:"how many were started so far"`
	RetryAt          time.Time `json:"retry_at" doc:"when the next attempt may start"`
	Reason           string    `json:"reason" doc:"how the last attempt ended: failed, timed_out or lost"`
	BackoffKind      string    `json:"backoff_kind" doc:"how the pauses grow, as the template says"`
}

// StepMaxRetriesReached is recorded after the last failure that the limit allows.
type StepMaxRetriesReached struct {
	Step

	Failures uint32 `json:"failures" doc:"that count against the limit"`
}

// StepRetryRequested is recorded when an operator retries a step.
type StepRetryRequested struct {
	Step
	Operator

	PreviousStatus string `json:"previous_status" doc:"that the step leaves: error, cancelled or waiting"`
}

// StepCancelled is recorded when a step is stopped or will not run.
type StepCancelled struct {
	Step

	Reason string `json:"reason" doc:"cancel_requested, fail_fast or deadline_exceeded"`
}

// StepResolvedManually is recorded when an operator supplies a step's results.
type StepResolvedManually struct {
	Step
	Operator

	PreviousStatus string          `json:"previous_status" doc:"that the step leaves: error, cancelled or waiting"`
	Results        json.RawMessage `json:"results,omitempty" doc:"what the operator supplied, up to 64 KiB"`
	ResultsRef     *Ref            `json:"results_ref,omitempty" doc:"stands in for larger results"`
}

// StepSkipped is recorded when a step is skipped by design.
type StepSkipped struct {
	Step

	Reason string `json:"reason" doc:"bypassed, optional, when, or when_dependencies: all its dependencies were skipped by their conditions"`
	When   string `json:"when,omitempty" doc:"the condition that was false"`
}

// StepWaiting is recorded when a step waits for an operator.
type StepWaiting struct {
	Step

	Reason string `json:"reason" doc:"parked"`
}

// StepResumed is recorded when a waiting step may run again.
type StepResumed struct{ Step }

// StepAttemptLost is recorded when an attempt ended without a result because its
// instance or host went away. It has an error when the attempt gave one, being stopped,
// or when its loss ended the step.
type StepAttemptLost struct {
	Step
	*Error

	Cause    string `json:"cause" doc:"crashed, hung, drained, host_died or unsent"`
	Instance string `json:"instance" doc:"process that carried it out: plugin#number"`
	Losses   uint32 `json:"losses" doc:"that count against the step so far"`
}

func stepEvents() []declaration {
	running, ended, operator := exampleStep(), exampleStep(), exampleOperator()
	ended.CompletedAt = ended.StartedAt.Add(1500 * time.Millisecond)
	failure := exampleError()
	last := ended
	last.AttemptNumber = 3
	idle := Step{
		Task: exampleTask(), StepID: exampleTask().TaskID + "/2", StepName: "ship", Handler: "shop/ship",
	}
	return []declaration{
		{
			payload: StepStarted{
				Step: running, Inputs: json.RawMessage(`{"order":4711}`), Dependencies: []string{"reserve"},
				Dependents: []string{"ship"}, Level: 1, Instance: "shop#1",
			},
			description: "Recorded with the claim of an attempt.",
			firedBy:     engine, frequency: "once per attempt",
		},
		{
			payload:     StepCompleted{Step: ended, ExecutionDuration: 1.5, Results: json.RawMessage(`{"receipt":"r-17"}`)},
			description: "Recorded when an attempt succeeded.",
			firedBy:     engine, frequency: "at most once per step",
		},
		{
			payload:     StepFailed{Step: ended, Error: failure, Retryable: true, ExecutionDuration: 1.5},
			description: "Recorded when an attempt failed or a time limit passed.",
			firedBy:     engine, frequency: "at most once per attempt; also without one, when a time limit passes",
		},
		{
			payload: StepRetryScheduled{
				Step: ended, PreviousAttempts: 1, RetryAt: ended.CompletedAt.Add(2 * time.Second), Reason: "failed",
				BackoffKind: "exponential",
			},
			description: "Recorded when another attempt will follow.",
			firedBy:     engine, frequency: "at most once per attempt",
		},
		{
			payload:     StepMaxRetriesReached{Step: last, Failures: 3},
			description: "Recorded after the last failure that the limit allows.",
			firedBy:     engine, frequency: "once per step that uses up its failures: again after an operator's retry",
		},
		{
			payload:     StepRetryRequested{Step: last, Operator: operator, PreviousStatus: "error"},
			description: "Recorded when an operator retries a step.",
			firedBy:     engine, frequency: "once per operator's retry of a step",
		},
		{
			payload:     StepCancelled{Step: ended, Reason: "cancel_requested"},
			description: "Recorded when a step is stopped or will not run.",
			firedBy:     engine, frequency: "at most once per step and stop of its task",
		},
		{
			payload: StepResolvedManually{
				Step: last, Operator: operator, PreviousStatus: "error", Results: json.RawMessage(`{"receipt":"by hand"}`),
			},
			description: "Recorded when an operator supplies a step's results.",
			firedBy:     engine, frequency: "at most once per step",
		},
		{
			payload:     StepSkipped{Step: idle, Reason: "bypassed"},
			description: "Recorded when a step is skipped by design.",
			firedBy:     engine, frequency: "at most once per step",
		},
		{
			payload:     StepWaiting{Step: ended, Reason: "parked"},
			description: "Recorded when a step waits for an operator.",
			firedBy:     engine, frequency: "each time a step starts to wait",
		},
		{
			payload:     StepResumed{ended},
			description: "Recorded when a waiting step may run again.",
			firedBy:     engine, frequency: "once per end of a wait by retry",
		},
		{
			payload: StepAttemptLost{Step: ended, Cause: "crashed", Instance: "shop#1", Losses: 1},
			description: "Recorded when an attempt ended without a result because its instance or host went away. " +
				"It has an error when the attempt gave one, being stopped, or when its loss ended the step.",
			firedBy: engine, frequency: "at most once per attempt",
		},
	}
}
