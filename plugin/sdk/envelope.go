package sdk

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// envelope is an event as the log has it: tasker.event.v1.Event. It is read by hand, with one allocation for all of
// its texts, and its payload stays where it came.
type envelope struct {
	id, name, task, step         string
	namespace, template, version string
	correlationID, traceparent   string
	at                           int64 // nanoseconds since 1970
	taskSeq                      uint64
	payload                      []byte
}

// The fields of the envelope.
const (
	fieldID protowire.Number = iota + 1
	fieldType
	fieldAt
	fieldTask
	fieldTaskSeq
	fieldStep
	fieldNamespace
	fieldTemplate
	fieldVersion
	fieldCorrelationID
	fieldTraceparent
	fieldPayload
)

var errEnvelope = errors.New("it is no event: its envelope cannot be read")

// parse reads an encoded event. Fields that it does not know are passed over.
func (e *envelope) parse(raw []byte) error {
	var places [fieldPayload + 1][2]int
	end := 0 // of the texts
	for pos := 0; pos < len(raw); {
		num, typ, n := protowire.ConsumeTag(raw[pos:])
		if n < 0 {
			return errEnvelope
		}
		pos += n
		switch {
		case typ == protowire.BytesType && num <= fieldPayload:
			var doc []byte
			if doc, n = protowire.ConsumeBytes(raw[pos:]); n >= 0 {
				places[num] = [2]int{pos + n - len(doc), pos + n}
				if num != fieldPayload {
					end = pos + n
				}
			}
		case typ == protowire.VarintType && (num == fieldAt || num == fieldTaskSeq):
			var v uint64
			v, n = protowire.ConsumeVarint(raw[pos:])
			if num == fieldAt {
				e.at = int64(v) //nolint:gosec // how int64 is encoded
			} else {
				e.taskSeq = v
			}
		default:
			n = protowire.ConsumeFieldValue(num, typ, raw[pos:])
		}
		if n < 0 {
			return errEnvelope
		}
		pos += n
	}
	texts := string(raw[:end])
	text := func(num protowire.Number) string { return texts[places[num][0]:places[num][1]] }
	e.id, e.name, e.task, e.step = text(fieldID), text(fieldType), text(fieldTask), text(fieldStep)
	e.namespace, e.template, e.version = text(fieldNamespace), text(fieldTemplate), text(fieldVersion)
	e.correlationID, e.traceparent = text(fieldCorrelationID), text(fieldTraceparent)
	e.payload = raw[places[fieldPayload][0]:places[fieldPayload][1]]
	if e.name == "" {
		return errEnvelope
	}
	return nil
}

// taskOf returns the task of an encoded event. Empty = none, or it cannot be read.
func taskOf(raw []byte) []byte {
	for pos := 0; pos < len(raw); {
		num, typ, n := protowire.ConsumeTag(raw[pos:])
		if n < 0 {
			return nil
		}
		pos += n
		if num == fieldTask && typ == protowire.BytesType {
			task, _ := protowire.ConsumeBytes(raw[pos:])
			return task
		}
		if n = protowire.ConsumeFieldValue(num, typ, raw[pos:]); n < 0 {
			return nil
		}
		pos += n
	}
	return nil
}
