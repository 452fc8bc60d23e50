package event

// The names of the events.
const (
	NameTaskInitialized                   = "task.initialized"
	NameTaskStarted                       = "task.started"
	NameTaskCompleted                     = "task.completed"
	NameTaskFailed                        = "task.failed"
	NameTaskCancelRequested               = "task.cancel_requested"
	NameTaskCancelled                     = "task.cancelled"
	NameTaskPaused                        = "task.paused"
	NameTaskResumed                       = "task.resumed"
	NameTaskRetryRequested                = "task.retry_requested"
	NameTaskResolvedManually              = "task.resolved_manually"
	NameStepStarted                       = "step.started"
	NameStepCompleted                     = "step.completed"
	NameStepFailed                        = "step.failed"
	NameStepRetryScheduled                = "step.retry_scheduled"
	NameStepMaxRetriesReached             = "step.max_retries_reached"
	NameStepRetryRequested                = "step.retry_requested"
	NameStepCancelled                     = "step.cancelled"
	NameStepResolvedManually              = "step.resolved_manually"
	NameStepSkipped                       = "step.skipped"
	NameStepWaiting                       = "step.waiting"
	NameStepResumed                       = "step.resumed"
	NameStepAttemptLost                   = "step.attempt_lost"
	NameWorkflowViableStepsDiscovered     = "workflow.viable_steps_discovered"
	NameWorkflowNoViableSteps             = "workflow.no_viable_steps"
	NameWorkflowTaskFinalizationStarted   = "workflow.task_finalization_started"
	NameWorkflowTaskFinalizationCompleted = "workflow.task_finalization_completed"
	NamePluginStarted                     = "plugin.started"
	NamePluginReady                       = "plugin.ready"
	NamePluginCrashed                     = "plugin.crashed"
	NamePluginQuarantined                 = "plugin.quarantined"
	NamePluginStopped                     = "plugin.stopped"
	NameSubscriberDeadLettered            = "subscriber.dead_lettered"
	NameSubscriberGap                     = "subscriber.gap"
	NameSubscriberLagging                 = "subscriber.lagging"
	NameHostStarted                       = "host.started"
	NameHostStopping                      = "host.stopping"
)

// EventName returns "task.initialized".
func (TaskInitialized) EventName() string { return NameTaskInitialized }

// EventName returns "task.started".
func (TaskStarted) EventName() string { return NameTaskStarted }

// EventName returns "task.completed".
func (TaskCompleted) EventName() string { return NameTaskCompleted }

// EventName returns "task.failed".
func (TaskFailed) EventName() string { return NameTaskFailed }

// EventName returns "task.cancel_requested".
func (TaskCancelRequested) EventName() string { return NameTaskCancelRequested }

// EventName returns "task.cancelled".
func (TaskCancelled) EventName() string { return NameTaskCancelled }

// EventName returns "task.paused".
func (TaskPaused) EventName() string { return NameTaskPaused }

// EventName returns "task.resumed".
func (TaskResumed) EventName() string { return NameTaskResumed }

// EventName returns "task.retry_requested".
func (TaskRetryRequested) EventName() string { return NameTaskRetryRequested }

// EventName returns "task.resolved_manually".
func (TaskResolvedManually) EventName() string { return NameTaskResolvedManually }

// EventName returns "step.started".
func (StepStarted) EventName() string { return NameStepStarted }

// EventName returns "step.completed".
func (StepCompleted) EventName() string { return NameStepCompleted }

// EventName returns "step.failed".
func (StepFailed) EventName() string { return NameStepFailed }

// EventName returns "step.retry_scheduled".
func (StepRetryScheduled) EventName() string { return NameStepRetryScheduled }

// EventName returns "step.max_retries_reached".
func (StepMaxRetriesReached) EventName() string { return NameStepMaxRetriesReached }

// EventName returns "step.retry_requested".
func (StepRetryRequested) EventName() string { return NameStepRetryRequested }

// EventName returns "step.cancelled".
func (StepCancelled) EventName() string { return NameStepCancelled }

// EventName returns "step.resolved_manually".
func (StepResolvedManually) EventName() string { return NameStepResolvedManually }

// EventName returns "step.skipped".
func (StepSkipped) EventName() string { return NameStepSkipped }

// EventName returns "step.waiting".
func (StepWaiting) EventName() string { return NameStepWaiting }

// EventName returns "step.resumed".
func (StepResumed) EventName() string { return NameStepResumed }

// EventName returns "step.attempt_lost".
func (StepAttemptLost) EventName() string { return NameStepAttemptLost }

// EventName returns "workflow.viable_steps_discovered".
func (WorkflowViableStepsDiscovered) EventName() string { return NameWorkflowViableStepsDiscovered }

// EventName returns "workflow.no_viable_steps".
func (WorkflowNoViableSteps) EventName() string { return NameWorkflowNoViableSteps }

// EventName returns "workflow.task_finalization_started".
func (WorkflowTaskFinalizationStarted) EventName() string { return NameWorkflowTaskFinalizationStarted }

// EventName returns "workflow.task_finalization_completed".
func (WorkflowTaskFinalizationCompleted) EventName() string {
	return NameWorkflowTaskFinalizationCompleted
}

// EventName returns "plugin.started".
func (PluginStarted) EventName() string { return NamePluginStarted }

// EventName returns "plugin.ready".
func (PluginReady) EventName() string { return NamePluginReady }

// EventName returns "plugin.crashed".
func (PluginCrashed) EventName() string { return NamePluginCrashed }

// EventName returns "plugin.quarantined".
func (PluginQuarantined) EventName() string { return NamePluginQuarantined }

// EventName returns "plugin.stopped".
func (PluginStopped) EventName() string { return NamePluginStopped }

// EventName returns "subscriber.dead_lettered".
func (SubscriberDeadLettered) EventName() string { return NameSubscriberDeadLettered }

// EventName returns "subscriber.gap".
func (SubscriberGap) EventName() string { return NameSubscriberGap }

// EventName returns "subscriber.lagging".
func (SubscriberLagging) EventName() string { return NameSubscriberLagging }

// EventName returns "host.started".
func (HostStarted) EventName() string { return NameHostStarted }

// EventName returns "host.stopping".
func (HostStopping) EventName() string { return NameHostStopping }
