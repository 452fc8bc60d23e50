package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// entry is an event as a file has it.
type entry struct {
	Time          time.Time       `json:"time"`
	Type          string          `json:"type"`
	ID            string          `json:"id"`
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
	Prev          *string         `json:"prev,omitempty"` // of a chain
}

// members are those of an entry, in their order.
func members() []string {
	return []string{
		"time", "type", "id", "seq", "task_id", "task_seq", "step", "namespace", "template", "version",
		"correlation_id", "traceparent", "data",
	}
}

// entryOf returns the entry of an event.
func entryOf(e sdk.Event[json.RawMessage]) (entry, error) {
	data := []byte("null")
	if len(e.Payload) > 0 {
		var b bytes.Buffer
		if err := json.Compact(&b, e.Payload); err != nil {
			return entry{}, fmt.Errorf("payload: %w", err)
		}
		data = b.Bytes()
	}
	return entry{
		Time: e.At.UTC(), Type: e.Type, ID: e.ID, Seq: e.Seq, TaskID: e.Task, TaskSeq: e.TaskSeq, Step: e.Step, Namespace: e.Namespace,
		Template: e.Template, Version: e.Version, CorrelationID: e.CorrelationID, Traceparent: e.Traceparent, Data: data,
	}, nil
}

// key is what is the same each time that an event comes, and for no other event: a task that was restored from a
// backup numbers new events like old ones, at other times.
func (en *entry) key() string { return en.ID + " " + strconv.FormatInt(en.Time.UnixNano(), 10) }

// lineJSON returns the line of an entry, with the end of the line.
func (en *entry) lineJSON() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(en)
	return b.Bytes(), err
}

// lineCSV returns the record of an entry, with the end of the line. A record never has more than one line.
func (en *entry) lineCSV(columns []string) ([]byte, error) {
	record := make([]string, len(columns))
	for i, column := range columns {
		record[i] = en.cell(column)
	}
	return lineOf(record)
}

// lineOf returns a record as a line.
func lineOf(record []string) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	if err := w.Write(record); err != nil {
		return nil, err
	}
	w.Flush()
	return b.Bytes(), w.Error()
}

// cell returns what stands in a column.
func (en *entry) cell(column string) string {
	number := func(n uint64) string {
		if n == 0 {
			return ""
		}
		return strconv.FormatUint(n, 10)
	}
	switch column {
	case "time":
		return en.Time.Format(time.RFC3339Nano)
	case "type":
		return en.Type
	case "id":
		return en.ID
	case "seq":
		return number(en.Seq)
	case "task_id":
		return en.TaskID
	case "task_seq":
		return number(en.TaskSeq)
	case "step":
		return en.Step
	case "namespace":
		return en.Namespace
	case "template":
		return en.Template
	case "version":
		return en.Version
	case "correlation_id":
		return en.CorrelationID
	case "traceparent":
		return en.Traceparent
	default:
		return within(en.Data, strings.Split(column, ".")[1:])
	}
}

// within returns what stands at a path within a document: texts of one line as they are, all else as JSON; empty if
// there is nothing.
func within(doc json.RawMessage, path []string) string {
	for _, name := range path {
		var object map[string]json.RawMessage
		if json.Unmarshal(doc, &object) != nil {
			return ""
		}
		doc = object[name]
	}
	var text string
	if json.Unmarshal(doc, &text) == nil && !strings.ContainsAny(text, "\r\n") {
		return text // also where there is null
	}
	return string(doc)
}

// keyOf returns the key of the event that a line tells of. False = none.
func keyOf(line []byte, header []string) (entry, bool) {
	var en entry
	if header == nil {
		return en, json.Unmarshal(line, &en) == nil && en.ID != ""
	}
	record, err := csv.NewReader(bytes.NewReader(line)).Read()
	if err != nil || len(record) != len(header) {
		return en, false
	}
	id, at := slices.Index(header, "id"), slices.Index(header, "time")
	if id < 0 || at < 0 {
		return en, false
	}
	en.ID = record[id]
	en.Time, err = time.Parse(time.RFC3339Nano, record[at])
	return en, err == nil
}

// sum returns the SHA-256 of a line, without the end of the line.
func sum(line []byte) string {
	digest := sha256.Sum256(bytes.TrimSuffix(line, []byte("\n")))
	return hex.EncodeToString(digest[:])
}
