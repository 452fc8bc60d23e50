package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
)

// spanAt is a span from one second to another, with attributes by key and value.
func spanAt(id, parent byte, name string, from, to float64, attributes ...string) *tracepb.Span {
	nanos := func(s float64) uint64 { return uint64(time.Duration(s*float64(time.Second)) + time.Hour) }
	s := &tracepb.Span{TraceId: []byte{0xab}, SpanId: []byte{id}, Name: name, StartTimeUnixNano: nanos(from), EndTimeUnixNano: nanos(to)}
	if parent != 0 {
		s.ParentSpanId = []byte{parent}
	}
	for i := 0; i+1 < len(attributes); i += 2 {
		s.Attributes = append(s.Attributes, &commonpb.KeyValue{
			Key: attributes[i], Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: attributes[i+1]}},
		})
	}
	return s
}

func brokenSpan(s *tracepb.Span) *tracepb.Span {
	s.Status = &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR}
	return s
}

func TestTraceTree(t *testing.T) {
	ship := spanAt(5, 1, trace.SpanStep, 8, 9, trace.KeyStepName, "ship", trace.KeyStepStatus, "complete")
	ship.Links = []*tracepb.Span_Link{{SpanId: []byte{2}}}
	spans := []*tracepb.Span{
		spanAt(7, 6, trace.SpanAPICall, 1.5, 1.9, "http.request.method", "POST", "url.full", "http://h:1/charge?x=1", "http.response.status_code", "200"),
		brokenSpan(spanAt(3, 2, trace.SpanHandler, 0, 1, trace.KeyAttempt, "1", trace.KeyErrorCode, "HTTP_503")),
		spanAt(1, 9, trace.SpanTask, 0, 10, trace.KeyTaskTemplate, "order", trace.KeyTaskNamespace, "shop", trace.KeyTaskVersion, "1.0.0", trace.KeyTaskStatus, "complete"),
		spanAt(2, 1, trace.SpanStep, 0, 8, trace.KeyStepName, "charge", trace.KeyStepStatus, "complete"),
		brokenSpan(spanAt(4, 3, trace.SpanAPICall, 0, 1, "http.request.method", "POST", "url.full", "http://h:1/charge", "http.response.status_code", "503", trace.KeyErrorType, "503")),
		spanAt(6, 2, trace.SpanHandler, 5, 8, trace.KeyAttempt, "2"),
		ship,
		spanAt(8, 5, trace.SpanHandler, 8, 9, trace.KeyAttempt, "1"),
		spanAt(10, 1, trace.SpanStep, 0, 1, trace.KeyStepName, "side", trace.KeyOpen, "true"),
		spanAt(11, 6, "compress", 6, 7),
	}
	tree := readTrace(&coltracepb.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{{
		ScopeSpans: []*tracepb.ScopeSpans{{Spans: spans[:4]}, {Spans: spans[4:]}},
	}}})
	var got []string
	for _, line := range tree.draw(60, true) {
		mark := "  "
		if line.failed {
			mark = "! "
		}
		got = append(got, strings.TrimRight(mark+line.text, " "))
	}
	want := strings.Split(strings.TrimPrefix(`
                      |0s               10.0s|
  order               |======================| 10.0s complete
    charge *          |1=x........2======    | 8000ms complete
!     attempt 1       |1=x                   | 1000ms HTTP_503
!       POST /charge  |==x                   | 1000ms 503
      attempt 2       |           2======    | 3000ms
        POST /charge  |   ==                 | 400ms 200
        compress      |             ===      | 1000ms
    side              |..>                   | 1000ms goes on
    ship *            |                 1==  | 1000ms complete

  . waiting   = runs, from the attempt's number on   x failed
  > goes on
  * critical path: what the task waited for last`, "\n"), "\n")
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("drawing (-got +want):\n%s\n%s", diff, strings.Join(got, "\n"))
	}
	if title := tree.title(); tree.id != "ab" || title != "shop/order@1.0.0  complete  10.0s so far" {
		t.Errorf("trace %s: %s", tree.id, title)
	}
}
