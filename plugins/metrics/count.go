package main

import (
	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

func (m *metrics) taskInitialized(e sdk.Event[event.TaskInitialized], _ bool) {
	add(m.families.tasksCreated.WithLabelValues(m.labels.task(e.Namespace, e.Template)...), exemplar(e.Traceparent))
}

func (m *metrics) taskStarted(e sdk.Event[event.TaskStarted], _ bool) {
	if created := m.flying.created(e.Task); !created.IsZero() {
		o := m.families.taskQueue.WithLabelValues(m.labels.task(e.Namespace, e.Template)...)
		observe(o, since(created, e.Payload.StartedAt), exemplar(e.Traceparent))
	}
}

func (m *metrics) taskCompleted(e sdk.Event[event.TaskCompleted], _ bool) {
	taskEnded(m, e, e.Payload.TaskEnded, "complete")
}

func (m *metrics) taskFailed(e sdk.Event[event.TaskFailed], _ bool) {
	taskEnded(m, e, e.Payload.TaskEnded, "error")
}

func (m *metrics) taskCancelled(e sdk.Event[event.TaskCancelled], _ bool) {
	taskEnded(m, e, e.Payload.TaskEnded, "cancelled")
}

func (m *metrics) taskResolved(e sdk.Event[event.TaskResolvedManually], _ bool) {
	taskEnded(m, e, e.Payload.TaskEnded, "resolved_manually")
}

// taskEnded counts the end of a task, and measures it.
func taskEnded[P any](m *metrics, e sdk.Event[P], end event.TaskEnded, status string) {
	labels, ex := with(m.labels.task(e.Namespace, e.Template), status), exemplar(e.Traceparent)
	add(m.families.tasksEnded.WithLabelValues(labels...), ex)
	observe(m.families.taskDuration.WithLabelValues(labels...), float64(end.TotalDuration), ex)
}

func (m *metrics) stepCompleted(e sdk.Event[event.StepCompleted], _ bool) {
	attemptEnded(m, e, "complete", e.Payload.Timing().Execution.Seconds())
}

// stepFailed counts an attempt that failed; steps also fail between attempts, and after one was lost. And it counts
// a failure that is final.
func (m *metrics) stepFailed(e sdk.Event[event.StepFailed], running bool) {
	if running {
		attemptEnded(m, e, "error", e.Payload.Timing().Execution.Seconds())
	}
	if e.Payload.Final {
		labels := with(m.labels.step(e.Namespace, e.Template, e.Step), string(e.Payload.Category()))
		add(m.families.stepFailures.WithLabelValues(labels...), exemplar(e.Traceparent))
	}
}

// attemptEnded counts an attempt, and measures it.
func attemptEnded[P any](m *metrics, e sdk.Event[P], status string, seconds float64) {
	labels, ex := with(m.labels.step(e.Namespace, e.Template, e.Step), status), exemplar(e.Traceparent)
	add(m.families.attempts.WithLabelValues(labels...), ex)
	observe(m.families.stepDuration.WithLabelValues(labels...), seconds, ex)
}

// stepCancelled counts an attempt that was stopped; steps are also cancelled before they run, and after their attempt
// was lost.
func (m *metrics) stepCancelled(e sdk.Event[event.StepCancelled], running bool) {
	if running && !e.Payload.StartedAt.IsZero() {
		labels := with(m.labels.step(e.Namespace, e.Template, e.Step), "cancelled")
		add(m.families.attempts.WithLabelValues(labels...), exemplar(e.Traceparent))
	}
}

func (m *metrics) stepLost(e sdk.Event[event.StepAttemptLost], _ bool) {
	step, ex := m.labels.step(e.Namespace, e.Template, e.Step), exemplar(e.Traceparent)
	add(m.families.attempts.WithLabelValues(with(step, "lost")...), ex)
	add(m.families.losses.WithLabelValues(with(step, e.Payload.Cause)...), ex)
}

func (m *metrics) retryScheduled(e sdk.Event[event.StepRetryScheduled], _ bool) {
	labels := with(m.labels.step(e.Namespace, e.Template, e.Step), e.Payload.Reason)
	add(m.families.retries.WithLabelValues(labels...), exemplar(e.Traceparent))
}

func (m *metrics) deadLettered(e sdk.Event[event.SubscriberDeadLettered], _ bool) {
	subscription := m.labels.subscriptions.name(e.Payload.Subscription)
	m.families.deadLetters.WithLabelValues(subscription, m.eventName(e.Payload.EventType)).Inc()
}

func (m *metrics) lagging(e sdk.Event[event.SubscriberLagging], _ bool) {
	m.families.lagging.WithLabelValues(m.labels.subscriptions.name(e.Payload.Subscription)).Inc()
}

func (m *metrics) subscriberGap(e sdk.Event[event.SubscriberGap], _ bool) {
	m.families.subGaps.WithLabelValues(m.labels.subscriptions.name(e.Payload.Subscription)).Inc()
}

func (m *metrics) crashed(e sdk.Event[event.PluginCrashed], _ bool) {
	m.families.crashes.WithLabelValues(m.labels.plugins.name(e.Payload.Plugin.Plugin)).Inc()
}

func (m *metrics) quarantined(e sdk.Event[event.PluginQuarantined], _ bool) {
	m.families.quarantines.WithLabelValues(m.labels.plugins.name(e.Payload.Plugin.Plugin)).Inc()
}
