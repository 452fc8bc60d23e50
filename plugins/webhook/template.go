package main

import (
	"bytes"
	"cmp"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"text/template"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// maxBody is the size in bytes of the largest body that a template may make.
const maxBody = 1 << 20

// chats are the templates of the messages for chats.
//
//go:embed formats/*.tmpl
var chats embed.FS

// templates compiles each template once. There are as many as bindings have, so that none is forgotten.
type templates struct {
	mu       sync.Mutex
	compiled map[string]*template.Template // by text
}

// view is what a template sees: the event, its payload decoded, and words for people.
type view struct {
	sdk.Event[map[string]any]
}

// Headline says in a line what has happened: "Step charge of shop/order failed".
func (v view) Headline() string {
	noun, verb, _ := strings.Cut(v.Type, ".")
	subject := strings.ToUpper(noun[:1]) + noun[1:]
	switch {
	case v.Step != "":
		subject = fmt.Sprintf("Step %s of %s/%s", v.Step, v.Namespace, v.Template)
	case v.Task != "" && v.Template != "":
		subject = fmt.Sprintf("%s %s/%s", subject, v.Namespace, v.Template)
	default:
		for _, key := range []string{"plugin", "subscription"} {
			if name, ok := v.Payload[key].(string); ok {
				subject += " " + name
			}
		}
	}
	return subject + " " + strings.ReplaceAll(verb, "_", " ")
}

// Mood is bad, good or neutral.
func (v view) Mood() string {
	for _, bad := range []string{"failed", "crashed", "quarantined", "dead_lettered", "lost", "gap", "lagging", "max_retries_reached"} {
		if strings.HasSuffix(v.Type, bad) {
			return "bad"
		}
	}
	if strings.HasSuffix(v.Type, "completed") || strings.HasSuffix(v.Type, "resolved_manually") {
		return "good"
	}
	return "neutral"
}

// Fact is a detail of an event.
type Fact struct{ Name, Value string }

// Facts are the details that people ask for first, as far as the event has them.
func (v view) Facts() []Fact {
	var facts []Fact
	add := func(name string, value any) {
		if s := text(value); s != "" && s != "0" {
			facts = append(facts, Fact{name, s})
		}
	}
	add("Error", v.Payload["error_message"])
	if failed, ok := v.Payload["failed_steps"].([]any); ok {
		for _, s := range failed {
			if step, ok := s.(map[string]any); ok {
				add("Step "+text(step["step_name"]), step["error_message"])
			}
		}
	}
	add("Cause", v.Payload["cause"])
	add("Reason", v.Payload["reason"])
	add("Attempt", v.Payload["attempt_number"])
	add("Event", v.Payload["event_type"])
	add("Task", v.Task)
	add("Version", v.Version)
	if v.CorrelationID != v.Task {
		add("Correlation", v.CorrelationID)
	}
	return facts
}

// functions are what templates can call beside what text/template brings.
func functions() template.FuncMap {
	return template.FuncMap{
		"json":     func(v any) (string, error) { b, err := encodeJSON(v); return string(b), err },
		"quoted":   quoted,
		"text":     text,
		"default":  func(d, v any) string { return cmp.Or(text(v), text(d)) },
		"truncate": truncate,
		"slack": func(v any) string {
			return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text(v))
		},
	}
}

// text is a value as people read it; what is not there is empty.
func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case map[string]any, []any:
		b, _ := encodeJSON(v) // it came from JSON
		return string(b)
	default:
		return fmt.Sprint(v)
	}
}

// quoted is a value as the inside of a JSON string.
func quoted(v any) (string, error) {
	b, err := encodeJSON(text(v))
	if err != nil {
		return "", err
	}
	return string(b[1 : len(b)-1]), nil
}

// truncate cuts a text to n characters.
func truncate(n int, v any) string {
	if r := []rune(text(v)); len(r) > n && n >= 3 {
		return string(r[:n-3]) + "..."
	}
	return text(v)
}

// chat executes the template of a chat.
func (t *templates) chat(format string, e sdk.Event[json.RawMessage]) ([]byte, error) {
	source, err := chats.ReadFile("formats/" + format + ".tmpl")
	if err != nil {
		return nil, err
	}
	return t.execute(string(source), e, true)
}

// execute makes a body. If it is to be JSON, it is checked, and written without the template's blanks.
func (t *templates) execute(source string, e sdk.Event[json.RawMessage], isJSON bool) ([]byte, error) {
	compiled, err := t.compile(source)
	if err != nil {
		return nil, err
	}
	v := view{sdk.Event[map[string]any]{
		ID: e.ID, Type: e.Type, Seq: e.Seq, At: e.At, Task: e.Task, TaskSeq: e.TaskSeq, Step: e.Step, Namespace: e.Namespace,
		Template: e.Template, Version: e.Version, CorrelationID: e.CorrelationID, Traceparent: e.Traceparent, Delivery: e.Delivery,
	}}
	d := json.NewDecoder(bytes.NewReader(data(e)))
	d.UseNumber() // 64 bits
	if err := d.Decode(&v.Payload); err != nil {
		return nil, fmt.Errorf("the payload is no object: %w", err)
	}
	out := &bounded{}
	if err := compiled.Execute(out, v); err != nil {
		return nil, err
	}
	if !isJSON {
		return out.Bytes(), nil
	}
	var body bytes.Buffer
	if err := json.Compact(&body, out.Bytes()); err != nil {
		return nil, fmt.Errorf("the template made no JSON: %w", err)
	}
	return body.Bytes(), nil
}

func parseTemplate(source string) (*template.Template, error) {
	return template.New("body").Funcs(functions()).Parse(source)
}

func (t *templates) compile(source string) (*template.Template, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c, ok := t.compiled[source]; ok {
		return c, nil
	}
	c, err := parseTemplate(source)
	if err != nil {
		return nil, err
	}
	if t.compiled == nil {
		t.compiled = make(map[string]*template.Template)
	}
	t.compiled[source] = c
	return c, nil
}

// bounded is a buffer that takes up to maxBody bytes.
type bounded struct{ bytes.Buffer }

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > maxBody {
		return 0, errors.New("the body is too large")
	}
	return b.Buffer.Write(p)
}
