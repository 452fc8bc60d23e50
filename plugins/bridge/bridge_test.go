package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nkeys"

	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// TestMain makes the test binary its own plugin.
func TestMain(m *testing.M) {
	if sdktest.Launched() {
		main()
	}
	hosttest.Main(m)
}

type values = map[string]any

// start starts the plugin with this server.
func (s *natsServer) bridge(t *testing.T, config values, bindings ...sdktest.Binding) *sdktest.Subscription {
	t.Helper()
	if config == nil {
		config = values{}
	}
	config["servers"] = []string{s.ClientURL()}
	return sdktest.Start(t, plugin(), sdktest.Options{Config: config}).Subscribe(t, "events", bindings...)
}

func wantAnswer(t *testing.T, got sdktest.Answer, verdict sdktest.Verdict, reason string) {
	t.Helper()
	if got.Verdict != verdict || !strings.Contains(got.Reason, reason) {
		t.Errorf("%s: %q, want %s: %q", got.Verdict, got.Reason, verdict, reason)
	}
}

// wantAway checks that an event comes again and nothing is counted.
func wantAway(t *testing.T, got sdktest.Answer, reason string) {
	t.Helper()
	wantAnswer(t, got, sdktest.Retried, reason)
	if !got.Unavailable {
		t.Errorf("%q is counted as a failure of the event", got.Reason)
	}
}

func allAcked(t *testing.T, sent ...*sdktest.Delivered) {
	t.Helper()
	for _, d := range sent {
		wantAnswer(t, d.Wait(t), sdktest.Acked, "")
	}
}

// until delivers an event again, as a host does, until the answer is good.
func until(t *testing.T, s *sdktest.Subscription, d *sdktest.Delivered, good func(sdktest.Answer) bool) sdktest.Answer {
	t.Helper()
	a := d.Wait(t)
	for !good(a) {
		<-time.After(20 * time.Millisecond) // a host's pause is longer
		d = s.Redeliver(t, d)[0]
		a = d.Wait(t)
	}
	return a
}

func untilAcked(t *testing.T, s *sdktest.Subscription, sent ...*sdktest.Delivered) {
	t.Helper()
	for _, d := range sent {
		until(t, s, d, func(a sdktest.Answer) bool { return a.Verdict == sdktest.Acked })
	}
}

// failed is an event with all parts.
func failed() sdktest.Event {
	return sdktest.Event{
		Payload: event.StepFailed{
			Step:  event.Step{Task: event.Task{TaskID: "01JD", Namespace: "shop", Template: "order", Version: "1.2.0", CorrelationID: "web-1"}, StepName: "charge"},
			Error: event.Error{Message: "no answer"},
		},
		Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
}

// TestMessage compares whole messages: subject, headers and body.
func TestMessage(t *testing.T) {
	payload, err := json.Marshal(failed().Payload)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		config values
		want   jetstream.RawStreamMsg
	}{
		"json": {values{}, jetstream.RawStreamMsg{
			Subject: "tasker.shop.order.step.failed",
			Header: nats.Header{
				"Content-Type": {"application/json"}, "Nats-Msg-Id": {"01JD/1@1777896000000000000"}, "Tasker-Correlation-Id": {"web-1"}, "Tasker-Id": {"01JD/1"},
				"Tasker-Task": {"01JD"}, "Tasker-Type": {"step.failed"}, "traceparent": {failed().Traceparent},
			},
			Data: []byte(`{"id":"01JD/1","type":"step.failed","time":"2026-05-04T12:00:00Z","seq":1,"task_id":"01JD","task_seq":1,"step":"charge","namespace":"shop","template":"order","version":"1.2.0",` +
				`"correlation_id":"web-1","traceparent":"` + failed().Traceparent + `","data":` + string(payload) + `}`),
		}},
		"cloudevents": {values{"format": "cloudevents", "subject": "tasker.{family}.{version}.{step}.{task}"}, jetstream.RawStreamMsg{
			Subject: "tasker.step.1_2_0.charge.01JD",
			Header: nats.Header{
				"Content-Type": {"application/json"}, "Nats-Msg-Id": {"01JD/1@1777896000000000000"}, "ce-correlationid": {"web-1"},
				"ce-datacontenttype": {"application/json"}, "ce-id": {"01JD/1"}, "ce-sequence": {"1"}, "ce-source": {"/tasker/shop/order"}, "ce-specversion": {"1.0"}, "ce-step": {"charge"},
				"ce-subject": {"01JD"}, "ce-templateversion": {"1.2.0"}, "ce-time": {"2026-05-04T12:00:00Z"}, "ce-traceparent": {failed().Traceparent},
				"ce-type": {"step.failed"}, "traceparent": {failed().Traceparent},
			},
			Data: payload,
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := serve(t, nil)
			js := s.stream(t, nil)
			wantAnswer(t, s.bridge(t, tt.config).Deliver(t, failed()), sdktest.Acked, "")
			got := stored(t, js)[0]
			got.Sequence, got.Time = 0, time.Time{}
			if diff := cmp.Diff(&tt.want, got); diff != "" {
				t.Errorf("message (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSubjects are safe, whatever names there are.
func TestSubjects(t *testing.T) {
	s := serve(t, nil)
	js := s.stream(t, func(c *jetstream.StreamConfig) { c.Subjects = []string{"tasker.>", "orders.>"} })
	sub := s.bridge(t, nil, sdktest.Binding{Config: values{"subject": "orders.{template}"}}, sdktest.Binding{Config: values{"subject": "orders.*"}})
	sent := sub.Send(
		t, sdktest.Event{Type: event.NameHostStarted},
		sdktest.Event{Type: "orders.shipped", Payload: json.RawMessage(`1`), Task: "t", Namespace: "a.b", Template: "> *"},
		sdktest.Event{Type: event.NameTaskPaused, Binding: 1},
	)
	allAcked(t, sent...)
	got := make(map[string]bool)
	for _, m := range stored(t, js) {
		got[m.Subject] = true
	}
	if diff := cmp.Diff(map[string]bool{"tasker._._.host.started": true, "tasker.a_b.___.orders.shipped": true, "orders.order": true}, got); diff != "" {
		t.Errorf("subjects (-want +got):\n%s", diff)
	}
	wantAnswer(t, sub.Deliver(t, sdktest.Event{Type: event.NameTaskPaused, Binding: 2}), sdktest.Rejected, `"orders.*" is no subject`)
}

// TestDuplicates are stored once, also by a plugin that was started anew; what was restored or is of another host is no
// duplicate.
func TestDuplicates(t *testing.T) {
	s := serve(t, nil)
	js := s.stream(t, nil)
	sub := s.bridge(t, nil)
	sent := sub.Send(t, failed(), failed(), sdktest.Event{Type: event.NameHostStarted})
	allAcked(t, sent...)
	allAcked(t, sub.Redeliver(t, sent...)...)
	sub.Close(t)
	sub = s.bridge(t, nil)
	allAcked(t, sub.Redeliver(t, sent...)...)
	if got := len(stored(t, js)); got != 3 {
		t.Errorf("%d messages, want 3", got)
	}
	restored := failed()
	restored.Seq, restored.At = 1, time.Date(2026, 5, 4, 13, 0, 0, 0, time.UTC)
	allAcked(t, sub.Send(t, restored)...)
	if got := len(stored(t, js)); got != 4 {
		t.Errorf("%d messages with the one of the restored host, want 4", got)
	}
}

// TestServerRestarts while events are forwarded: each is stored once, and those of a task are in order.
func TestServerRestarts(t *testing.T) {
	s := serve(t, nil)
	s.stream(t, nil)
	sub := s.bridge(t, nil)
	var first, second []sdktest.Event
	for i := range 100 {
		e := sdktest.Event{Type: event.NameTaskPaused, Task: fmt.Sprint("t", i%5), Seq: uint64(i + 1), ID: fmt.Sprint(i)}
		if i < 50 {
			first = append(first, e)
		} else {
			second = append(second, e)
		}
	}
	allAcked(t, sub.Send(t, first...)...)
	s.stop()
	sent := sub.Send(t, second...)
	got := sent[0].Wait(t)
	wantAway(t, got, "")
	s.start(t)
	untilAcked(t, sub, sent...)
	last := make(map[string]int)
	all := stored(t, s.client(t))
	for _, m := range all {
		var e struct {
			Task string `json:"task_id"`
			Seq  int    `json:"seq"`
		}
		if err := json.Unmarshal(m.Data, &e); err != nil {
			t.Fatal(err)
		}
		if e.Seq <= last[e.Task] {
			t.Errorf("task %s: event %d after %d", e.Task, e.Seq, last[e.Task])
		}
		last[e.Task] = e.Seq
	}
	if len(all) != 100 {
		t.Errorf("%d messages, want 100", len(all))
	}
}

// TestServerIsLate has events wait for a server that is not there when the plugin starts.
func TestServerIsLate(t *testing.T) {
	s := serve(t, nil)
	s.stop()
	sub := s.bridge(t, values{"stream": values{"name": "TASKER"}})
	sent := sub.Send(t, failed())
	wantAway(t, sent[0].Wait(t), "there is no connection to the server")
	s.start(t)
	untilAcked(t, sub, sent...)
	if got := len(stored(t, s.client(t))); got != 1 {
		t.Errorf("%d messages, want 1", got)
	}
}

// TestFull has events wait until there is room.
func TestFull(t *testing.T) {
	s := serve(t, nil)
	sub := s.bridge(t, values{"stream": values{"name": "TASKER", "max_messages": 2, "discard": "new"}})
	allAcked(t, sub.Send(t, sdktest.Event{Type: event.NameTaskPaused}, sdktest.Event{Type: event.NameTaskResumed})...)
	sent := sub.Send(t, failed())
	wantAway(t, sent[0].Wait(t), "maximum messages exceeded")
	js := s.client(t)
	stream, err := js.Stream(t.Context(), "TASKER")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	allAcked(t, sub.Redeliver(t, sent...)...)
	if got := stored(t, js); len(got) != 1 || got[0].Subject != "tasker.shop.order.step.failed" {
		t.Errorf("messages %v", got)
	}
}

// TestStream is created as configured, once, and again when somebody has deleted it; one that is there stays as it is.
func TestStream(t *testing.T) {
	s := serve(t, nil)
	config := func() values {
		return values{"subject": "a.b.{type}", "stream": values{"name": "TASKER", "max_mib": 1, "max_age": "5m", "memory": true}}
	}
	sub := s.bridge(t, config())
	allAcked(t, sub.Send(t, failed())...)
	js := s.client(t)
	stream, err := js.Stream(t.Context(), "TASKER")
	if err != nil {
		t.Fatal(err)
	}
	got := stream.CachedInfo().Config
	got = jetstream.StreamConfig{
		Subjects: got.Subjects, MaxMsgs: got.MaxMsgs, MaxBytes: got.MaxBytes, MaxAge: got.MaxAge, Duplicates: got.Duplicates, Storage: got.Storage, Discard: got.Discard,
	}
	want := jetstream.StreamConfig{
		Subjects: []string{"a.b.>"}, MaxMsgs: -1, MaxBytes: 1 << 20, MaxAge: 5 * time.Minute, Duplicates: 5 * time.Minute, Storage: jetstream.MemoryStorage,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("stream (-want +got):\n%s", diff)
	}
	if err := js.DeleteStream(t.Context(), "TASKER"); err != nil {
		t.Fatal(err)
	}
	sent := sub.Send(t, failed())
	wantAway(t, sent[0].Wait(t), "no stream takes the subject a.b.step.failed")
	allAcked(t, sub.Redeliver(t, sent...)...)
	sub.Close(t)
	again := config()
	again["stream"] = values{"name": "TASKER", "max_mib": 2}
	allAcked(t, s.bridge(t, again).Send(t, failed())...)
}

// TestNoStream has events wait for a stream that cannot be created, and for JetStream.
func TestNoStream(t *testing.T) {
	s := serve(t, nil)
	s.stream(t, nil)
	sub := s.bridge(t, values{"stream": values{"name": "OTHER"}}) // whose subjects are taken
	wantAway(t, sub.Deliver(t, failed()), "stream OTHER: ")
	s = serve(t, func(o *server.Options) { o.JetStream = false })
	wantAway(t, s.bridge(t, nil).Deliver(t, failed()), "no stream takes the subject")
}

// TestTooLarge makes a dead letter.
func TestTooLarge(t *testing.T) {
	s := serve(t, func(o *server.Options) { o.MaxPayload = 4 << 10 })
	s.stream(t, func(c *jetstream.StreamConfig) { c.MaxMsgSize = 2 << 10 })
	sub := s.bridge(t, nil)
	for _, size := range []int{2 << 10, 8 << 10} {
		e := sdktest.Event{Type: event.NameTaskPaused, Payload: values{"x": strings.Repeat("x", size)}}
		wantAnswer(t, sub.Deliver(t, e), sdktest.Rejected, "exceed")
	}
	allAcked(t, sub.Send(t, failed())...)
}

// TestAuth connects by each way, and has events wait as long as the server refuses the plugin.
func TestAuth(t *testing.T) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		server      func(*server.Options)
		good, wrong values
	}{
		"user":  {func(o *server.Options) { o.Username, o.Password = "ann", "secret" }, values{"user": "ann", "password": "secret"}, values{"user": "ann", "password": "wrong"}},
		"token": {func(o *server.Options) { o.Authorization = "secret" }, values{"token": "secret"}, values{"token": "wrong"}},
		"nkey":  {func(o *server.Options) { o.Nkeys = []*server.NkeyUser{{Nkey: public}} }, values{"nkey_seed": string(seed)}, values{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := serve(t, tt.server)
			sub := s.bridge(t, values{"auth": tt.wrong, "stream": values{"name": "TASKER"}})
			sent := sub.Send(t, failed())
			got := until(t, sub, sent[0], func(a sdktest.Answer) bool { return a.Reason != errNoConnection.Error() })
			wantAway(t, got, errNoConnection.Error()+": nats: Authorization Violation")
			sub = s.bridge(t, values{"auth": tt.good, "stream": values{"name": "TASKER"}})
			allAcked(t, sub.Redeliver(t, sent...)...)
		})
	}
}

// TestRefusedConfiguration says where, and repeats no secret.
func TestRefusedConfiguration(t *testing.T) {
	tests := map[string]struct {
		config values
		want   string
	}{
		"placeholder": {values{"subject": "tasker.{id}"}, "/subject: {id} stands for nothing"},
		"empty token": {values{"subject": "tasker..{type}"}, `/subject: "tasker..{type}" is no subject`},
		"system":      {values{"subject": "$JS.{type}"}, `/subject: "$JS.{type}" is no subject`},
		"brace":       {values{"subject": "tasker.{type"}, `is no subject`},
		"stream":      {values{"subject": "{namespace}.{type}", "stream": values{"name": "T"}}, "/stream/subjects: want some"},
		"stream name": {values{"stream": values{"name": "a.b"}}, "/stream/name: "},
		"two ways":    {values{"auth": values{"token": "hidden", "creds_file": "x"}}, "/auth: want one of"},
		"seed":        {values{"auth": values{"nkey_seed": "hidden"}}, "/auth/nkey_seed: want the seed"},
		"certificate": {values{"tls": values{"cert_file": "x"}}, "/tls: want cert_file and key_file"},
		"ca":          {values{"tls": values{"ca_file": "none.pem"}}, "none.pem"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := sdktest.TryStart(t, plugin(), sdktest.Options{Config: tt.config})
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hidden") {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}

// FuzzSubject makes subjects that any server takes, of whatever is in an event.
func FuzzSubject(f *testing.F) {
	f.Add("step.failed", "shop", "order")
	f.Add("", ".", "a b\n*>")
	f.Fuzz(func(t *testing.T, name, namespace, template string) {
		got, err := subjectOf(defaultSubject, sdk.Event[json.RawMessage]{Type: name, Namespace: namespace, Template: template})
		if err != nil {
			t.Fatal(err)
		}
		if tokens := strings.Split(got, "."); len(tokens) != 5 || checkSubject(got) != nil {
			t.Errorf("subject %q", got)
		}
	})
}

// TestDelivery checks what delivery asks of all subscribers.
func TestDelivery(t *testing.T) {
	s := serve(t, nil)
	s.stream(t, nil)
	p := sdktest.Start(t, plugin(), sdktest.Options{Config: values{"servers": []string{s.ClientURL()}}})
	p.CheckDelivery(t, sdktest.DeliveryCheck{Subscription: "events"})
}

// TestKilled runs the plugin as a process, kills it while events are forwarded, and delivers all again.
func TestKilled(t *testing.T) {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	s := serve(t, nil)
	js := s.stream(t, nil)
	launch := func() (*sdktest.Plugin, *sdktest.Subscription) {
		p := sdktest.Launch(t, binary, sdktest.Options{Config: values{"servers": []string{s.ClientURL()}}})
		return p, p.Subscribe(t, "events")
	}
	events := make([]sdktest.Event, 200)
	for i := range events {
		events[i] = sdktest.Event{Type: event.NameTaskPaused, Task: fmt.Sprint("t", i%7)}
	}
	p, sub := launch()
	sent := sub.Send(t, events...)
	allAcked(t, sent[:20]...)
	p.Kill()
	_, sub = launch()
	allAcked(t, sub.Redeliver(t, sent...)...)
	if got := len(stored(t, js)); got != 200 {
		t.Errorf("%d messages, want 200", got)
	}
}
