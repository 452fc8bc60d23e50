package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
)

// receiver takes spans by OTLP.
type receiver struct {
	coltracepb.UnimplementedTraceServiceServer

	url    string
	answer func(*coltracepb.ExportTraceServiceRequest) (*coltracepb.ExportTraceServiceResponse, error) // nil = all are taken

	mu       sync.Mutex
	spans    map[string]*tracepb.Span // by id
	resource map[string]string
	header   map[string][]string
	requests int
	changed  map[string]string // ids of spans that came again and were not the same
}

// receive takes spans by gRPC.
func receive(t *testing.T) *receiver {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{url: "http://" + lis.Addr().String()}
	g := grpc.NewServer()
	coltracepb.RegisterTraceServiceServer(g, r)
	var serving sync.WaitGroup
	serving.Go(func() { _ = g.Serve(lis) })
	t.Cleanup(func() {
		g.Stop()
		serving.Wait()
	})
	return r
}

// Export implements coltracepb.TraceServiceServer.
func (r *receiver) Export(ctx context.Context, req *coltracepb.ExportTraceServiceRequest) (*coltracepb.ExportTraceServiceResponse, error) {
	header, _ := metadata.FromIncomingContext(ctx)
	return r.take(header, req)
}

// ServeHTTP implements http.Handler.
func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.Reader(req.Body), error(nil)
	if req.Header.Get("Content-Encoding") == "gzip" {
		body, err = gzip.NewReader(body)
	}
	if err != nil || req.URL.Path != "/v1/traces" {
		http.Error(w, "not this", http.StatusNotFound)
		return
	}
	doc, err := io.ReadAll(body)
	export := &coltracepb.ExportTraceServiceRequest{}
	if err == nil {
		err = proto.Unmarshal(doc, export)
	}
	if err == nil {
		_, err = r.take(req.Header, export)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

func (r *receiver) take(header map[string][]string, req *coltracepb.ExportTraceServiceRequest) (*coltracepb.ExportTraceServiceResponse, error) {
	if r.answer != nil {
		if out, err := r.answer(req); out != nil || err != nil {
			return out, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.spans == nil {
		r.spans, r.resource, r.changed = make(map[string]*tracepb.Span), make(map[string]string), make(map[string]string)
	}
	r.header = header
	r.requests++
	for _, rs := range req.GetResourceSpans() {
		for _, kv := range rs.GetResource().GetAttributes() {
			r.resource[kv.GetKey()] = kv.GetValue().GetStringValue()
		}
		for _, s := range rs.GetScopeSpans()[0].GetSpans() {
			id := hex.EncodeToString(s.GetSpanId())
			if old := r.spans[id]; old != nil && !proto.Equal(old, s) {
				r.changed[id] = fmt.Sprintf("%v\n%v", old, s)
			}
			r.spans[id] = s
		}
	}
	return &coltracepb.ExportTraceServiceResponse{}, nil
}

// count returns how many spans there are.
func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.spans)
}

// tree draws all spans: each below its parent, by start and name, with times in seconds since at(0).
func (r *receiver) tree(t *testing.T) string {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, change := range r.changed {
		t.Errorf("a span came again and was another:\n%s", change)
	}
	below := make(map[string][]*tracepb.Span)
	traces := make(map[string]bool)
	for _, s := range r.spans {
		parent := hex.EncodeToString(s.GetParentSpanId())
		below[parent] = append(below[parent], s)
		traces[string(s.GetTraceId())] = true
	}
	if len(traces) != 1 {
		t.Errorf("%d traces, want one", len(traces))
	}
	var b strings.Builder
	drawn := 0
	var draw func(parent, indent string)
	draw = func(parent, indent string) {
		slices.SortFunc(below[parent], func(a, b *tracepb.Span) int {
			return strings.Compare(fmt.Sprint(a.GetStartTimeUnixNano(), label(a)), fmt.Sprint(b.GetStartTimeUnixNano(), label(b)))
		})
		for _, s := range below[parent] {
			drawn++
			b.WriteString(indent + describe(s) + "\n")
			draw(hex.EncodeToString(s.GetSpanId()), indent+"  ")
		}
	}
	draw("", "")
	if drawn != len(r.spans) {
		t.Errorf("%d of %d spans are below the root", drawn, len(r.spans))
	}
	return b.String()
}

// label says what a span is about.
func label(s *tracepb.Span) string {
	step := show(attributeOf(s, trace.KeyStepName))
	switch s.GetName() {
	case trace.SpanTask:
		whole := trace.Of(show(attributeOf(s, trace.KeyTaskID)), "").Span()
		if bytes.Equal(s.GetParentSpanId(), whole[:]) {
			return show(attributeOf(s, trace.KeyTaskTemplate)) + " again"
		}
		return show(attributeOf(s, trace.KeyTaskTemplate))
	case trace.SpanStep:
		return step
	case trace.SpanHandler:
		return step + " attempt"
	default:
		return "UNKNOWN " + s.GetName()
	}
}

// describe tells of a span in one line.
func describe(s *tracepb.Span) string {
	seconds := func(nanos uint64) string { return time.Unix(0, int64(nanos)).Sub(at(0)).String() }
	line := fmt.Sprintf("%s %s-%s", label(s), seconds(s.GetStartTimeUnixNano()), seconds(s.GetEndTimeUnixNano()))
	switch s.GetStatus().GetCode() {
	case tracepb.Status_STATUS_CODE_UNSET:
	case tracepb.Status_STATUS_CODE_OK:
		line += " ok"
	case tracepb.Status_STATUS_CODE_ERROR:
		line += fmt.Sprintf(" error %q", s.GetStatus().GetMessage())
	}
	for _, kv := range s.GetAttributes() {
		if key := kv.GetKey(); !strings.HasPrefix(key, "task.") || key == trace.KeyTaskStatus {
			line += " " + key + "=" + show(kv.GetValue())
		}
	}
	for _, e := range s.GetEvents() {
		line += " +" + e.GetName()
	}
	return line
}

// attributeOf returns the value of an attribute.
func attributeOf(s *tracepb.Span, key string) *commonpb.AnyValue {
	for _, kv := range s.GetAttributes() {
		if kv.GetKey() == key {
			return kv.GetValue()
		}
	}
	return nil
}

func show(v *commonpb.AnyValue) string {
	if list := v.GetArrayValue().GetValues(); list != nil {
		var all []string
		for _, v := range list {
			all = append(all, show(v))
		}
		return strings.Join(all, ",")
	}
	if n, ok := v.GetValue().(*commonpb.AnyValue_IntValue); ok {
		return fmt.Sprint(n.IntValue)
	}
	return v.GetStringValue()
}

func at(seconds float64) time.Time {
	return time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC).Add(time.Duration(seconds * float64(time.Second)))
}
