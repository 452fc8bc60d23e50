package event

// WorkflowViableStepsDiscovered is recorded when a decision made steps ready. Only with
// the host's setting events.workflow.
type WorkflowViableStepsDiscovered struct {
	Task

	StepNames []string `json:"step_names" doc:"of the steps that became ready, in the order of the template"`
}

// WorkflowNoViableSteps is recorded when a decision left an unfinished task with
// nothing ready, running or timed. Only with the host's setting events.workflow.
type WorkflowNoViableSteps struct {
	Task

	Reason string `json:"reason" doc:"why nothing can run: blocked_by_failures, fail_fast or deadline_exceeded"`
}

// WorkflowTaskFinalizationStarted is recorded before the event that ends a task. Only
// with the host's setting events.workflow.
type WorkflowTaskFinalizationStarted struct {
	Task

	Totals Totals `json:"totals" doc:"number of steps by status; statuses without steps are absent"`
}

// WorkflowTaskFinalizationCompleted is recorded after the event that ends a task. Only
// with the host's setting events.workflow.
type WorkflowTaskFinalizationCompleted struct {
	Task

	Status string `json:"status" doc:"in which the task ended"`
	Totals Totals `json:"totals" doc:"number of steps by status; statuses without steps are absent"`
}

func workflowEvents() []declaration {
	order, totals := exampleTask(), Totals{"complete": 3}
	return []declaration{
		{
			payload:     WorkflowViableStepsDiscovered{Task: order, StepNames: []string{"charge", "notify"}},
			description: "Recorded when a decision made steps ready. Only with the host's setting events.workflow.",
			firedBy:     engine, frequency: "once per decision that makes steps ready",
		},
		{
			payload: WorkflowNoViableSteps{Task: order, Reason: "blocked_by_failures"},
			description: "Recorded when a decision left an unfinished task with nothing ready, running or timed. " +
				"Only with the host's setting events.workflow.",
			firedBy: engine, frequency: "each time a task fails",
		},
		{
			payload:     WorkflowTaskFinalizationStarted{Task: order, Totals: totals},
			description: "Recorded before the event that ends a task. Only with the host's setting events.workflow.",
			firedBy:     engine, frequency: "each time a task ends by itself",
		},
		{
			payload:     WorkflowTaskFinalizationCompleted{Task: order, Status: "complete", Totals: totals},
			description: "Recorded after the event that ends a task. Only with the host's setting events.workflow.",
			firedBy:     engine, frequency: "each time a task ends by itself",
		},
	}
}
