package httpapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.40.0"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
)

type sentKey struct{} // *atomic.Int32: how many requests a call has sent

// counting counts the requests that a call sends.
func counting(ctx context.Context) context.Context {
	return context.WithValue(ctx, sentKey{}, new(atomic.Int32))
}

// Traced is the [Layer] that makes a span of each request that is sent, and tells the API of it. A [Client] has it; it is for the
// transports of other clients, such as one that gets tokens.
func Traced(next http.RoundTripper) http.RoundTripper { return traced(newSecrets(nil))(next) }

// traced is Traced with what is secret. The span lasts until the answer is read, or given up.
func traced(s *secrets) Layer {
	return func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(req *http.Request) (*http.Response, error) { return exchanged(next, req, s) })
	}
}

// exchanged sends a request within a span.
func exchanged(next http.RoundTripper, req *http.Request, hide *secrets) (*http.Response, error) {
	resent := 0
	if sent, ok := req.Context().Value(sentKey{}).(*atomic.Int32); ok {
		resent = int(sent.Add(1)) - 1
	}
	// The provider of the span above it: there is none outside attempts and deliveries that are traced.
	tracer := oteltrace.SpanFromContext(req.Context()).TracerProvider().
		Tracer("github.com/tasker-engine/tasker/plugin/sdk/httpapi", oteltrace.WithInstrumentationVersion(sdk.Version))
	began := time.Now()
	ctx, span := tracer.Start(req.Context(), trace.SpanAPICall, oteltrace.WithTimestamp(began), oteltrace.WithSpanKind(oteltrace.SpanKindClient))
	one := &exchange{Span: span, began: began, redact: func(text string) string { return hide.redactor(req).Replace(text) }}
	if span.IsRecording() {
		span.SetAttributes(one.describe(req, resent)...)
	}
	out := req.Clone(ctx)
	inject(ctx, out.Header)
	resp, err := next.RoundTrip(out)
	if err != nil {
		one.fail(ctx, err)
		one.end()
		return resp, err
	}
	one.answered(ctx, resp)
	return resp, nil
}

// inject adds the headers that say what a request is part of. What the handler has set stays.
func inject(ctx context.Context, h http.Header) {
	if len(h.Values("Traceparent")) == 0 {
		state := h.Values("Tracestate")
		propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(h))
		if len(state) > 0 {
			h["Tracestate"] = state
		}
	}
	if len(h.Values("Baggage")) == 0 {
		propagation.Baggage{}.Inject(ctx, propagation.HeaderCarrier(h))
	}
}

// exchange is the span of a request and its answer.
type exchange struct {
	oteltrace.Span

	began  time.Time
	redact func(string) string
	once   sync.Once
}

// describe returns what is known before the request is sent.
func (e *exchange) describe(req *http.Request, resent int) []attribute.KeyValue {
	attrs := append(methodOf(req.Method), semconv.URLFull(e.redact(telling(req.URL))), semconv.ServerAddress(req.URL.Hostname()), semconv.ServerPort(portOf(req.URL)))
	if resent > 0 {
		attrs = append(attrs, semconv.HTTPRequestResendCount(resent))
	}
	return attrs
}

// methodOf returns the method: the conventions know a closed set.
func methodOf(method string) []attribute.KeyValue {
	method = cmp.Or(method, http.MethodGet)
	known := []string{
		http.MethodConnect, http.MethodDelete, http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPatch, http.MethodPost,
		http.MethodPut, http.MethodTrace,
	}
	if slices.Contains(known, method) {
		return []attribute.KeyValue{semconv.HTTPRequestMethodKey.String(method)}
	}
	return []attribute.KeyValue{semconv.HTTPRequestMethodOther, semconv.HTTPRequestMethodOriginal(method)}
}

// telling returns a URL as it may be shown: without user and fragment, and with the names of its query alone.
func telling(u *url.URL) string {
	show := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}
	var query []string
	for pair := range strings.SplitSeq(u.RawQuery, "&") {
		name, _, valued := strings.Cut(pair, "=")
		switch {
		case pair == "":
		case valued:
			query = append(query, name+"="+hidden)
		default: // it may be a value
			query = append(query, hidden)
		}
	}
	show.RawQuery = strings.Join(query, "&")
	return show.String()
}

func portOf(u *url.URL) int {
	if port, err := strconv.Atoi(u.Port()); err == nil {
		return port
	}
	if u.Scheme == "https" {
		return 443
	}
	return 80
}

// answered says what the answer is, and ends the span with its body.
func (e *exchange) answered(ctx context.Context, resp *http.Response) {
	if !e.IsRecording() {
		return
	}
	e.SetAttributes(semconv.HTTPResponseStatusCode(resp.StatusCode))
	if resp.StatusCode >= http.StatusBadRequest {
		e.SetAttributes(semconv.ErrorTypeKey.String(strconv.Itoa(resp.StatusCode)))
		e.SetStatus(codes.Error, "")
	}
	if resp.StatusCode == http.StatusSwitchingProtocols { // what follows is no body, and is written, too
		e.end()
		return
	}
	resp.Body = &spanned{ReadCloser: resp.Body, exchange: e, ctx: ctx}
}

// fail says why there is no answer, or half of one.
func (e *exchange) fail(ctx context.Context, err error) {
	if e.IsRecording() {
		e.SetAttributes(semconv.ErrorTypeKey.String(kindOf(ctx, err)))
		e.SetStatus(codes.Error, e.redact(err.Error()))
	}
}

// end ends the span, once. It lasts a nanosecond at least.
func (e *exchange) end() {
	e.once.Do(func() { e.End(oteltrace.WithTimestamp(e.began.Add(max(time.Since(e.began), 1)))) })
}

// kindOf returns the kind of an error, of which there are few.
func kindOf(ctx context.Context, err error) string {
	cause := context.Cause(ctx)
	network, isNetwork := errors.AsType[net.Error](err)
	_, isName := errors.AsType[*net.DNSError](err)
	switch {
	case errors.Is(cause, errTimeout), errors.Is(err, context.DeadlineExceeded), isNetwork && network.Timeout():
		return "timeout"
	case cause != nil:
		return "cancelled"
	case isName:
		return "name_not_resolved"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "connection_closed"
	}
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return fmt.Sprintf("%T", err)
}

// spanned is a body whose end is the end of a span.
type spanned struct {
	io.ReadCloser

	exchange *exchange
	ctx      context.Context //nolint:containedctx // the request's
}

// Read implements io.Reader.
func (b *spanned) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil {
		if !errors.Is(err, io.EOF) {
			b.exchange.fail(b.ctx, err)
		}
		b.exchange.end()
	}
	return n, err
}

// Close implements io.Closer.
func (b *spanned) Close() error {
	b.exchange.end()
	return b.ReadCloser.Close()
}

// delayed says on the span of what calls that a host does not take the call now.
func delayed(ctx context.Context, event, host string, wait time.Duration) {
	oteltrace.SpanFromContext(ctx).AddEvent(event, oteltrace.WithAttributes(
		attribute.String(string(semconv.ServerAddressKey), host), attribute.Float64(trace.KeyWait, wait.Seconds()),
	))
}
