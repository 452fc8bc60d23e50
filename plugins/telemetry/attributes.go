package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
)

func taskAttributes(e event.Task) []*commonpb.KeyValue {
	return []*commonpb.KeyValue{
		text(trace.KeyTaskID, e.TaskID), text(trace.KeyTaskNamespace, e.Namespace), text(trace.KeyTaskTemplate, e.Template), text(trace.KeyTaskVersion, e.Version),
		text(trace.KeyCorrelationID, e.CorrelationID),
	}
}

func stepAttributes(e *event.Step) []*commonpb.KeyValue {
	return append(taskAttributes(e.Task), text(trace.KeyStepID, e.StepID), text(trace.KeyStepName, e.StepName), text(trace.KeyStepHandler, e.Handler))
}

// end says how a span ended, and leaves out attributes that say nothing.
func end(s *tracepb.Span, ok bool, failure *event.Error) {
	switch {
	case failure != nil:
		s.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: cut(failure.Message)}
		s.Attributes = append(
			s.Attributes, text(trace.KeyErrorType, failure.Class), text(trace.KeyErrorCode, failure.Code),
			text(trace.KeyErrorSource, failure.Source), text(trace.KeyErrorCategory, string(failure.Category())),
		)
	case ok:
		s.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_OK}
	}
	s.Attributes = present(s.GetAttributes()...)
}

// state tells on a span how the task stood when it failed.
func state(s *tracepb.Span, w *event.WorkflowState) {
	if w == nil {
		return
	}
	e := &tracepb.Span_Event{TimeUnixNano: s.GetEndTimeUnixNano(), Name: trace.EventWorkflowState}
	for _, status := range slices.Sorted(maps.Keys(w.Counts)) {
		e.Attributes = append(e.Attributes, number(trace.KeyStateCount+status, uint32(w.Counts[status]))) //nolint:gosec // a number of steps
	}
	steps := make([]string, len(w.Steps))
	for i, step := range w.Steps {
		status := step.Status
		if step.Blocked {
			status = "blocked"
		}
		steps[i] = strings.TrimSpace(fmt.Sprintf("%s %s %d %s", step.Name, status, step.Attempts, step.ErrorCode))
	}
	e.Attributes = present(append(e.Attributes, texts(trace.KeyStateSteps, steps), number(trace.KeyStateOmitted, uint32(w.Omitted)))...) //nolint:gosec // a number of steps
	s.Events = append(s.Events, e)
}

// present returns the attributes that there are.
func present(all ...*commonpb.KeyValue) []*commonpb.KeyValue {
	return slices.DeleteFunc(all, func(kv *commonpb.KeyValue) bool { return kv == nil })
}

// text returns an attribute, nil if the value is empty.
func text(key, value string) *commonpb.KeyValue {
	if value == "" {
		return nil
	}
	return &commonpb.KeyValue{Key: key, Value: textValue(cut(value))}
}

// maxText is the length of the longest text in a span, in bytes: requests have a limit, too.
const maxText = 2 << 10

// cut shortens a text that is too long.
func cut(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "..."
}

// texts returns an attribute, nil if there are no values.
func texts(key string, values []string) *commonpb.KeyValue {
	if len(values) == 0 {
		return nil
	}
	list := &commonpb.ArrayValue{}
	for _, v := range values {
		list.Values = append(list.Values, textValue(v))
	}
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_ArrayValue{ArrayValue: list}}}
}

// number returns an attribute, nil if it is 0.
func number(key string, n uint32) *commonpb.KeyValue {
	if n == 0 {
		return nil
	}
	return &commonpb.KeyValue{Key: key, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: int64(n)}}}
}

func textValue(s string) *commonpb.AnyValue {
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: s}}
}
