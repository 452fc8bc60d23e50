package sdk

import (
	"context"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	oteltrace "go.opentelemetry.io/otel/trace"

	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// BenchmarkSpans is what an attempt costs for its spans: in a trace that nobody records, in one that is recorded, and there
// with a span of the handler's own.
func BenchmarkSpans(b *testing.B) {
	const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0"
	for _, bb := range []struct {
		name, flags string
		spans       int
	}{
		{"not recorded", "0", 0},
		{"recorded", "1", 0},
		{"recorded, one span below", "1", 1},
	} {
		b.Run(bb.name, func(b *testing.B) {
			a := tracedAttempt(b, traceparent+bb.flags)
			result := &pluginv1.Result{}
			b.ReportAllocs()
			for b.Loop() {
				a.spans = nil
				a.began = time.Now()
				ctx := &attemptContext{Context: context.Background(), attempt: a}
				for range bb.spans {
					_, s := oteltrace.SpanFromContext(ctx).TracerProvider().Tracer("shop").Start(ctx, "mine")
					s.End()
				}
				a.endSpans(result)
			}
		})
	}
}

// tracedAttempt is an attempt that does nothing.
func tracedAttempt(tb testing.TB, traceparent string) *attempt {
	tb.Helper()
	h := Func(func(context.Context, any) (any, error) { return nil, nil })
	decl, err := declare(Plugin{Name: "test", Version: "1.0.0", Handlers: Handlers{"h": h}})
	if err != nil {
		tb.Fatal(err)
	}
	return &attempt{
		wire: &pluginv1.Attempt{
			TaskId: "01JD0000000000000000000000", Step: "step", Handler: "h", Number: 1, CorrelationId: "01JD0000000000000000000000",
			Template: &pluginv1.TemplateRef{Namespace: "default", Name: "bench", Version: "1.0.0"}, Traceparent: traceparent,
		},
		work: &workStream{d: newDispatcher(decl, hclog.NewNullLogger())},
	}
}
