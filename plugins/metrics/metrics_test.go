package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.uber.org/goleak"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

func TestMain(m *testing.M) {
	if sdktest.Launched() {
		sdk.Serve(plugin(&metrics{}))
	}
	goleak.VerifyTestMain(m)
}

// The formats that a scraper may ask for.
const (
	text        = "text/plain; version=0.0.4"
	openMetrics = "application/openmetrics-text; version=1.0.0"
	binary      = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)

const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

// rig is the plugin and its open subscription.
type rig struct {
	*sdktest.Subscription

	url string
}

// start runs the plugin in the working directory.
func start(t *testing.T, c config) rig {
	t.Helper()
	c.Listen = "127.0.0.1:0"
	m := &metrics{}
	p := sdktest.Start(t, plugin(m), sdktest.Options{Config: c})
	<-m.server.bound
	return rig{p.Subscribe(t, "events"), "http://" + m.server.addr.String() + "/metrics"}
}

// get scrapes in a format.
func get(t *testing.T, url, accept string) (body []byte, contentType string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if body, err = io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("scrape: %s %v\n%s", resp.Status, err, body)
	}
	return body, resp.Header.Get("Content-Type")
}

// scrape returns what Prometheus reads, by name.
func scrape(t *testing.T, url string) map[string]*dto.MetricFamily {
	t.Helper()
	body, _ := get(t, url, text)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	got, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	if err != nil {
		t.Fatalf("parse: %v\n%s", err, body)
	}
	return got
}

// series returns the counters and gauges, and the counts of histograms, that are not 0: "name{label=value,...}".
// Those about the process and the runtime are left out.
func (r rig) series(t *testing.T) map[string]float64 {
	t.Helper()
	got := make(map[string]float64)
	for name, f := range scrape(t, r.url) {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			value := m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			if name, ok := strings.CutPrefix(name, prefix+"_"); ok && value != 0 && !strings.HasSuffix(name, "timestamp_seconds") {
				got[strings.TrimSuffix(name+"{"+strings.Join(labels, ",")+"}", "{}")] = value
			}
		}
	}
	return got
}

// deliver delivers events one after the other.
func (r rig) deliver(t *testing.T, events ...sdktest.Event) {
	t.Helper()
	for _, d := range r.Send(t, events...) {
		if got := d.Wait(t); got.Verdict != sdktest.Acked {
			t.Fatalf("answer %+v, want acked", got)
		}
	}
}

// life is the life of a task: two attempts at a step.
func life(id string) []sdktest.Event {
	at := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	task := event.Task{TaskID: id, Namespace: "shop", Template: "order", Version: "1.0.0", CorrelationID: id}
	step := event.Step{Task: task, StepID: id + "/0", StepName: "charge", Handler: "shop/charge", AttemptNumber: 1, StartedAt: at.Add(2 * time.Second)}
	end := event.TaskEnded{Task: task, StartedAt: at.Add(2 * time.Second), CompletedAt: at.Add(9 * time.Second), TotalDuration: 9}
	payloads := []event.Payload{
		event.TaskInitialized{Task: task, Steps: 1},
		event.StepStarted{Step: step},
		event.TaskStarted{Task: task, StartedAt: at.Add(2 * time.Second)},
		event.StepFailed{Step: step, Error: event.Error{Message: "no", Kind: "retryable"}, Retryable: true, ExecutionDuration: 0.5},
		event.StepRetryScheduled{Step: step, Reason: "failed"},
		event.StepStarted{Step: step},
		event.StepCompleted{Step: step, ExecutionDuration: 3},
		event.TaskCompleted{TaskEnded: end},
	}
	events := make([]sdktest.Event, len(payloads))
	for i, p := range payloads {
		events[i] = sdktest.Event{Payload: p, At: at.Add(time.Duration(i) * time.Second), TaskSeq: uint64(i + 1), Traceparent: traceparent}
	}
	return events
}

// lifeSeries is what n whole lives lead to.
func lifeSeries(n float64) map[string]float64 {
	const task, step = "{namespace=shop,template=order", "{namespace=shop"
	got := map[string]float64{
		"tasks_created_total" + task + "}":                                              n,
		"tasks_ended_total{namespace=shop,status=complete,template=order}":              n,
		"task_duration_seconds{namespace=shop,status=complete,template=order}":          n,
		"task_queue_seconds" + task + "}":                                               n,
		"step_attempts_total" + step + ",status=complete,step=charge,template=order}":   n,
		"step_attempts_total" + step + ",status=error,step=charge,template=order}":      n,
		"step_duration_seconds" + step + ",status=complete,step=charge,template=order}": n,
		"step_duration_seconds" + step + ",status=error,step=charge,template=order}":    n,
		"step_retries_total" + step + ",reason=failed,step=charge,template=order}":      n,
		"events_total{event=step.started}":                                              2 * n,
	}
	for _, e := range []string{"task.initialized", "task.started", "step.failed", "step.retry_scheduled", "step.completed", "task.completed"} {
		got["events_total{event="+e+"}"] = n
	}
	return got
}

func TestCounts(t *testing.T) {
	t.Chdir(t.TempDir())
	r := start(t, config{})
	r.deliver(t, life("t1")...)
	r.deliver(t, life("t2")...)
	if diff := cmp.Diff(lifeSeries(2), r.series(t)); diff != "" {
		t.Errorf("series (-want +got):\n%s", diff)
	}
	for _, f := range scrape(t, r.url) {
		if f.GetName() == "tasker_task_queue_seconds" && f.GetMetric()[0].GetHistogram().GetSampleSum() != 4 {
			t.Errorf("queued for %v s, want twice 2 s", f.GetMetric()[0].GetHistogram().GetSampleSum())
		}
	}
}

// TestFamilies delivers every event of the catalog, and a custom one, and has the result read by the real parser and
// checked by the linter.
func TestFamilies(t *testing.T) {
	t.Chdir(t.TempDir())
	r := start(t, config{})
	var events []sdktest.Event
	for _, e := range event.Catalog() {
		if e.Category == "workflow" { // "*" does not stand for them
			continue
		}
		events = append(events, sdktest.Event{Type: e.Name})
	}
	r.deliver(t, append(events, sdktest.Event{Type: "orders.shipped", Payload: map[string]string{"id": "o-1"}})...)

	got := r.series(t)
	for _, e := range append(event.Catalog(), event.Entry{Name: "orders.shipped"}) {
		if n := got["events_total{event="+e.Name+"}"]; n != 1 && e.Category != "workflow" {
			t.Errorf("%s was counted %v times, want once", e.Name, n)
		}
	}
	for _, want := range []string{
		"step_losses_total{cause=crashed,namespace=shop,step=charge,template=order}",
		"step_attempts_total{namespace=shop,status=lost,step=charge,template=order}",
		"tasks_ended_total{namespace=shop,status=resolved_manually,template=order}",
		"subscriber_dead_letters_total{event=step.failed,subscription=chat/failures}",
		"subscriber_lagging_total{subscription=chat/failures}",
		"subscriber_gaps_total{subscription=chat/failures}",
		"plugin_crashes_total{plugin=shop}", "plugin_quarantines_total{plugin=shop}", "host_starts_total",
	} {
		if got[want] != 1 {
			t.Errorf("%s is %v, want 1; there are %v", want, got[want], slices.Sorted(maps.Keys(got)))
		}
	}
	body, _ := get(t, r.url, text)
	problems, err := promlint.New(bytes.NewReader(body)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v %v", problems, err)
	}
	for _, id := range []string{"01JD3Z9Q7V8T4K2M6N1P5R3S0W", "web-8842", "task-1", "#1"} {
		if bytes.Contains(body, []byte(id)) {
			t.Errorf("the id %s is in a label", id)
		}
	}
}

// TestFormats asks for each format. Only protobuf has native histograms, and only it and OpenMetrics have exemplars.
func TestFormats(t *testing.T) {
	t.Chdir(t.TempDir())
	r := start(t, config{})
	r.deliver(t, life("t1")...)

	body, contentType := get(t, r.url, openMetrics)
	if !strings.HasPrefix(contentType, "application/openmetrics-text") || !bytes.HasSuffix(body, []byte("# EOF\n")) {
		t.Errorf("asked for OpenMetrics, got %s", contentType)
	}
	want := regexp.MustCompile(`tasker_task_duration_seconds_bucket\{.*le="15.0"\} 1 # \{.*trace_id="4bf92f3577b34da6a3ce929d0e0e4736".*\} 9.0 `)
	if !want.Match(body) {
		t.Errorf("there is no exemplar %s in\n%s", want, body)
	}
	body, contentType = get(t, r.url, text)
	if !strings.HasPrefix(contentType, "text/plain") || bytes.Contains(body, []byte("trace_id")) {
		t.Errorf("asked for text, got %s, or exemplars", contentType)
	}

	body, contentType = get(t, r.url, binary)
	found := false
	decoder := expfmt.NewDecoder(bytes.NewReader(body), expfmt.NewFormat(expfmt.TypeProtoDelim))
	for {
		var f dto.MetricFamily
		err := decoder.Decode(&f)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("decode %s: %v", contentType, err)
		}
		if f.GetName() == "tasker_task_duration_seconds" {
			h := f.GetMetric()[0].GetHistogram()
			found = len(h.GetPositiveSpan()) == 1 && len(h.GetBucket()) >= len(taskBuckets())
		}
	}
	if !found {
		t.Error("there is no histogram that is both native and classic")
	}
}

// TestDuplicates delivers events again: one by one, a stretch of them, and to the next process.
func TestDuplicates(t *testing.T) {
	t.Chdir(t.TempDir())
	var sent []*sdktest.Delivered
	t.Run("one process", func(t *testing.T) {
		r := start(t, config{})
		sent = r.Send(t, append(life("t1"), life("t2")[:6]...)...)
		for _, d := range sent {
			d.Wait(t)
		}
		want := r.series(t)
		for _, d := range sent[5:] {
			d.Redeliver(t).Wait(t)
		}
		got := r.series(t)
		if n := got["metrics_duplicate_events_total"]; n != float64(len(sent)-5) {
			t.Errorf("%v duplicates, want %d", n, len(sent)-5)
		}
		delete(got, "metrics_duplicate_events_total")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("what came again was counted again (-want +got):\n%s", diff)
		}
		if got["tasks_in_flight{namespace=shop,template=order}"] != 1 || got["steps_in_flight{namespace=shop,step=charge,template=order}"] != 1 {
			t.Errorf("in flight: %v", got)
		}
	})
	t.Run("the next process", func(t *testing.T) {
		r := start(t, config{})
		want := map[string]float64{
			"tasks_in_flight{namespace=shop,template=order}":             1,
			"steps_in_flight{namespace=shop,step=charge,template=order}": 1,
		}
		if diff := cmp.Diff(want, r.series(t)); diff != "" {
			t.Errorf("after a restart (-want +got):\n%s", diff)
		}
		for _, d := range r.Redeliver(t, sent[10:]...) { // the host has not heard the answers
			d.Wait(t)
		}
		want["metrics_duplicate_events_total"] = 4
		if diff := cmp.Diff(want, r.series(t)); diff != "" {
			t.Errorf("after a restart, with duplicates (-want +got):\n%s", diff)
		}
		r.deliver(t, life("t2")[6:]...)
		got := r.series(t)
		for _, name := range []string{"tasks_in_flight{namespace=shop,template=order}", "steps_in_flight{namespace=shop,step=charge,template=order}"} {
			if got[name] != 0 {
				t.Errorf("%s is %v after all has ended, want 0", name, got[name])
			}
		}
		if n := got["tasks_ended_total{namespace=shop,status=complete,template=order}"]; n != 1 {
			t.Errorf("%v tasks ended, want 1", n)
		}
	})
}

// TestAttempts tells apart what is an attempt and what is not.
func TestAttempts(t *testing.T) {
	const failed = "step_attempts_total{namespace=shop,status=error,step=charge,template=order}"
	tests := map[string]struct {
		events []string
		want   map[string]float64
	}{
		"an attempt fails": {[]string{"task.initialized", "step.started", "step.failed"}, map[string]float64{failed: 1}},
		"a step fails between attempts": {
			[]string{"task.initialized", "step.started", "step.failed", "step.retry_scheduled", "step.failed"}, map[string]float64{failed: 1},
		},
		"the last attempt is lost": {[]string{"task.initialized", "step.started", "step.attempt_lost", "step.failed"}, map[string]float64{
			strings.Replace(failed, "error", "lost", 1): 1,
		}},
		"the start was never seen":  {[]string{"step.failed"}, map[string]float64{failed: 1}},
		"cancelled while it ran":    {[]string{"task.initialized", "step.started", "step.cancelled"}, map[string]float64{strings.Replace(failed, "error", "cancelled", 1): 1}},
		"cancelled before it began": {[]string{"task.initialized", "step.cancelled"}, map[string]float64{}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			r := start(t, config{})
			for _, e := range tc.events {
				step := event.Step{Task: event.Task{TaskID: "t", Namespace: "shop", Template: "order"}, StepName: "charge", StartedAt: time.Unix(1, 0)}
				one := sdktest.Event{Type: e, Task: "t", Step: "charge", Namespace: "shop", Template: "order"}
				if e == "step.cancelled" {
					one.Payload = event.StepCancelled{Step: step, Reason: "fail_fast"}
				}
				r.deliver(t, one)
			}
			got := r.series(t)
			maps.DeleteFunc(got, func(name string, _ float64) bool { return !strings.HasPrefix(name, "step_attempts") })
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("attempts (-want +got):\n%s", diff)
			}
		})
	}
}

// TestLimits keeps those who invent names from making series without end.
func TestLimits(t *testing.T) {
	t.Chdir(t.TempDir())
	r := start(t, config{Limits: limits{Templates: 2, Steps: 2, Names: 1}})
	for i := range 4 {
		task := event.Task{TaskID: fmt.Sprint("t", i), Namespace: "n", Template: fmt.Sprint("template", i)}
		r.deliver(t, sdktest.Event{Payload: event.TaskInitialized{Task: task}})
		for j := range 2 {
			r.deliver(t, sdktest.Event{Payload: event.StepStarted{Step: event.Step{Task: task, StepName: fmt.Sprint("step", j)}}})
		}
		r.deliver(t, sdktest.Event{Type: fmt.Sprint("made.up", i), Payload: 1})
	}
	got := r.series(t)
	for name, want := range map[string]float64{
		"tasks_in_flight{namespace=n,template=template1}":               1,
		"tasks_in_flight{namespace=_other,template=_other}":             2,
		"steps_in_flight{namespace=n,step=step1,template=template0}":    1,
		"steps_in_flight{namespace=n,step=_other,template=template1}":   2,
		"steps_in_flight{namespace=_other,step=_other,template=_other}": 4,
		"events_total{event=made.up0}":                                  1,
		"events_total{event=_other}":                                    3,
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	if got["metrics_label_overflow_total{kind=template}"] == 0 || got["metrics_label_overflow_total{kind=event}"] != 3 {
		t.Errorf("the overflow is not counted: %v", got)
	}
}

// TestNotCounted delivers what is no news, or no longer true.
func TestNotCounted(t *testing.T) {
	const flying = "tasks_in_flight{namespace=shop,template=order}"
	t.Chdir(t.TempDir())
	r := start(t, config{})
	begin := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	host := func(id string, seq uint64, at time.Duration) sdktest.Event {
		return sdktest.Event{Payload: event.HostStarted{HostID: id, Epoch: 1}, Seq: seq, At: begin.Add(at)}
	}
	r.deliver(t, host("h1", 100, 0), life("t1")[0], life("t2")[0])

	r.deliver(t, sdktest.Event{Payload: life("t3")[0].Payload, Trial: true}) // an operator's trial
	if n := r.series(t)[flying]; n != 2 {
		t.Errorf("%v tasks in flight after a trial, want 2", n)
	}
	r.deliver(t, host("h0", 50, -time.Hour)) // a replay from before an earlier restore
	if n := r.series(t)[flying]; n != 2 {
		t.Errorf("%v tasks in flight after a replay, want 2", n)
	}
	r.deliver(t, host("h2", 90, time.Hour)) // a restored backup
	if n := r.series(t)[flying]; n != 0 {
		t.Errorf("%v tasks in flight in a restored log, want 0 until something happens", n)
	}
	if line := r.Log(t); line.Level != "warn" || !strings.Contains(line.Message, "another host id") {
		t.Errorf("log %+v", line)
	}
	started := life("t1")[1]
	started.Seq = 91
	r.deliver(t, started)
	if n := r.series(t)[flying]; n != 1 {
		t.Errorf("%v tasks in flight after the step of one was started, want 1", n)
	}
	r.Gap(t, 200)
	r.deliver(t, life("t4")[0])
	if line := r.Log(t); line.Level != "warn" || !strings.Contains(line.Message, "removed from the log") {
		t.Errorf("log %+v", line)
	}
	got := r.series(t)
	if got[flying] != 1 || got["metrics_gaps_total"] != 1 {
		t.Errorf("after a gap: %v tasks in flight, %v gaps; want those begun since, and 1", got[flying], got["metrics_gaps_total"])
	}
}

// TestBinary runs the plugin as a process of its own.
func TestBinary(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	free, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := sdktest.Launch(t, self, sdktest.Options{DataDir: dir, Config: config{Listen: address}})
	r := rig{p.Subscribe(t, "events"), "http://" + address + "/metrics"}
	r.deliver(t, life("t1")...)
	if diff := cmp.Diff(lifeSeries(1), r.series(t)); diff != "" {
		t.Errorf("series (-want +got):\n%s", diff)
	}
	doc, err := os.ReadFile(dir + "/" + journalFile)
	if err != nil || bytes.Count(doc, []byte("\n")) != 9 {
		t.Errorf("the journal is not in the data directory, one line for each event: %v\n%s", err, doc)
	}
}
