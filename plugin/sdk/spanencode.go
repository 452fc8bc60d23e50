package sdk

import (
	"cmp"
	"context"
	"slices"

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
	// Its fields are those of an ExportTraceServiceRequest, whose package brings an HTTP gateway with it.
	all := &tracepb.TracesData{}
	_ = otlptrace.NewUnstarted(c).ExportSpans(context.Background(), spans) // captured returns no error
	all.ResourceSpans = c.spans
	own := find(all, spans[0])
	if proto.Size(all) > maxSpanBytes {
		shorten(own)
		dropped += trim(all, own)
	}
	if dropped > 0 {
		own.Attributes = append(own.Attributes, &commonpb.KeyValue{
			Key: trace.KeySpansDropped, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: int64(dropped)}},
		})
	}
	doc, err := proto.Marshal(all)
	if err != nil { // a text that is no UTF-8: the spans are not worth a failed attempt
		return nil
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

// find returns a span, which is among them.
func find(all *tracepb.TracesData, s sdktrace.ReadOnlySpan) *tracepb.Span {
	id := s.SpanContext().SpanID()
	for _, r := range all.GetResourceSpans() {
		for _, scope := range r.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				if string(span.GetSpanId()) == string(id[:]) {
					return span
				}
			}
		}
	}
	return nil
}

// shorten takes from a span what may be large: all that others than the SDK have said about it.
func shorten(s *tracepb.Span) {
	const attributes, links = 16, 1 // the SDK's own are the first ones
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

// trim leaves out the spans that began last until the rest has room, and returns how many. As a span begins after that
// which it is part of, no span loses its parent.
func trim(all *tracepb.TracesData, own *tracepb.Span) int {
	var spans []*tracepb.Span
	for _, r := range all.GetResourceSpans() {
		for _, scope := range r.GetScopeSpans() {
			spans = append(spans, scope.GetSpans()...)
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
	const around = 4 // bytes of a span's tag and length
	left := make(map[*tracepb.Span]bool)
	for size := proto.Size(all); size > maxSpanBytes && len(spans) > 1; spans = spans[:len(spans)-1] {
		last := spans[len(spans)-1]
		left[last] = true
		size -= proto.Size(last) + around
	}
	for _, r := range all.GetResourceSpans() {
		for _, scope := range r.GetScopeSpans() {
			scope.Spans = slices.DeleteFunc(scope.GetSpans(), func(s *tracepb.Span) bool { return left[s] })
		}
	}
	return len(left)
}
