package examples_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
)

// collector takes spans by OTLP.
type collector struct {
	coltracepb.UnimplementedTraceServiceServer

	mu      sync.Mutex
	spans   map[string]*tracepb.Span // by id
	changed []string                 // spans that came again and were not the same
	grown   chan struct{}
}

// Export implements coltracepb.TraceServiceServer.
func (c *collector) Export(_ context.Context, req *coltracepb.ExportTraceServiceRequest) (*coltracepb.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rs := range req.GetResourceSpans() {
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				id := hex.EncodeToString(s.GetSpanId())
				if old := c.spans[id]; old != nil && !proto.Equal(old, s) {
					c.changed = append(c.changed, fmt.Sprintf("%v\n%v", old, s))
				}
				c.spans[id] = s
			}
		}
	}
	close(c.grown)
	c.grown = make(chan struct{})
	return &coltracepb.ExportTraceServiceResponse{}, nil
}

// await waits until the spans are as is asked for.
func (c *collector) await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for limit := time.After(2 * time.Minute); ; {
		c.mu.Lock()
		ok, grown := holds(), c.grown
		c.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-grown:
		case <-limit:
			t.Fatalf("waited in vain for %s; the spans are\n%s\nbelow each other\n%s", what, c.list(), c.tree())
		}
	}
}

func collect(t *testing.T) (c *collector, url string) {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c = &collector{spans: make(map[string]*tracepb.Span), grown: make(chan struct{})}
	g := grpc.NewServer()
	coltracepb.RegisterTraceServiceServer(g, c)
	var serving sync.WaitGroup
	serving.Go(func() { _ = g.Serve(lis) })
	t.Cleanup(func() {
		g.Stop()
		serving.Wait()
	})
	return c, "http://" + lis.Addr().String()
}

// tree draws the spans but those of deliveries, each below its parent, in the order of time. Lock it.
func (c *collector) tree() string {
	below := make(map[string][]*tracepb.Span)
	for _, s := range c.spans {
		if s.GetName() != trace.SpanSubscriber {
			parent := hex.EncodeToString(s.GetParentSpanId())
			below[parent] = append(below[parent], s)
		}
	}
	var b strings.Builder
	var draw func(parent, indent string)
	draw = func(parent, indent string) {
		slices.SortFunc(below[parent], func(x, y *tracepb.Span) int {
			return strings.Compare(fmt.Sprint(x.GetStartTimeUnixNano(), x.GetName()), fmt.Sprint(y.GetStartTimeUnixNano(), y.GetName()))
		})
		for _, s := range below[parent] {
			b.WriteString(indent + describe(s) + "\n")
			draw(hex.EncodeToString(s.GetSpanId()), indent+"  ")
		}
	}
	draw(callerSpan, "")
	return b.String()
}

// describe tells of a span in a line: its name, what it is about, whether it failed, its links and events.
func describe(s *tracepb.Span) string {
	parts := []string{s.GetName()}
	for _, key := range []string{
		trace.KeyTaskTemplate, trace.KeyStepName, trace.KeyAttempt, trace.KeyDependencies, trace.KeyDependents, trace.KeyLevel,
		trace.KeyStepStatus, trace.KeyTaskStatus, "http.request.method", "http.response.status_code",
	} {
		if v := attribute(s.GetAttributes(), key); v != "" && (key != trace.KeyTaskTemplate || s.GetName() == trace.SpanTask) {
			parts = append(parts, key[strings.LastIndex(key, ".")+1:]+"="+v)
		}
	}
	if s.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR {
		parts = append(parts, "FAILED")
	}
	for _, l := range s.GetLinks() {
		parts = append(parts, "->"+attribute(l.GetAttributes(), trace.KeyLinkKind))
	}
	for _, e := range s.GetEvents() {
		parts = append(parts, "+"+e.GetName())
	}
	if s.GetEndTimeUnixNano() <= s.GetStartTimeUnixNano() {
		parts = append(parts, "WITHOUT DURATION")
	}
	return strings.Join(parts, " ")
}

func attribute(all []*commonpb.KeyValue, key string) string {
	for _, kv := range all {
		if kv.GetKey() != key {
			continue
		}
		switch v := kv.GetValue().GetValue().(type) {
		case *commonpb.AnyValue_IntValue:
			return fmt.Sprint(v.IntValue)
		case *commonpb.AnyValue_ArrayValue:
			var texts []string
			for _, one := range v.ArrayValue.GetValues() {
				texts = append(texts, one.GetStringValue())
			}
			return strings.Join(texts, ",")
		}
		return kv.GetValue().GetStringValue()
	}
	return ""
}

const (
	callerTrace = "4bf92f3577b34da6a3ce929d0e0e4736"
	callerSpan  = "00f067aa0ba902b7"
)

const tracedTemplate = `
name: traced
version: 1.0.0
steps:
  - {name: check, handler: mock/flaky, config: {times: 1}, retry: {limit: 3, backoff: constant, base: 10ms}}
  - name: charge
    handler: http/request
    depends_on: [check]
    config: {service: shop, method: POST, path: [charge], body: {a: 1}}
    retry: {limit: 5, backoff: constant, base: 10ms}
  - name: hold
    handler: http/request
    depends_on: [charge]
    config: {service: shop, method: POST, path: [hold], body: {a: 1}}
  - {name: bad, handler: mock/flaky, depends_on: [hold], config: {kind: permanent}}
  - {name: never, handler: mock/echo, depends_on: [bad]}
`

const tracedTree = `task.processing template=traced status=error FAILED +workflow.state
  step.processing name=check dependents=charge status=complete
    handler.process name=check number=1 FAILED +exception
    handler.process name=check number=2 ->earlier_attempt
  step.processing name=charge dependencies=check dependents=hold level=1 status=complete ->dependency
    handler.process name=charge number=1 FAILED +exception
      api.call method=POST status_code=503 FAILED
    handler.process name=charge number=2 ->earlier_attempt
      api.call method=POST status_code=201
  step.processing name=hold dependencies=charge dependents=bad level=2 status=complete ->dependency
    handler.process name=hold number=1 FAILED +exception
    handler.process name=hold number=2 ->earlier_attempt
      api.call method=POST status_code=201
  step.processing name=bad dependencies=hold dependents=never level=3 status=error FAILED ->dependency +workflow.state
    handler.process name=bad number=1 FAILED +exception
`

// shop is an API that answers late, badly, or not at all.
type shop struct {
	held chan struct{} // closed when somebody waits for the first answer of /hold

	mu      sync.Mutex
	asked   map[string]int
	parents []string
}

func (s *shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // else the end of a caller is not seen
	s.mu.Lock()
	s.asked[r.URL.Path]++
	n := s.asked[r.URL.Path]
	s.parents = append(s.parents, r.Header.Get("Traceparent"))
	s.mu.Unlock()
	switch {
	case n == 1 && r.URL.Path == "/hold":
		close(s.held)
		<-r.Context().Done() // until its caller is killed
	case n == 1:
		w.WriteHeader(http.StatusServiceUnavailable)
	default:
		w.WriteHeader(http.StatusCreated)
	}
}

// testTrace has a task of the caller's trace run while the host is killed: spans of host, plugins and API calls are one
// tree, each once.
func testTrace(t *testing.T, dir string) {
	t.Helper()
	spans, url := collect(t)
	api := &shop{held: make(chan struct{}), asked: make(map[string]int)}
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	home := t.TempDir()
	file := filepath.Join(home, "traced.yaml")
	config := fmt.Sprintf("plugins: {http: {config: {services: {shop: {url: %q}}}}}\n", server.URL)
	for name, text := range map[string]string{filepath.Join(home, "tasker.yaml"): config, file: tracedTemplate} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
	t.Setenv("TRACEPARENT", "00-"+callerTrace+"-"+callerSpan+"-01")
	command := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "bin", "tasker"), append(args, "--home", home, "--plugin-dir", filepath.Join(dir, "bin", "plugins"))...)
		cmd.Dir = dir
		return cmd
	}

	first := command("run", file)
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	<-api.held
	spans.await(t, "what was before the kill", func() bool { // the subscriber that tells of steps is new in this home
		return strings.Contains(spans.list(), "status_code=201") && strings.Contains(spans.list(), trace.SpanStep+" name=charge")
	})
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait() // it was killed

	if out, err := command("run", file, "--resume").CombinedOutput(); err == nil {
		t.Fatalf("the task did not fail:\n%s", out)
	}
	serve := command("serve") // what subscribers did not get in time, they get now
	if err := serve.Start(); err != nil {
		t.Fatal(err)
	}
	spans.await(t, "the whole trace", func() bool { return spans.tree() == tracedTree && spans.handled() })
	if err := serve.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = serve.Wait() // it may not have begun to listen to signals
	spans.check(t)
	api.mu.Lock()
	defer api.mu.Unlock()
	for _, parent := range api.parents {
		if !strings.HasPrefix(parent, "00-"+callerTrace+"-") {
			t.Errorf("the API was called within %q", parent)
		}
	}
}

// handled reports whether there is a span of a delivery, of a trace of its own, that links to a step of the task. Lock it.
func (c *collector) handled() bool {
	for _, s := range c.spans {
		if s.GetName() != trace.SpanSubscriber || len(s.GetLinks()) != 1 || hex.EncodeToString(s.GetTraceId()) == callerTrace {
			continue
		}
		link := s.GetLinks()[0]
		step := c.spans[hex.EncodeToString(link.GetSpanId())]
		if attribute(link.GetAttributes(), trace.KeyLinkKind) == trace.LinkHandled && step.GetName() == trace.SpanStep &&
			hex.EncodeToString(link.GetTraceId()) == callerTrace {
			return true
		}
	}
	return false
}

// list has a line for each span. Lock it.
func (c *collector) list() string {
	var lines []string
	for _, s := range c.spans {
		lines = append(lines, describe(s))
	}
	return strings.Join(lines, "\n")
}

// check looks at all spans: one tree, one trace, none changed.
func (c *collector) check(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if diff := cmp.Diff(c.tree(), tracedTree); diff != "" {
		t.Errorf("trace (-got +want):\n%s", diff)
	}
	for _, change := range c.changed {
		t.Errorf("a span came again and was another:\n%s", change)
	}
	for _, s := range c.spans {
		if got := hex.EncodeToString(s.GetTraceId()); got != callerTrace && s.GetName() != trace.SpanSubscriber {
			t.Errorf("span %s is in trace %s", describe(s), got)
		}
	}
}
