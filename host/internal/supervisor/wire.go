package supervisor

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tasker-engine/tasker/host/task"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// This file is the seam between the domain and the wire: nothing else converts.

// inputRef is the reference of a task's input, and with "/<ordinal>" of a step's own.
const inputRef = "input"

// resultRef returns the reference of a step's results.
func resultRef(o task.Ordinal) string { return "result/" + strconv.FormatUint(uint64(o), 10) }

// outgoing is an attempt with the parts that nearly all have, in one piece of memory.
type outgoing struct {
	attempt            pluginv1.Attempt
	template           pluginv1.TemplateRef
	input              pluginv1.Value
	timeout, heartbeat durationpb.Duration
}

// dependency is a result of a dependency, likewise.
type dependency struct {
	result pluginv1.DependencyResult
	value  pluginv1.Value
}

// toWireAttempt converts an assignment, whose id is key. It returns the references that
// the attempt may fetch.
func toWireAttempt(key string, a *task.Assignment) (*pluginv1.Attempt, []string) {
	out := &outgoing{
		attempt: pluginv1.Attempt{
			AttemptId:      key,
			TaskId:         string(a.ID.Task),
			Step:           string(a.Step),
			Handler:        a.Handler.Handler,
			HandlerVersion: a.Handler.Version,
			Number:         a.ID.Number,
			Limit:          a.Limit,
			IdempotencyKey: a.IdempotencyKey,
			Config:         a.Config,
			Checkpoint:     a.Checkpoint,
			Tags:           a.Tags,
			CorrelationId:  a.CorrelationID,
			PreviousError:  toWireError(a.Previous),
			Tracestate:     a.Tracestate,
		},
		template: pluginv1.TemplateRef{Namespace: a.Template.Namespace, Name: a.Template.Name, Version: a.Template.Version},
	}
	w := &out.attempt
	w.Template = &out.template
	w.Timeout = setDuration(&out.timeout, a.Timeout)
	w.HeartbeatTimeout = setDuration(&out.heartbeat, a.HeartbeatTimeout)
	var refs []string
	var byRef bool
	if w.Input, byRef = toWireValue(&out.input, a.Input, pluginv1.MaxFrameBytes); byRef {
		w.Input.Ref = inputRef
		if a.OwnInput {
			w.Input.Ref += "/" + strconv.FormatUint(uint64(a.ID.Ordinal), 10)
		}
		refs = append(refs, w.GetInput().GetRef())
	}
	w.Results, refs = toWireResults(a.Results, refs)
	return w, refs
}

// toWireResults converts the results of dependencies and appends the references of those
// that are not sent along.
func toWireResults(results []task.DependencyResult, refs []string) ([]*pluginv1.DependencyResult, []string) {
	if len(results) == 0 {
		return nil, refs
	}
	budget := pluginv1.MaxInlineResults
	out, list := make([]dependency, len(results)), make([]*pluginv1.DependencyResult, len(results))
	for i, d := range results {
		list[i] = &out[i].result
		list[i].Step, list[i].Status = string(d.Step), string(d.Status)
		value, byRef := toWireValue(&out[i].value, d.Value, budget)
		if byRef {
			value.Ref = resultRef(d.Ordinal)
			refs = append(refs, value.GetRef())
		}
		budget -= len(value.GetInline())
		list[i].Value = value
	}
	return list, refs
}

// toWireValue makes w a value that is sent inline, when it lies inline and fits the
// budget, else by reference, which the caller adds. A value that is none is nil.
func toWireValue(w *pluginv1.Value, v task.Value, budget int) (_ *pluginv1.Value, byRef bool) {
	switch {
	case v.Ref != nil:
		w.Size = uint64(max(v.Ref.Size, 0))
		return w, true
	case len(v.Inline) == 0:
		return nil, false
	case len(v.Inline) > budget:
		w.Size = uint64(len(v.Inline))
		return w, true
	default:
		w.Inline, w.Size = v.Inline, uint64(len(v.Inline))
		return w, false
	}
}

func toWireDuration(d time.Duration) *durationpb.Duration {
	return setDuration(&durationpb.Duration{}, d)
}

// setDuration makes w a duration. One that is none is nil.
func setDuration(w *durationpb.Duration, d time.Duration) *durationpb.Duration {
	if d <= 0 {
		return nil
	}
	w.Seconds, w.Nanos = int64(d/time.Second), int32(d%time.Second)
	return w
}

func toWireError(f *task.Failure) *pluginv1.Error {
	if f == nil {
		return nil
	}
	w := &pluginv1.Error{
		Kind:       pluginv1.ErrorKind_ERROR_KIND_RETRYABLE,
		Code:       f.Code,
		Message:    f.Message,
		Class:      f.Class,
		Source:     pluginv1.ErrorSource_ERROR_SOURCE_PLUGIN,
		Details:    f.Details,
		Partial:    f.Partial,
		RetryAfter: toWireDuration(f.RetryAfter.Std()),
		Stack:      f.Stack,
	}
	switch f.Kind {
	case task.KindPermanent:
		w.Kind = pluginv1.ErrorKind_ERROR_KIND_PERMANENT
	case task.KindCancelled:
		w.Kind = pluginv1.ErrorKind_ERROR_KIND_CANCELLED
	case task.KindRetryable, task.KindTimeout:
	}
	if f.Source == task.SourceDownstream {
		w.Source = pluginv1.ErrorSource_ERROR_SOURCE_DOWNSTREAM
	}
	return w
}

// fromWireError converts a failure and cuts it to the limits of package task.
func fromWireError(w *pluginv1.Error) *task.Failure {
	f := &task.Failure{
		Kind:   task.KindRetryable,
		Code:   cut(w.GetCode(), maxCode),
		Class:  cut(w.GetClass(), maxClass),
		Source: task.SourcePlugin,
	}
	var dropped string
	switch w.GetKind() {
	case pluginv1.ErrorKind_ERROR_KIND_PERMANENT:
		f.Kind = task.KindPermanent
	case pluginv1.ErrorKind_ERROR_KIND_CANCELLED:
		f.Kind = task.KindCancelled
	default: // unspecified and retryable, and what later versions may add
	}
	if w.GetSource() == pluginv1.ErrorSource_ERROR_SOURCE_DOWNSTREAM {
		f.Source = task.SourceDownstream
	}
	if d := w.GetDetails(); len(d) > 0 && len(d) <= task.MaxErrorDetails && isJSON(d) {
		f.Details = d
	} else if len(d) > 0 {
		dropped += detailsDropped
	}
	if p := w.GetPartial(); len(p) > 0 && len(p) <= task.MaxPartial && isJSON(p) {
		f.Partial = p
	} else if len(p) > 0 {
		dropped += partialDropped
	}
	f.Message = cut(w.GetMessage(), task.MaxErrorMessage-len(dropped)) + dropped
	if after := w.GetRetryAfter(); after.IsValid() && after.AsDuration() > 0 {
		f.RetryAfter = task.Duration(min(after.AsDuration(), task.MaxRetryAfter))
	}
	stack := w.GetStack()
	for _, frame := range stack[:min(len(stack), task.MaxStackFrames)] {
		f.Stack = append(f.Stack, cut(frame, maxStackFrame))
	}
	return f
}

// Limits of the short texts of a failure, in bytes.
const (
	maxCode        = 128
	maxClass       = 256
	maxStackFrame  = 1 << 10
	maxNote        = 1 << 10
	detailsDropped = " (details dropped: over 4 KiB or no JSON)"
	partialDropped = " (partial output dropped: over 64 KiB or no JSON)"
)

// isJSON reports whether doc is one JSON document in valid UTF-8, which json.Valid does
// not look at.
func isJSON(doc []byte) bool { return utf8.Valid(doc) && json.Valid(doc) }

// cut shortens s to at most n bytes of valid UTF-8, marking the cut.
func cut(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n {
		return s
	}
	const mark = "..."
	end := max(n-len(mark), 0)
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + mark
}

// fromWireResult converts the end of an attempt. An outcome that it does not know and an
// output that is no JSON or too large are permanent failures: running again would make
// the same.
func fromWireResult(id task.AttemptID, instance string, w *pluginv1.Result) task.Report {
	report := task.Report{ID: id, Instance: instance, Kind: task.ReportFailed}
	switch w.GetOutcome().(type) {
	case *pluginv1.Result_Output:
	case *pluginv1.Result_Error:
		report.Failure = fromWireError(w.GetError())
		return report
	default: // a later version's, or an update that was put together wrongly
		report.Failure = hostFailure(task.CodeInvalidResult, fmt.Sprintf("result of attempt %s is neither an output nor an error", id))
		report.Failure.Source = task.SourcePlugin
		return report
	}
	output := w.GetOutput()
	switch {
	case len(output) > task.MaxValue:
		report.Failure = hostFailure(task.CodeTooLarge, fmt.Sprintf("result of attempt %s is %d bytes; the limit is %d", id, len(output), task.MaxValue))
	case len(output) > 0 && !isJSON(output):
		report.Failure = hostFailure(task.CodeInvalidResult, fmt.Sprintf("result of attempt %s is no valid JSON", id))
		report.Failure.Source = task.SourcePlugin
	default:
		report.Kind = task.ReportSucceeded
		report.Output = output
	}
	return report
}

// hostFailure returns a permanent failure that the host reports.
func hostFailure(code, message string) *task.Failure {
	return &task.Failure{Kind: task.KindPermanent, Code: code, Message: message, Source: task.SourceHost}
}

// fromWireHeartbeat converts a heartbeat. The second value says why its checkpoint
// was dropped; empty = it was not.
func fromWireHeartbeat(id task.AttemptID, instance string, w *pluginv1.Heartbeat) (task.Report, string) {
	report := task.Report{
		ID: id, Instance: instance, Kind: task.ReportHeartbeat,
		Progress: share(w.GetProgress()),
		Note:     cut(w.GetNote(), maxNote),
	}
	switch c := w.GetCheckpoint(); {
	case len(c) == 0:
	case len(c) > task.MaxCheckpoint:
		return report, fmt.Sprintf("checkpoint dropped: %d bytes, the limit is %d", len(c), task.MaxCheckpoint)
	case !isJSON(c):
		return report, "checkpoint dropped: no valid JSON"
	default:
		report.Checkpoint = c
	}
	return report, ""
}

// share returns f within 0 to 1; what is no number is 0.
func share(f float64) float64 {
	if f >= 0 { // false for NaN
		return min(f, 1)
	}
	return 0
}
