package supervisor

import (
	"encoding/json"
	"strings"
	"testing"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/tasker-engine/tasker/host/internal/secrets"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

func TestSecretsAreNotLogged(t *testing.T) {
	dir := t.TempDir()
	log := newPluginLog(dir, "p", func(err error) { t.Error(err) })
	o := newOutput("p#1", log)
	o.redact(secrets.NewRedactor([]string{"hunter2"}, nil))
	o.line(sourceStderr, []byte(`{"@message": "the password hunter2", "@level": "info", "key": "hunter2"}`), false)
	o.line(sourceStdout, []byte("panic: hunter2"), false)
	o.close()
	log.close()
	lines, err := ReadLog(dir, "p", 10)
	if err != nil || len(lines) != 2 {
		t.Fatalf("the log has %d lines, %v; want 2", len(lines), err)
	}
	kept, err := json.Marshal(lines)
	if err != nil {
		t.Fatal(err)
	}
	stderr, _ := o.report()
	all := string(kept) + strings.Join(o.said(), "") + strings.Join(stderr, "")
	if strings.Contains(all, "hunter2") || !strings.Contains(all, "the password ***") {
		t.Errorf("kept is %s, want it without the secret", all)
	}
}

// TestMessagesAreRedacted fills every text and every document that a plugin can send with a secret, by the descriptors of
// the messages, and looks at what is left: a field that a later version adds is seen here.
func TestMessagesAreRedacted(t *testing.T) {
	const secret = "correct-horse"
	kept := map[string]bool{ // what the host has to know to do anything with it
		"tasker.plugin.v1.Update.attempt_id": true, "tasker.plugin.v1.Fetch.ref": true, "tasker.plugin.v1.Emit.name": true,
		"tasker.plugin.v1.Log.level": true, "tasker.plugin.v1.EventFetch.task_id": true, "tasker.plugin.v1.EventFetch.ref": true,
	}
	spans, err := proto.Marshal(&coltracepb.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{{ScopeSpans: []*tracepb.ScopeSpans{{
		Spans: []*tracepb.Span{{Name: "GET /?key=" + secret, TraceId: []byte("correct-trace-id"), Status: &tracepb.Status{Message: secret}}},
	}}}}})
	if err != nil {
		t.Fatal(err)
	}
	hide := secrets.NewRedactor([]string{secret}, nil)
	for _, m := range []proto.Message{&pluginv1.WorkResponse{}, &pluginv1.WatchResponse{}, &pluginv1.DeliverResponse{}} {
		for _, with := range everyKind(m.ProtoReflect(), secret, spans, kept) {
			before, err := proto.Marshal(with)
			if err != nil {
				t.Fatal(err)
			}
			redactMessage(hide, with)
			after, err := proto.Marshal(with)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(after), secret) {
				t.Errorf("%v still holds the secret", with)
			}
			if held := strings.Contains(string(before), secret) || strings.Contains(string(before), `\u0063orrect`); held != strings.Contains(string(after), "***") {
				t.Errorf("%v: held a secret: %t", with, held)
			}
			if strings.Contains(string(before), "correct-trace-id") != strings.Contains(string(after), "correct-trace-id") {
				t.Errorf("%v has other ids", with)
			}
		}
	}
}

// everyKind returns messages, each with a secret at one of the places where it can have one.
func everyKind(m protoreflect.Message, secret string, spans []byte, kept map[string]bool) []proto.Message {
	var all []proto.Message
	fill := func(to protoreflect.Message, f protoreflect.FieldDescriptor) []protoreflect.Value {
		switch {
		case kept[string(f.FullName())]:
		case f.Kind() == protoreflect.StringKind:
			return []protoreflect.Value{protoreflect.ValueOfString("it is " + secret)}
		case f.FullName() == "tasker.plugin.v1.Spans.otlp":
			return []protoreflect.Value{protoreflect.ValueOfBytes(spans)}
		case f.Kind() == protoreflect.BytesKind:
			return []protoreflect.Value{protoreflect.ValueOfBytes([]byte(`{"a": ["\u0063orrect-horse", 1]}`)), protoreflect.ValueOfBytes([]byte(`"` + secret + `"`))}
		case f.Kind() == protoreflect.MessageKind:
			var values []protoreflect.Value
			of := to.NewField(f)
			if f.IsList() {
				of = of.List().NewElement()
			}
			for _, inner := range everyKind(of.Message(), secret, spans, kept) {
				values = append(values, protoreflect.ValueOfMessage(inner.ProtoReflect()))
			}
			return values
		}
		return nil
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		for _, v := range fill(m, f) {
			with := m.New()
			if f.IsList() {
				with.Mutable(f).List().Append(v)
			} else {
				with.Set(f, v)
			}
			all = append(all, with.Interface())
		}
	}
	if len(all) == 0 {
		all = append(all, m.New().Interface())
	}
	return all
}
