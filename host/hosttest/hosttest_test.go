package hosttest_test

import (
	"testing"

	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
)

func TestMain(m *testing.M) { hosttest.Main(m) }

func TestStepsInEveryStatus(t *testing.T) {
	h := hosttest.Start(t)
	for _, status := range task.StepStatuses() {
		t.Run(string(status), func(t *testing.T) {
			id, step := h.StepIn(status)
			if got := hosttest.Step(h.View(id), step).Status; got != status {
				t.Errorf("step is %s", got)
			}
		})
	}
}

func TestTasksInEveryStatus(t *testing.T) {
	h := hosttest.Start(t)
	for _, status := range task.Statuses() {
		t.Run(string(status), func(t *testing.T) {
			h.WantTask(h.View(h.TaskIn(status)), status)
		})
	}
}

func TestRestartKeepsWhatWasDone(t *testing.T) {
	h := hosttest.Start(t)
	done := h.TaskIn(task.Complete)
	waiting, _ := h.StepIn(task.StepWaitingForRetry)
	cut, _ := h.StepIn(task.StepInProgress)
	h.Cut()
	h.Restart()
	h.WantSteps(h.View(done), "it=complete/1")
	h.WantSteps(h.View(waiting), "it=waiting_for_retry/1")
	v := h.Await(cut, func(v *task.View) bool { return hosttest.Step(v, "it").Attempts == 2 })
	h.WantSteps(v, "it=in_progress/2")
	if got := hosttest.Step(v, "it").Losses; got != 0 {
		t.Errorf("%d losses: the host's own end counts against no step", got)
	}
}
