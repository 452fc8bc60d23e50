package host_test

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/internal/telemetry"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

func measured(o *host.Options) {
	o.MetricsAddr = "127.0.0.1:0"
	o.SlowOperation = time.Nanosecond // so that every operation is slow
}

// gauges follows the metrics of a host: which of them changed, and what they are now.
type gauges struct {
	h     *hosttest.Host
	now   map[string]float64 // by series
	moved map[string]bool    // by metric, found by its description
}

// look scrapes, and notes what is different.
func (g *gauges) look(t *testing.T) {
	t.Helper()
	var text bytes.Buffer
	if err := g.h.WriteMetrics(&text); err != nil {
		t.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(&text)
	if err != nil {
		t.Fatal(err)
	}
	now := make(map[string]float64)
	for name, f := range families {
		for _, m := range f.GetMetric() {
			series, value := name+labels(m), valueOf(m)
			if before, ok := g.now[series]; ok && before != value {
				g.moved[f.GetHelp()] = true
			}
			now[series] = value
		}
	}
	g.now = now
}

func labels(m *dto.Metric) string {
	var out []string
	for _, l := range m.GetLabel() {
		out = append(out, l.GetName()+"="+l.GetValue())
	}
	slices.Sort(out)
	return "{" + strings.Join(out, ",") + "}"
}

func valueOf(m *dto.Metric) float64 {
	switch {
	case m.GetCounter() != nil:
		return m.GetCounter().GetValue()
	case m.GetGauge() != nil:
		return m.GetGauge().GetValue()
	default:
		return float64(m.GetHistogram().GetSampleCount())
	}
}

// await looks again and again until a series is as wanted.
func (g *gauges) await(t *testing.T, series string, wanted func(float64) bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	patience := time.NewTimer(hosttest.Patience)
	defer patience.Stop()
	for {
		g.look(t)
		if value, ok := g.now[series]; ok && wanted(value) {
			return
		}
		select {
		case <-tick.C:
		case <-patience.C:
			t.Fatalf("%s is %v; all: %v", series, g.now[series], slices.Sorted(maps.Keys(g.now)))
		}
	}
}

func positive(v float64) bool { return v > 0 }

// TestEveryMetricMoves has a host do everything that its metrics tell of.
func TestEveryMetricMoves(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t, hosttest.Recorder("one"), hosttest.Options(measured), hosttest.Expect("an event is put aside"))
	g := &gauges{h: h, moved: make(map[string]bool)}
	h.AwaitPlugin("mock")
	h.AwaitPlugin("one")
	g.look(t)

	// More steps than slots; two subscriptions that have to wait, one of them for good.
	if err := h.PauseSubscription(t.Context(), "one/lanes", task.Operation{By: "test"}); err != nil {
		t.Fatal(err)
	}
	h.Behave("one", hosttest.Behaviour{Type: event.NameStepCompleted, Do: "reject"})
	const nap = " | handler: mock/limited, config: {for: 10m}"
	steps := make([]string, 14)
	for i := range steps {
		steps[i] = string(rune('a'+i)) + nap
	}
	waiting := h.Create(graph(steps...))
	g.await(t, "tasker_engine_steps_ready{plugin=mock}", func(v float64) bool { return v == 2 })
	g.await(t, "tasker_engine_attempts_in_flight{plugin=mock}", func(v float64) bool { return v == 12 })
	g.await(t, "tasker_engine_steps_ready_age_seconds{plugin=mock}", positive)
	g.await(t, "tasker_delivery_lag_events{subscription=one/lanes}", positive)
	g.await(t, "tasker_delivery_lag_time_seconds{subscription=one/lanes}", positive)
	h.Cancel(waiting)
	h.End(waiting)

	// All outcomes, and enough data for the file to grow.
	outcomes := h.Create(graph(
		"fine | handler: mock/big, config: {bytes: 9000000}", "more | handler: mock/big, config: {bytes: 9000000}",
		"again | handler: mock/flaky, config: {times: 1}, retry: {limit: 3}",
		"never | handler: mock/flaky, config: {kind: permanent}",
		"slow | handler: mock/hang, timeout: 20ms, retry: {limit: 1}",
	))
	h.End(outcomes)
	h.Expect("plugin crashed")
	h.End(h.Create(graph("dies | handler: mock/exit, config: {times: 1}, retry: {limit: 3}")))
	g.await(t, "tasker_plugin_restarts_total{plugin=mock}", positive)
	g.await(t, "tasker_plugin_crashes_total{plugin=mock}", positive)
	g.await(t, "tasker_delivery_dead_letters{subscription=one/all}", positive)
	for outcome, handler := range map[string]string{
		"succeeded": "big", "failed_retryable": "flaky", "failed_permanent": "flaky", "cancelled": "limited", "timed_out": "hang", "lost": "exit",
	} {
		g.await(t, "tasker_plugin_attempts_total{handler="+handler+",outcome="+outcome+",plugin=mock}", positive)
	}
	for backoff := "tasker_plugin_instances{plugin=mock,state=backoff}"; g.now[backoff] == 0; { // until it is seen there
		h.KillPlugin("mock")
		g.look(t)
	}
	g.await(t, "tasker_plugin_instances{plugin=mock,state=ready}", positive)
	g.await(t, "tasker_store_operations_slow_total{operation=commit}", positive)
	g.await(t, "tasker_store_operations_slow_total{operation=counters}", positive)

	for _, m := range telemetry.Catalogue() {
		switch {
		case m.Name == "tasker.build.info": // it says what runs, which does not change
			if !slices.ContainsFunc(slices.Collect(maps.Keys(g.now)), func(s string) bool { return strings.HasPrefix(s, "tasker_build_info{") }) {
				t.Error("tasker.build.info is missing")
			}
		case strings.HasSuffix(m.Description, "On Linux.") && runtime.GOOS != "linux":
		case m.Name == "tasker.plugin.cpu.time": // it may have used less than the system counts
			if _, ok := g.now["tasker_plugin_cpu_time_seconds_total{plugin=mock}"]; !ok {
				t.Error("tasker.plugin.cpu.time is missing")
			}
		case m.Name == "tasker.plugin.threads", m.Name == "tasker.plugin.files.open": // there may always be as many
			if g.now[strings.ReplaceAll(m.Name, ".", "_")+"{plugin=mock}"] <= 0 {
				t.Errorf("%s is missing", m.Name)
			}
		case !g.moved[m.Description]:
			t.Errorf("metric %s did not move", m.Name)
		}
	}
}

// TestMetricsEndpoint: the address that is configured answers, and without one, and
// without variables, nothing is measured.
func TestMetricsEndpoint(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t, hosttest.Options(measured))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+h.MetricsAddr()+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if text, err := io.ReadAll(resp.Body); err != nil || !bytes.Contains(text, []byte("\ntasker_host_uptime_seconds ")) {
		t.Errorf("GET /metrics: %v\n%s", err, text)
	}
	off := hosttest.Start(t)
	if err := off.WriteMetrics(io.Discard); !errors.Is(err, host.ErrNoMetrics) || off.MetricsAddr() != "" {
		t.Errorf("without an address: %v at %q, want %v", err, off.MetricsAddr(), host.ErrNoMetrics)
	}
}

// TestMetricsAddressIsTaken: the host does not start, and says why and what to do.
func TestMetricsAddressIsTaken(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	h, err := host.Open(t.Context(), host.Options{Home: t.TempDir(), MetricsAddr: taken.Addr().String()})
	if err == nil {
		_ = h.Close()
		t.Fatal("the host was opened")
	}
	var hint host.Hinter
	if !strings.Contains(err.Error(), taken.Addr().String()) || !errors.As(err, &hint) || !strings.Contains(hint.Hint(), "metrics.listen") {
		t.Errorf("Open() = %v, want the address and the setting", err)
	}
}

// TestSlowOperation: operations that take as long as was set are logged by name.
func TestSlowOperation(t *testing.T) {
	t.Parallel()
	for name, slow := range map[string]time.Duration{"short": time.Nanosecond, "long": time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := hosttest.Start(t, hosttest.Options(func(o *host.Options) { o.SlowOperation = slow }))
			h.End(h.Create(graph("a")))
			h.Stop()
			if got := h.Logged("slow operation") && h.Logged(`"operation":"commit"`); got != (slow == time.Nanosecond) {
				t.Errorf("slow operations are logged: %t", got)
			}
		})
	}
}
