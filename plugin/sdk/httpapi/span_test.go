package httpapi_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
	"github.com/tasker-engine/tasker/plugin/sdk/httpapi"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// TestSpans: each request that is sent is a span below the attempt's: redirects, and what a layer sends again.
func TestSpans(t *testing.T) {
	api := sdktest.HTTP(t)
	api.On("POST", "/charge").Reply(307, sdktest.Header("Location", "/v2/charge"))
	api.On("POST", "/v2/charge").Reply(503, 200, sdktest.JSON(map[string]int{"id": 1}))
	api.On("GET", "/missing").Reply(404)
	again := func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(req *http.Request) (*http.Response, error) {
			resp, err := next.RoundTrip(req)
			if err != nil || resp.StatusCode != http.StatusServiceUnavailable {
				return resp, err
			}
			_ = resp.Body.Close()
			return next.RoundTrip(req)
		})
	}
	c := client(t, httpapi.Options{BaseURL: api.URL, Redirects: 1, Layers: []httpapi.Layer{again}})
	h := sdk.Func(func(ctx context.Context, _ any) (*httpapi.Response, error) {
		resp, err := c.Post(ctx, "/charge", nil)
		if err != nil {
			return nil, err
		}
		_, _ = c.Get(ctx, "/missing")
		return resp, nil
	})
	got := run(t, h, sdktest.Attempt{Task: "T", Step: "s"})
	const want = `handler.process
  api.call http.request.method=POST http.response.status_code=307
  api.call http.request.method=POST http.response.status_code=503 http.request.resend_count=1 failed
  api.call http.request.method=POST http.response.status_code=200 http.request.resend_count=2
  api.call http.request.method=GET http.response.status_code=404 failed
`
	if tree := sdktest.SpanTree(got.Spans, "http.request.method", "http.response.status_code", "http.request.resend_count"); tree != want {
		t.Fatalf("spans (failure %v)\n%s\nwant\n%s", got.Failure, tree, want)
	}
	u, err := url.Parse(api.URL)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	call := got.Spans[2]
	wantCall := sdktest.Span{
		Name: "api.call", Trace: trace.Of("T", "").Trace.String(), ID: call.ID, Parent: trace.Of("T", "").AttemptSpan("s", 1).String(),
		Kind: "client", Start: call.Start, End: call.End, Failed: true, Sampled: true,
		Service: "test", Scope: "github.com/tasker-engine/tasker/plugin/sdk/httpapi",
		Attributes: map[string]any{
			"http.request.method": "POST", "url.full": api.URL + "/v2/charge", "server.address": "127.0.0.1", "server.port": int64(port),
			"http.request.resend_count": int64(1), "http.response.status_code": int64(503), "error.type": "503",
		},
	}
	if diff := cmp.Diff(wantCall, call); diff != "" || call.Duration() <= 0 {
		t.Errorf("span of %s (-want +got):\n%s", call.Duration(), diff)
	}
	for i, r := range api.Requests() {
		if header := r.Header.Get("Traceparent"); !strings.Contains(header, got.Spans[i+1].ID) {
			t.Errorf("request %d has traceparent %s, want that of %s", i, header, got.Spans[i+1].ID)
		}
	}
}

// TestSpansOfFailures: a span says what went wrong with a request, by one of few kinds.
func TestSpansOfFailures(t *testing.T) {
	refused := "http://" + closed(t)
	never := roundTripper(func(req *http.Request) (*http.Response, error) {
		<-req.Context().Done()
		return nil, req.Context().Err()
	})
	for name, tt := range map[string]struct {
		answers []any
		opts    httpapi.Options
		kind    string
	}{
		"no answer in time": {nil, httpapi.Options{BaseURL: "http://127.0.0.1", Timeout: time.Nanosecond, Transport: never}, "timeout"},
		"reset":             {[]any{200, sdktest.Reset()}, httpapi.Options{}, "connection_closed"},
		"half an answer":    {[]any{200, sdktest.CutShort("{")}, httpapi.Options{}, "connection_closed"},
		"refused":           {nil, httpapi.Options{BaseURL: refused}, "syscall.Errno"},
		"a status":          {[]any{500}, httpapi.Options{}, "500"},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.answers != nil {
				api := sdktest.HTTP(t)
				api.On("POST", "/").Reply(tt.answers...)
				tt.opts.BaseURL = api.URL
			}
			got := run(t, posts(client(t, tt.opts), "/"), sdktest.Attempt{Input: 1})
			if s := got.Span(t, trace.SpanAPICall); got.Failure == nil || !s.Failed || s.Attributes["error.type"] != tt.kind {
				t.Errorf("failure %v, span %+v; want it failed, with the type %s", got.Failure, s, tt.kind)
			}
		})
	}
}

// closed is an address that nobody listens at.
func closed(t *testing.T) string {
	t.Helper()
	lis, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lis.Close() }()
	return lis.Addr().String()
}

// TestSpanOfCancelledCall: the span of a call whose attempt is cancelled says so.
func TestSpanOfCancelledCall(t *testing.T) {
	api := sdktest.HTTP(t)
	stub := api.On("POST", "/").Reply(200, sdktest.Hang())
	running := begin(t, posts(client(t, httpapi.Options{BaseURL: api.URL}), "/"), sdktest.Attempt{Input: 1})
	stub.Await(1)
	running.Cancel(t, "cancel_requested")
	got := running.Wait(t)
	if s := got.Span(t, trace.SpanAPICall); !s.Failed || s.Attributes["error.type"] != "cancelled" {
		t.Errorf("span %+v, want it cancelled", s)
	}
}

// TestSpanHidesSecrets: a span shows neither user, nor password, nor what stands in the query, nor secret headers.
func TestSpanHidesSecrets(t *testing.T) {
	for path, want := range map[string]string{
		"/a?email=ada%40example.com&page=2":  "/a?email=***&page=***",
		"/a?ada%40example.com":               "/a?***",
		"/a/s3cret-token/b":                  "/a/***/b",
		"/a%2Fb?":                            "/a%2Fb",
		"/a?=x&&token=s3cret-token&signed=;": "/a?=***&token=***&signed=***",
	} {
		t.Run(path, func(t *testing.T) {
			var requested *url.URL
			end := roundTripper(func(req *http.Request) (*http.Response, error) {
				requested = req.URL
				return nil, fmt.Errorf("cannot reach %s", req.Header.Get("Authorization"))
			})
			c := client(t, httpapi.Options{
				BaseURL: "https://ada:passw0rd@api.example.com", Header: http.Header{"Authorization": {"Bearer s3cret-token"}}, Transport: end,
			})
			got := run(t, gets(c, path), sdktest.Attempt{})
			s := got.Span(t, trace.SpanAPICall)
			if requested == nil || s.Attributes["url.full"] != "https://api.example.com"+want || s.Attributes["server.port"] != int64(443) {
				t.Errorf("url %v, port %v; want %s", s.Attributes["url.full"], s.Attributes["server.port"], want)
			}
			if text := fmt.Sprint(s); strings.Contains(text, "s3cret") || strings.Contains(text, "passw0rd") || strings.Contains(text, "example.com&") {
				t.Errorf("the span shows a secret: %s", text)
			}
		})
	}
}

// TestSpanOfUnknownMethod: the conventions know a closed set of methods.
func TestSpanOfUnknownMethod(t *testing.T) {
	api := sdktest.HTTP(t)
	api.On("PURGE", "/").Reply(200)
	c := client(t, httpapi.Options{BaseURL: api.URL})
	h := sdk.Func(func(ctx context.Context, _ any) (*httpapi.Response, error) {
		req, err := c.Request(ctx, "PURGE", "/", nil)
		if err != nil {
			return nil, err
		}
		return c.Do(req)
	})
	s := run(t, h, sdktest.Attempt{}).Span(t, trace.SpanAPICall)
	if s.Attributes["http.request.method"] != "_OTHER" || s.Attributes["http.request.method_original"] != "PURGE" {
		t.Errorf("attributes %v", s.Attributes)
	}
}

// TestSpansOfGuards: a wait for the rate limit, and a circuit that is open, are to be seen even where nobody records the trace.
func TestSpansOfGuards(t *testing.T) {
	api := sdktest.HTTP(t)
	api.On("GET", "/").Reply(200)
	api.On("GET", "/broken").Reply(500)
	limited := client(t, httpapi.Options{BaseURL: api.URL, Rate: httpapi.Rate{PerSecond: 0.0001, Burst: 1}})
	broken := client(t, httpapi.Options{BaseURL: api.URL, Breaker: httpapi.Breaker{Failures: 1, Delay: time.Hour}})
	address := strings.TrimPrefix(api.URL, "http://")
	for name, tt := range map[string]struct {
		calls func(ctx context.Context)
		event string
		tree  string
	}{
		"rate limit": {func(ctx context.Context) {
			for range 2 {
				_, _ = limited.Get(ctx, "/")
			}
		}, trace.EventRateLimited, "handler.process\n  api.call\n"},
		"circuit": {func(ctx context.Context) {
			for range 2 {
				_, _ = broken.Get(ctx, "/broken")
			}
		}, trace.EventCircuitOpen, "handler.process\n  api.call failed\n"},
	} {
		t.Run(name, func(t *testing.T) {
			h := sdk.Func(func(ctx context.Context, _ any) (any, error) {
				tt.calls(ctx)
				return nil, nil
			})
			got := run(t, h, sdktest.Attempt{Timeout: time.Minute, Traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"})
			if tree := sdktest.SpanTree(got.Spans); tree != tt.tree {
				t.Fatalf("spans\n%swant\n%s", tree, tt.tree)
			}
			events := got.Spans[0].Events
			if len(events) != 1 || events[0].Name != tt.event || events[0].Attributes["server.address"] != address {
				t.Fatalf("events %+v, want %s of %s", events, tt.event, address)
			}
			if wait, ok := events[0].Attributes[trace.KeyWait].(float64); !ok || wait <= 0 {
				t.Errorf("wait %v, want one", events[0].Attributes[trace.KeyWait])
			}
		})
	}
}

// TestCallsOfSubscribers: what a subscriber calls hears of the correlation id, and of the delivery's trace if there is one.
func TestCallsOfSubscribers(t *testing.T) {
	for name, untraced := range map[string]bool{"traced": false, "untraced": true} {
		t.Run(name, func(t *testing.T) {
			api := sdktest.HTTP(t)
			stub := api.On("POST", "/").Reply(200)
			c := client(t, httpapi.Options{BaseURL: api.URL})
			p := sdktest.Start(t, sdk.Plugin{Name: "test", Version: "1.0.0", Subscribers: sdk.Subscribers{
				"s": sdk.Subscribe(sdk.OnNamed("task.*", func(ctx context.Context, _ sdk.Event[any]) error {
					_, err := c.Post(ctx, "/", nil)
					return err
				}), sdk.SubscriberOptions{Untraced: untraced}),
			}})
			sub := p.Subscribe(t, "s")
			if got := sub.Deliver(t, sdktest.Event{Type: "task.completed", CorrelationID: "corr"}); got.Verdict != sdktest.Acked {
				t.Fatal(got)
			}
			header := stub.Requests()[0].Header
			if header.Get("X-Correlation-Id") != "corr" || header.Get("Baggage") != "workflow.correlation_id=corr" {
				t.Errorf("headers %v, want the correlation id", header)
			}
			want := ""
			if !untraced {
				spans := sub.Spans()
				if tree := sdktest.SpanTree(spans); tree != "subscriber.handle\n  api.call\n" {
					t.Fatalf("spans\n%s", tree)
				}
				want = "00-" + spans[1].Trace + "-" + spans[1].ID + "-01"
			}
			if header.Get("Traceparent") != want {
				t.Errorf("traceparent %q, want %q", header.Get("Traceparent"), want)
			}
		})
	}
}
