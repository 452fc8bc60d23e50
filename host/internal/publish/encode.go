package publish

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// encodePayload appends the JSON of a payload to b. The events of every task and of every
// step are written by hand, because reflection took a third of a decision's time; the
// result is what encoding/json would write, to the byte.
func encodePayload(b []byte, payload event.Payload) ([]byte, error) {
	switch e := payload.(type) {
	case *event.TaskInitialized:
		return appendTaskInitialized(b, e)
	case *event.TaskStarted:
		return appendTaskStarted(b, e), nil
	case *event.TaskCompleted:
		return appendTaskCompleted(b, e), nil
	case *event.StepStarted:
		return appendStepStarted(b, e, e.StepID)
	case *event.StepCompleted:
		return appendStepCompleted(b, e, e.StepID)
	default:
		body, err := json.Marshal(payload)
		return append(b, body...), err
	}
}

func appendTaskInitialized(b []byte, e *event.TaskInitialized) ([]byte, error) {
	b = appendTask(b, &e.Task)
	b, err := appendRaw(b, `,"input":`, e.Input)
	if err != nil {
		return nil, err
	}
	b = appendRef(b, `,"input_ref":`, e.InputRef)
	b = append(b, `,"steps":`...)
	b = strconv.AppendInt(b, int64(e.Steps), 10)
	b = appendSet(b, `,"initiator":`, e.Initiator)
	b = appendSet(b, `,"source_system":`, e.SourceSystem)
	b = appendSet(b, `,"reason":`, e.Reason)
	b = appendList(b, `,"tags":[`, e.Tags)
	if e.Priority != 0 {
		b = append(b, `,"priority":`...)
		b = strconv.AppendInt(b, int64(e.Priority), 10)
	}
	b = appendTimeSet(b, `,"deadline":"`, e.Deadline)
	return append(b, '}'), nil
}

func appendTaskStarted(b []byte, e *event.TaskStarted) []byte {
	b = appendTask(b, &e.Task)
	b = appendTime(b, `,"started_at":"`, e.StartedAt)
	return append(b, '}')
}

func appendTaskCompleted(b []byte, e *event.TaskCompleted) []byte {
	b = appendTask(b, &e.Task)
	b = appendTimeSet(b, `,"started_at":"`, e.StartedAt)
	b = appendTime(b, `,"completed_at":"`, e.CompletedAt)
	b = appendSeconds(b, `,"total_duration":`, e.TotalDuration)
	b = appendTotals(b, `,"totals":`, e.Totals)
	return append(b, '}')
}

// appendTask opens an object with the fields that all events about a task share.
func appendTask(b []byte, t *event.Task) []byte {
	b = appendString(b, `{"task_id":`, t.TaskID)
	b = appendString(b, `,"namespace":`, t.Namespace)
	b = appendString(b, `,"template":`, t.Template)
	b = appendString(b, `,"version":`, t.Version)
	return appendString(b, `,"correlation_id":`, t.CorrelationID)
}

// text is a string, or the memory of one that is not kept.
type text interface{ string | []byte }

func appendStepStarted[T text](b []byte, e *event.StepStarted, id T) ([]byte, error) {
	b = appendStep(b, &e.Step, id)
	b, err := appendRaw(b, `,"inputs":`, e.Inputs)
	if err != nil {
		return nil, err
	}
	b = appendRef(b, `,"inputs_ref":`, e.InputsRef)
	b = appendList(b, `,"dependencies":[`, e.Dependencies)
	b = appendList(b, `,"dependents":[`, e.Dependents)
	if e.Level != 0 {
		b = append(b, `,"level":`...)
		b = strconv.AppendUint(b, uint64(e.Level), 10)
	}
	b = appendString(b, `,"instance":`, e.Instance)
	return append(b, '}'), nil
}

func appendStepCompleted[T text](b []byte, e *event.StepCompleted, id T) ([]byte, error) {
	b = appendStep(b, &e.Step, id)
	b = appendSeconds(b, `,"execution_duration":`, e.ExecutionDuration)
	b, err := appendRaw(b, `,"results":`, e.Results)
	if err != nil {
		return nil, err
	}
	b = appendRef(b, `,"results_ref":`, e.ResultsRef)
	return append(b, '}'), nil
}

// appendStep opens an object with the fields that all events about a step share; id takes
// the place of StepID.
func appendStep[T text](b []byte, s *event.Step, id T) []byte {
	b = appendTask(b, &s.Task)
	b = appendString(b, `,"step_id":`, id)
	b = appendString(b, `,"step_name":`, s.StepName)
	b = appendString(b, `,"handler":`, s.Handler)
	b = append(b, `,"attempt_number":`...)
	b = strconv.AppendUint(b, uint64(s.AttemptNumber), 10)
	b = append(b, `,"retry_limit":`...)
	b = strconv.AppendUint(b, uint64(s.RetryLimit), 10)
	b = appendTimeSet(b, `,"started_at":"`, s.StartedAt)
	b = appendTimeSet(b, `,"completed_at":"`, s.CompletedAt)
	if s.Round == 0 {
		return b
	}
	return strconv.AppendUint(append(b, `,"round":`...), uint64(s.Round), 10)
}

func appendTime(b []byte, key string, t time.Time) []byte {
	b = append(b, key...)
	return append(t.AppendFormat(b, time.RFC3339Nano), '"')
}

// appendTimeSet leaves the zero time out.
func appendTimeSet(b []byte, key string, t time.Time) []byte {
	if t.IsZero() {
		return b
	}
	return appendTime(b, key, t)
}

func appendSeconds(b []byte, key string, s event.Seconds) []byte {
	b = append(b, key...)
	return strconv.AppendFloat(b, float64(s), 'f', -1, 64)
}

func appendTotals(b []byte, key string, totals event.Totals) []byte {
	b = append(b, key...)
	if totals == nil {
		return append(b, "null"...)
	}
	names := make([]string, 0, 16) // more than there are statuses, so that it need not lie on the heap
	for name := range totals {
		names = append(names, name)
	}
	slices.Sort(names)
	open := "{"
	for _, name := range names {
		b = appendString(b, open, name)
		b = append(b, ':')
		b = strconv.AppendInt(b, int64(totals[name]), 10)
		open = ","
	}
	if len(names) == 0 {
		b = append(b, '{')
	}
	return append(b, '}')
}

// appendList leaves an empty list out.
func appendList(b []byte, key string, list []string) []byte {
	if len(list) == 0 {
		return b
	}
	for _, s := range list {
		b = appendString(b, key, s)
		key = ","
	}
	return append(b, ']')
}

// appendSet leaves an empty string out.
func appendSet(b []byte, key, s string) []byte {
	if s == "" {
		return b
	}
	return appendString(b, key, s)
}

func appendString[T text](b []byte, key string, s T) []byte {
	b = append(b, key...)
	for i := range len(s) {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			escaped, _ := json.Marshal(string(s)) //nolint:errchkjson // a string always has a JSON form
			return append(b, escaped...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// appendRaw appends a document without white space and escaped for HTML, as
// encoding/json does. A document that has neither is valid: it was looked at when it came
// in.
func appendRaw(b []byte, key string, doc json.RawMessage) ([]byte, error) {
	if len(doc) == 0 {
		return b, nil
	}
	b = append(b, key...)
	if isCompact(doc) {
		return append(b, doc...), nil
	}
	compact, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("value of %s: %w", key, err)
	}
	return append(b, compact...), nil
}

// isCompact reports whether a document, which is valid JSON, is what encoding/json would
// write of it: without white space between its parts and without what it escapes.
func isCompact(doc []byte) bool {
	inText := false
	for i := 0; i < len(doc); i++ {
		c := doc[i]
		if c > '>' && c != '\\' && c != "\u2028"[0] {
			continue // most bytes of most documents
		}
		switch c {
		case '"':
			inText = !inText
		case '\\':
			i++ // whatever it is, it ends no text
		case ' ', '\t', '\r', '\n':
			if !inText {
				return false
			}
		case '<', '>', '&':
			return false
		case "\u2028"[0]: // and U+2029
			if len(doc) > i+2 && doc[i+1] == "\u2028"[1] && doc[i+2]&^1 == "\u2028"[2] {
				return false
			}
		}
	}
	return true
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

// appendEnvelope is proto.Marshal for an event that has no id yet, without reflection.
func appendEnvelope(b, id []byte, e *eventv1.Event) []byte {
	const heads = 12 * 6 // tags, lengths and numbers take less
	b = slices.Grow(b, heads+len(id)+len(e.GetType())+len(e.GetTaskId())+len(e.GetStep())+len(e.GetNamespace())+
		len(e.GetTemplate())+len(e.GetVersion())+len(e.GetCorrelationId())+len(e.GetTraceparent())+len(e.GetPayload()))
	b = appendBytes(b, 1, id)
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
	return appendBytes(b, 12, e.GetPayload())
}

func appendBytes(b []byte, field protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return b
	}
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), v)
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
