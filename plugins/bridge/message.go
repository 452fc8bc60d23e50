package main

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// envelope is the message's body in the format json.
type envelope struct {
	ID            string          `json:"id"`
	Type          string          `json:"type"`
	Time          time.Time       `json:"time"`
	Seq           uint64          `json:"seq"`
	TaskID        string          `json:"task_id,omitempty"`
	TaskSeq       uint64          `json:"task_seq,omitempty"`
	Step          string          `json:"step,omitempty"`
	Namespace     string          `json:"namespace,omitempty"`
	Template      string          `json:"template,omitempty"`
	Version       string          `json:"version,omitempty"`
	CorrelationID string          `json:"correlation_id,omitempty"`
	Traceparent   string          `json:"traceparent,omitempty"`
	Data          json.RawMessage `json:"data"`
}

// messageID is the same each time that an event comes, and for no other event: a task that was restored from a backup
// numbers new events like old ones, and so do hosts that share a stream, but at other times.
func messageID(e sdk.Event[json.RawMessage]) string {
	return e.ID + "@" + strconv.FormatInt(e.At.UnixNano(), 10)
}

// message makes the message of an event.
func message(subject, format string, e sdk.Event[json.RawMessage]) (*nats.Msg, error) {
	m := nats.NewMsg(subject)
	if e.Traceparent != "" {
		m.Header.Set("traceparent", e.Traceparent)
	}
	data := e.Payload
	if len(data) == 0 {
		data = json.RawMessage("null")
	}
	if format == formatCloudEvents {
		cloudEvent(m.Header, e)
		m.Data = data
		return m, nil
	}
	for name, value := range map[string]string{"Id": e.ID, "Type": e.Type, "Task": e.Task, "Correlation-Id": e.CorrelationID} {
		if value != "" {
			m.Header.Set("Tasker-"+name, headerText(value))
		}
	}
	m.Header.Set("Content-Type", "application/json")
	var err error
	m.Data, err = json.Marshal(envelope{
		ID: e.ID, Type: e.Type, Time: e.At.UTC(), Seq: e.Seq, TaskID: e.Task, TaskSeq: e.TaskSeq, Step: e.Step, Namespace: e.Namespace,
		Template: e.Template, Version: e.Version, CorrelationID: e.CorrelationID, Traceparent: e.Traceparent, Data: data,
	})
	return m, err
}

// cloudEvent sets the attributes of a CloudEvent in the binary mode of its binding to NATS.
func cloudEvent(h nats.Header, e sdk.Event[json.RawMessage]) {
	source := "/tasker"
	if e.Task != "" {
		source += "/" + e.Namespace + "/" + e.Template
	}
	for name, value := range map[string]string{
		"specversion": "1.0", "id": e.ID, "type": e.Type, "source": source, "time": e.At.UTC().Format(time.RFC3339Nano),
		"datacontenttype": "application/json", "subject": e.Task, "sequence": strconv.FormatUint(e.Seq, 10),
		"correlationid": e.CorrelationID, "step": e.Step, "templateversion": e.Version, "traceparent": e.Traceparent,
	} {
		if value != "" {
			h.Set("ce-"+name, headerText(value))
		}
	}
	h.Set("Content-Type", "application/json")
}

// headerText is a text on one line.
func headerText(s string) string { return strings.NewReplacer("\r", " ", "\n", " ").Replace(s) }

// placeholders of subjects.
var placeholders = regexp.MustCompile(`\{[^{}]*\}`)

// checkSubject refuses a template of subjects that some event would make none of.
func checkSubject(template string) error {
	for _, name := range placeholders.FindAllString(template, -1) {
		if _, ok := part(name, sdk.Event[json.RawMessage]{}); !ok {
			return fmt.Errorf("%s stands for nothing; there are {namespace}, {template}, {version}, {family}, {type}, {step}, {task}", name)
		}
	}
	for token := range strings.SplitSeq(placeholders.ReplaceAllString(template, "x"), ".") {
		if token == "" || strings.ContainsAny(token, " \t\r\n*>{}") || strings.HasPrefix(token, "$") {
			return fmt.Errorf("%q is no subject: between dots there must be something, without *, > or spaces, and not beginning with $", template)
		}
	}
	return nil
}

// subjectOf makes the subject of an event.
func subjectOf(template string, e sdk.Event[json.RawMessage]) (string, error) {
	if err := checkSubject(template); err != nil {
		return "", err
	}
	return placeholders.ReplaceAllStringFunc(template, func(name string) string {
		value, _ := part(name, e)
		return value
	}), nil
}

// part returns what a placeholder stands for. False = nothing ever.
func part(name string, e sdk.Event[json.RawMessage]) (string, bool) {
	family, rest, _ := strings.Cut(e.Type, ".")
	switch name {
	case "{type}": // the only one of two tokens, so that there are wildcards for families
		return token(family) + "." + token(rest), true
	case "{family}":
		return token(family), true
	case "{namespace}":
		return token(e.Namespace), true
	case "{template}":
		return token(e.Template), true
	case "{version}":
		return token(e.Version), true
	case "{step}":
		return token(e.Step), true
	case "{task}":
		return token(e.Task), true
	default:
		return "", false
	}
}

// token makes one token of a subject: letters, digits, - and _; never empty.
func token(s string) string {
	if s == "" {
		return "_"
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		default:
			return '_'
		}
	}, s)
}
