package publish

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// encodePayload appends the JSON of a payload to b. The two events of every step are
// written by hand, because reflection took a third of a decision's time; the result is
// what encoding/json would write, to the byte.
func encodePayload(b []byte, payload event.Payload) ([]byte, error) {
	switch e := payload.(type) {
	case *event.StepStarted:
		return appendStepStarted(b, e)
	case *event.StepCompleted:
		return appendStepCompleted(b, e)
	default:
		body, err := json.Marshal(payload)
		return append(b, body...), err
	}
}

func appendStepStarted(b []byte, e *event.StepStarted) ([]byte, error) {
	b = appendStep(b, &e.Step)
	b, err := appendRaw(b, `,"inputs":`, e.Inputs)
	if err != nil {
		return nil, err
	}
	b = appendRef(b, `,"inputs_ref":`, e.InputsRef)
	for i, name := range e.Dependencies {
		key := ","
		if i == 0 {
			key = `,"dependencies":[`
		}
		b = appendString(b, key, name)
	}
	if len(e.Dependencies) > 0 {
		b = append(b, ']')
	}
	b = appendString(b, `,"instance":`, e.Instance)
	return append(b, '}'), nil
}

func appendStepCompleted(b []byte, e *event.StepCompleted) ([]byte, error) {
	b = appendStep(b, &e.Step)
	b = append(b, `,"execution_duration":`...)
	b = strconv.AppendFloat(b, float64(e.ExecutionDuration), 'f', -1, 64)
	b, err := appendRaw(b, `,"results":`, e.Results)
	if err != nil {
		return nil, err
	}
	b = appendRef(b, `,"results_ref":`, e.ResultsRef)
	return append(b, '}'), nil
}

// appendStep opens an object with the fields that all events about a step share.
func appendStep(b []byte, s *event.Step) []byte {
	b = appendString(b, `{"task_id":`, s.TaskID)
	b = appendString(b, `,"namespace":`, s.Namespace)
	b = appendString(b, `,"template":`, s.Template)
	b = appendString(b, `,"version":`, s.Version)
	b = appendString(b, `,"correlation_id":`, s.CorrelationID)
	b = appendString(b, `,"step_id":`, s.StepID)
	b = appendString(b, `,"step_name":`, s.StepName)
	b = appendString(b, `,"handler":`, s.Handler)
	b = append(b, `,"attempt_number":`...)
	b = strconv.AppendUint(b, uint64(s.AttemptNumber), 10)
	b = append(b, `,"retry_limit":`...)
	b = strconv.AppendUint(b, uint64(s.RetryLimit), 10)
	b = appendTime(b, `,"started_at":"`, s.StartedAt)
	b = appendTime(b, `,"completed_at":"`, s.CompletedAt)
	if s.Round == 0 {
		return b
	}
	return strconv.AppendUint(append(b, `,"round":`...), uint64(s.Round), 10)
}

func appendTime(b []byte, key string, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	b = append(b, key...)
	return append(t.AppendFormat(b, time.RFC3339Nano), '"')
}

func appendString(b []byte, key, s string) []byte {
	b = append(b, key...)
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			escaped, _ := json.Marshal(s) //nolint:errchkjson // a string always has a JSON form
			return append(b, escaped...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// appendRaw appends a document without white space and escaped for HTML, as
// encoding/json does. A document that already looks so is valid: it was looked at when
// it came in.
func appendRaw(b []byte, key string, doc json.RawMessage) ([]byte, error) {
	if len(doc) == 0 {
		return b, nil
	}
	b = append(b, key...)
	if !bytes.ContainsAny(doc, " \t\r\n<>&\u2028\u2029") {
		return append(b, doc...), nil
	}
	compact, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("value of %s: %w", key, err)
	}
	return append(b, compact...), nil
}

func appendRef(b []byte, key string, r *event.Ref) []byte {
	if r == nil {
		return b
	}
	b = append(b, key...)
	b = appendString(b, `{"ref":`, r.Ref)
	b = append(b, `,"size":`...)
	b = strconv.AppendInt(b, r.Size, 10)
	if r.SHA256 != "" {
		b = appendString(b, `,"sha256":`, r.SHA256)
	}
	return append(b, '}')
}

// encodeEnvelope is proto.Marshal for events, without reflection.
func encodeEnvelope(e *eventv1.Event) []byte {
	const heads = 12 * 6 // tags, lengths and numbers take less
	b := make([]byte, 0, heads+len(e.GetId())+len(e.GetType())+len(e.GetTaskId())+len(e.GetStep())+len(e.GetNamespace())+
		len(e.GetTemplate())+len(e.GetVersion())+len(e.GetCorrelationId())+len(e.GetTraceparent())+len(e.GetPayload()))
	b = appendText(b, 1, e.GetId())
	b = appendText(b, 2, e.GetType())
	b = appendNumber(b, 3, uint64(e.GetAt())) //nolint:gosec // two's complement is what the wire has
	b = appendText(b, 4, e.GetTaskId())
	b = appendNumber(b, 5, e.GetTaskSeq())
	b = appendText(b, 6, e.GetStep())
	b = appendText(b, 7, e.GetNamespace())
	b = appendText(b, 8, e.GetTemplate())
	b = appendText(b, 9, e.GetVersion())
	b = appendText(b, 10, e.GetCorrelationId())
	b = appendText(b, 11, e.GetTraceparent())
	if len(e.GetPayload()) == 0 {
		return b
	}
	return protowire.AppendBytes(protowire.AppendTag(b, 12, protowire.BytesType), e.GetPayload())
}

func appendText(b []byte, field protowire.Number, s string) []byte {
	if s == "" {
		return b
	}
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), s)
}

func appendNumber(b []byte, field protowire.Number, n uint64) []byte {
	if n == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), n)
}
