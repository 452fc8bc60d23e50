package hosttest

import "github.com/tasker-engine/tasker/host/task"

// The templates that lead to statuses. The step in question is called it.
const (
	header      = "name: statuses\nversion: 1.0.0\nsteps:\n"
	itHangs     = header + "- {name: it, handler: mock/hang}\n"
	itFails     = header + "- {name: it, handler: mock/flaky, config: {kind: permanent}}\n"
	itWaits     = header + "- {name: it, handler: mock/flaky, retry: {base: 1h, cap: 1h}}\n"
	itCrashes   = header + "- {name: it, handler: mock/exit, on_crash: park}\n"
	itSucceeds  = header + "- {name: it, handler: mock/echo}\n"
	itIsSkipped = header + "- {name: it, handler: mock/flaky, optional: true, config: {kind: permanent}}\n"
	itIsBlocked = header + "- {name: it, handler: mock/echo, depends_on: [above]}\n" +
		"- {name: above, handler: mock/hang}\n"
	itHasNoPlugin = header + "- {name: it, handler: missing/handler}\n"
)

// StepIn brings a step into a status by running a template and returns its task. The
// host must offer plugins/mock.
func (h *Host) StepIn(status task.StepStatus) (id task.ID, step task.StepName) {
	h.t.Helper()
	step = "it"
	switch status {
	case task.StepPending:
		id = h.Create(itIsBlocked)
		h.AwaitStep(id, "above", task.StepInProgress)
	case task.StepInProgress:
		id = h.Create(itHangs)
	case task.StepWaitingForRetry:
		id = h.Create(itWaits)
	case task.StepWaiting:
		h.Expect("plugin crashed")
		id = h.Create(itCrashes)
	case task.StepComplete:
		id = h.Create(itSucceeds)
	case task.StepError:
		id = h.Create(itFails)
	case task.StepCancelled:
		id = h.TaskIn(task.Cancelled)
	case task.StepResolvedManually:
		id = h.TaskIn(task.Error)
		h.Resolve(id, step, "{}")
	case task.StepSkipped:
		id = h.Create(itIsSkipped)
	default:
		h.t.Fatalf("no way leads to a step that is %q", status)
	}
	h.AwaitStep(id, step, status)
	return id, step
}

// TaskIn brings a task into a status by running a template. The host must offer
// plugins/mock.
func (h *Host) TaskIn(status task.Status) (id task.ID) {
	h.t.Helper()
	switch status {
	case task.Pending:
		id = h.Create(itHasNoPlugin)
	case task.InProgress:
		id, _ = h.StepIn(task.StepInProgress)
	case task.Paused:
		id, _ = h.StepIn(task.StepWaitingForRetry)
		h.Pause(id)
	case task.Complete:
		id = h.Create(itSucceeds)
	case task.Error:
		id = h.Create(itFails)
	case task.Cancelled:
		id, _ = h.StepIn(task.StepWaitingForRetry)
		h.Cancel(id)
	case task.ResolvedManually:
		id = h.TaskIn(task.Error)
		h.Resolve(id, "", "")
	default:
		h.t.Fatalf("no way leads to a task that is %q", status)
	}
	h.Await(id, func(v *task.View) bool { return v.Status == status })
	return id
}
