package sdk

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.40.0"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
)

// Limits of what is recorded of an attempt, and of a delivery. What is left out is counted.
const (
	maxSpans     = 128      // its own span and those below it
	maxSpanBytes = 64 << 10 // of them all, encoded
	maxSpanText  = 2 << 10  // bytes of a text in an attribute, unless OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT says otherwise
)

// tracing makes the spans of the process. It records below attempts and deliveries alone, whose contexts say where a
// span belongs, so that any tracing serves any of them.
type tracing struct {
	provider *sdktrace.TracerProvider
	tracer   oteltrace.Tracer
	plugin   string

	none *traced // of what is over and was not traced

	// What OpenTelemetry asks a context for: the current span, and the baggage.
	spanKey, baggageKey any
}

func newTracing(p Plugin) *tracing {
	limits := sdktrace.NewSpanLimits() // as OTEL_SPAN_ variables say
	if limits.AttributeValueLengthLimit < 0 {
		limits.AttributeValueLengthLimit = maxSpanText
	}
	t := &tracing{plugin: p.Name, none: &traced{current: context.Background()}, provider: sdktrace.NewTracerProvider(
		sdktrace.WithRawSpanLimits(limits),
		sdktrace.WithSampler(sampler{}),
		sdktrace.WithIDGenerator(ids{}),
		sdktrace.WithSpanProcessor(gatherer{}),
		sdktrace.WithResource(resource.NewSchemaless(semconv.ServiceName(p.Name), semconv.ServiceVersion(p.Version))),
	)}
	t.tracer = t.provider.Tracer("github.com/tasker-engine/tasker/plugin/sdk", oteltrace.WithInstrumentationVersion(Version))
	t.spanKey = askedFor(func(ctx context.Context) { oteltrace.SpanFromContext(ctx) })
	t.baggageKey = askedFor(func(ctx context.Context) { baggage.FromContext(ctx) })
	return t
}

// askedFor returns the key that a context is asked for. OpenTelemetry does not export its own.
func askedFor(ask func(context.Context)) any {
	q := &question{Context: context.Background()}
	ask(q)
	return q.key
}

// question is a context that keeps what it is asked for.
type question struct {
	context.Context

	key any
}

// Value implements context.Context.
func (q *question) Value(key any) any {
	q.key = key
	return nil
}

// global makes this what instrumented libraries of the process use.
func (t *tracing) global() {
	otel.SetTracerProvider(t.provider)
	otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}))
}

// traced is what OpenTelemetry finds in the context of an attempt or a delivery.
type traced struct {
	current  context.Context //nolint:containedctx // has the span
	span     oteltrace.Span  // its own; nil = it has none, and nothing is recorded below it
	began    time.Time       // the span
	recorder *recorder       // nil = nothing is recorded
	given    int             // attributes that its own span began with
}

type (
	recorderKey struct{} // *recorder
	ownIDKey    struct{} // oteltrace.SpanID: that of the span to be begun
)

// begin begins the span of an attempt or a delivery. A zero id stands for any.
func (t *tracing) begin(id trace.SpanID, parent oteltrace.SpanContext, sampled bool, began time.Time, name string, opts ...oteltrace.SpanStartOption) *traced {
	d := &traced{began: began, recorder: &recorder{sampled: sampled}}
	ctx := context.WithValue(context.Background(), recorderKey{}, d.recorder)
	ctx = context.WithValue(ctx, ownIDKey{}, oteltrace.SpanID(id))
	ctx = oteltrace.ContextWithRemoteSpanContext(ctx, parent)
	_, d.span = t.tracer.Start(ctx, name, append(opts, oteltrace.WithTimestamp(began))...) //nolint:spancheck // ended by end
	d.current = oteltrace.ContextWithSpan(context.Background(), d.span)
	return d
}

// describe adds the attributes that the span begins with.
func (d *traced) describe(attrs ...attribute.KeyValue) {
	attrs = present(attrs...)
	d.given = len(attrs)
	d.span.SetAttributes(attrs...)
}

// baggage returns what OpenTelemetry finds as baggage: the correlation id, unless it cannot be written there.
func (t *tracing) baggage(correlationID string) any {
	member, err := baggage.NewMemberRaw(trace.BaggageCorrelation, correlationID)
	if err != nil || correlationID == "" {
		return nil
	}
	bag, err := baggage.New(member)
	if err != nil {
		return nil
	}
	return baggage.ContextWithBaggage(context.Background(), bag).Value(t.baggageKey)
}

// touched reports whether the author's code has made spans, or said something about the attempt's own.
func (d *traced) touched() bool {
	own := d.recorder.own()
	return d.recorder.busy() || len(own.Events()) > 0 || len(own.Attributes()) > d.given
}

// end ends the span. It lasts a nanosecond at least.
func (d *traced) end() {
	d.span.End(oteltrace.WithTimestamp(d.began.Add(max(time.Since(d.began), 1))))
}

// recorder gathers the spans of one attempt or delivery.
type recorder struct {
	sampled bool // the trace is exported somewhere

	mu      sync.Mutex
	spans   []sdktrace.ReadOnlySpan // in the order in which they began: the first one is its own
	begun   int                     // also those that are about to be among spans
	dropped int                     // for which there was no room
	over    bool                    // nothing further is recorded
}

func recorderOf(ctx context.Context) *recorder {
	r, _ := ctx.Value(recorderKey{}).(*recorder)
	return r
}

// admit reports whether another span is recorded.
func (r *recorder) admit() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.over:
		return false
	case r.begun == maxSpans:
		r.dropped++
		return false
	}
	r.begun++
	return true
}

func (r *recorder) add(s sdktrace.ReadOnlySpan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over {
		r.spans = append(r.spans, s)
	}
}

func (r *recorder) own() sdktrace.ReadOnlySpan {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.spans[0]
}

// busy reports whether there are others than its own.
func (r *recorder) busy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.begun > 1
}

// close ends the recording and returns the spans that have ended, its own first, and how many are missing.
func (r *recorder) close() (spans []sdktrace.ReadOnlySpan, dropped int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
	ended := slices.DeleteFunc(slices.Clone(r.spans), func(s sdktrace.ReadOnlySpan) bool { return s.EndTime().IsZero() })
	return ended, r.dropped + r.begun - len(ended)
}

// sampler records what is below an attempt or a delivery.
type sampler struct{}

// ShouldSample implements sdktrace.Sampler.
func (sampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	out := sdktrace.SamplingResult{
		Decision:   sdktrace.Drop,
		Tracestate: oteltrace.SpanContextFromContext(p.ParentContext).TraceState(),
	}
	switch r := recorderOf(p.ParentContext); {
	case r == nil || !r.admit():
	case r.sampled:
		out.Decision = sdktrace.RecordAndSample
	default:
		out.Decision = sdktrace.RecordOnly // kept by the host; what is called is told not to record
	}
	return out
}

// Description implements sdktrace.Sampler.
func (sampler) Description() string { return "BelowAttemptsAndDeliveries" }

// gatherer brings spans to where they belong. They are read when that ends.
type gatherer struct{}

// OnStart implements sdktrace.SpanProcessor.
func (gatherer) OnStart(ctx context.Context, s sdktrace.ReadWriteSpan) { recorderOf(ctx).add(s) }

// OnEnd implements sdktrace.SpanProcessor.
func (gatherer) OnEnd(sdktrace.ReadOnlySpan) {}

// Shutdown implements sdktrace.SpanProcessor.
func (gatherer) Shutdown(context.Context) error { return nil }

// ForceFlush implements sdktrace.SpanProcessor.
func (gatherer) ForceFlush(context.Context) error { return nil }

// ids gives spans random ids, but those that the context asks for.
type ids struct{}

// NewIDs implements sdktrace.IDGenerator.
func (ids) NewIDs(ctx context.Context) (id oteltrace.TraceID, span oteltrace.SpanID) {
	for !id.IsValid() {
		binary.NativeEndian.PutUint64(id[:8], rand.Uint64()) //nolint:gosec // no secret
		binary.NativeEndian.PutUint64(id[8:], rand.Uint64()) //nolint:gosec // no secret
	}
	return id, ids{}.NewSpanID(ctx, id)
}

// NewSpanID implements sdktrace.IDGenerator.
func (ids) NewSpanID(ctx context.Context, _ oteltrace.TraceID) oteltrace.SpanID {
	id, _ := ctx.Value(ownIDKey{}).(oteltrace.SpanID)
	for !id.IsValid() {
		binary.NativeEndian.PutUint64(id[:], rand.Uint64()) //nolint:gosec // no secret
	}
	return id
}

// present returns the attributes that say something.
func present(all ...attribute.KeyValue) []attribute.KeyValue {
	return slices.DeleteFunc(all, func(kv attribute.KeyValue) bool {
		return kv.Value.Type() == attribute.STRING && kv.Value.AsString() == ""
	})
}

// spanContext is a span of a task's trace, as other spans refer to it.
func spanContext(id trace.ID, span trace.SpanID, sampled bool, state oteltrace.TraceState) oteltrace.SpanContext {
	return oteltrace.NewSpanContext(oteltrace.SpanContextConfig{
		TraceID: oteltrace.TraceID(id), SpanID: oteltrace.SpanID(span), TraceState: state, Remote: true,
		TraceFlags: oteltrace.TraceFlags(0).WithSampled(sampled),
	})
}

// link is a link to a span of a task's trace.
func link(to oteltrace.SpanContext, kind string) oteltrace.Link {
	return oteltrace.Link{SpanContext: to, Attributes: []attribute.KeyValue{attribute.String(trace.KeyLinkKind, kind)}}
}
