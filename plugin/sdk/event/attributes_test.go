package event_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

func TestCategory(t *testing.T) {
	tests := map[string]struct {
		of   *event.Error
		want event.Category
	}{
		"none":       {nil, ""},
		"timeout":    {&event.Error{Kind: "timeout", Source: "host"}, event.CategoryTimeout},
		"cancelled":  {&event.Error{Kind: "cancelled", Source: "plugin"}, event.CategoryCancelled},
		"downstream": {&event.Error{Kind: "permanent", Source: "downstream"}, event.CategoryDownstream},
		"host":       {&event.Error{Kind: "permanent", Source: "host"}, event.CategoryHost},
		"permanent":  {&event.Error{Kind: "permanent", Source: "plugin"}, event.CategoryPermanent},
		"plugin":     {&event.Error{Kind: "retryable", Source: "plugin"}, event.CategoryPlugin},
		"unknown":    {&event.Error{}, event.CategoryPlugin},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := tt.of.Category(); got != tt.want {
				t.Errorf("category %q, want %q", got, tt.want)
			}
		})
	}
	if got := (event.StepAttemptLost{}).Category(); got != "" {
		t.Errorf("category of a lost attempt without an error %q, want none", got)
	}
}

// TestMetricTags has the status of each event that changes one.
func TestMetricTags(t *testing.T) {
	task := event.Task{TaskID: "t1", Namespace: "shop", Template: "order", Version: "1.2.0", CorrelationID: "c"}
	step := event.Step{Task: task, StepID: "t1/0", StepName: "charge", Handler: "shop/charge@2"}
	ended := event.TaskEnded{Task: task}
	tests := map[string]struct {
		of     interface{ MetricTags() event.Tags }
		status string
	}{
		"task":                   {task, ""},
		"task.paused":            {event.TaskPaused{Task: task}, ""},
		"task.started":           {event.TaskStarted{Task: task}, "in_progress"},
		"task.completed":         {event.TaskCompleted{TaskEnded: ended}, "complete"},
		"task.failed":            {event.TaskFailed{TaskEnded: ended}, "error"},
		"task.cancelled":         {event.TaskCancelled{TaskEnded: ended}, "cancelled"},
		"task.resolved_manually": {event.TaskResolvedManually{TaskEnded: ended}, "resolved_manually"},
		"step":                   {step, ""},
		"step.waiting":           {event.StepWaiting{Step: step}, ""},
		"step.started":           {event.StepStarted{Step: step}, "in_progress"},
		"step.completed":         {event.StepCompleted{Step: step}, "complete"},
		"step.failed":            {event.StepFailed{Step: step}, "error"},
		"step.cancelled":         {event.StepCancelled{Step: step}, "cancelled"},
		"step.resolved_manually": {event.StepResolvedManually{Step: step}, "resolved_manually"},
		"step.skipped":           {event.StepSkipped{Step: step}, "skipped"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			want := event.Tags{"namespace": "shop", "template": "order", "version": "1.2.0"}
			if name[:4] == "step" {
				want["step"], want["handler"] = "charge", "shop/charge@2"
			}
			if tt.status != "" {
				want["status"] = tt.status
			}
			if diff := cmp.Diff(want, tt.of.MetricTags()); diff != "" {
				t.Errorf("tags (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTiming(t *testing.T) {
	at := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	step := event.Step{StartedAt: at, CompletedAt: at.Add(2 * time.Second)}
	tests := map[string]struct {
		of   interface{ Timing() event.Timing }
		want event.Timing
	}{
		"task": {
			event.TaskCompleted{TaskEnded: event.TaskEnded{StartedAt: at, CompletedAt: at.Add(4 * time.Second), TotalDuration: 4.25}},
			event.Timing{Queued: 250 * time.Millisecond, Execution: 4 * time.Second},
		},
		"task that never started": {
			event.TaskCancelled{TaskEnded: event.TaskEnded{CompletedAt: at, TotalDuration: 3}}, event.Timing{Queued: 3 * time.Second},
		},
		"task by a clock that went back": {
			event.TaskFailed{TaskEnded: event.TaskEnded{StartedAt: at, CompletedAt: at.Add(-time.Second), TotalDuration: 1}},
			event.Timing{Queued: time.Second},
		},
		"step.completed":             {event.StepCompleted{Step: step, ExecutionDuration: 1.5}, event.Timing{Execution: 1500 * time.Millisecond}},
		"step.failed":                {event.StepFailed{Step: step, ExecutionDuration: 1.5}, event.Timing{Execution: 1500 * time.Millisecond}},
		"step.failed, no duration":   {event.StepFailed{Step: step}, event.Timing{Execution: 2 * time.Second}},
		"step.waiting":               {event.StepWaiting{Step: step}, event.Timing{Execution: 2 * time.Second}},
		"step.skipped, never begun":  {event.StepSkipped{}, event.Timing{}},
		"step.attempt_lost, started": {event.StepAttemptLost{Step: event.Step{StartedAt: at}}, event.Timing{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := tt.of.Timing()
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("timing (-want +got):\n%s", diff)
			}
			if want := tt.want.Queued + tt.want.Execution; got.Total() != want {
				t.Errorf("total %s, want %s", got.Total(), want)
			}
		})
	}
}
