package main

import (
	"slices"
	"strings"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// The keys of the attributes.
const (
	keyTaskID           = "task.id"
	keyTaskNamespace    = "task.namespace"
	keyTaskTemplate     = "task.template"
	keyTaskVersion      = "task.template_version"
	keyTaskStatus       = "task.status"
	keyCorrelationID    = "workflow.correlation_id"
	keyStepID           = "step.id"
	keyStepName         = "step.name"
	keyStepHandler      = "step.handler"
	keyStepDependencies = "step.dependencies"
	keyStepAttempts     = "step.attempts"
	keyStepStatus       = "step.status"
	keyAttempt          = "attempt.number"
	keyErrorType        = "error.type"
	keyErrorCode        = "error.code"
	keyErrorSource      = "error.source"
	keyErrorCategory    = "error.category"
)

func taskAttributes(e event.Task) []*commonpb.KeyValue {
	return []*commonpb.KeyValue{
		text(keyTaskID, e.TaskID), text(keyTaskNamespace, e.Namespace), text(keyTaskTemplate, e.Template), text(keyTaskVersion, e.Version),
		text(keyCorrelationID, e.CorrelationID),
	}
}

func stepAttributes(e *event.Step) []*commonpb.KeyValue {
	return append(taskAttributes(e.Task), text(keyStepID, e.StepID), text(keyStepName, e.StepName), text(keyStepHandler, e.Handler))
}

// end says how a span ended, and leaves out attributes that say nothing.
func end(s *tracepb.Span, ok bool, failure *event.Error) {
	switch {
	case failure != nil:
		s.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: cut(failure.Message)}
		s.Attributes = append(
			s.Attributes, text(keyErrorType, failure.Class), text(keyErrorCode, failure.Code),
			text(keyErrorSource, failure.Source), text(keyErrorCategory, string(failure.Category())),
		)
	case ok:
		s.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_OK}
	}
	s.Attributes = present(s.GetAttributes()...)
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
