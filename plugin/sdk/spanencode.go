package sdk

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
)

// encodeSpans returns spans as an encoded ExportTraceServiceRequest of at most about maxSpanBytes. The first span is told how
// many are missing: those dropped before, and those that there is no room for.
func encodeSpans(spans []sdktrace.ReadOnlySpan, dropped int) []byte {
	c := &captured{}
	_ = otlptrace.NewUnstarted(c).ExportSpans(context.Background(), spans) // captured returns no error
	// Its fields are those of an ExportTraceServiceRequest, whose package brings an HTTP gateway with it.
	all := &tracepb.TracesData{ResourceSpans: c.spans}
	if dropped == 0 {
		if doc, err := proto.Marshal(all); err == nil && len(doc) <= maxSpanBytes {
			return doc
		}
	}
	list := listSpans(all)
	own := list[slices.IndexFunc(list, func(s *tracepb.Span) bool { return is(s, spans[0]) })]
	if proto.Size(all) > maxSpanBytes {
		dropped += trim(all, list, own)
	}
	if dropped > 0 {
		own.Attributes = append(own.Attributes, &commonpb.KeyValue{
			Key: trace.KeySpansDropped, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: int64(dropped)}},
		})
	}
	doc, err := proto.Marshal(all)
	if err != nil { // a text that is no UTF-8
		for _, s := range list {
			mend(s)
		}
		doc, _ = proto.Marshal(all) // nothing else can be wrong; without spans the attempt is still good
	}
	return doc
}

// captured is a client of OTLP that keeps what it is given.
type captured struct{ spans []*tracepb.ResourceSpans }

var _ otlptrace.Client = (*captured)(nil)

// Start implements otlptrace.Client.
func (*captured) Start(context.Context) error { return nil }

// Stop implements otlptrace.Client.
func (*captured) Stop(context.Context) error { return nil }

// UploadTraces implements otlptrace.Client.
func (c *captured) UploadTraces(_ context.Context, spans []*tracepb.ResourceSpans) error {
	c.spans = spans
	return nil
}

// listSpans returns all spans.
func listSpans(all *tracepb.TracesData) (spans []*tracepb.Span) {
	for _, r := range all.GetResourceSpans() {
		for _, scope := range r.GetScopeSpans() {
			spans = append(spans, scope.GetSpans()...)
		}
	}
	return spans
}

// is reports whether two forms of a span are of the same one.
func is(a *tracepb.Span, b sdktrace.ReadOnlySpan) bool {
	id := b.SpanContext().SpanID()
	return string(a.GetSpanId()) == string(id[:])
}

// trim makes room: it shortens large spans, and leaves out those that began last until the rest fits. It returns how many it has
// left out. As a span begins after the one that it is part of, none loses its parent.
func trim(all *tracepb.TracesData, spans []*tracepb.Span, own *tracepb.Span) int {
	for _, s := range spans {
		if proto.Size(s) > maxSpanBytes/16 {
			shorten(s)
		}
	}
	slices.SortStableFunc(spans, func(a, b *tracepb.Span) int {
		switch {
		case a == own:
			return -1
		case b == own:
			return 1
		}
		return cmp.Compare(a.GetStartTimeUnixNano(), b.GetStartTimeUnixNano())
	})
	left := make(map[*tracepb.Span]bool)
	for size := proto.Size(all); size > maxSpanBytes && len(spans) > 1; spans = spans[:len(spans)-1] {
		last := spans[len(spans)-1]
		left[last] = true
		size -= proto.Size(last) // and a little around it
	}
	for _, r := range all.GetResourceSpans() {
		for _, scope := range r.GetScopeSpans() {
			scope.Spans = slices.DeleteFunc(scope.GetSpans(), func(s *tracepb.Span) bool { return left[s] })
		}
	}
	return len(left)
}

// shorten takes from a span what may be large.
func shorten(s *tracepb.Span) {
	const attributes, links = 16, 1 // the first ones, which are the SDK's own where it has any
	if n := len(s.GetAttributes()); n > attributes {
		s.Attributes = s.GetAttributes()[:attributes]
		s.DroppedAttributesCount += uint32(n - attributes) //nolint:gosec // limited
	}
	if n := len(s.GetLinks()); n > links {
		s.Links = s.GetLinks()[:links]
		s.DroppedLinksCount += uint32(n - links) //nolint:gosec // limited
	}
	s.DroppedEventsCount += uint32(len(s.GetEvents())) //nolint:gosec // limited
	s.Events = nil
}

// mend makes all texts of a span valid.
func mend(s *tracepb.Span) {
	s.Name = valid(s.GetName())
	s.GetStatus().Message = valid(s.GetStatus().GetMessage())
	mendAttributes(s.GetAttributes())
	for _, e := range s.GetEvents() {
		e.Name = valid(e.GetName())
		mendAttributes(e.GetAttributes())
	}
	for _, l := range s.GetLinks() {
		mendAttributes(l.GetAttributes())
	}
}

func mendAttributes(list []*commonpb.KeyValue) {
	for _, kv := range list {
		kv.Key = valid(kv.GetKey())
		mendValue(kv.GetValue())
	}
}

func mendValue(v *commonpb.AnyValue) {
	switch v := v.GetValue().(type) {
	case *commonpb.AnyValue_StringValue:
		v.StringValue = valid(v.StringValue)
	case *commonpb.AnyValue_ArrayValue:
		for _, one := range v.ArrayValue.GetValues() {
			mendValue(one)
		}
	case *commonpb.AnyValue_KvlistValue:
		mendAttributes(v.KvlistValue.GetValues())
	}
}

func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
