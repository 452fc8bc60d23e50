package event

import (
	"cmp"
	"time"
)

// Duration returns what the seconds are.
func (s Seconds) Duration() time.Duration {
	return time.Duration(float64(s) * float64(time.Second)).Round(time.Millisecond)
}

// Category says in one word what kind of failure an error is, for counting and alerting.
type Category string

// The categories.
const (
	CategoryTimeout    Category = "timeout"    // time ran out
	CategoryCancelled  Category = "cancelled"  // the attempt was asked to stop
	CategoryDownstream Category = "downstream" // something that the handler called
	CategoryHost       Category = "host"       // the host, or what lies between it and the plugin
	CategoryPermanent  Category = "permanent"  // the handler's verdict: another attempt fails too
	CategoryPlugin     Category = "plugin"     // the handler's own; another attempt may help
)

// Category returns the kind of failure: first how it ended, then whose fault it is, then the verdict. Empty = there is
// no error.
func (e *Error) Category() Category {
	switch {
	case e == nil:
		return ""
	case e.Kind == "timeout":
		return CategoryTimeout
	case e.Kind == "cancelled":
		return CategoryCancelled
	case e.Source == "downstream":
		return CategoryDownstream
	case e.Source == "host":
		return CategoryHost
	case e.Kind == "permanent":
		return CategoryPermanent
	default:
		return CategoryPlugin
	}
}

// Tags are the labels of a metric: only what has few values, so neither ids nor texts.
type Tags map[string]string

// with adds a tag.
func (t Tags) with(key, value string) Tags {
	t[key] = value
	return t
}

// MetricTags returns namespace, template and version.
func (t Task) MetricTags() Tags {
	return Tags{"namespace": t.Namespace, "template": t.Template, "version": t.Version}
}

// MetricTags returns the task's tags, step and handler.
func (s Step) MetricTags() Tags {
	return s.Task.MetricTags().with("step", s.StepName).with("handler", s.Handler)
}

// MetricTags returns the task's tags and status "in_progress".
func (e TaskStarted) MetricTags() Tags { return e.Task.MetricTags().with("status", "in_progress") }

// MetricTags returns the task's tags and status "complete".
func (e TaskCompleted) MetricTags() Tags { return e.Task.MetricTags().with("status", "complete") }

// MetricTags returns the task's tags and status "error".
func (e TaskFailed) MetricTags() Tags { return e.Task.MetricTags().with("status", "error") }

// MetricTags returns the task's tags and status "cancelled".
func (e TaskCancelled) MetricTags() Tags { return e.Task.MetricTags().with("status", "cancelled") }

// MetricTags returns the task's tags and status "resolved_manually".
func (e TaskResolvedManually) MetricTags() Tags {
	return e.Task.MetricTags().with("status", "resolved_manually")
}

// MetricTags returns the step's tags and status "in_progress".
func (e StepStarted) MetricTags() Tags { return e.Step.MetricTags().with("status", "in_progress") }

// MetricTags returns the step's tags and status "complete".
func (e StepCompleted) MetricTags() Tags { return e.Step.MetricTags().with("status", "complete") }

// MetricTags returns the step's tags and status "error".
func (e StepFailed) MetricTags() Tags { return e.Step.MetricTags().with("status", "error") }

// MetricTags returns the step's tags and status "cancelled".
func (e StepCancelled) MetricTags() Tags { return e.Step.MetricTags().with("status", "cancelled") }

// MetricTags returns the step's tags and status "resolved_manually".
func (e StepResolvedManually) MetricTags() Tags {
	return e.Step.MetricTags().with("status", "resolved_manually")
}

// MetricTags returns the step's tags and status "skipped".
func (e StepSkipped) MetricTags() Tags { return e.Step.MetricTags().with("status", "skipped") }

// Timing is where the time of a task or an attempt went. 0 = nowhere, or not known.
type Timing struct {
	Queued    time.Duration // from creation to the first claim of a step
	Execution time.Duration // from there to the end
}

// Total is the whole time.
func (t Timing) Total() time.Duration { return t.Queued + t.Execution }

// Timing returns how long the task waited for its first step, and how long it ran.
func (e TaskEnded) Timing() Timing {
	total := e.TotalDuration.Duration()
	if e.StartedAt.IsZero() { // nothing was ever claimed
		return Timing{Queued: total}
	}
	execution := min(max(e.CompletedAt.Sub(e.StartedAt), 0), total)
	return Timing{Queued: total - execution, Execution: execution}
}

// Timing returns how long the attempt took; how long it waited is not in the event.
func (s Step) Timing() Timing {
	if s.StartedAt.IsZero() || s.CompletedAt.IsZero() {
		return Timing{}
	}
	return Timing{Execution: max(s.CompletedAt.Sub(s.StartedAt), 0)}
}

// Timing returns how long the attempt took.
func (e StepCompleted) Timing() Timing { return Timing{Execution: e.ExecutionDuration.Duration()} }

// Timing returns how long the attempt took, or how long the step ran until its time was up.
func (e StepFailed) Timing() Timing {
	return Timing{Execution: cmp.Or(e.ExecutionDuration.Duration(), e.Step.Timing().Execution)}
}
