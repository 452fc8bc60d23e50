package task_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/task"
)

// TestStepTransitions walks every pair of statuses: the rows written here once more, by
// hand, are exactly the moves that the table allows.
func TestStepTransitions(t *testing.T) {
	want := map[task.StepStatus]map[task.StepStatus]string{
		task.StepPending: {
			task.StepInProgress: "claim", task.StepSkipped: "bypass expire_optional refuse_optional skip",
			task.StepError: "expire refuse", task.StepCancelled: "cancel",
		},
		task.StepInProgress: {
			task.StepComplete:        "succeed",
			task.StepWaitingForRetry: "fail_retry lose_retry",
			task.StepError:           "fail_limit fail_permanent lose_fail",
			task.StepSkipped:         "fail_limit_optional fail_optional lose_optional",
			task.StepWaiting:         "lose_park",
			task.StepCancelled:       "cancel lose_cancel",
		},
		task.StepWaitingForRetry: {
			task.StepInProgress: "claim", task.StepError: "expire refuse", task.StepSkipped: "expire_optional refuse_optional",
			task.StepCancelled: "cancel",
		},
		task.StepWaiting: {
			task.StepPending: "retry_parked", task.StepResolvedManually: "resolve", task.StepCancelled: "cancel",
		},
		task.StepError:     {task.StepPending: "retry", task.StepResolvedManually: "resolve"},
		task.StepCancelled: {task.StepPending: "retry", task.StepResolvedManually: "resolve"},
	}
	for _, from := range task.StepStatuses() {
		for _, to := range task.StepStatuses() {
			var got []string
			for _, row := range task.StepTransitions() {
				if row.To == to && slices.Contains(row.From, from) {
					got = append(got, row.Name)
				}
			}
			slices.Sort(got)
			if got := strings.Join(got, " "); got != want[from][to] {
				t.Errorf("from %s to %s: rows %q, want %q", from, to, got, want[from][to])
			}
		}
	}
}

func TestTaskTransitions(t *testing.T) {
	open := map[task.Status]string{
		task.Complete: "complete", task.Error: "fail", task.Cancelled: "cancel", "": "request_cancel",
	}
	want := map[task.Status]map[task.Status]string{
		task.Pending:    {task.InProgress: "start", task.Paused: "pause"},
		task.InProgress: {task.Paused: "pause", task.InProgress: "start"},
		task.Paused:     {task.InProgress: "resume"},
		task.Error:      {task.InProgress: "reopen retry", task.ResolvedManually: "resolve"},
	}
	for _, from := range []task.Status{task.Pending, task.InProgress, task.Paused} {
		maps.Copy(want[from], open)
	}
	for _, from := range task.Statuses() {
		for _, to := range append(task.Statuses(), "") {
			var got []string
			for _, row := range task.TaskTransitions() {
				if row.To == to && slices.Contains(row.From, from) {
					got = append(got, row.Name)
				}
			}
			slices.Sort(got)
			if got := strings.Join(got, " "); got != want[from][to] {
				t.Errorf("from %s to %q: rows %q, want %q", from, to, got, want[from][to])
			}
		}
	}
}

// TestTerminal: what leaves a finished step or task is an operator's wish, and of what
// succeeded nothing leaves at all (rule S1).
func TestTerminal(t *testing.T) {
	for _, row := range task.StepTransitions() {
		for _, from := range row.From {
			operator := row.Name == task.StepRetry || row.Name == task.StepResolve
			if from.Satisfies() || (from.Terminal() && !operator) {
				t.Errorf("step transition %s leaves %s", row.Name, from)
			}
		}
	}
	for _, row := range task.TaskTransitions() {
		for _, from := range row.From {
			operator := row.Name == task.TaskRetry || row.Name == task.TaskReopen || row.Name == task.TaskResolve
			if from.Terminal() && (from != task.Error || !operator) {
				t.Errorf("task transition %s leaves %s", row.Name, from)
			}
		}
	}
	for _, s := range task.StepStatuses() {
		if s.Satisfies() && !s.Terminal() {
			t.Errorf("%s satisfies without being terminal", s)
		}
	}
}

// TestTables: names are unique, statuses known, and every status but the first can be
// reached.
func TestTables(t *testing.T) {
	names := make(map[string]bool)
	reached := map[task.StepStatus]bool{task.StepPending: true}
	for _, row := range task.StepTransitions() {
		if names[row.Name] {
			t.Errorf("two step transitions %q", row.Name)
		}
		names[row.Name] = true
		reached[row.To] = true
		if len(row.Events) == 0 {
			t.Errorf("step transition %s has no event", row.Name)
		}
		for _, s := range append(slices.Clone(row.From), row.To) {
			if !slices.Contains(task.StepStatuses(), s) {
				t.Errorf("step transition %s: unknown status %q", row.Name, s)
			}
		}
	}
	for _, s := range task.StepStatuses() {
		if !reached[s] {
			t.Errorf("no transition leads to %s", s)
		}
	}
	clear(names)
	for _, row := range task.TaskTransitions() {
		if names[row.Name] {
			t.Errorf("two task transitions %q", row.Name)
		}
		names[row.Name] = true
		for _, s := range append(slices.Clone(row.From), row.To) {
			if s != "" && !slices.Contains(task.Statuses(), s) {
				t.Errorf("task transition %s: unknown status %q", row.Name, s)
			}
		}
	}
}

// TestTablesAreCopies: a caller that changes the rows it got changes no rule.
func TestTablesAreCopies(t *testing.T) {
	task.StepTransitions()[0].To = task.StepError
	task.TaskTransitions()[1].To = task.Error
	if row, err := task.CheckStep(task.StepClaim, task.StepPending); err != nil || row.To != task.StepInProgress {
		t.Errorf("CheckStep(claim) leads to %s, %v; want %s", row.To, err, task.StepInProgress)
	}
	if row, err := task.CheckTask(task.TaskStart, task.Pending); err != nil || row.To != task.InProgress {
		t.Errorf("CheckTask(start) leads to %s, %v; want %s", row.To, err, task.InProgress)
	}
}

// TestCheck: the guards say what the tables say, for every name and status.
func TestCheck(t *testing.T) {
	for _, row := range task.StepTransitions() {
		for _, from := range task.StepStatuses() {
			got, err := task.CheckStep(row.Name, from)
			if diff := cmp.Diff(got, row); diff != "" {
				t.Errorf("CheckStep(%s, %s) returns another row (-got +want):\n%s", row.Name, from, diff)
			}
			if want := slices.Contains(row.From, from); (err == nil) != want {
				t.Errorf("CheckStep(%s, %s) = %v, want allowed = %t", row.Name, from, err, want)
			}
			if err != nil && !errors.Is(err, task.ErrTransition) {
				t.Errorf("CheckStep(%s, %s) = %v, want ErrTransition", row.Name, from, err)
			}
		}
	}
	for _, row := range task.TaskTransitions() {
		for _, from := range task.Statuses() {
			_, err := task.CheckTask(row.Name, from)
			if want := row.From == nil || slices.Contains(row.From, from); (err == nil) != want {
				t.Errorf("CheckTask(%s, %s) = %v, want allowed = %t", row.Name, from, err, want)
			}
			if err != nil && !errors.Is(err, task.ErrTransition) {
				t.Errorf("CheckTask(%s, %s) = %v, want ErrTransition", row.Name, from, err)
			}
		}
	}
	if _, err := task.CheckStep("dance", task.StepPending); !errors.Is(err, task.ErrTransition) {
		t.Errorf("CheckStep of an unknown name = %v, want ErrTransition", err)
	}
	if _, err := task.CheckTask("dance", task.Pending); !errors.Is(err, task.ErrTransition) {
		t.Errorf("CheckTask of an unknown name = %v, want ErrTransition", err)
	}
}
