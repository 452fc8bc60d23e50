package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

const contentJSON = "application/json"

// envelope is the body of the format json: the three members that Standard Webhooks wants, and what else is known.
type envelope struct {
	Type          string          `json:"type"`
	Timestamp     time.Time       `json:"timestamp"`
	ID            string          `json:"id"`
	Seq           uint64          `json:"seq"`
	TaskID        string          `json:"task_id,omitempty"`
	TaskSeq       uint64          `json:"task_seq,omitempty"`
	Step          string          `json:"step,omitempty"`
	Namespace     string          `json:"namespace,omitempty"`
	Template      string          `json:"template,omitempty"`
	Version       string          `json:"version,omitempty"`
	CorrelationID string          `json:"correlation_id,omitempty"`
	Data          json.RawMessage `json:"data"`
}

// encode makes the message of an event, as a binding says.
func (w *webhooks) encode(e sdk.Event[json.RawMessage], b binding) (message, error) {
	m := message{id: e.ID, contentType: contentJSON, header: make(http.Header)}
	if e.Traceparent != "" {
		m.header.Set("traceparent", e.Traceparent)
	}
	var err error
	switch format := b.format(); format {
	case formatJSON:
		m.body, err = encodeJSON(envelope{
			Type: e.Type, Timestamp: e.At.UTC(), ID: e.ID, Seq: e.Seq, TaskID: e.Task, TaskSeq: e.TaskSeq, Step: e.Step,
			Namespace: e.Namespace, Template: e.Template, Version: e.Version, CorrelationID: e.CorrelationID, Data: data(e),
		})
	case formatCloudEvents:
		m.contentType = "application/cloudevents+json; charset=utf-8"
		m.body, err = structured(e, b.CloudEvents)
	case formatCloudEventsBinary:
		binary(m.header, e, b.CloudEvents)
		m.body = data(e)
	case formatTemplate:
		if b.Template == "" {
			return m, errors.New("the binding has no template")
		}
		if b.ContentType != "" {
			m.contentType = b.ContentType
		}
		m.body, err = w.templates.execute(b.Template, e, b.ContentType == "" || b.ContentType == contentJSON)
	default: // the schema lets no others through than those of chats
		m.body, err = w.templates.chat(format, e)
	}
	return m, err
}

// data is the payload; there always is one in JSON.
func data(e sdk.Event[json.RawMessage]) json.RawMessage {
	if len(e.Payload) == 0 {
		return json.RawMessage("{}")
	}
	return e.Payload
}

// encodeJSON marshals without escaping what only HTML needs escaped.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}
