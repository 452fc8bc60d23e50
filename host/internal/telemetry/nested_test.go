package telemetry

import (
	"bytes"
	"testing"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

func TestNested(t *testing.T) {
	encoded := func(spans ...*tracepb.Span) []byte {
		b, err := proto.Marshal(&coltracepb.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{{
			ScopeSpans: []*tracepb.ScopeSpans{{Spans: spans}}, SchemaUrl: "u",
		}}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	one := encoded(&tracepb.Span{Name: "a", Flags: 1})
	for _, tt := range []struct {
		name string
		otlp []byte
		want bool
	}{
		{"nothing", nil, false},
		{"one", one, false},
		{"two", encoded(&tracepb.Span{Name: "a"}, &tracepb.Span{Name: "b"}), true},
		{"two requests behind each other", bytes.Repeat(one, 2), true},
		{"no OTLP", []byte("\x0a\xff\xff\xff"), false},
	} {
		if got := Nested(tt.otlp); got != tt.want {
			t.Errorf("%s: Nested() = %t, want %t", tt.name, got, tt.want)
		}
	}
}

func FuzzNested(f *testing.F) {
	f.Add([]byte("\x0a\x02\x12\x00"))
	f.Fuzz(func(_ *testing.T, otlp []byte) { Nested(otlp) })
}
