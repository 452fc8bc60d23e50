package sdktest

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// maxSpanBytes is the size of what hosts keep of an attempt's spans.
const maxSpanBytes = 72 << 10

// Span is a span that a plugin has sent.
type Span struct {
	// Name is what it is about, such as "handler.process", "api.call", or what the author has called it.
	Name string
	// Trace, ID and Parent are hexadecimal. Parent is empty for the first span of a trace.
	Trace, ID, Parent string
	// Kind is internal, client, server, producer or consumer.
	Kind string
	// Start and End are when it began and ended.
	Start, End time.Time
	// Attributes are its attributes: string, bool, int64, float64, or []any of these.
	Attributes map[string]any
	// Events and Links are in order.
	Events []SpanEvent
	Links  []SpanLink
	// Failed is whether it ended with an error, and Error how it is described.
	Failed bool
	Error  string
	// Sampled is whether what it calls is told to record the trace.
	Sampled bool
	// Service and Scope are what made it: the plugin's name, and that of the instrumentation.
	Service, Scope string
}

// SpanEvent is something that happened during a span.
type SpanEvent struct {
	Name       string
	Attributes map[string]any
}

// SpanLink is a span that another one refers to.
type SpanLink struct {
	Trace, ID  string
	Attributes map[string]any
}

// Duration is how long it took.
func (s Span) Duration() time.Duration { return s.End.Sub(s.Start) }

// SpanTree draws spans, each below its parent, in the order in which they began, with the attributes of these keys that they
// have. It is for tests that compare whole trees:
//
//	handler.process
//	  api.call http.response.status_code=503 failed
//	  api.call http.response.status_code=200
func SpanTree(spans []Span, keys ...string) string {
	known := make(map[string]bool)
	for _, s := range spans {
		known[s.ID] = true
	}
	spans = slices.SortedStableFunc(slices.Values(spans), func(a, b Span) int { return a.Start.Compare(b.Start) })
	var b strings.Builder
	var draw func(parent string, depth int)
	draw = func(parent string, depth int) {
		for _, s := range spans {
			if s.Parent != parent && (depth > 0 || known[s.Parent]) {
				continue
			}
			b.WriteString(strings.Repeat("  ", depth) + s.Name)
			for _, key := range keys {
				if v, ok := s.Attributes[key]; ok {
					fmt.Fprintf(&b, " %s=%v", key, v)
				}
			}
			if s.Failed {
				b.WriteString(" failed")
			}
			b.WriteByte('\n')
			draw(s.ID, depth+1)
		}
	}
	draw("", 0)
	return b.String()
}

// Span returns the first span of a name, and fails the test if there is none.
func (o *Outcome) Span(tb testing.TB, name string) Span {
	tb.Helper()
	i := slices.IndexFunc(o.Spans, func(s Span) bool { return s.Name == name })
	if i < 0 {
		tb.Fatalf("the attempt has no span %s; it has\n%s", name, SpanTree(o.Spans))
	}
	return o.Spans[i]
}

// decodeSpans reads what a plugin sends, in the order in which the spans began.
func decodeSpans(otlp []byte) ([]Span, error) {
	var all tracepb.TracesData // on the wire the same as an ExportTraceServiceRequest
	if err := proto.Unmarshal(otlp, &all); err != nil {
		return nil, fmt.Errorf("spans that are no OTLP: %w", err)
	}
	var spans []Span
	for _, r := range all.GetResourceSpans() {
		service, _ := attributesOf(r.GetResource().GetAttributes())["service.name"].(string)
		for _, scope := range r.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				one := spanOf(s)
				one.Service, one.Scope = service, scope.GetScope().GetName()
				spans = append(spans, one)
			}
		}
	}
	slices.SortStableFunc(spans, func(a, b Span) int { return cmp.Or(a.Start.Compare(b.Start), strings.Compare(a.Parent, b.Parent)) })
	return spans, nil
}

func spanOf(s *tracepb.Span) Span {
	const flagSampled = 1
	out := Span{
		Name: s.GetName(), Trace: hex.EncodeToString(s.GetTraceId()), ID: hex.EncodeToString(s.GetSpanId()),
		Parent: hex.EncodeToString(s.GetParentSpanId()),
		Kind:   strings.ToLower(strings.TrimPrefix(s.GetKind().String(), "SPAN_KIND_")),
		Start:  time.Unix(0, int64(s.GetStartTimeUnixNano())), End: time.Unix(0, int64(s.GetEndTimeUnixNano())), //nolint:gosec // until 2262
		Attributes: attributesOf(s.GetAttributes()), Error: s.GetStatus().GetMessage(),
		Failed: s.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR, Sampled: s.GetFlags()&flagSampled != 0,
	}
	for _, e := range s.GetEvents() {
		out.Events = append(out.Events, SpanEvent{Name: e.GetName(), Attributes: attributesOf(e.GetAttributes())})
	}
	for _, l := range s.GetLinks() {
		out.Links = append(out.Links, SpanLink{
			Trace: hex.EncodeToString(l.GetTraceId()), ID: hex.EncodeToString(l.GetSpanId()), Attributes: attributesOf(l.GetAttributes()),
		})
	}
	return out
}

func attributesOf(list []*commonpb.KeyValue) map[string]any {
	out := make(map[string]any, len(list))
	for _, kv := range list {
		out[kv.GetKey()] = valueOf(kv.GetValue())
	}
	return out
}

func valueOf(v *commonpb.AnyValue) any {
	switch v := v.GetValue().(type) {
	case *commonpb.AnyValue_StringValue:
		return v.StringValue
	case *commonpb.AnyValue_BoolValue:
		return v.BoolValue
	case *commonpb.AnyValue_IntValue:
		return v.IntValue
	case *commonpb.AnyValue_DoubleValue:
		return v.DoubleValue
	case *commonpb.AnyValue_ArrayValue:
		list := make([]any, 0, len(v.ArrayValue.GetValues()))
		for _, one := range v.ArrayValue.GetValues() {
			list = append(list, valueOf(one))
		}
		return list
	default:
		return nil
	}
}
