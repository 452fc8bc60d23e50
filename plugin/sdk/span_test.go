package sdk_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

const (
	traceID      = "0af7651916cd43dd8448eb211c80319c"
	stepSpanID   = "b7ad6b7169203331"
	sampled      = "00-" + traceID + "-" + stepSpanID + "-01"
	notSampled   = "00-" + traceID + "-" + stepSpanID + "-00"
	keyOrder     = "order"
	spanOfAuthor = "pick goods"
)

// work is a handler that makes spans as authors do.
func work(ctx context.Context, _ any) (string, error) {
	tracer := otel.Tracer("shop")
	oteltrace.SpanFromContext(ctx).SetAttributes(attribute.String(keyOrder, "o-1"))
	ctx, outer := tracer.Start(ctx, spanOfAuthor, oteltrace.WithAttributes(attribute.Int("goods", 2)))
	defer outer.End()
	for i := range 2 {
		_, inner := tracer.Start(ctx, "weigh", oteltrace.WithAttributes(attribute.Int("good", i)))
		if i == 1 {
			inner.SetStatus(codes.Error, "too heavy")
		}
		inner.End()
	}
	return "done", nil
}

// wantWork is what becomes of it.
const wantWork = `handler.process order=o-1
  pick goods goods=2
    weigh good=0
    weigh good=1 failed
`

// TestSpans: the whole tree of an attempt, in the process of the test and in one of its own.
func TestSpans(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, start := range map[string]func(*testing.T) *sdktest.Plugin{
		"in process": func(t *testing.T) *sdktest.Plugin { t.Helper(); return sdktest.Start(t, launchable()["traced"]) },
		"a process of its own": func(t *testing.T) *sdktest.Plugin {
			t.Helper()
			return sdktest.Launch(t, exe, sdktest.Options{Env: []string{"SDK_TEST_PLUGIN=traced", "OTEL_RESOURCE_ATTRIBUTES=deployment.environment=test"}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := start(t).Run(t, sdktest.Attempt{
				Handler: "work", Task: "T", Step: "s", Number: 2, CorrelationID: "corr", Traceparent: sampled, Tracestate: "a=1",
				Input: "in",
			})
			if tree := sdktest.SpanTree(got.Spans, keyOrder, "goods", "good"); tree != wantWork {
				t.Fatalf("spans (failure %v)\n%s\nwant\n%s", got.Failure, tree, wantWork)
			}
			own := got.Span(t, trace.SpanHandler)
			place := trace.Of("T", sampled)
			want := sdktest.Span{
				Name: "handler.process", Trace: traceID, ID: place.AttemptSpan("s", 2).String(), Parent: stepSpanID, Kind: "internal",
				Sampled: true, Service: "traced", Scope: "github.com/tasker-engine/tasker/plugin/sdk", Start: own.Start, End: own.End,
				Attributes: map[string]any{
					"task.id": "T", "task.namespace": "default", "task.template": "sdktest", "task.template_version": "1.0.0",
					"workflow.correlation_id": "corr", "step.name": "s", "step.handler": "traced/work", "attempt.number": int64(2),
					"attempt.input_size": int64(4), "attempt.result_size": int64(6), keyOrder: "o-1",
				},
				Links: []sdktest.SpanLink{{
					Trace: traceID, ID: place.AttemptSpan("s", 1).String(), Attributes: map[string]any{"link.kind": "earlier_attempt"},
				}},
			}
			if diff := cmp.Diff(want, own); diff != "" {
				t.Errorf("the attempt's span (-want +got):\n%s", diff)
			}
			for _, s := range got.Spans {
				if s.Trace != traceID || !s.Sampled || s.Service != "traced" || s.Duration() <= 0 {
					t.Errorf("span %+v: want it sampled, in the attempt's trace, and to have lasted", s)
				}
			}
			if s := got.Span(t, spanOfAuthor); s.Scope != "shop" {
				t.Errorf("scope %s, want shop", s.Scope)
			}
		})
	}
}

// TestSpansAreWanted: which attempts send spans.
func TestSpansAreWanted(t *testing.T) {
	handlers := map[string]sdk.Handler{
		"nothing": sdk.Func(func(context.Context, any) (any, error) { return nil, nil }),
		"looks": sdk.Func(func(ctx context.Context, _ any) (bool, error) {
			return oteltrace.SpanContextFromContext(ctx).IsSampled(), nil
		}),
		"span": sdk.Func(func(ctx context.Context, _ any) (any, error) {
			_, s := otel.Tracer("shop").Start(ctx, "mine")
			defer s.End()
			return s.SpanContext().IsSampled(), nil
		}),
		"event": sdk.Func(func(ctx context.Context, _ any) (any, error) {
			oteltrace.SpanFromContext(ctx).AddEvent("seen")
			return nil, nil
		}),
		"attribute": sdk.Func(func(ctx context.Context, _ any) (any, error) {
			oteltrace.SpanFromContext(ctx).SetAttributes(attribute.Bool("seen", true))
			return nil, nil
		}),
		"fails": sdk.Func(func(context.Context, any) (any, error) { return nil, errors.New("no") }),
	}
	p := sdktest.Start(t, sdk.Plugin{Name: "test", Version: "1.0.0", Handlers: handlers})
	for _, tt := range []struct {
		handler, traceparent string
		spans                int
	}{
		{"nothing", notSampled, 0},
		{"nothing", "rubbish", 0},
		{"nothing", sampled, 1},
		{"fails", notSampled, 0},
		{"fails", sampled, 1},
		{"looks", notSampled, 0},
		{"looks", sampled, 1},
		{"span", notSampled, 2},
		{"span", "rubbish", 2},
		{"span", sampled, 2},
		{"event", notSampled, 1},
		{"attribute", notSampled, 1},
	} {
		got := p.Run(t, sdktest.Attempt{Handler: tt.handler, Traceparent: tt.traceparent})
		if len(got.Spans) != tt.spans {
			t.Errorf("%s in %s: spans\n%swant %d", tt.handler, tt.traceparent, sdktest.SpanTree(got.Spans), tt.spans)
		}
		for _, s := range got.Spans {
			if s.Sampled != (tt.traceparent == sampled) {
				t.Errorf("%s in %s: %s is sampled: %v", tt.handler, tt.traceparent, s.Name, s.Sampled)
			}
		}
	}
}

// TestSpansOfFailures: a span says why its attempt failed.
func TestSpansOfFailures(t *testing.T) {
	handlers := map[string]sdk.Handler{
		"fails": sdk.Func(func(context.Context, any) (any, error) {
			return nil, &sdk.Error{Err: os.ErrPermission, Code: "DENIED", Verdict: sdk.Final, Source: sdk.FromDownstream}
		}),
		"panics": sdk.Func(func(ctx context.Context, _ any) (any, error) {
			_, s := otel.Tracer("shop").Start(ctx, "mine")
			defer s.End()
			panic("boom")
		}),
		"waits": sdk.Func(func(ctx context.Context, _ any) (any, error) {
			ctx, s := otel.Tracer("shop").Start(ctx, "mine")
			defer s.End()
			sdk.Heartbeat(ctx, 0, "waiting")
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}),
		"refuses": sdk.Func(func(context.Context, number) (any, error) { return nil, nil }),
	}
	p := sdktest.Start(t, sdk.Plugin{Name: "test", Version: "1.0.0", Handlers: handlers})
	for name, tt := range map[string]struct {
		tree, message string
		attributes    map[string]any
		event         map[string]any
	}{
		"fails": {
			"handler.process failed\n", "permission denied",
			map[string]any{"error.type": "*errors.errorString", "error.code": "DENIED", "error.source": "downstream"},
			map[string]any{"exception.type": "*errors.errorString", "exception.message": "permission denied"},
		},
		"panics": {
			"handler.process failed\n  mine\n", "panic: boom",
			map[string]any{"error.type": "string", "error.code": sdk.CodePanic, "error.source": "plugin"},
			map[string]any{"exception.type": "string", "exception.message": "panic: boom", "exception.stacktrace": "TestSpansOfFailures"},
		},
		"waits": {
			"handler.process failed\n  mine\n", "attempt cancelled: cancel_requested",
			map[string]any{"error.type": "*sdk.CancelError", "error.code": "cancel_requested", "error.source": "plugin"},
			map[string]any{"exception.type": "*sdk.CancelError", "exception.message": "attempt cancelled: cancel_requested"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			running := p.Begin(t, sdktest.Attempt{Handler: name})
			if name == "waits" {
				running.Heartbeat(t)
				running.Cancel(t, "cancel_requested")
			}
			got := running.Wait(t)
			if tree := sdktest.SpanTree(got.Spans); tree != tt.tree {
				t.Fatalf("spans\n%swant\n%s", tree, tt.tree)
			}
			own := got.Spans[0]
			if own.Error != tt.message || len(own.Events) != 1 || own.Events[0].Name != "exception" {
				t.Fatalf("error %q, events %+v; want %q and an exception", own.Error, own.Events, tt.message)
			}
			for key, want := range tt.attributes {
				if own.Attributes[key] != want {
					t.Errorf("%s %v, want %v", key, own.Attributes[key], want)
				}
			}
			for key, want := range tt.event {
				if is := fmt.Sprint(own.Events[0].Attributes[key]); is != want && (key != "exception.stacktrace" || !strings.Contains(is, fmt.Sprint(want))) {
					t.Errorf("%s %s, want %s", key, is, want)
				}
			}
		})
	}
}

// TestSpanLimits: what is too much, too large or too late is counted, and the rest is whole.
func TestSpanLimits(t *testing.T) {
	release := make(chan struct{})
	late := make(chan bool, 1)
	tracer := otel.Tracer("shop")
	handlers := map[string]sdk.Handler{
		"many": sdk.Func(func(ctx context.Context, _ any) (any, error) {
			for range 200 {
				_, s := tracer.Start(ctx, "mine")
				s.End()
			}
			return nil, nil
		}),
		"large": sdk.Func(func(ctx context.Context, _ any) (any, error) {
			nest(ctx, 20)
			return nil, nil
		}),
		"huge": sdk.Func(func(ctx context.Context, _ any) (any, error) {
			own := oteltrace.SpanFromContext(ctx)
			for i := range 100 {
				own.SetAttributes(attribute.String(fmt.Sprint(i), strings.Repeat("x", 10_000)))
				own.AddEvent("huge", oteltrace.WithAttributes(attribute.String("text", strings.Repeat("x", 10_000))))
			}
			_, s := tracer.Start(ctx, "mine")
			s.AddEvent("huge", oteltrace.WithAttributes(attribute.String("text", strings.Repeat("x", 100_000))))
			s.End()
			return nil, nil
		}),
		"unfinished": sdk.Func(func(ctx context.Context, _ any) (any, error) {
			_, open := tracer.Start(ctx, "mine")
			go func() {
				<-release
				open.End()
				_, s := tracer.Start(ctx, "too late")
				defer s.End()
				late <- s.IsRecording()
			}()
			return nil, nil
		}),
		"no-text": sdk.Func(func(ctx context.Context, _ any) (any, error) {
			_, s := tracer.Start(ctx, "mine \xff", oteltrace.WithAttributes(attribute.String("k", "\xfe"), attribute.StringSlice("l", []string{"\xfd"})))
			s.AddEvent("\xfc")
			s.End()
			return nil, nil
		}),
	}
	p := sdktest.Start(t, sdk.Plugin{Name: "test", Version: "1.0.0", Handlers: handlers})
	for name, tt := range map[string]struct {
		least, most int
		sum         int
	}{
		"many":       {128, 128, 201},
		"large":      {5, 19, 21},
		"huge":       {2, 2, 2},
		"unfinished": {1, 1, 2},
		"no-text":    {2, 2, 2},
	} {
		t.Run(name, func(t *testing.T) {
			got := p.Run(t, sdktest.Attempt{Handler: name})
			if got.Failure != nil {
				t.Fatal(got.Failure)
			}
			dropped, _ := got.Span(t, trace.SpanHandler).Attributes[trace.KeySpansDropped].(int64)
			if n := len(got.Spans); n < tt.least || n > tt.most || n+int(dropped) != tt.sum {
				t.Errorf("%d spans, %d dropped; want %d to %d, together %d", n, dropped, tt.least, tt.most, tt.sum)
			}
			known := map[string]bool{got.Spans[0].Parent: true}
			for _, s := range got.Spans {
				known[s.ID] = true
				if !known[s.Parent] {
					t.Errorf("span %s has lost its parent", s.Name)
				}
			}
		})
	}
	close(release)
	if <-late {
		t.Error("a span that began after its attempt is recorded")
	}
}

// nest makes large spans, each below the one before.
func nest(ctx context.Context, n int) {
	if n == 0 {
		return
	}
	ctx, s := otel.Tracer("shop").Start(ctx, "mine")
	defer s.End()
	for i := range 3 {
		s.SetAttributes(attribute.String(strconv.Itoa(i), strings.Repeat("x", 10_000)))
	}
	nest(ctx, n-1)
}

// TestSpanContext: what libraries find in the context of an attempt, and outside.
func TestSpanContext(t *testing.T) {
	h := sdk.Func(func(ctx context.Context, _ any) (map[string]string, error) {
		carrier := propagation.MapCarrier{}
		otel.GetTextMapPropagator().Inject(context.WithValue(ctx, number{}, 1), carrier)
		_, outside := otel.Tracer("shop").Start(context.Background(), "outside")
		defer outside.End()
		carrier["outside"] = strconv.FormatBool(outside.IsRecording())
		carrier["member"] = baggage.FromContext(ctx).Member(trace.BaggageCorrelation).Value()
		return carrier, nil
	})
	got := one(t, h).Run(t, sdktest.Attempt{Handler: "h", Task: "T", Step: "s", CorrelationID: "corr id", Traceparent: notSampled, Tracestate: "a=1"})
	var is map[string]string
	got.Decode(t, &is)
	want := map[string]string{
		"traceparent": "00-" + traceID + "-" + trace.Of("T", "").AttemptSpan("s", 1).String() + "-00", "tracestate": "a=1",
		"baggage": "workflow.correlation_id=corr%20id", "member": "corr id", "outside": "false",
	}
	if diff := cmp.Diff(want, is); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// TestSpansAtOnce: spans of attempts that run at once stay apart, also those that goroutines make.
func TestSpansAtOnce(t *testing.T) {
	h := sdk.Func(func(ctx context.Context, in json.RawMessage) (any, error) {
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				_, s := otel.Tracer("shop").Start(ctx, string(in))
				s.End()
			})
		}
		all.Wait()
		return nil, nil
	})
	p := one(t, h)
	var running []*sdktest.Running
	for i := range 32 {
		running = append(running, p.Begin(t, sdktest.Attempt{Handler: "h", Input: i}))
	}
	for i, r := range running {
		want := "handler.process\n" + strings.Repeat(fmt.Sprintf("  %d\n", i), 8)
		if got := sdktest.SpanTree(r.Wait(t).Spans); got != want {
			t.Errorf("attempt %d: spans\n%swant\n%s", i, got, want)
		}
	}
}
