package main

import (
	"bytes"
	"cmp"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	htmltemplate "html/template"
	"io"
	"strings"
	"sync"
	texttemplate "text/template"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

const (
	maxPart    = 1 << 20 // bytes of a text
	maxSubject = 200     // characters
)

// shipped are the templates that suit most. headline.tmpl is for both kinds of text.
//
//go:embed templates/*.tmpl
var shipped embed.FS

// decodedEvent is what templates see: the event with its payload decoded. Numbers are as they stand in the JSON.
type decodedEvent = sdk.Event[map[string]any]

// digestData is what the templates of a digest see.
type digestData struct {
	// Events are in the order in which they were recorded.
	Events []decodedEvent
}

// content is what a mail says.
type content struct{ subject, text, html string }

// templates are those of a mail. Nil = without this part.
type templates struct {
	subject, text executor
	html          executor
}

type executor interface {
	Execute(w io.Writer, data any) error
}

// writer makes texts of events.
type writer struct {
	text *texttemplate.Template
	html *htmltemplate.Template

	mu       sync.Mutex
	compiled map[templateKey]templates
}

// templateKey is what of a binding its templates are made of.
type templateKey struct {
	subject, text, html string
	digest              bool
}

func newWriter() (*writer, error) {
	w := &writer{compiled: make(map[templateKey]templates)}
	var errText, errHTML error
	w.text, errText = texttemplate.New("").Funcs(functions()).ParseFS(shipped, "templates/headline.tmpl", "templates/text.tmpl")
	w.html, errHTML = htmltemplate.New("").Funcs(functions()).ParseFS(shipped, "templates/headline.tmpl", "templates/html.tmpl")
	return w, errors.Join(errText, errHTML)
}

// functions are what templates can call beside what Go's templates bring.
func functions() texttemplate.FuncMap {
	return texttemplate.FuncMap{
		"details":  details,
		"text":     text,
		"truncate": truncate,
		"json":     func(v any) (string, error) { b, err := json.MarshalIndent(v, "", "  "); return string(b), err },
		"default":  func(d, v any) string { return cmp.Or(text(v), text(d)) },
	}
}

// single writes the mail of one event, digest that of many.
func (w *writer) single(b binding, e decodedEvent) (content, error) { return w.write(b, false, e) }

func (w *writer) digest(b binding, events []decodedEvent) (content, error) {
	return w.write(b, true, digestData{Events: events})
}

func (w *writer) write(b binding, digest bool, data any) (content, error) {
	t, err := w.compile(b.templates(digest))
	if err != nil {
		return content{}, err
	}
	var c content
	for _, part := range []struct {
		name string
		from executor
		to   *string
	}{{"subject", t.subject, &c.subject}, {"text", t.text, &c.text}, {"html", t.html, &c.html}} {
		if part.from == nil {
			continue
		}
		out := &bounded{}
		if err := part.from.Execute(out, data); err != nil {
			return content{}, fmt.Errorf("the template of %s: %w", part.name, err)
		}
		*part.to = strings.TrimSpace(out.String()) + "\n"
	}
	c.subject = truncate(maxSubject, strings.Join(strings.Fields(c.subject), " ")) // one line
	return c, nil
}

// compile returns the templates of a binding: its own, and the shipped ones for what it leaves open.
func (w *writer) compile(key templateKey) (templates, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t, ok := w.compiled[key]; ok {
		return t, nil
	}
	prefix := ""
	if key.digest {
		prefix = "digest-"
	}
	var t templates
	var err error
	if t.subject, err = w.textTemplate("subject", key.subject, prefix); err != nil {
		return t, err
	}
	if key.text != "" || key.html == "" {
		if t.text, err = w.textTemplate("text", key.text, prefix); err != nil {
			return t, err
		}
	}
	if key.html != "" || key.text == "" {
		if t.html, err = w.htmlTemplate(key.html, prefix); err != nil {
			return t, err
		}
	}
	w.compiled[key] = t
	return t, nil
}

func (w *writer) textTemplate(name, source, prefix string) (executor, error) {
	if source == "" {
		return w.text.Lookup(prefix + name), nil
	}
	t, err := w.text.Clone()
	if err != nil {
		return nil, err
	}
	if t, err = t.New("own").Parse(source); err != nil {
		return nil, fmt.Errorf("the template of %s: %w", name, err)
	}
	return t, nil
}

func (w *writer) htmlTemplate(source, prefix string) (executor, error) {
	t, err := w.html.Clone() // one that was executed cannot be cloned
	if err != nil || source == "" {
		return t.Lookup(prefix + "html"), err
	}
	if t, err = t.New("own").Parse(source); err != nil {
		return nil, fmt.Errorf("the template of html: %w", err)
	}
	return t, nil
}

// decode decodes the payload of an event.
func decode(e sdk.Event[json.RawMessage]) (decodedEvent, error) {
	out := decodedEvent{
		ID: e.ID, Type: e.Type, Seq: e.Seq, At: e.At.UTC(), Task: e.Task, TaskSeq: e.TaskSeq, Step: e.Step, Namespace: e.Namespace,
		Template: e.Template, Version: e.Version, CorrelationID: e.CorrelationID, Traceparent: e.Traceparent, Delivery: e.Delivery,
	}
	if len(e.Payload) == 0 {
		return out, nil
	}
	d := json.NewDecoder(bytes.NewReader(e.Payload))
	d.UseNumber() // 64 bits
	if err := d.Decode(&out.Payload); err != nil {
		return out, fmt.Errorf("event %s: the payload is no object: %w", e.ID, err)
	}
	return out, nil
}

// detail is a line of what is known.
type detail struct{ Name, Value string }

// details are what people ask for first, as far as the event has it.
func details(e decodedEvent) []detail {
	var list []detail
	add := func(name string, value any) {
		if s := text(value); s != "" && s != "0" {
			list = append(list, detail{name, s})
		}
	}
	add("Error", e.Payload["error_message"])
	add("Code", e.Payload["error_code"])
	if failed, ok := e.Payload["failed_steps"].([]any); ok {
		for _, f := range failed {
			if step, ok := f.(map[string]any); ok {
				add("Step "+text(step["step_name"]), step["error_message"])
			}
		}
	}
	for _, f := range []detail{
		{"Cause", "cause"},
		{"Reason", "reason"},
		{"Subscription", "subscription"},
		{"Event", "event_type"},
		{"Deliveries", "deliveries"},
		{"Handler", "handler"},
		{"Attempt", "attempt_number"},
	} {
		add(f.Name, e.Payload[f.Value])
	}
	if d := text(e.Payload["total_duration"]); d != "" {
		add("Duration", d+" s")
	}
	add("Task", cmp.Or(e.Task, text(e.Payload["task_id"])))
	if e.Template != "" {
		add("Template", e.Namespace+"/"+e.Template+" "+e.Version)
	}
	if e.CorrelationID != e.Task {
		add("Correlation", e.CorrelationID)
	}
	add("At", e.At.Format("2006-01-02 15:04:05 MST"))
	return list
}

// text is a value as people read it; what is not there is empty.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case map[string]any, []any:
		b, _ := json.Marshal(v) //nolint:errchkjson // it came from JSON
		return string(b)
	default:
		return fmt.Sprint(v)
	}
}

// truncate cuts a text to n characters.
func truncate(n int, v any) string {
	if r := []rune(text(v)); len(r) > n && n >= 3 {
		return string(r[:n-3]) + "..."
	}
	return text(v)
}

// bounded is a buffer that takes up to maxPart bytes.
type bounded struct{ bytes.Buffer }

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxPart {
		return 0, errors.New("the text is too large")
	}
	return b.Buffer.Write(p)
}
