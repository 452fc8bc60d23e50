// Package subscribers_test tries the four subscribers, each alone and all behind the template.
package subscribers_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

func TestMain(m *testing.M) { hosttest.Main(m) }

// desk is what the subscribers talk to: it keeps what is posted and answers with a status.
type desk struct {
	*httptest.Server

	mu     sync.Mutex
	status int
	posted []string // "path event-type body"
	keys   []string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{status: http.StatusOK}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.posted = append(d.posted, strings.Join(strings.Fields(r.URL.Path+" "+r.Header.Get("Event-Type")), " ")+" "+string(body))
		d.keys = append(d.keys, r.Header.Get("Idempotency-Key"))
		w.WriteHeader(d.status)
	}))
	t.Cleanup(d.Close)
	return d
}

// answer is what follows is answered with.
func (d *desk) answer(status int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.status = status
}

// take returns what was posted since the last call.
func (d *desk) take() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	posted := d.posted
	d.posted = nil
	return posted
}

func launch(t *testing.T, name string) *sdktest.Plugin {
	t.Helper()
	return sdktest.Launch(t, sdktest.Build(t, "./"+name))
}

// TestSmall keeps the promise of the README: each is at most 60 lines.
func TestSmall(t *testing.T) {
	for _, name := range []string{"notification", "metrics", "alerting", "integration"} {
		src, err := os.ReadFile(filepath.Join(name, "main.go"))
		if err != nil {
			t.Fatal(err)
		}
		if n := bytes.Count(src, []byte("\n")); n > 60 {
			t.Errorf("%s/main.go has %d lines, want at most 60", name, n)
		}
	}
}

func TestNotification(t *testing.T) {
	d := newDesk(t)
	sub := launch(t, "notification").Subscribe(t, "chat", sdktest.Binding{Config: map[string]any{"url": d.URL + "/chat", "mention": "@ann "}},
		sdktest.Binding{Config: map[string]any{"url": "http://%zz"}})
	for _, e := range []sdktest.Event{
		{Type: "task.completed", Binding: 1},
		{Binding: 1, Step: "charge", Template: "order", Payload: event.StepFailed{Error: event.Error{Message: "no money"}}},
	} {
		if got := sub.Deliver(t, e); got.Verdict != sdktest.Acked {
			t.Errorf("%+v, want acked", got)
		}
	}
	want := []string{`/chat {"text":"@ann order is done."}`, `/chat {"text":"@ann charge of order failed: no money"}`}
	if diff := cmp.Diff(want, d.take()); diff != "" {
		t.Errorf("posted (-want +got):\n%s", diff)
	}
	if got := sub.Deliver(t, sdktest.Event{Type: "task.completed", Binding: 2}); got.Verdict != sdktest.Rejected {
		t.Errorf("a URL that is none: %+v, want rejected", got)
	}
	d.answer(http.StatusBadGateway)
	if got := sub.Deliver(t, sdktest.Event{Type: "task.completed", Binding: 1}); got.Verdict != sdktest.Retried || got.Reason != "the chat answered 502 Bad Gateway" {
		t.Errorf("a chat that is down: %+v, want retried", got)
	}
}

func TestMetrics(t *testing.T) {
	dir := t.TempDir()
	sub := sdktest.Launch(t, sdktest.Build(t, "./metrics"), sdktest.Options{DataDir: dir}).Subscribe(t, "attempts")
	for _, e := range []sdktest.Event{
		{Type: "step.completed", ID: "a"}, {Type: "step.completed", ID: "a", Delivery: 2}, // comes twice
		{Type: "step.completed", ID: "b"}, {Type: "step.failed", ID: "c"},
	} {
		if got := sub.Deliver(t, e); got.Verdict != sdktest.Acked {
			t.Errorf("%+v, want acked", got)
		}
	}
	got, err := os.ReadFile(filepath.Join(dir, "tasker.prom"))
	if err != nil {
		t.Fatal(err)
	}
	want := `tasker_attempts_total{template="order",step="charge",status="complete"} 2
tasker_attempts_total{template="order",step="charge",status="error"} 1
`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

func TestAlerting(t *testing.T) {
	d := newDesk(t)
	sub := launch(t, "alerting").Subscribe(t, "tasks", sdktest.Binding{Config: map[string]any{"url": d.URL + "/alerts"}})
	at := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	for _, name := range []string{"task.failed", "task.completed"} {
		if got := sub.Deliver(t, sdktest.Event{Type: name, Binding: 1, At: at}); got.Verdict != sdktest.Acked {
			t.Errorf("%s: %+v, want acked", name, got)
		}
	}
	want := []string{
		`/alerts [{"labels":{"alertname":"TaskFailed","severity":"warning","template":"order"}}]`,
		`/alerts [{"endsAt":"2026-05-04T12:00:00Z","labels":{"alertname":"TaskFailed","severity":"warning","template":"order"}}]`,
	}
	if diff := cmp.Diff(want, d.take()); diff != "" {
		t.Errorf("posted (-want +got):\n%s", diff)
	}
	d.answer(http.StatusServiceUnavailable)
	if got := sub.Deliver(t, sdktest.Event{Type: "task.failed", Binding: 1}); got.Verdict != sdktest.Retried {
		t.Errorf("an Alertmanager that is down: %+v, want retried", got)
	}
}

// TestIntegration is what the answers of the other system mean, and that its key stays the same.
func TestIntegration(t *testing.T) {
	d := newDesk(t)
	sub := launch(t, "integration").Subscribe(t, "events", sdktest.Binding{Config: map[string]any{"url": d.URL + "/in"}})
	for status, want := range map[int]sdktest.Verdict{
		http.StatusOK: sdktest.Acked, http.StatusTooManyRequests: sdktest.Retried, http.StatusConflict: sdktest.Rejected,
		http.StatusBadGateway: sdktest.Retried,
	} {
		d.answer(status)
		got := sub.Deliver(t, sdktest.Event{Type: "task.paused", ID: "task-1/4", Binding: 1, Payload: json.RawMessage(`{"a":1}`)})
		if got.Verdict != want {
			t.Errorf("%d: %+v, want %s", status, got, want)
		}
	}
	if want := slices.Repeat([]string{`/in task.paused {"a":1}`}, 4); !slices.Equal(d.take(), want) {
		t.Errorf("posted something else than %q", want)
	}
	if want := slices.Repeat([]string{"task-1/4"}, 4); !slices.Equal(d.keys, want) {
		t.Errorf("keys %q, want %q", d.keys, want)
	}
}

// greeter returns a directory with the plugin of the first example, whose directory is not named for it.
func greeter(t *testing.T) string {
	t.Helper()
	binary := sdktest.Build(t, "../01-greeter")
	named := filepath.Join(filepath.Dir(binary), "tasker-plugin-greeter"+filepath.Ext(binary))
	if err := os.Rename(binary, named); err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(named)
}

// TestTemplate runs the template, with all four, on a real host.
func TestTemplate(t *testing.T) {
	d := newDesk(t)
	text, err := os.ReadFile("template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	template := strings.ReplaceAll(string(text), "http://127.0.0.1:8432", d.URL)
	h := hosttest.Start(t, hosttest.Plugins("./notification", "./metrics", "./alerting", "./integration"), hosttest.Options(func(o *host.Options) {
		o.PluginDirs = append(o.PluginDirs, greeter(t))
	}))
	for _, name := range []string{"notification", "alerting", "integration", "metrics"} {
		h.AwaitPlugin(name)
	}
	good := h.Create(template, hosttest.Input(`{"name":"Ada"}`))
	h.WantSteps(h.End(good), "greet=complete/1")
	bad := h.Create(template, hosttest.Input(`{"nam":"Ada"}`))
	h.WantSteps(h.End(bad), "greet=error/1")
	h.Stop() // subscribers catch up before it ends

	var got []string
	for _, line := range d.take() {
		if head, _, ok := strings.Cut(line, `"endsAt":"`); ok {
			line = head + `"endsAt":"` // the time is that of the test
		}
		got = append(got, line[:min(len(line), 69)])
	}
	slices.Sort(got)
	want := []string{
		`/api/v2/alerts [{"endsAt":"`,
		`/api/v2/alerts [{"labels":{"alertname":"TaskFailed","severity":"page"`,
		`/chat {"text":"@reception greet of guests failed: the input does not `,
		`/chat {"text":"guests is done."}`,
		`/guestbook step.completed {"task_id":"` + string(good) + `","na`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("posted (-want +got):\n%s", diff)
	}
}
