// Package logkeys holds the keys of the host's log lines, so that a line can be found by
// them whichever part has written it. A test holds that there are no others.
package logkeys

import "github.com/tasker-engine/tasker/plugin/sdk/event/trace"

// What a line is about. [About] has those of tasks.
const (
	Task          = "task"
	Step          = "step"    // its name
	Attempt       = "attempt" // "task/ordinal/number"
	CorrelationID = "correlation_id"
	TraceID       = "trace_id"
	Template      = "template"
	Plugin        = "plugin"
	Instance      = "instance"
	Subscription  = "subscription"
	Operation     = "operation" // of the store
	Seq           = "seq"       // of an event in the log
	Type          = "type"      // of an event
	PID           = "pid"
	Path          = "path"
	Version       = "version"
	State         = "state" // of a plugin
	Filter        = "filter"
)

// Why, and what to do.
const (
	Error    = "error"
	Cause    = "cause"
	Reason   = "reason"
	Problem  = "problem"
	Problems = "problems"
	Warning  = "warning"
	Remedy   = "remedy"
)

// How many.
const (
	Tasks        = "tasks"
	Records      = "records"
	Events       = "events"
	Frames       = "frames" // of spans
	Deliveries   = "deliveries"
	Reads        = "reads"
	Writes       = "writes"
	DroppedSoFar = "dropped_so_far"
	Limit        = "limit"
)

// When, and how long.
const (
	Before  = "before"
	Took    = "took"
	Behind  = "behind"
	Grace   = "grace"
	In      = "in"
	RetryAt = "retry_at"
)

// What a plugin declares, and ranges of events.
const (
	Accepted = "accepted"
	Refused  = "refused"
	Names    = "names"
	From     = "from"
	Through  = "through"
)

// About says which task, and what of it, a line is about. Its names in JSON are the keys;
// what is empty is left out.
type About struct {
	Task          string `json:"task,omitempty"`
	Step          string `json:"step,omitempty"`
	Attempt       string `json:"attempt,omitempty"`
	CorrelationID string `json:"correlation_id,omitempty"`
	TraceID       string `json:"trace_id,omitempty"`
}

// AboutTask returns what lines say of a task. traceparent is the one its creator gave.
func AboutTask(id, correlation, traceparent string) About {
	return About{Task: id, CorrelationID: correlation, TraceID: trace.Of(id, traceparent).Trace.String()}
}

// With returns the pairs of a line: what it is about, and then others.
func (a About) With(pairs ...any) []any {
	var all []any
	for _, p := range [...][2]string{
		{Task, a.Task}, {Step, a.Step}, {Attempt, a.Attempt}, {CorrelationID, a.CorrelationID}, {TraceID, a.TraceID},
	} {
		if p[1] != "" {
			all = append(all, p[0], p[1])
		}
	}
	return append(all, pairs...)
}
