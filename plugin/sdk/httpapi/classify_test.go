package httpapi_test

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/httpapi"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// TestStatuses asks a real server for every status there is (rule H1); Retry-After counts for 429 and 503 only (rule H2).
func TestStatuses(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		var status int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d", &status)
		w.Header().Set("Retry-After", "7")
		w.Header().Set("Location", "/200")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(`{"message":"why"}`)) // fails where there is no body
	})
	c := client(t, httpapi.Options{BaseURL: server.URL, Breaker: httpapi.Breaker{Failures: -1}})
	for status := 200; status < 600; status++ {
		wantVerdict, wantAfter := sdk.Retryable, time.Duration(0)
		switch status {
		case 400, 401, 403, 404, 422:
			wantVerdict = sdk.Final
		case 429, 503:
			wantAfter = 7 * time.Second
		}
		r, err := c.Get(t.Context(), fmt.Sprintf("/%d", status))
		if status <= 226 {
			if err != nil || r.Status != status {
				t.Errorf("%d: %v, want success", status, err)
			}
			continue
		}
		got := sdk.Explain(err)
		if got.Verdict != wantVerdict || got.RetryAfter != wantAfter || got.Code != fmt.Sprintf("HTTP_%d", status) || got.Source != sdk.FromDownstream {
			t.Errorf("%d: %v, after %v, %s, source %v; want %v, after %v", status, got.Verdict, got.RetryAfter, got.Code, got.Source, wantVerdict, wantAfter)
		}
		e, ok := errors.AsType[*httpapi.StatusError](err)
		if !ok || e.Status != status || status != 304 && string(e.Body) != `{"message":"why"}` {
			t.Errorf("%d: %+v, want a StatusError with the body", status, e)
		}
	}
}

// TestRetryAfter: seconds, dates, and what is neither (rule H2).
func TestRetryAfter(t *testing.T) {
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	const limit = 300 * time.Second
	for _, test := range []struct {
		header string
		want   time.Duration
	}{
		{"", 0},
		{"3", 3 * time.Second},
		{" 3 ", 3 * time.Second},
		{"0", 0},
		{"300", limit},
		{"301", limit},
		{"9223372036854775807", limit},
		{"99999999999999999999", limit},
		{"-1", 0},
		{"+1", 0},
		{"1.5", 0},
		{"1s", 0},
		{"soon", 0},
		{"٣", 0},
		{noon.Add(90 * time.Second).Format(http.TimeFormat), 90 * time.Second},
		{noon.Add(90 * time.Second).Format(time.RFC850), 90 * time.Second},
		{noon.Add(90 * time.Second).Format(time.ANSIC), 90 * time.Second},
		{noon.Format(http.TimeFormat), time.Second},
		{noon.Add(-time.Hour).Format(http.TimeFormat), time.Second},
		{noon.Add(time.Hour).Format(http.TimeFormat), limit},
		{noon.Add(time.Hour).Format(time.RFC3339), 0},
	} {
		if got := httpapi.RetryAfter(test.header, noon, limit); got != test.want {
			t.Errorf("RetryAfter(%q) = %v, want %v", test.header, got, test.want)
		}
	}
}

func TestRetryAfterProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "now"), 0).UTC()
		limit := time.Duration(rapid.Int64Range(1, 3600).Draw(t, "limit")) * time.Second
		seconds := rapid.Uint64().Draw(t, "seconds")
		ahead := rapid.Int64Range(-1e6, 1e6).Draw(t, "ahead")
		text := rapid.String().Draw(t, "text")

		if got := httpapi.RetryAfter(text, now, limit); got < 0 || got > limit {
			t.Errorf("RetryAfter(%q) = %v, not within 0 and %v", text, got, limit)
		}
		want := limit
		if seconds < uint64(limit/time.Second) {
			want = time.Duration(seconds) * time.Second
		}
		if got := httpapi.RetryAfter(fmt.Sprint(seconds), now, limit); got != want {
			t.Errorf("RetryAfter(%d) = %v, want %v", seconds, got, want)
		}
		date := now.Add(time.Duration(ahead) * time.Second)
		want = min(max(time.Duration(ahead)*time.Second, time.Second), limit)
		if got := httpapi.RetryAfter(date.Format(http.TimeFormat), now, limit); got != want {
			t.Errorf("RetryAfter(%s) at %s = %v, want %v", date.Format(http.TimeFormat), now, got, want)
		}
	})
}

// TestRetryAfterReachesTheHost: what an API asks for is what the host hears, capped as the client says.
func TestRetryAfterReachesTheHost(t *testing.T) {
	stub := sdktest.HTTP(t)
	stub.On("POST", "/charge").Reply(429, sdktest.RetryAfter(2), 503, sdktest.RetryAfter(3600), 503, sdktest.Header("Retry-After", "later"), 500, sdktest.RetryAfter(9), 200)
	c := client(t, httpapi.Options{BaseURL: stub.URL, MaxRetryAfter: time.Minute})
	var got []time.Duration
	for range 4 {
		got = append(got, run(t, posts(c, "/charge"), sdktest.Attempt{Input: 1}).Failure.RetryAfter)
	}
	if diff := cmp.Diff(got, []time.Duration{2 * time.Second, time.Minute, 0, 0}); diff != "" {
		t.Errorf("waits (-got +want):\n%s", diff)
	}
	if out := run(t, posts(c, "/charge"), sdktest.Attempt{Input: 1}); out.Failure != nil {
		t.Errorf("failure %v, want success", out.Failure)
	}
}

// TestMisbehaviour: whatever else an API does, another attempt may go better (rule H1), unless it cannot.
func TestMisbehaviour(t *testing.T) {
	tests := map[string]struct {
		answer  http.HandlerFunc
		opts    httpapi.Options
		code    string // "" = success
		verdict sdk.Verdict
	}{
		"the connection breaks instead of an answer": {
			answer: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
			code:   httpapi.CodeNetwork, verdict: sdk.Retryable,
		},
		"the connection is reset within the body": {
			answer: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "100")
				_, _ = w.Write([]byte(`{"n":`))
				_ = http.NewResponseController(w).Flush()
				reset(w)
			},
			code: httpapi.CodeNetwork, verdict: sdk.Retryable,
		},
		"a chunked body ends early": {
			answer: func(w http.ResponseWriter, _ *http.Request) {
				_, _ = w.Write([]byte(`{"n":`))
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			},
			code: httpapi.CodeNetwork, verdict: sdk.Retryable,
		},
		"what comes is no HTTP": {
			answer: func(w http.ResponseWriter, _ *http.Request) { speak(w, "SSH-2.0-OpenSSH_9.9\r\n\r\n") },
			code:   httpapi.CodeNetwork, verdict: sdk.Retryable,
		},
		"the headers are endless": {
			answer: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("X-Long", strings.Repeat("x", 128<<10))
			},
			code: httpapi.CodeNetwork, verdict: sdk.Retryable,
		},
		"the headers are slow": {
			answer: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			opts:   httpapi.Options{Timeout: 20 * time.Millisecond}, code: httpapi.CodeTimeout, verdict: sdk.Retryable,
		},
		"the body is slow": {
			answer: func(w http.ResponseWriter, r *http.Request) {
				_, _ = w.Write([]byte("{"))
				_ = http.NewResponseController(w).Flush()
				<-r.Context().Done()
			},
			opts: httpapi.Options{Timeout: 50 * time.Millisecond}, code: httpapi.CodeTimeout, verdict: sdk.Retryable,
		},
		"the body is as large as may be": {
			answer: func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1000)) },
			opts:   httpapi.Options{MaxResponseBody: 1000},
		},
		"the body is too large": {
			answer: func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1001)) },
			opts:   httpapi.Options{MaxResponseBody: 1000}, code: httpapi.CodeTooLarge, verdict: sdk.Final,
		},
		"the body has no end": {
			answer: func(w http.ResponseWriter, _ *http.Request) {
				for {
					if _, err := w.Write(make([]byte, 32<<10)); err != nil {
						return
					}
				}
			},
			opts: httpapi.Options{MaxResponseBody: 1 << 20}, code: httpapi.CodeTooLarge, verdict: sdk.Final,
		},
		"a small body becomes too large": {
			answer: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Encoding", "gzip")
				z := gzip.NewWriter(w)
				_, _ = z.Write(make([]byte, 10<<20))
				_ = z.Close()
			},
			opts: httpapi.Options{MaxResponseBody: 1 << 20}, code: httpapi.CodeTooLarge, verdict: sdk.Final,
		},
		"a compressed body is broken": {
			answer: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Encoding", "gzip")
				_, _ = w.Write([]byte("no gzip"))
			},
			code: httpapi.CodeNetwork, verdict: sdk.Retryable,
		},
		"a body is compressed unasked": {
			answer: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Encoding", "br")
				_, _ = w.Write([]byte("brotli"))
			},
			code: httpapi.CodeInvalidResponse, verdict: sdk.Retryable,
		},
		"the JSON is none": {
			answer: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/problem+json; charset=utf-8")
				_, _ = w.Write([]byte(`{"n": 1`))
			},
			code: httpapi.CodeInvalidResponse, verdict: sdk.Retryable,
		},
		"JSON without a body": {
			answer: func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "application/json") },
		},
		"the body of an error ends early": {
			answer: func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Length", "100")
				w.WriteHeader(http.StatusUnprocessableEntity)
				_, _ = w.Write([]byte("no"))
				_ = http.NewResponseController(w).Flush()
				panic(http.ErrAbortHandler)
			},
			code: "HTTP_422", verdict: sdk.Final,
		},
		"the body of an error has no end": {
			answer: func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(http.StatusBadGateway)
				for {
					if _, err := w.Write(make([]byte, 32<<10)); err != nil {
						return
					}
				}
			},
			code: "HTTP_502", verdict: sdk.Retryable,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			server := serve(t, tt.answer)
			tt.opts.BaseURL = server.URL
			got := run(t, posts(client(t, tt.opts), "/x"), sdktest.Attempt{Input: 1})
			if tt.code == "" {
				if got.Failure != nil {
					t.Errorf("failure %v, want success", got.Failure)
				}
				return
			}
			if f := got.Failure; f == nil || f.Code != tt.code || f.Verdict != tt.verdict || f.Source != sdk.FromDownstream || f.RetryAfter != 0 {
				t.Errorf("failure %+v, want %v %s", f, tt.verdict, tt.code)
			}
		})
	}
}

// reset closes a server's connection so that the client sees a reset, not an end.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// speak sends something else than an answer.
func speak(w http.ResponseWriter, text string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	_, _ = io.WriteString(conn, text)
	_ = conn.Close()
}

func TestNobodyThere(t *testing.T) {
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for name, url := range map[string]string{
		"refused":      gone.URL,
		"unknown host": "http://no-such-host.invalid",
	} {
		t.Run(name, func(t *testing.T) {
			got := run(t, gets(client(t, httpapi.Options{}), url+"/p?token=hush"), sdktest.Attempt{}).Failure
			if got == nil || got.Code != httpapi.CodeNetwork || got.Verdict != sdk.Retryable || got.Source != sdk.FromDownstream {
				t.Errorf("failure %+v, want another attempt", got)
			}
			if got != nil && strings.Contains(got.Message, "hush") {
				t.Errorf("the message shows the query: %s", got.Message)
			}
		})
	}
}

// TestEndOfAttempt: an attempt that is cancelled, or out of time, fails as such and not as a failure of the API.
func TestEndOfAttempt(t *testing.T) {
	stub := sdktest.HTTP(t)
	slow := stub.On("POST", "/slow").Reply(200, sdktest.Hang()).Repeat()
	c := client(t, httpapi.Options{BaseURL: stub.URL})

	r := begin(t, posts(c, "/slow"), sdktest.Attempt{Input: 1})
	slow.Await(1)
	r.Cancel(t, "cancel_requested")
	if got := r.Wait(t).Failure; got == nil || got.Verdict != sdk.Cancelled || got.Code != "cancel_requested" {
		t.Errorf("failure %+v, want a cancelled attempt", got)
	}
	got := run(t, posts(c, "/slow"), sdktest.Attempt{Input: 1, Timeout: 20 * time.Millisecond}).Failure
	if got == nil || got.Verdict != sdk.Retryable || got.Code != sdk.CodeTimeout || got.Source != sdk.FromDownstream {
		t.Errorf("failure %+v, want one of time", got)
	}
}

// TestExpect: the handler may say which statuses are a success.
func TestExpect(t *testing.T) {
	stub := sdktest.HTTP(t)
	stub.On("POST", "/x").Reply(404, 201, 200, 503)
	c := client(t, httpapi.Options{BaseURL: stub.URL})
	for _, want := range []string{"", "", "permanent HTTP_200: POST /x: 200 OK", "retryable HTTP_503: POST /x: 503 Service Unavailable"} {
		got := ""
		if out := run(t, posts(c, "/x", httpapi.Expect(201, 404)), sdktest.Attempt{Input: 1}); out.Failure != nil {
			got = out.Failure.String()
		}
		if got != want {
			t.Errorf("failure %q, want %q", got, want)
		}
	}
}

// TestOwnVerdict: a handler that knows better has the last word.
func TestOwnVerdict(t *testing.T) {
	stub := sdktest.HTTP(t)
	stub.On("GET", "/later").Reply(404)
	c := client(t, httpapi.Options{BaseURL: stub.URL})
	h := sdk.Func(func(ctx context.Context, _ any) (any, error) {
		r, err := c.Get(ctx, "/later")
		if e, ok := errors.AsType[*httpapi.StatusError](err); ok && e.Status == http.StatusNotFound {
			return nil, sdk.RetryAfter(err, time.Minute)
		}
		return r, err
	})
	if got := run(t, h, sdktest.Attempt{}).Failure; got == nil || got.Verdict != sdk.Retryable || got.RetryAfter != time.Minute || got.Code != "HTTP_404" {
		t.Errorf("failure %+v, want HTTP_404 to be retried after a minute", got)
	}
}
