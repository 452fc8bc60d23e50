package sdk_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// subscriberPlugin is a plugin with one subscriber, s.
func subscriberPlugin(sub sdk.Subscriber) sdk.Plugin {
	return sdk.Plugin{Name: "test", Version: "1.0.0", Subscribers: sdk.Subscribers{"s": sub}}
}

// subscriber runs a plugin with one subscriber and opens its stream.
func subscriber(t *testing.T, sub sdk.Subscriber, bindings ...sdktest.Binding) *sdktest.Subscription {
	t.Helper()
	return sdktest.Start(t, subscriberPlugin(sub)).Subscribe(t, "s", bindings...)
}

// all is a subscriber of all events, raw.
func all(fn func(ctx context.Context, e sdk.Event[json.RawMessage]) error) sdk.Subscriber {
	return sdk.OnNamed("*", fn)
}

// TestTiniest is the whole of the smallest subscriber: found, subscribed and served as a binary of its own, whose
// linker keeps only what is used.
func TestTiniest(t *testing.T) {
	source, err := os.ReadFile("testdata/notifier/main.go")
	if err != nil {
		t.Fatal(err)
	}
	_, body, _ := strings.Cut(string(source), "\n)\n")
	if lines := len(strings.Split(strings.TrimSpace(body), "\n")); lines > 12 {
		t.Errorf("the tiniest subscriber has %d lines after its imports, want at most 12", lines)
	}
	p := sdktest.Launch(t, sdktest.Build(t, "./testdata/notifier"))
	want := []*pluginv1.SubscriptionSpec{{
		Name: "failures", Events: []string{"step.failed"}, Order: pluginv1.DeliveryOrder_DELIVERY_ORDER_GLOBAL,
	}}
	if diff := cmp.Diff(want, p.Manifest().GetSubscriptions(), protocmp.Transform()); diff != "" {
		t.Errorf("subscriptions (-want +got):\n%s", diff)
	}
	sub := p.Subscribe(t, "failures")
	if got := sub.Deliver(t, sdktest.Event{Type: "step.failed"}); got.Verdict != sdktest.Acked {
		t.Errorf("answer %+v, want acked", got)
	}
	got := sub.Log(t)
	if got.Level != "error" || got.Message != "step failed" || !strings.Contains(string(got.Fields), `"why":"the bank did not answer"`) {
		t.Errorf("log %s %s %s", got.Level, got.Message, got.Fields)
	}
}

// watcher has every kind of method.
type watcher struct {
	sdk.BaseSubscriber

	mu  sync.Mutex
	got []string
}

func (w *watcher) note(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.got = append(w.got, what)
}

func (w *watcher) OnStepFailed(_ context.Context, e sdk.Event[event.StepFailed]) error {
	w.note("OnStepFailed " + e.Payload.Message)
	return nil
}

func (w *watcher) OnTaskCancelled(_ context.Context, e sdk.Event[json.RawMessage]) error {
	w.note("OnTaskCancelled " + e.Type)
	return nil
}

func (w *watcher) OnStepMaxRetriesReached(_ context.Context, e sdk.Event[event.StepMaxRetriesReached]) error {
	w.note("OnStepMaxRetriesReached " + e.Step)
	return nil
}

func (w *watcher) OnEvent(_ context.Context, e sdk.Event[json.RawMessage]) error {
	w.note("OnEvent " + e.Type)
	return nil
}

func (w *watcher) OnGap(_ context.Context, gap sdk.Gap) { w.note("gap") }

func (w *watcher) OnError(_ context.Context, err error) error { return err }

// OnCall looks like no receiver of events.
func (w *watcher) OnCall(string) {}

func (*watcher) SubscriberOptions() sdk.SubscriberOptions { return watcherOptions() }

func watcherOptions() sdk.SubscriberOptions {
	return sdk.SubscriberOptions{
		Description: "Watches.", Filter: "event.step == 'charge'", Order: sdk.TaskOrder, Start: "2026-05-04T12:00:00Z",
		Window: 2, MaxAttempts: 3, Timeout: time.Second, Bound: true, Config: watcherConfig{Level: "low"}, Lanes: 4,
	}
}

type watcherConfig struct {
	Level string            `json:"level,omitempty"`
	Words []string          `json:"words,omitempty"`
	Names map[string]string `json:"names,omitempty"`
}

func newWatcher() *watcher {
	w := &watcher{}
	w.SubscribeTo("orders.*", "task.*")
	return w
}

// TestForms declares the same subscriber twice.
func TestForms(t *testing.T) {
	w := newWatcher()
	functions := sdk.Subscribe(sdk.Routes(
		sdk.On(w.OnStepFailed),
		sdk.OnNamed("task.cancelled", w.OnTaskCancelled),
		sdk.On(w.OnStepMaxRetriesReached),
		sdk.OnNamed("task.*", w.OnEvent),
		sdk.OnNamed("orders.*", w.OnEvent),
	), watcherOptions())
	p := subscriberPlugin(newWatcher())
	p.Subscribers["f"] = functions
	subs := sdktest.Start(t, p).Manifest().GetSubscriptions()
	if len(subs) != 2 || subs[0].GetName() != "f" || subs[1].GetName() != "s" {
		t.Fatalf("subscriptions %v", subs)
	}
	if diff := cmp.Diff(subs[0], subs[1], protocmp.Transform(), protocmp.IgnoreFields(&pluginv1.SubscriptionSpec{}, "name")); diff != "" {
		t.Errorf("the forms differ (-functions +struct):\n%s", diff)
	}
	want := []string{"orders.*", "step.failed", "step.max_retries_reached", "task.*", "task.cancelled"}
	if diff := cmp.Diff(want, subs[1].GetEvents()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if got := subs[1]; got.GetWindow() != 2 || got.GetMaxAttempts() != 3 || got.GetTimeout().AsDuration() != time.Second || !got.GetBound() ||
		got.GetOrder() != pluginv1.DeliveryOrder_DELIVERY_ORDER_TASK || len(got.GetConfigSchema()) == 0 {
		t.Errorf("subscription %v", got)
	}
}

// TestMethods brings each event to the method that says most about it.
func TestMethods(t *testing.T) {
	w := newWatcher()
	sub := subscriber(t, w)
	sub.Gap(t, 7)
	for _, e := range []sdktest.Event{
		{Payload: event.StepFailed{Error: event.Error{Message: "bad"}}},
		{Type: "step.max_retries_reached", Step: "pack"},
		{Type: "task.cancelled"},
		{Type: "task.completed"},
		{Type: "orders.shipped", Payload: json.RawMessage(`{"id":1}`)},
		{Type: "step.started"}, // was not asked for
	} {
		if got := sub.Deliver(t, e); got.Verdict != sdktest.Acked {
			t.Errorf("%s: %+v, want acked", e.Type, got)
		}
	}
	sub.Close(t)
	want := []string{
		"gap", "OnStepFailed bad", "OnStepMaxRetriesReached pack", "OnTaskCancelled task.cancelled", "OnEvent task.completed",
		"OnEvent orders.shipped",
	}
	if diff := cmp.Diff(want, w.got); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
	if got := sub.Log(t); got.Level != "warn" || got.Message != "nothing receives this event" {
		t.Errorf("log %+v", got)
	}
}

// customer receives a custom event by a method.
type customer struct {
	sdk.BaseSubscriber

	got []shipped
}

func (c *customer) OnTestShipped(_ context.Context, e sdk.Event[shipped]) error {
	c.got = append(c.got, e.Payload)
	return nil
}

// TestCustomEvent brings a custom event to the method that is named after it.
func TestCustomEvent(t *testing.T) {
	c := &customer{}
	sub := subscriber(t, c)
	if got := sub.Deliver(t, sdktest.Event{Payload: shipped{OrderID: "o-1"}}); got.Verdict != sdktest.Acked {
		t.Errorf("answer %+v", got)
	}
	if diff := cmp.Diff([]shipped{{OrderID: "o-1"}}, c.got); diff != "" {
		t.Errorf("payloads (-want +got):\n%s", diff)
	}
}

// TestEventFields is the envelope as subscribers see it.
func TestEventFields(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	var got sdk.Event[json.RawMessage]
	sub := subscriber(t, all(func(_ context.Context, e sdk.Event[json.RawMessage]) error {
		got = e
		return nil
	}))
	sub.Deliver(t, sdktest.Event{
		Type: "step.started", Payload: json.RawMessage(`{"x": 1}`), Seq: 9, TaskSeq: 4, Delivery: 2, At: at, ID: "i", Task: "t", Step: "s",
		Namespace: "n", Template: "tm", Version: "v", CorrelationID: "c", Traceparent: "tp",
	})
	want := sdk.Event[json.RawMessage]{
		ID: "i", Type: "step.started", Seq: 9, At: at, Task: "t", TaskSeq: 4, Step: "s", Namespace: "n", Template: "tm", Version: "v",
		CorrelationID: "c", Traceparent: "tp", Delivery: 2, Payload: json.RawMessage(`{"x": 1}`),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	sub.Deliver(t, sdktest.Event{Type: "host.started", ID: "h/1/1"})
	if got.Task != "" || got.TaskSeq != 0 || got.ID != "h/1/1" {
		t.Errorf("event without a task %+v", got)
	}
	for _, trial := range []bool{true, false} { // the log goes on after a trial
		sub.Deliver(t, sdktest.Event{Type: "host.started", Trial: trial})
		if got.Trial() != trial {
			t.Errorf("event %d: trial %t, want %t", got.Seq, got.Trial(), trial)
		}
	}
}

// TestAnswers is what the errors of a subscriber mean.
func TestAnswers(t *testing.T) {
	oops := errors.New("oops")
	tests := map[string]struct {
		err  error
		want sdktest.Answer
	}{
		"nil":         {nil, sdktest.Answer{Verdict: sdktest.Acked}},
		"error":       {oops, sdktest.Answer{Verdict: sdktest.Retried, Reason: "oops"}},
		"retry after": {sdk.RetryAfter(oops, time.Minute), sdktest.Answer{Verdict: sdktest.Retried, Reason: "oops", After: time.Minute}},
		"permanent":   {sdk.Permanent(oops), sdktest.Answer{Verdict: sdktest.Rejected, Reason: "oops"}},
		"long":        {errors.New(strings.Repeat("x", 9000)), sdktest.Answer{Verdict: sdktest.Retried, Reason: strings.Repeat("x", 8188) + " ..."}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			sub := subscriber(t, sdk.On(func(context.Context, sdk.Event[event.StepFailed]) error { return tt.err }))
			if diff := cmp.Diff(tt.want, sub.Deliver(t, sdktest.Event{Type: "step.failed"})); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

// TestPolicy decides about errors in one place.
func TestPolicy(t *testing.T) {
	gone, busy := errors.New("gone"), errors.New("busy")
	var err error
	sub := subscriber(t, sdk.Subscribe(all(func(context.Context, sdk.Event[json.RawMessage]) error { return err }), sdk.SubscriberOptions{
		OnError: func(_ context.Context, err error) error {
			switch {
			case errors.Is(err, gone):
				return nil
			case errors.Is(err, busy):
				return sdk.RetryAfter(err, time.Hour)
			default:
				return sdk.Permanent(err)
			}
		},
	}))
	for e, want := range map[error]sdktest.Verdict{gone: sdktest.Acked, busy: sdktest.Retried, errors.New("x"): sdktest.Rejected, nil: sdktest.Acked} {
		err = e
		if got := sub.Deliver(t, sdktest.Event{Type: "step.failed"}); got.Verdict != want {
			t.Errorf("%v: %+v, want %s", e, got, want)
		}
	}
}

// TestPanic fails one event and nothing else.
func TestPanic(t *testing.T) {
	n := 0
	sub := subscriber(t, sdk.On(func(_ context.Context, e sdk.Event[event.StepFailed]) error {
		n++
		switch n {
		case 1:
			panic("at the disco")
		case 2:
			t.SkipNow() // ends the goroutine
		}
		return nil
	}))
	for _, want := range []sdktest.Answer{
		{Verdict: sdktest.Retried, Reason: "panic: at the disco"},
		{Verdict: sdktest.Retried, Reason: "panic: the handler ended its goroutine with runtime.Goexit"},
		{Verdict: sdktest.Acked},
	} {
		if diff := cmp.Diff(want, sub.Deliver(t, sdktest.Event{Type: "step.failed"})); diff != "" {
			t.Errorf("answer (-want +got):\n%s", diff)
		}
	}
	got := sub.Log(t)
	if got.Level != "error" || got.Message != "panic: at the disco" || !strings.Contains(string(got.Fields), "TestPanic") || strings.Contains(string(got.Fields), "sdk.(*deliverStream)") {
		t.Errorf("log %s %s %s", got.Level, got.Message, got.Fields)
	}
}

// TestGapIsLogged tells of a gap where the subscriber has no method for it, amid events in their order.
func TestGapIsLogged(t *testing.T) {
	sub := subscriber(t, all(func(ctx context.Context, e sdk.Event[json.RawMessage]) error {
		sdk.Logger(ctx).Info("event", "seq", e.Seq)
		return nil
	}))
	sub.Deliver(t, sdktest.Event{Type: "step.failed", ID: "a"})
	sub.Gap(t, 40)
	sub.Deliver(t, sdktest.Event{Type: "step.failed", ID: "b"})
	for _, want := range []sdktest.LogLine{
		{Level: "info", Message: "event", Fields: json.RawMessage(`{"event":"a","seq":1}`)},
		{Level: "warn", Message: "events were cut from the log before they could be delivered", Fields: json.RawMessage(`{"through":40}`)},
		{Level: "info", Message: "event", Fields: json.RawMessage(`{"event":"b","seq":41}`)},
	} {
		if diff := cmp.Diff(want, sub.Log(t)); diff != "" {
			t.Errorf("line (-want +got):\n%s", diff)
		}
	}
}

// TestSubscriberLogFlood drops lines that the host does not keep up with, and no answers.
func TestSubscriberLogFlood(t *testing.T) {
	sub := subscriber(t, all(func(ctx context.Context, _ sdk.Event[json.RawMessage]) error {
		log := sdk.Slog(ctx)
		for i := range 20_000 {
			log.InfoContext(ctx, "line", "i", i)
		}
		return nil
	}))
	if got := sub.Deliver(t, sdktest.Event{Type: "step.failed"}); got.Verdict != sdktest.Acked {
		t.Errorf("answer %+v", got)
	}
	if got := sub.Log(t); got.Message != "line" {
		t.Errorf("log %+v", got)
	}
}

// checked is a subscriber with every optional power.
type checked struct {
	customer

	closed bool
}

func (*checked) Check(context.Context) error { return errors.New("the mast is down") }

func (c *checked) Close() error {
	c.closed = true
	return nil
}

// TestPowers checks subscribers before any event and closes them at the end.
func TestPowers(t *testing.T) {
	c := &checked{}
	t.Run("refused", func(t *testing.T) {
		_, err := sdktest.TryStart(t, subscriberPlugin(sdk.Subscribe(c, sdk.SubscriberOptions{})))
		if err == nil || !strings.Contains(err.Error(), "check subscriber s: the mast is down") {
			t.Errorf("error %v", err)
		}
	})
	if !c.closed {
		t.Error("the subscriber was not closed")
	}
}
