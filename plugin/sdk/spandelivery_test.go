package sdk_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/baggage"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// TestDeliverySpans: the whole tree of a delivery, which is a trace of its own and refers to what the event is about.
func TestDeliverySpans(t *testing.T) {
	sub := subscriber(t, all(func(ctx context.Context, _ sdk.Event[json.RawMessage]) error {
		_, s := otel.Tracer("shop").Start(ctx, "tell")
		s.End()
		return nil
	}))
	payload := func(round uint32) event.StepCompleted {
		var p event.StepCompleted
		p.TaskID, p.StepName, p.CorrelationID, p.Round = "T", "s", "corr", round
		return p
	}
	alone, called := trace.Of("T", ""), trace.Of("T", sampled)
	for name, tt := range map[string]struct {
		event       sdktest.Event
		trace, span string // linked
		step        any
	}{
		"of a step":                  {sdktest.Event{Payload: payload(0)}, alone.Trace.String(), alone.StepSpan("s", 0).String(), "s"},
		"of a step begun anew":       {sdktest.Event{Payload: payload(2)}, alone.Trace.String(), alone.StepSpan("s", 2).String(), "s"},
		"of a task":                  {sdktest.Event{Type: "task.completed", Task: "T", CorrelationID: "corr"}, alone.Trace.String(), alone.Span().String(), nil},
		"of a task that was called":  {sdktest.Event{Type: "task.completed", Task: "T", CorrelationID: "corr", Traceparent: sampled}, called.Trace.String(), called.Span().String(), nil},
		"of a step that was retried": {sdktest.Event{Type: "step.retry_requested", Task: "T", Step: "s", CorrelationID: "corr"}, alone.Trace.String(), "", "s"},
	} {
		t.Run(name, func(t *testing.T) {
			before := len(sub.Spans())
			tt.event.Delivery = 3
			if got := sub.Deliver(t, tt.event); got.Verdict != sdktest.Acked {
				t.Fatal(got)
			}
			got := sub.Spans()[before:]
			if tree := sdktest.SpanTree(got); tree != "subscriber.handle\n  tell\n" {
				t.Fatalf("spans\n%s", tree)
			}
			own := got[0]
			attributes := map[string]any{
				"event.name": own.Attributes["event.name"], "event.seq": own.Attributes["event.seq"], "subscriber.name": "test/s",
				"delivery.number": int64(3), "task.id": "T", "workflow.correlation_id": "corr",
			}
			if tt.step != nil {
				attributes["step.name"] = tt.step
			}
			if diff := cmp.Diff(attributes, own.Attributes); diff != "" {
				t.Errorf("attributes (-want +got):\n%s", diff)
			}
			if len(own.Links) != 1 || own.Links[0].Trace != tt.trace || own.Links[0].Attributes["link.kind"] != "handled" {
				t.Fatalf("links %+v, want one to trace %s", own.Links, tt.trace)
			}
			if tt.span != "" && own.Links[0].ID != tt.span {
				t.Errorf("it links to %s, want %s", own.Links[0].ID, tt.span)
			}
			if own.Trace == tt.trace || own.Parent != "" || own.Kind != "consumer" || own.Service != "test" || own.Duration() <= 0 || !own.Sampled {
				t.Errorf("span %+v, want a trace of its own that has lasted", own)
			}
		})
	}
}

// TestDeliveriesWithoutSpans: which deliveries are not traced, and what libraries find then.
func TestDeliveriesWithoutSpans(t *testing.T) {
	look := all(func(ctx context.Context, e sdk.Event[json.RawMessage]) error {
		_, s := otel.Tracer("shop").Start(ctx, "mine")
		defer s.End()
		if oteltrace.SpanContextFromContext(ctx).IsValid() || s.IsRecording() {
			return errors.New("it has a span")
		}
		if got := baggage.FromContext(ctx).Member(trace.BaggageCorrelation).Value(); got != e.CorrelationID {
			return fmt.Errorf("the baggage says %q, want %q", got, e.CorrelationID)
		}
		return nil
	})
	for name, tt := range map[string]struct {
		sub   sdk.Subscriber
		event sdktest.Event
	}{
		"untraced subscriber": {sdk.Subscribe(look, sdk.SubscriberOptions{Untraced: true}), sdktest.Event{Type: "task.completed"}},
		"the caller's choice": {look, sdktest.Event{Type: "task.completed", Traceparent: notSampled}},
		"a trial":             {look, sdktest.Event{Type: "task.completed", Trial: true}},
		"no task":             {look, sdktest.Event{Type: "plugin.started"}},
	} {
		t.Run(name, func(t *testing.T) {
			sub := subscriber(t, tt.sub)
			if got := sub.Deliver(t, tt.event); got.Verdict != sdktest.Acked || len(sub.Spans()) > 0 {
				t.Errorf("answer %+v, spans\n%s", got, sdktest.SpanTree(sub.Spans()))
			}
		})
	}
}

// TestDeliverySpansOfShare: a host that asks for half of the traces gets the spans of those that everybody takes for that half.
func TestDeliverySpansOfShare(t *testing.T) {
	const share, events = 0.5, 64
	p := sdktest.Start(t, subscriberPlugin(all(func(context.Context, sdk.Event[json.RawMessage]) error { return nil })), sdktest.Options{TraceShare: share})
	got, want := make(map[string]bool), make(map[string]bool)
	sub := p.Subscribe(t, "s")
	for i := range events {
		task := fmt.Sprintf("T%d", i)
		if trace.Of(task, "").Trace.Within(share) {
			want[task] = true
		}
		if got := sub.Deliver(t, sdktest.Event{Type: "task.completed", Task: task}); got.Verdict != sdktest.Acked {
			t.Fatal(got)
		}
	}
	for _, s := range sub.Spans() {
		task, _ := s.Attributes["task.id"].(string)
		got[task] = true
	}
	if diff := cmp.Diff(want, got); diff != "" || len(want) == 0 || len(want) == events {
		t.Errorf("tasks (-want +got):\n%s", diff)
	}
}

// TestDeliverySpansOfFailures: a span says why a delivery was not acked.
func TestDeliverySpansOfFailures(t *testing.T) {
	for name, tt := range map[string]struct {
		fn      func() error
		message string
		code    any
	}{
		"error":     {func() error { return sdk.WithCode(errors.New("no"), "DOWN") }, "no", "DOWN"},
		"permanent": {func() error { return sdk.Permanent(errors.New("never")) }, "never", nil},
		"panic":     {func() error { panic("boom") }, "panic: boom", sdk.CodePanic},
	} {
		t.Run(name, func(t *testing.T) {
			sub := subscriber(t, all(func(context.Context, sdk.Event[json.RawMessage]) error { return tt.fn() }))
			if got := sub.Deliver(t, sdktest.Event{Type: "task.completed"}); got.Verdict == sdktest.Acked {
				t.Fatal(got)
			}
			spans := sub.Spans()
			if tree := sdktest.SpanTree(spans); tree != "subscriber.handle failed\n" {
				t.Fatalf("spans\n%s", tree)
			}
			if s := spans[0]; s.Error != tt.message || s.Attributes["error.code"] != tt.code || len(s.Events) != 1 || s.Events[0].Name != "exception" {
				t.Errorf("span %+v, want %q, %v and an exception", s, tt.message, tt.code)
			}
		})
	}
}

// TestManyDeliverySpans: no span of many deliveries is lost, and no frame has too many.
func TestManyDeliverySpans(t *testing.T) {
	const events = 1000
	sub := subscriber(t, sdk.Subscribe(all(func(ctx context.Context, _ sdk.Event[json.RawMessage]) error {
		_, s := otel.Tracer("shop").Start(ctx, "tell")
		defer s.End()
		return nil
	}), sdk.SubscriberOptions{Order: sdk.TaskOrder}))
	var batch []sdktest.Event
	for i := range events {
		batch = append(batch, sdktest.Event{Type: "task.completed", Task: fmt.Sprintf("T%d", i%7)})
	}
	for _, d := range sub.Send(t, batch...) {
		if got := d.Wait(t); got.Verdict != sdktest.Acked {
			t.Fatal(got)
		}
	}
	if got := strings.Count(sdktest.SpanTree(sub.Spans()), "subscriber.handle\n  tell\n"); got != events {
		t.Errorf("%d deliveries have their spans, want %d", got, events)
	}
}

// TestShareOfNothing: a host of old, which says nothing of traces, gets no spans.
func TestShareOfNothing(t *testing.T) {
	p := sdktest.Start(t, subscriberPlugin(all(func(context.Context, sdk.Event[json.RawMessage]) error { return nil })), sdktest.Options{TraceShare: -1})
	sub := p.Subscribe(t, "s")
	if got := sub.Deliver(t, sdktest.Event{Type: "task.completed"}); got.Verdict != sdktest.Acked || len(sub.Spans()) > 0 {
		t.Errorf("answer %+v, spans\n%s", got, sdktest.SpanTree(sub.Spans()))
	}
}
