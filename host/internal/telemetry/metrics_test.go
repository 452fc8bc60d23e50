package telemetry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.opentelemetry.io/otel/sdk/resource"
	collector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	"google.golang.org/grpc"

	"github.com/tasker-engine/tasker/host/internal/measure"
)

// sample returns a reading in which everything is known.
func sample() *Reading {
	latency := measure.NewLatency()
	latency.Observe(int64(3 * time.Millisecond))
	size := measure.NewSize()
	size.Observe(7)
	return &Reading{
		Version: "1.2.3", GoVersion: "go1.26", Mode: "serve", Uptime: time.Minute,
		Tasks:  map[string]uint64{"complete": 2, "error": 1},
		Engine: Engine{Decisions: 9, RoundTime: latency.Snapshot(), Live: 4},
		Queues: []Queue{{Plugin: "orders", Ready: 5, OldestFor: 2 * time.Second, InFlight: 3, QueueTime: latency.Snapshot()}},
		Store: Store{
			Commits: 11, CommitTime: latency.Snapshot(), BatchSize: size.Snapshot(), FileBytes: 4096, FreeBytes: 1024, Events: 77,
			Operations: map[string]Operation{"submit": {Calls: 10, Reads: 1, Puts: 30, Slow: 2}},
		},
		Plugins: []Plugin{{
			Name: "orders", State: "ready", States: []string{"ready", "quarantined"}, HasUsage: true, Memory: 1 << 20, OpenFiles: 12, Threads: 7, CPU: time.Second,
			Restarts: 2, Crashes: 1,
			Handlers: map[string]Handler{"charge": {
				Outcomes: map[string]uint64{"succeeded": 6, "lost": 0}, Wire: latency.Snapshot(), Handler: latency.Snapshot(),
			}},
		}},
		Subscriptions: []Subscription{{Name: "mail/customers", Behind: 8, BehindFor: 3 * time.Second, Delivered: 60, Dead: 1}},
	}
}

func start(t *testing.T, plan Plan, log hclog.Logger, read func(context.Context) (*Reading, error)) *Metrics {
	t.Helper()
	m, err := StartMetrics(t.Context(), MetricsOptions{Plan: plan, Resource: resource.Empty(), Logger: log, Read: read})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run() = %v", err)
		}
	})
	return m
}

func readSample(context.Context) (*Reading, error) { return sample(), nil }

func TestEndpoint(t *testing.T) {
	m := start(t, Plan{Listen: "127.0.0.1:0"}, hclog.NewNullLogger(), readSample)
	get := func() string {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+m.Addr()+"/metrics", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("GET /metrics: %s, %v", resp.Status, err)
		}
		return string(body)
	}
	text := get()
	for _, line := range []string{
		`tasker_plugin_attempts_total{handler="charge",outcome="succeeded",plugin="orders"} 6`,
		`tasker_engine_steps_ready_age_seconds{plugin="orders"} 2`,
		`tasker_store_commit_duration_seconds_bucket{le="0.0025"} 0`,
		`tasker_store_commit_duration_seconds_bucket{le="0.005"} 1`,
		`tasker_store_commit_duration_seconds_sum 0.003`,
		`tasker_store_commit_size_bucket{le="8"} 1`,
		`tasker_plugin_instances{plugin="orders",state="ready"} 1`,
		`tasker_plugin_instances{plugin="orders",state="quarantined"} 0`,
		`tasker_build_info{go_version="go1.26",mode="serve",version="1.2.3"} 1`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("the exposition lacks the line %q", line)
		}
	}
	if !strings.Contains(text, "\ngo_goroutines ") || !strings.Contains(text, "\ngo_schedule_duration_seconds_count ") {
		t.Error("the exposition lacks the metrics of the Go runtime")
	}
	if t.Failed() {
		t.Log(text)
	}
	http.DefaultClient.CloseIdleConnections()
}

// TestExpositionIsClean: names, units and help are as Prometheus wants them.
func TestExpositionIsClean(t *testing.T) {
	m := start(t, Plan{Listen: "127.0.0.1:0"}, hclog.NewNullLogger(), readSample)
	var text bytes.Buffer
	if err := m.Write(&text); err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.New(&text).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestReadingFails: what was last seen is shown until a reading works again.
func TestReadingFails(t *testing.T) {
	var mu sync.Mutex
	failing := true
	m := start(t, Plan{Listen: "127.0.0.1:0"}, hclog.NewNullLogger(), func(context.Context) (*Reading, error) {
		mu.Lock()
		defer mu.Unlock()
		if failing {
			return nil, errors.New("the loop has ended")
		}
		failing = true
		return sample(), nil
	})
	shown := func() bool {
		t.Helper()
		var text bytes.Buffer
		if err := m.Write(&text); err != nil {
			t.Fatal(err)
		}
		return strings.Contains(text.String(), "tasker_engine_decisions_total 9") && strings.Contains(text.String(), "tasker_engine_round_duration_seconds_count 1")
	}
	if shown() {
		t.Error("metrics are shown before the first reading")
	}
	mu.Lock()
	failing = false
	mu.Unlock()
	if !shown() {
		t.Error("metrics are not shown after a reading")
	}
	if !shown() {
		t.Error("metrics are not shown any more after a reading that failed")
	}
}

func TestAddressIsTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	_, err = StartMetrics(t.Context(), MetricsOptions{
		Plan: Plan{Listen: taken.Addr().String()}, Resource: resource.Empty(), Logger: hclog.NewNullLogger(), Read: readSample,
	})
	if err == nil || !strings.Contains(err.Error(), "metrics endpoint: listen tcp "+taken.Addr().String()) {
		t.Errorf("StartMetrics() = %v, want an error that names the endpoint and its address", err)
	}
}

// receiver is an OTLP server that keeps what it gets.
type receiver struct {
	collector.UnimplementedMetricsServiceServer

	got chan *collector.ExportMetricsServiceRequest
}

func (r *receiver) Export(_ context.Context, req *collector.ExportMetricsServiceRequest) (*collector.ExportMetricsServiceResponse, error) {
	r.got <- req
	return &collector.ExportMetricsServiceResponse{}, nil
}

// TestPush pushes to a real OTLP server and finds every metric there.
func TestPush(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	r := &receiver{got: make(chan *collector.ExportMetricsServiceRequest, 16)}
	collector.RegisterMetricsServiceServer(server, r)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		server.Stop()
		serving.Wait()
	})
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+listener.Addr().String())

	m := start(t, Plan{Push: protocolGRPC}, hclog.NewNullLogger(), readSample)
	m.Flush(t.Context())
	request := <-r.got
	var names []string
	for _, rm := range request.GetResourceMetrics() {
		for _, sm := range rm.GetScopeMetrics() {
			for _, metric := range sm.GetMetrics() {
				names = append(names, metric.GetName())
			}
		}
	}
	for _, def := range Catalogue() {
		if n := len(slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name != def.Name })); n != 1 {
			t.Errorf("metric %s came %d times, want once", def.Name, n)
		}
	}
}

// TestPushFails tells of failures once, and nobody but the log.
func TestPushFails(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "50")
	var log bytes.Buffer
	m := start(t, Plan{Push: protocolHTTP}, hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Warn}), readSample)
	m.Flush(t.Context())
	m.Flush(t.Context())
	if n := strings.Count(log.String(), "metrics cannot be pushed"); n != 1 {
		t.Errorf("told %d times, want once:\n%s", n, &log)
	}
}

func TestPlanMetrics(t *testing.T) {
	tests := []struct {
		name   string
		listen string
		env    map[string]string
		want   Plan
		err    string
	}{
		{name: "nothing"},
		{name: "configured", listen: "127.0.0.1:9464", want: Plan{Listen: "127.0.0.1:9464"}},
		{name: "an endpoint", env: map[string]string{envEndpoint: "http://c:4317"}, want: Plan{Push: protocolGRPC}},
		{name: "an endpoint of metrics", env: map[string]string{envMetricsEndpoint: "http://c:4317"}, want: Plan{Push: protocolGRPC}},
		{
			name: "over HTTP", env: map[string]string{envExporter: "otlp", envProtocol: protocolHTTP}, want: Plan{Push: protocolHTTP},
		},
		{
			name: "the protocol of metrics goes before",
			env:  map[string]string{envExporter: "otlp", envProtocol: protocolGRPC, envMetricsProtocol: protocolHTTP}, want: Plan{Push: protocolHTTP},
		},
		{name: "prometheus", env: map[string]string{envExporter: "prometheus"}, want: Plan{Listen: "localhost:9464"}},
		{
			name: "prometheus elsewhere",
			env:  map[string]string{envExporter: "prometheus", envPromHost: "0.0.0.0", envPromPort: "1"}, want: Plan{Listen: "0.0.0.0:1"},
		},
		{
			name: "what is configured goes before", listen: "127.0.0.1:1", env: map[string]string{envExporter: "prometheus"},
			want: Plan{Listen: "127.0.0.1:1"},
		},
		{
			name: "both", env: map[string]string{envExporter: "otlp, prometheus"}, want: Plan{Listen: "localhost:9464", Push: protocolGRPC},
		},
		{name: "none", env: map[string]string{envExporter: "none", envEndpoint: "http://c:4318"}},
		{name: "disabled", env: map[string]string{envDisabled: "true", envEndpoint: "http://c:4318"}},
		{name: "unknown exporter", env: map[string]string{envExporter: "statsd"}, err: `OTEL_METRICS_EXPORTER: "statsd"`},
		{
			name: "unknown protocol", env: map[string]string{envEndpoint: "http://c:4318", envProtocol: "http/json"},
			err: `"http/json": want grpc or http/protobuf`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := PlanMetrics(tt.listen, func(key string) (string, bool) { v, ok := tt.env[key]; return v, ok })
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("PlanMetrics() = %v, want an error with %q", err, tt.err)
				}
			} else if err != nil {
				t.Errorf("PlanMetrics() = %v", err)
			}
			if diff := cmp.Diff(got, tt.want); diff != "" {
				t.Errorf("PlanMetrics() (-got +want):\n%s", diff)
			}
			if got.On() != (tt.want != Plan{}) {
				t.Errorf("On() = %t", got.On())
			}
		})
	}
}
