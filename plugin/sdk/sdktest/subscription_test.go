package sdktest_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// recorder notes what it receives.
type recorder struct {
	mu  sync.Mutex
	got []sdk.Event[json.RawMessage]
	err error
}

func (r *recorder) take(_ context.Context, e sdk.Event[json.RawMessage]) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, e)
	return r.err
}

type paid struct {
	OrderID string `json:"order_id"`
}

func (paid) EventName() string { return "shop.paid" }

// shop is a plugin with a subscription in each order.
func shop(r *recorder) sdk.Plugin {
	return sdk.Plugin{
		Name: "shop", Version: "1.0.0",
		Handlers: sdk.Handlers{"pay": sdk.Func(func(ctx context.Context, p paid) (string, error) { return "ok", sdk.Emit(ctx, p) })},
		Events:   sdk.Events{sdk.Declare(paid{OrderID: "o-1"})},
		Subscribers: sdk.Subscribers{
			"all":   sdk.OnNamed("*", r.take),
			"tasks": sdk.Subscribe(sdk.OnNamed("*", r.take), sdk.SubscriberOptions{Order: sdk.TaskOrder}),
			"far":   sdk.OnNamed("elsewhere.*", r.take),
		},
	}
}

// TestCheckDelivery holds subscribers in each order to what they owe.
func TestCheckDelivery(t *testing.T) {
	p := sdktest.Start(t, shop(&recorder{}))
	for _, name := range []string{"all", "tasks"} {
		t.Run(name, func(t *testing.T) { p.CheckDelivery(t, sdktest.DeliveryCheck{Subscription: name}) })
	}
	t.Run("given events", func(t *testing.T) {
		p.CheckDelivery(t, sdktest.DeliveryCheck{
			Subscription: "far", Events: []sdktest.Event{{Type: "elsewhere.moved", Payload: []int{1}, Binding: 1}}, Bindings: make([]sdktest.Binding, 1),
		})
	})
}

// TestMadeUp fills in what an event says by itself.
func TestMadeUp(t *testing.T) {
	r := &recorder{}
	p := sdktest.Start(t, shop(r))
	sub := p.Subscribe(t, "all")
	for _, e := range []sdktest.Event{
		{Type: "step.failed"},
		{Payload: event.TaskPaused{Task: event.Task{TaskID: "t", Namespace: "n", Template: "m", Version: "2.0.0"}}},
		{Type: "shop.paid"},
		{Payload: paid{OrderID: "o-2"}, Task: "t7", Step: "pay"},
		{Type: "host.started"},
	} {
		if got := sub.Deliver(t, e); got.Verdict != sdktest.Acked {
			t.Errorf("%+v: %+v", e, got)
		}
	}
	var got []string
	for _, e := range r.got {
		got = append(got, e.ID+" "+e.Type+" "+e.Task+" "+e.Step+" "+e.Namespace+"/"+e.Template+"@"+e.Version+" "+e.CorrelationID)
	}
	want := []string{
		"01JD3Z9Q7V8T4K2M6N1P5R3S0W/1 step.failed 01JD3Z9Q7V8T4K2M6N1P5R3S0W charge shop/order@1.2.0 web-8842",
		"t/2 task.paused t  n/m@2.0.0 t",
		"task-1/3 shop.paid task-1  default/sdktest@1.0.0 task-1",
		"t7/4 shop.paid t7 pay /@ t7",
		"host/1/5 host.started   /@ ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if string(r.got[2].Payload) != `{"order_id":"o-1"}` || string(r.got[3].Payload) != `{"order_id":"o-2"}` {
		t.Errorf("payloads %s, %s", r.got[2].Payload, r.got[3].Payload)
	}
}

// TestRedelivery delivers again what was refused.
func TestRedelivery(t *testing.T) {
	r := &recorder{err: errors.New("closed")}
	sub := sdktest.Start(t, shop(r)).Subscribe(t, "all")
	d := sub.Send(t, sdktest.Event{Type: "step.failed"}, sdktest.Event{Type: "task.failed"})
	if diff := cmp.Diff(sdktest.Answer{Verdict: sdktest.Retried, Reason: "closed"}, d[0].Wait(t)); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	if got := d[1].Wait(t); got.Verdict != sdktest.Dropped {
		t.Errorf("answer %+v, want dropped", got)
	}
	r.mu.Lock()
	r.err = nil
	r.mu.Unlock()
	if got := d[0].Redeliver(t).Wait(t); got.Verdict != sdktest.Acked {
		t.Errorf("answer %+v, want acked", got)
	}
	if got := r.got[1].Delivery; got != 2 {
		t.Errorf("delivery %d, want 2", got)
	}
}

// TestEmitted sees what an attempt emits.
func TestEmitted(t *testing.T) {
	got := sdktest.Start(t, shop(&recorder{})).Run(t, sdktest.Attempt{Handler: "pay", Input: paid{OrderID: "o-9"}})
	want := []sdktest.Emitted{{Name: "shop.paid", Payload: json.RawMessage(`{"order_id":"o-9"}`)}}
	if diff := cmp.Diff(want, got.Emitted); diff != "" {
		t.Errorf("emitted (-want +got):\n%s", diff)
	}
}

// TestKilledSubscriber kills a process amid an event, starts another and delivers the event again.
func TestKilledSubscriber(t *testing.T) {
	binary := sdktest.Build(t, "./testdata/sleeper")
	p := sdktest.Launch(t, binary)
	sub := p.Subscribe(t, "sleep")
	d := sub.Send(t, sdktest.Event{Type: "step.failed"})[0]
	if got := sub.Log(t); got.Message != "sleeping" {
		t.Errorf("log %+v", got)
	}
	p.Kill()
	if got := d.Wait(t); got.Verdict != sdktest.Lost {
		t.Errorf("answer %+v, want lost", got)
	}
	again := sdktest.Launch(t, binary)
	if got := again.Subscribe(t, "sleep").Redeliver(t, d)[0].Wait(t); got.Verdict != sdktest.Acked {
		t.Errorf("answer %+v, want acked", got)
	}
	again.CheckDelivery(t, sdktest.DeliveryCheck{Subscription: "sleep", Events: []sdktest.Event{{Type: "step.failed", Delivery: 2}}})
}

// TestEndedSubscriber cuts the lifeline amid an event: an end in order is no failure of the event.
func TestEndedSubscriber(t *testing.T) {
	p := sdktest.Launch(t, sdktest.Build(t, "./testdata/sleeper"))
	sub := p.Subscribe(t, "sleep")
	d := sub.Send(t, sdktest.Event{Type: "step.failed"})[0]
	sub.Log(t)
	p.CutLifeline()
	if got := d.Wait(t); got.Verdict != sdktest.Lost {
		t.Errorf("answer %+v, want lost", got)
	}
	if code := p.Exit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}
