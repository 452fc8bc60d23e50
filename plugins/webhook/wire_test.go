package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

type values = map[string]any

// configuration is one of the plugin in which the server is the endpoint "e".
func (s *server) configuration(more values) values {
	e := values{"url": s.URL + "/hook"}
	maps.Copy(e, more)
	return values{"endpoints": values{"e": e}}
}

// TestDelivery is what a host sees of it: answers to events, by binding.
func TestDelivery(t *testing.T) {
	var code atomic.Int64
	s := serve(t, func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		w.Header().Set("Retry-After", map[bool]string{true: "7"}[code.Load() == http.StatusServiceUnavailable])
		w.WriteHeader(int(code.Load()))
	})
	p := sdktest.Start(t, plugin(), sdktest.Options{Config: s.configuration(values{"breaker": values{"failures": 1000}})})
	sub := p.Subscribe(
		t, "events", sdktest.Binding{Config: values{"endpoint": "e"}}, sdktest.Binding{Config: values{"endpoint": "e", "format": "slack"}},
		sdktest.Binding{Config: values{"endpoint": "x"}}, sdktest.Binding{Config: values{"endpoint": "e", "template": "{{.Task}}"}},
		sdktest.Binding{Config: values{"endpoint": "e", "template": "{{"}}, sdktest.Binding{Config: values{"endpoint": "e", "format": "template"}},
	)
	tests := map[string]struct {
		binding int
		status  int
		want    sdktest.Answer
	}{
		"acked":            {1, 200, sdktest.Answer{Verdict: sdktest.Acked}},
		"chat":             {2, 200, sdktest.Answer{Verdict: sdktest.Acked}},
		"no such endpoint": {3, 200, sdktest.Answer{Verdict: sdktest.Retried, Unavailable: true, Reason: `the plugin's configuration has no endpoint "x", only [e]`}},
		"no JSON":          {4, 200, sdktest.Answer{Verdict: sdktest.Rejected, Reason: "format template: the template made no JSON: invalid character '1' after top-level value"}},
		"refused":          {1, 422, sdktest.Answer{Verdict: sdktest.Rejected, Reason: "endpoint e answers 422 Unprocessable Entity"}},
		"broken":           {1, 500, sdktest.Answer{Verdict: sdktest.Retried, Reason: "endpoint e answers 500 Internal Server Error"}},
		"not now":          {1, 503, sdktest.Answer{Verdict: sdktest.Retried, Reason: "endpoint e answers 503 Service Unavailable", After: 7 * time.Second, Unavailable: true}},
		"no template": {5, 200, sdktest.Answer{
			Verdict: sdktest.Retried, Unavailable: true,
			Reason: `the binding's config: /template: template: body:1: unclosed action`,
		}},
		"no text": {6, 200, sdktest.Answer{Verdict: sdktest.Retried, Unavailable: true, Reason: "the binding's config: /template: there is none"}},
	}
	for _, name := range []string{"acked", "chat", "no such endpoint", "no JSON", "no template", "no text", "refused", "broken", "not now"} { // the last one makes a pause
		tt := tests[name]
		t.Run(name, func(t *testing.T) {
			code.Store(int64(tt.status))
			got := sub.Deliver(t, sdktest.Event{Type: event.NameStepFailed, Binding: tt.binding, Task: "01JD" + strings.ReplaceAll(name, " ", "")})
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRedelivery has the same id and body.
func TestRedelivery(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request, []byte) {})
	p := sdktest.Start(t, plugin(), sdktest.Options{Config: s.configuration(values{"secrets": []string{key(1)}})})
	sub := p.Subscribe(t, "events", sdktest.Binding{Config: values{"endpoint": "e"}})
	d := sub.Send(t, sdktest.Event{Type: event.NameTaskFailed, Binding: 1})[0]
	d.Wait(t)
	d.Redeliver(t).Wait(t)
	first, second := s.next(t), s.next(t)
	if first.Header.Get("webhook-id") != second.Header.Get("webhook-id") || !bytes.Equal(first.body, second.body) {
		t.Errorf("first %v %s\nthen %v %s", first.Header, first.body, second.Header, second.body)
	}
}

// TestLanes shows that a slow endpoint keeps nobody waiting but its tasks.
func TestLanes(t *testing.T) {
	hold := make(chan struct{})
	slow := serve(t, func(http.ResponseWriter, *http.Request, []byte) { <-hold })
	fast := serve(t, func(http.ResponseWriter, *http.Request, []byte) {})
	p := sdktest.Start(t, plugin(), sdktest.Options{Config: values{"endpoints": values{
		"slow": values{"url": slow.URL, "max_concurrent": 1}, "fast": values{"url": fast.URL},
	}}})
	bindings := []sdktest.Binding{{Config: values{"endpoint": "slow"}}, {Config: values{"endpoint": "fast"}}}
	sub := p.Subscribe(t, "events", bindings...)
	waiting := sub.Send(
		t, sdktest.Event{Type: event.NameTaskStarted, Task: "a", Binding: 1}, sdktest.Event{Type: event.NameTaskStarted, Task: "b", Binding: 1},
		sdktest.Event{Type: event.NameTaskFailed, Task: "a", Binding: 2},
	)
	if got := sub.Deliver(t, sdktest.Event{Type: event.NameTaskFailed, Task: "c", Binding: 2}); got.Verdict != sdktest.Acked {
		t.Errorf("the other task's event was %s: %s", got.Verdict, got.Reason)
	}
	close(hold)
	for _, d := range waiting {
		if got := d.Wait(t); got.Verdict != sdktest.Acked {
			t.Errorf("an event was %s: %s", got.Verdict, got.Reason)
		}
	}
}

// TestOrdered posts all events in order, whatever tasks they are of.
func TestOrdered(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request, []byte) {})
	p := sdktest.Start(t, plugin(), sdktest.Options{Config: s.configuration(nil)})
	sub := p.Subscribe(t, "ordered", sdktest.Binding{Config: values{"endpoint": "e"}})
	events := make([]sdktest.Event, 50)
	for i := range events {
		events[i] = sdktest.Event{Type: event.NameTaskFailed, Task: fmt.Sprint(i), ID: fmt.Sprint(i), Binding: 1}
	}
	for _, d := range sub.Send(t, events...) {
		d.Wait(t)
	}
	for i := range events {
		if got := s.next(t).Header.Get("webhook-id"); got != fmt.Sprint(i) {
			t.Fatalf("event %s came in place of event %d", got, i)
		}
	}
}

// TestRefusedConfiguration says where, and not what.
func TestRefusedConfiguration(t *testing.T) {
	tests := map[string]struct {
		endpoint values
		want     string
	}{
		"missing": {values{}, "/endpoints/e: missing property 'url'"},
		"unknown": {values{"url": "http://h", "secret": "whsec_hidden"}, "/endpoints/e: additional properties 'secret' not allowed"},
		"secret":  {values{"url": "http://h", "secrets": []string{"whsec_hidden"}}, ": check Config: /endpoints/e/secrets/0: want whsec_ and the base64 of 24 to 64 bytes"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := sdktest.TryStart(t, plugin(), sdktest.Options{Config: values{"endpoints": values{"e": tt.endpoint}}})
			if err == nil || err.Error() != tt.want {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}

// TestSecretsInSchema are marked, so that the host does not show them.
func TestSecretsInSchema(t *testing.T) {
	p := sdktest.Start(t, plugin()) // without a configuration: it is installed, and not used
	var schema struct {
		Defs map[string]struct {
			Properties map[string]json.RawMessage `json:"properties"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal(p.Manifest().GetConfigSchema(), &schema); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"url", "secrets", "headers"} {
		if !strings.Contains(string(schema.Defs["target"].Properties[secret]), `"writeOnly":true`) {
			t.Errorf("%s is not marked: %s", secret, schema.Defs["target"].Properties[secret])
		}
	}
}

// TestLog tells that an endpoint fails and works again, and nothing secret.
func TestLog(t *testing.T) {
	var log bytes.Buffer
	e, err := newEndpoint("e", target{URL: "http://h/token", Secrets: []string{key(1)}}, slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})))
	if err != nil {
		t.Fatal(err)
	}
	e.breaker.Open()
	e.breaker.Close()
	want := `level=WARN msg="the endpoint fails and is left alone for a while" endpoint=e for=30s` + "\n" + `level=INFO msg="the endpoint works again" endpoint=e` + "\n"
	if diff := cmp.Diff(want, log.String()); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

// TestBinary runs the plugin as a process, as a host does.
func TestBinary(t *testing.T) {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, func(http.ResponseWriter, *http.Request, []byte) {})
	p := sdktest.Launch(t, binary, sdktest.Options{Config: s.configuration(values{"secrets": []string{key(1)}})})
	sub := p.Subscribe(t, "events", sdktest.Binding{Config: values{"endpoint": "e", "format": "cloudevents"}})
	if got := sub.Deliver(t, sdktest.Event{Type: event.NameTaskFailed, Binding: 1}); got.Verdict != sdktest.Acked {
		t.Errorf("the event was %s: %s", got.Verdict, got.Reason)
	}
	if r := s.next(t); !strings.HasPrefix(r.Header.Get("webhook-signature"), "v1,") {
		t.Errorf("headers %v", r.Header)
	}
}
