package sdk_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// TestUnavailable is what the host hears when what a subscriber needs is not there.
func TestUnavailable(t *testing.T) {
	cause := errors.New("no server")
	tests := map[string]struct {
		err  error
		want sdktest.Answer
	}{
		"plain":   {sdk.Unavailable(cause), sdktest.Answer{Verdict: sdktest.Retried, Reason: "no server", Unavailable: true}},
		"wrapped": {fmt.Errorf("post: %w", sdk.Unavailable(cause)), sdktest.Answer{Verdict: sdktest.Retried, Reason: "post: no server", Unavailable: true}},
		"with a wait": {
			sdk.RetryAfter(sdk.Unavailable(cause), time.Minute),
			sdktest.Answer{Verdict: sdktest.Retried, Reason: "no server", Unavailable: true, After: time.Minute},
		},
		"the other way round": {
			sdk.Unavailable(sdk.RetryAfter(cause, time.Minute)),
			sdktest.Answer{Verdict: sdktest.Retried, Reason: "no server", Unavailable: true, After: time.Minute},
		},
		"permanent around it": {sdk.Permanent(sdk.Unavailable(cause)), sdktest.Answer{Verdict: sdktest.Rejected, Reason: "no server"}},
		"permanent within it": {sdk.Unavailable(sdk.Permanent(cause)), sdktest.Answer{Verdict: sdktest.Retried, Reason: "no server", Unavailable: true}},
		"ordinary":            {cause, sdktest.Answer{Verdict: sdktest.Retried, Reason: "no server"}},
		"nothing":             {sdk.Unavailable(nil), sdktest.Answer{Verdict: sdktest.Acked}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			sub := subscriber(t, all(func(context.Context, rawEvent) error { return tt.err }))
			if got := sub.Deliver(t, sdktest.Event{Type: "step.failed"}); got != tt.want {
				t.Errorf("answer %+v, want %+v", got, tt.want)
			}
		})
	}
}

// addressed is the config of a binding that checks itself, and keeps what it makes of itself.
type addressed struct {
	To string `json:"to,omitempty"`

	upper string
}

func (a *addressed) Check(context.Context) error {
	switch {
	case a.To == "panic":
		panic("oh")
	case !strings.Contains(a.To, "@"):
		return fmt.Errorf("/to: %q is no address", a.To)
	}
	a.upper = strings.ToUpper(a.To)
	return nil
}

// TestBindingCheck holds up the events of a binding that fails its check, degrades the plugin, and goes on when the
// binding is mended.
func TestBindingCheck(t *testing.T) {
	var got atomic.Value
	p := sdktest.Start(t, subscriberPlugin(sdk.Subscribe(all(func(ctx context.Context, _ rawEvent) error {
		c, err := sdk.BindingConfig[addressed](ctx)
		got.Store(c.upper)
		return err
	}), sdk.SubscriberOptions{Config: addressed{}})))
	to := func(address string) sdktest.Binding { return sdktest.Binding{Config: map[string]string{"to": address}} }
	degraded := func(message string) func(*pluginv1.Status) bool {
		return func(s *pluginv1.Status) bool {
			return s.GetState() == pluginv1.State_STATE_DEGRADED && s.GetMessage() == message
		}
	}
	sub := p.Subscribe(t, "s", to("ops"), to("a@b.c"), to("panic"))
	p.AwaitStatus(t, degraded(`subscriber s: panic: oh; subscriber s: the binding's config: /to: "ops" is no address`))
	want := sdktest.Answer{Verdict: sdktest.Retried, Unavailable: true, Reason: `the binding's config: /to: "ops" is no address`}
	held := sub.Send(t, sdktest.Event{Type: "step.failed", Binding: 1})[0]
	if a := held.Wait(t); a != want {
		t.Errorf("answer %+v, want %+v", a, want)
	}
	if a := sub.Deliver(t, sdktest.Event{Type: "step.failed", Binding: 2}); a.Verdict != sdktest.Acked || got.Load() != "A@B.C" {
		t.Errorf("answer %+v with %v, want acked with what the check has made", a, got.Load())
	}
	if a := sub.Deliver(t, sdktest.Event{Type: "step.failed", Binding: 3}); !a.Unavailable || a.Reason != "panic: oh" {
		t.Errorf("answer %+v, want that the check panics", a)
	}
	if a := sub.Deliver(t, sdktest.Event{Type: "step.failed"}); !a.Unavailable { // a trial of what no binding wants
		t.Errorf("answer %+v, want that the defaults do not do", a)
	}

	sub.Rebind(t, to("ops"), to("a@b.c"))
	p.AwaitStatus(t, degraded(`subscriber s: the binding's config: /to: "ops" is no address`))
	sub.Rebind(t, to("ops@b.c"))
	if a := held.Redeliver(t).Wait(t); a.Verdict != sdktest.Acked || got.Load() != "OPS@B.C" {
		t.Errorf("answer %+v with %v, want acked with the mended config", a, got.Load())
	}
	p.AwaitStatus(t, func(s *pluginv1.Status) bool { return s.GetState() == pluginv1.State_STATE_READY })

	sub.Rebind(t, to("ops"))
	p.AwaitStatus(t, degraded(`subscriber s: the binding's config: /to: "ops" is no address`))
	sub.Close(t)
	p.AwaitStatus(t, func(s *pluginv1.Status) bool { return s.GetState() == pluginv1.State_STATE_READY })
}

// reaching is the config of a binding whose check depends on what may come back.
type reaching struct {
	N int `json:"n,omitempty"`
}

func (reaching) Check(ctx context.Context) error {
	dir := sdk.DataDir(ctx)
	return fmt.Errorf("in %s", dir)
}

// TestBindingCheckAgain checks again with each event that tries, and knows the data directory.
func TestBindingCheckAgain(t *testing.T) {
	dir := t.TempDir()
	sub := sdktest.Start(t, subscriberPlugin(sdk.Subscribe(all(func(context.Context, rawEvent) error { return nil }),
		sdk.SubscriberOptions{Config: reaching{}})), sdktest.Options{DataDir: dir}).Subscribe(t, "s", sdktest.Binding{Config: reaching{N: 1}})
	for range 2 {
		if a := sub.Deliver(t, sdktest.Event{Type: "step.failed", Binding: 1}); a.Reason != "the binding's config: in "+dir {
			t.Errorf("answer %+v, want that the check knows %s", a, dir)
		}
	}
}

// TestDataDir is known to attempts, events and checks, and to nobody else.
func TestDataDir(t *testing.T) {
	dir := t.TempDir()
	said := make(chan string, 2)
	plugin := sdk.Plugin{
		Name: "test", Version: "1.0.0",
		Subscribers: sdk.Subscribers{"s": all(func(ctx context.Context, _ rawEvent) error { said <- sdk.DataDir(ctx); return nil })},
		Handlers: sdk.Handlers{"h": sdk.Func(func(ctx context.Context, _ struct{}) (int, error) {
			said <- sdk.DataDir(ctx)
			return 0, nil
		})},
	}
	p := sdktest.Start(t, plugin, sdktest.Options{DataDir: dir})
	p.Run(t, sdktest.Attempt{Handler: "h"})
	p.Subscribe(t, "s").Deliver(t, sdktest.Event{Type: "step.failed"})
	for range 2 {
		if got := <-said; got != dir {
			t.Errorf("data directory %q, want %q", got, dir)
		}
	}
	if got := sdk.DataDir(t.Context()); got != "" {
		t.Errorf("data directory %q outside of everything", got)
	}
}

// TestDecode keeps all of an event but its payload, which it decodes.
func TestDecode(t *testing.T) {
	raw := sdk.Event[json.RawMessage]{
		ID: "a/1", Type: "step.failed", Seq: 1, At: time.Unix(1, 0), Task: "a", TaskSeq: 2, Step: "charge", Namespace: "n", Template: "t",
		Version: "1.0.0", CorrelationID: "c", Traceparent: "p", Delivery: 3, Payload: json.RawMessage(`{"error_message": "no"}`),
	}
	got, err := sdk.Decode[event.StepFailed](raw)
	if err != nil || got.Payload.Message != "no" {
		t.Errorf("got %+v, %v", got, err)
	}
	back := sdk.Event[json.RawMessage]{
		ID: got.ID, Type: got.Type, Seq: got.Seq, At: got.At, Task: got.Task, TaskSeq: got.TaskSeq, Step: got.Step, Namespace: got.Namespace,
		Template: got.Template, Version: got.Version, CorrelationID: got.CorrelationID, Traceparent: got.Traceparent, Delivery: got.Delivery,
		Payload: raw.Payload,
	}
	if fmt.Sprint(back) != fmt.Sprint(raw) {
		t.Errorf("got %+v, want %+v", back, raw)
	}
	raw.Payload = json.RawMessage(`{"error_message": 1}`)
	_, err = sdk.Decode[event.StepFailed](raw)
	if e := sdk.Explain(err); e.Verdict != sdk.Final || !strings.HasPrefix(err.Error(), "the payload of step.failed does not decode into event.StepFailed: ") {
		t.Errorf("error %v, %s", err, e.Verdict)
	}
}
