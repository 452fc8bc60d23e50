package event

import (
	"encoding/json"
	"time"
)

// Task is the part that all events about a task share.
type Task struct {
	TaskID        string `json:"task_id" doc:"id of the task, a ULID"`
	Namespace     string `json:"namespace" doc:"of the template"`
	Template      string `json:"template" doc:"name of the template"`
	Version       string `json:"version" doc:"of the template"`
	CorrelationID string `json:"correlation_id" doc:"what belongs together across systems; given with the task, else its id"`
}

// TaskInitialized is recorded when a task is created.
type TaskInitialized struct {
	Task

	Input        json.RawMessage `json:"input,omitempty" doc:"what the task works on, up to 64 KiB"`
	InputRef     *Ref            `json:"input_ref,omitempty" doc:"stands in for a larger input"`
	Steps        int             `json:"steps" doc:"how many steps the task has"`
	Initiator    string          `json:"initiator,omitempty" doc:"who created the task"`
	SourceSystem string          `json:"source_system,omitempty" doc:"where the request came from"`
	Reason       string          `json:"reason,omitempty" doc:"why the task was created"`
	Tags         []string        `json:"tags,omitempty" doc:"given with the task"`
	Priority     int32           `json:"priority,omitempty" doc:"0 unless given; higher goes first"`
	Deadline     time.Time       `json:"deadline,omitzero" doc:"when the task fails if it has not ended"`
}

// TaskStarted is recorded with the first claim of one of the task's steps.
type TaskStarted struct {
	Task

	StartedAt time.Time `json:"started_at" doc:"when the first step was claimed"`
}

// TaskEnded is the part that the events about the end of a task share.
type TaskEnded struct {
	Task

	StartedAt     time.Time `json:"started_at,omitzero" doc:"when the first step was claimed; absent when none was"`
	CompletedAt   time.Time `json:"completed_at" doc:"when the task ended"`
	TotalDuration Seconds   `json:"total_duration" doc:"seconds from creation to end"`
	Totals        Totals    `json:"totals" doc:"number of steps by status; statuses without steps are absent"`
}

// TaskCompleted is recorded when every step is done.
type TaskCompleted struct{ TaskEnded }

// FailedStep names a step that failed and why.
type FailedStep struct {
	Error

	StepName string `json:"step_name" doc:"name of the step in the template"`
	Attempts uint32 `json:"attempts" doc:"how many were started"`
}

// TaskFailed is recorded when nothing can run any more and something failed.
type TaskFailed struct {
	TaskEnded

	Reason      string       `json:"reason,omitempty" doc:"fail_fast or deadline_exceeded; absent when it is only that steps failed"`
	FailedSteps []FailedStep `json:"failed_steps" doc:"those that failed, at most 128"`

	WorkflowState *WorkflowState `json:"workflow_state,omitempty" doc:"how the task stands"`
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

	Totals Totals `json:"totals" doc:"number of steps by status; statuses without steps are absent"`
}

// TaskResumed is recorded when an operator lets a held task go on.
type TaskResumed struct {
	Task
	Operator
}

// TaskRetryRequested is recorded when an operator retries a failed task; each of its
// failed steps gets a step.retry_requested too.
type TaskRetryRequested struct {
	Task
	Operator

	Steps []string `json:"steps" doc:"names of the steps that will run again"`
}

// TaskResolvedManually is recorded when an operator closes a failed task by hand.
type TaskResolvedManually struct {
	TaskEnded
	Operator
}

func exampleState() *WorkflowState {
	return &WorkflowState{
		Counts: Totals{"error": 1, "pending": 2},
		Steps: []StepState{
			{Name: "charge", Status: "error", Attempts: 3, ErrorCode: exampleError().Code},
			{Name: "pack", Status: "pending", Blocked: true},
			{Name: "ship", Status: "pending", Blocked: true},
		},
	}
}

func taskEvents() []declaration {
	order, ended, operator := exampleTask(), exampleEnd("complete", 3), exampleOperator()
	failed := exampleEnd("error", 1)
	failed.Totals["pending"] = 2
	return []declaration{
		{
			payload: TaskInitialized{
				Task: order, Input: json.RawMessage(`{"order":4711}`), Steps: 3, Initiator: "ann", SourceSystem: "web",
				Reason: "new order", Tags: []string{"eu"}, Priority: 3, Deadline: exampleTime().Add(time.Hour),
			},
			description: "Recorded when a task is created.",
			firedBy:     engine, frequency: "once per task",
		},
		{
			payload:     TaskStarted{Task: order, StartedAt: exampleTime()},
			description: "Recorded with the first claim of one of the task's steps.",
			firedBy:     engine, frequency: "at most once per task",
		},
		{
			payload:     TaskCompleted{ended},
			description: "Recorded when every step is done.",
			firedBy:     engine, frequency: "at most once per task",
		},
		{
			payload: TaskFailed{
				TaskEnded: failed, FailedSteps: []FailedStep{{Error: exampleError(), StepName: "charge", Attempts: 3}},
				WorkflowState: exampleState(),
			},
			description: "Recorded when nothing can run any more and something failed.",
			firedBy:     engine, frequency: "each time a task fails: again after an operator's retry",
		},
		{
			payload:     TaskCancelRequested{Task: order, Operator: operator},
			description: "Recorded when somebody asks to cancel a task.",
			firedBy:     engine, frequency: "at most once per task",
		},
		{
			payload:     TaskCancelled{TaskEnded: exampleEnd("cancelled", 3), Operator: operator},
			description: "Recorded when a task whose cancellation was asked for has stopped.",
			firedBy:     engine, frequency: "at most once per task",
		},
		{
			payload:     TaskPaused{Task: order, Operator: operator, Totals: Totals{"complete": 1, "pending": 2}},
			description: "Recorded when an operator holds a task.",
			firedBy:     engine, frequency: "once per pause",
		},
		{
			payload:     TaskResumed{Task: order, Operator: operator},
			description: "Recorded when an operator lets a held task go on.",
			firedBy:     engine, frequency: "once per resume",
		},
		{
			payload:     TaskRetryRequested{Task: order, Operator: operator, Steps: []string{"charge"}},
			description: "Recorded when an operator retries a failed task; each of its failed steps gets a step.retry_requested too.",
			firedBy:     engine, frequency: "once per operator's retry of a task",
		},
		{
			payload:     TaskResolvedManually{TaskEnded: exampleEnd("resolved_manually", 1), Operator: operator},
			description: "Recorded when an operator closes a failed task by hand.",
			firedBy:     engine, frequency: "at most once per task",
		},
	}
}
