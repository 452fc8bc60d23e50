package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/goleak"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// TestMain makes the test binary its own plugin.
func TestMain(m *testing.M) {
	if sdktest.Launched() {
		main()
	}
	goleak.VerifyTestMain(m)
}

// received is a request, whose body can be read again.
type received struct {
	*http.Request

	body []byte
}

// server is an endpoint on this machine.
type server struct {
	*httptest.Server

	requests chan received
}

// serve answers requests as told; what is not written is 200.
func serve(t *testing.T, answer func(http.ResponseWriter, *http.Request, []byte)) *server {
	t.Helper()
	s := &server{requests: make(chan received, 1000)}
	s.Server = httptest.NewServer(s.handler(answer))
	t.Cleanup(s.Close)
	return s
}

func (s *server) handler(answer func(http.ResponseWriter, *http.Request, []byte)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		s.requests <- received{r, body}
		answer(w, r, body)
	})
}

// next returns the next request that came.
func (s *server) next(t *testing.T) received {
	t.Helper()
	select {
	case r := <-s.requests:
		return r
	case <-t.Context().Done():
		t.Fatal("no request came")
		return received{}
	}
}

// webhooks makes the plugin with this server as the endpoint "e".
func (s *server) webhooks(t *testing.T, change func(*target)) *webhooks {
	t.Helper()
	e := target{URL: s.URL + "/hook/secret-path", Breaker: breakerConfig{Failures: 1000}}
	if change != nil {
		change(&e)
	}
	w := &webhooks{Endpoints: map[string]target{"e": e}}
	if err := w.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func key(fill byte) string {
	return secretPrefix + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{fill}, 32))
}

// TestSignature verifies requests with the library that receivers use, while keys are replaced.
func TestSignature(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request, []byte) {})
	w := s.webhooks(t, func(e *target) {
		e.Secrets = []string{key(1), key(2)}
		e.Headers = map[string]string{"authorization": "Bearer 123"}
	})
	for _, format := range []string{formatJSON, formatCloudEventsBinary, formatSlack} {
		e := example(t, event.NameStepFailed)
		if err := w.post(t.Context(), e, binding{Endpoint: "e", Format: format}); err != nil {
			t.Fatal(err)
		}
		r := s.next(t)
		if got := r.Header.Get("webhook-id"); got != e.ID {
			t.Errorf("webhook-id %q, want %q", got, e.ID)
		}
		for i, want := range map[byte]bool{1: true, 2: true, 3: false} {
			receiver, err := standardwebhooks.NewWebhook(key(i))
			if err != nil {
				t.Fatal(err)
			}
			if err := receiver.Verify(r.body, r.Header); (err == nil) != want {
				t.Errorf("%s, key %d: verified %t (%v), want %t", format, i, err == nil, err, want)
			}
			if err := receiver.Verify(append(r.body, ' '), r.Header); err == nil {
				t.Errorf("%s: a changed body is taken for the event", format)
			}
		}
		if r.Header.Get("Authorization") != "Bearer 123" || r.Header.Get("Traceparent") != e.Traceparent || r.Header.Get("Idempotency-Key") != "" {
			t.Errorf("headers %v", r.Header)
		}
	}
}

// TestBinaryHeaders compares all headers of a CloudEvent in binary mode.
func TestBinaryHeaders(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request, []byte) {})
	w := s.webhooks(t, nil)
	if err := w.post(t.Context(), example(t, event.NameStepFailed), binding{Endpoint: "e", Format: formatCloudEventsBinary}); err != nil {
		t.Fatal(err)
	}
	r := s.next(t)
	for _, name := range []string{"Webhook-Timestamp", "Accept-Encoding", "Content-Length"} {
		if r.Header.Get(name) == "" {
			t.Errorf("there is no %s", name)
		}
		r.Header.Del(name)
	}
	want := http.Header{
		"Content-Type": {"application/json"}, "User-Agent": {"tasker-plugin-webhook/1.0.0"}, "Webhook-Id": {"01JD3Z9Q7V8T4K2M6N1P5R3S0W/7"},
		"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		"Ce-Id":       {"01JD3Z9Q7V8T4K2M6N1P5R3S0W/7"}, "Ce-Specversion": {"1.0"}, "Ce-Source": {"/tasker/shop/order"}, "Ce-Type": {"step.failed"},
		"Ce-Subject": {"01JD3Z9Q7V8T4K2M6N1P5R3S0W"}, "Ce-Time": {"2026-05-04T12:00:01.5Z"}, "Ce-Sequence": {"00000000000000004711"},
		"Ce-Traceparent":   {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
		"Ce-Correlationid": {"web-8842"}, "Ce-Step": {"charge"}, "Ce-Templateversion": {"1.2.0"},
	}
	if diff := cmp.Diff(want, r.Header); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

// TestVerdicts maps answers to what the host shall do.
func TestVerdicts(t *testing.T) {
	status := func(code int, headers ...string) func(http.ResponseWriter, *http.Request, []byte) {
		return func(w http.ResponseWriter, r *http.Request, _ []byte) {
			w.Header().Set("Content-Type", "text/html") // which no error shows
			for i := 0; i < len(headers); i += 2 {
				w.Header().Set(headers[i], strings.ReplaceAll(headers[i+1], "SERVER", "http://"+r.Host))
			}
			w.WriteHeader(code)
			_, _ = io.WriteString(w, "the answer to Bearer 123 at /hook/secret-path\n")
		}
	}
	text := []string{"Content-Type", "text/plain"}
	in90 := time.Now().Add(90 * time.Minute).UTC().Format(http.TimeFormat)
	past := time.Now().Add(-time.Minute).UTC().Format(http.TimeFormat)
	tests := map[string]struct {
		answer func(http.ResponseWriter, *http.Request, []byte)
		want   sdk.Verdict
		after  time.Duration
		reason string
		away   bool
	}{
		"ok":                 {answer: status(200)},
		"accepted":           {answer: status(202)},
		"no content":         {answer: func(w http.ResponseWriter, _ *http.Request, _ []byte) { w.WriteHeader(http.StatusNoContent) }},
		"bad request":        {status(400, text...), sdk.Final, 0, "endpoint e answers 400 Bad Request: the answer to *** at ***", false},
		"unauthorized":       {status(401), sdk.Final, 0, "endpoint e answers 401 Unauthorized", false},
		"gone":               {status(410), sdk.Final, 0, "endpoint e is gone (410): take it out of the bindings", false},
		"request timeout":    {status(408), sdk.Retryable, 0, "endpoint e answers 408 Request Timeout", true},
		"too early":          {status(425), sdk.Retryable, 0, "endpoint e answers 425 Too Early", true},
		"too many":           {status(429, "Retry-After", "7"), sdk.Retryable, 7 * time.Second, "endpoint e answers 429 Too Many Requests", true},
		"too many, at once":  {status(429, "Retry-After", "0"), sdk.Retryable, 0, "endpoint e answers 429 Too Many Requests", true},
		"too many, nonsense": {status(429, "Retry-After", "soon"), sdk.Retryable, 0, "endpoint e answers 429 Too Many Requests", true},
		"unavailable":        {status(503, "Retry-After", in90), sdk.Retryable, maxRetryAfter, "endpoint e answers 503 Service Unavailable", true},
		"unavailable before": {status(503, "Retry-After", past), sdk.Retryable, 0, "endpoint e answers 503 Service Unavailable", true},
		"no gateway":         {status(502), sdk.Retryable, 0, "endpoint e answers 502 Bad Gateway", true},
		"slow gateway":       {status(504), sdk.Retryable, 0, "endpoint e answers 504 Gateway Timeout", true},
		"broken, for now":    {status(500, "Retry-After", "7"), sdk.Retryable, 7 * time.Second, "endpoint e answers 500 Internal Server Error", false},
		"broken":             {status(500), sdk.Undecided, 0, "endpoint e answers 500 Internal Server Error", false},
		"moved": {
			status(301, "Location", "https://other.example/token"), sdk.Final, 0,
			"endpoint e redirects (301) to https://other.example, which is not followed: correct its url", false,
		},
		"moved nowhere": {status(302), sdk.Final, 0, "endpoint e redirects (302) to nowhere, which is not followed: correct its url", false},
		"may be followed": {
			status(307, "Location", "SERVER/other"), sdk.Final, 0,
			"endpoint e redirects (307) to http://SERVER, which is not followed: correct its url, or set follow_redirects", false,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := serve(t, tt.answer)
			w := s.webhooks(t, func(e *target) { e.Headers = map[string]string{"Authorization": "Bearer 123"} })
			err := w.post(t.Context(), example(t, event.NameTaskCompleted), binding{Endpoint: "e"})
			if (err == nil) != (tt.reason == "") {
				t.Fatalf("error %v, want %q", err, tt.reason)
			}
			if err == nil {
				return
			}
			got := sdk.Explain(err)
			if got.Verdict != tt.want || got.RetryAfter != tt.after || got.Unavailable != tt.away {
				t.Errorf("verdict %s after %s, unavailable %t, want %s after %s, %t", got.Verdict, got.RetryAfter, got.Unavailable, tt.want, tt.after, tt.away)
			}
			if reason := strings.ReplaceAll(err.Error(), strings.TrimPrefix(s.URL, "http://"), "SERVER"); reason != tt.reason {
				t.Errorf("reason %q, want %q", reason, tt.reason)
			}
		})
	}
}

// TestRedirects follows only what keeps method, body and host.
func TestRedirects(t *testing.T) {
	other := serve(t, func(http.ResponseWriter, *http.Request, []byte) {})
	tests := map[string]struct {
		status   int
		location string
		arrives  bool
	}{
		"same host":        {http.StatusTemporaryRedirect, "/there", true},
		"for good":         {http.StatusPermanentRedirect, "/there", true},
		"becomes a GET":    {http.StatusFound, "/there", false},
		"another host":     {http.StatusTemporaryRedirect, other.URL + "/there", false},
		"round and round":  {http.StatusTemporaryRedirect, "/hook/secret-path", false},
		"another protocol": {http.StatusTemporaryRedirect, "ftp://example.com/there", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(w http.ResponseWriter, r *http.Request, _ []byte) {
				if r.URL.Path != "/there" {
					w.Header().Set("Location", tt.location)
					w.WriteHeader(tt.status)
				}
			})
			w := s.webhooks(t, func(e *target) { e.FollowRedirects, e.Secrets = true, []string{key(1)} })
			err := w.post(t.Context(), example(t, event.NameTaskCompleted), binding{Endpoint: "e"})
			if (err == nil) != tt.arrives || err != nil && sdk.Explain(err).Verdict != sdk.Final {
				t.Errorf("error %v, want that it arrives: %t", err, tt.arrives)
			}
			first, last := s.next(t), received{}
			for len(s.requests) > 0 {
				last = s.next(t)
			}
			if tt.arrives && (last.Request == nil || !bytes.Equal(last.body, first.body) || last.Header.Get("webhook-signature") == "") {
				t.Errorf("what arrived is not what was sent")
			}
			if len(other.requests) > 0 {
				t.Errorf("another host got the event")
			}
		})
	}
}

// TestBroken is about endpoints that do not even answer. All of it may be mended by time.
func TestBroken(t *testing.T) {
	hold := make(chan struct{})
	defer close(hold)
	tests := map[string]struct {
		answer func(http.ResponseWriter, *http.Request, []byte)
		reason string
	}{
		"hangs": {func(_ http.ResponseWriter, r *http.Request, _ []byte) {
			select {
			case <-r.Context().Done():
			case <-hold:
			}
		}, "endpoint e: no answer within 100ms"},
		"hangs up": {func(http.ResponseWriter, *http.Request, []byte) { panic(http.ErrAbortHandler) }, "endpoint e: EOF"},
		"talks something else": {func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
				_, _ = io.WriteString(conn, "220 mail.example.com ESMTP\r\n")
				_ = conn.Close()
			}
		}, "endpoint e: net/http: HTTP/1.x transport connection broken: malformed HTTP status code"},
		"floods headers": {func(w http.ResponseWriter, _ *http.Request, _ []byte) {
			w.Header().Set("X", strings.Repeat("x", 1<<20))
		}, "endpoint e: net/http: HTTP/1.x transport connection broken: net/http: server response headers exceeded"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := serve(t, tt.answer)
			w := s.webhooks(t, func(e *target) {
				if name == "hangs" {
					e.Timeout = sdk.Duration(100 * time.Millisecond)
				}
			})
			err := w.post(t.Context(), example(t, event.NameTaskCompleted), binding{Endpoint: "e"})
			if err == nil || !strings.HasPrefix(err.Error(), tt.reason) || sdk.Explain(err).Verdict != sdk.Undecided {
				t.Errorf("error %v, want one that is retried: %s", err, tt.reason)
			}
		})
	}
	t.Run("refuses", func(t *testing.T) {
		s := serve(t, func(http.ResponseWriter, *http.Request, []byte) {})
		w := s.webhooks(t, nil)
		s.Close()
		err := w.post(t.Context(), example(t, event.NameTaskCompleted), binding{Endpoint: "e"})
		if err == nil || !sdk.Explain(err).Unavailable || strings.Contains(err.Error(), "secret-path") {
			t.Errorf("error %v, want that the endpoint is away, without the path", err)
		}
	})
	t.Run("no such endpoint", func(t *testing.T) {
		w := serve(t, nil).webhooks(t, nil)
		err := w.post(t.Context(), example(t, event.NameTaskCompleted), binding{Endpoint: "x"})
		if want := `the plugin's configuration has no endpoint "x", only [e]`; err == nil || err.Error() != want || !sdk.Explain(err).Unavailable {
			t.Errorf("error %v, want %s, until there is one", err, want)
		}
	})
}

// TestHugeAnswer reads of an answer without end only so much, and takes the status for it.
func TestHugeAnswer(t *testing.T) {
	var sent int64
	ended := make(chan struct{})
	s := serve(t, func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		defer close(ended)
		for {
			n, err := w.Write(make([]byte, 64<<10))
			sent += int64(n)
			if err != nil {
				return
			}
		}
	})
	if err := s.webhooks(t, nil).post(t.Context(), example(t, event.NameTaskCompleted), binding{Endpoint: "e"}); err != nil {
		t.Fatal(err)
	}
	<-ended // because the plugin has hung up
	if sent > 64<<20 {
		t.Errorf("the endpoint could send %d bytes", sent)
	}
}

// TestConnections reuses the connection, also when the answers have bodies.
func TestConnections(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		_, _ = io.WriteString(w, strings.Repeat("x", 10_000))
	})
	w := s.webhooks(t, nil)
	from := make(map[string]bool)
	for range 20 {
		if err := w.post(t.Context(), example(t, event.NameTaskCompleted), binding{Endpoint: "e"}); err != nil {
			t.Fatal(err)
		}
		from[s.next(t).RemoteAddr] = true
	}
	if len(from) != 1 {
		t.Errorf("20 requests over %d connections, want 1", len(from))
	}
}

// TestStaleConnection sends again, unseen, when the server has closed the idle connection meanwhile.
func TestStaleConnection(t *testing.T) {
	s := serve(t, func(http.ResponseWriter, *http.Request, []byte) {})
	w := s.webhooks(t, nil)
	for range 5 {
		if err := w.post(t.Context(), example(t, event.NameTaskCompleted), binding{Endpoint: "e"}); err != nil {
			t.Fatal(err)
		}
		s.CloseClientConnections()
	}
}

// TestBreaker leaves an endpoint alone that fails, tries it with one request, and comes back.
func TestBreaker(t *testing.T) {
	var mu sync.Mutex
	code := http.StatusInternalServerError
	s := serve(t, func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		mu.Lock()
		defer mu.Unlock()
		w.WriteHeader(code)
	})
	w := s.webhooks(t, func(e *target) { e.Breaker = breakerConfig{Failures: 3, Delay: sdk.Duration(time.Hour)} })
	post := func() error {
		return w.post(t.Context(), example(t, event.NameTaskCompleted), binding{Endpoint: "e"})
	}
	for i := range 5 {
		err := post()
		after := sdk.Explain(err).RetryAfter
		if err == nil || (i < 3) != (after == 0) {
			t.Errorf("post %d: error %v after %s, want that the third failure opens the circuit", i, err, after)
		}
	}
	if len(s.requests) != 3 {
		t.Errorf("%d requests came, want 3", len(s.requests))
	}
	breaker := w.served["e"].breaker
	breaker.HalfOpen() // as after the hour
	if err := post(); err == nil || !breaker.IsOpen() {
		t.Errorf("error %v, open %t; want that a failed trial opens it again", err, breaker.IsOpen())
	}
	mu.Lock()
	code = http.StatusNoContent
	mu.Unlock()
	breaker.HalfOpen()
	if err := post(); err != nil || !breaker.IsClosed() {
		t.Errorf("error %v, closed %t; want that a good trial closes it", err, breaker.IsClosed())
	}
	mu.Lock()
	code = http.StatusBadRequest
	mu.Unlock()
	for range 5 {
		_ = post()
	}
	if !breaker.IsClosed() {
		t.Error("an endpoint that refuses events is taken for one that fails")
	}
}

// TestPause leaves an endpoint alone for everybody when it asks for that.
func TestPause(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request, _ []byte) {
		w.Header().Set("Retry-After", "100")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	w := s.webhooks(t, nil)
	for range 3 {
		err := w.post(t.Context(), example(t, event.NameTaskCompleted), binding{Endpoint: "e"})
		if after := sdk.Explain(err).RetryAfter; after < 90*time.Second || after > 100*time.Second {
			t.Errorf("error %v after %s, want about 100s", err, after)
		}
	}
	if len(s.requests) != 1 {
		t.Errorf("%d requests came, want 1", len(s.requests))
	}
}

// TestBusy does not wait for long for an endpoint that is busy.
func TestBusy(t *testing.T) {
	hold := make(chan struct{})
	s := serve(t, func(http.ResponseWriter, *http.Request, []byte) { <-hold })
	w := s.webhooks(t, func(e *target) { e.MaxConcurrent = 1; e.Timeout = sdk.Duration(time.Minute) })
	first := make(chan error, 1)
	go func() { first <- w.post(t.Context(), example(t, event.NameTaskCompleted), binding{Endpoint: "e"}) }()
	s.next(t)
	w.served["e"].timeout = time.Millisecond // the first request has its minute
	err := w.post(t.Context(), example(t, event.NameTaskCompleted), binding{Endpoint: "e"})
	if err == nil || err.Error() != "endpoint e is busy with 1 requests" || sdk.Explain(err).RetryAfter == 0 || !sdk.Explain(err).Unavailable {
		t.Errorf("error %v, want that it is busy", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("over"))
	w.served["e"].timeout = time.Minute
	if err := w.post(ctx, example(t, event.NameTaskCompleted), binding{Endpoint: "e"}); err == nil || err.Error() != "endpoint e is busy: over" {
		t.Errorf("error %v, want the end of the context", err)
	}
	close(hold)
	if err := <-first; err != nil {
		t.Errorf("the first event: %v", err)
	}
}

// TestTLS trusts the CA of the configuration, and nobody without.
func TestTLS(t *testing.T) {
	s := &server{requests: make(chan received, 10)}
	s.Server = httptest.NewUnstartedServer(s.handler(func(http.ResponseWriter, *http.Request, []byte) {}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // of handshakes that fail as they should
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		tls  tlsConfig
		want string
	}{
		"trusted":      {tlsConfig{CAFile: ca}, ""},
		"unknown":      {tlsConfig{}, "endpoint e: tls: failed to verify certificate: x509: certificate signed by unknown authority"},
		"another name": {tlsConfig{CAFile: ca, ServerName: "elsewhere.example"}, "endpoint e: tls: failed to verify certificate: x509: certificate is valid for "},
		"its name":     {tlsConfig{CAFile: ca, ServerName: "example.com"}, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := s.webhooks(t, func(e *target) { e.TLS = tt.tls }).post(t.Context(), example(t, event.NameTaskCompleted), binding{Endpoint: "e"})
			if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
				t.Fatalf("error %v, want %q", err, tt.want)
			}
			if err == nil && s.next(t).ProtoMajor != 2 {
				t.Error("the request did not come by HTTP/2")
			}
		})
	}
}

// TestManyAtOnce posts from many lanes; the endpoint never has more than it takes.
func TestManyAtOnce(t *testing.T) {
	var mu sync.Mutex
	now, most, ids := 0, 0, make(map[string]int)
	s := serve(t, func(_ http.ResponseWriter, r *http.Request, body []byte) {
		mu.Lock()
		now++
		most = max(most, now)
		ids[r.Header.Get("webhook-id")]++
		mu.Unlock()
		var doc envelope
		if err := json.Unmarshal(body, &doc); err != nil {
			t.Error(err)
		}
		mu.Lock()
		now--
		mu.Unlock()
	})
	w := s.webhooks(t, func(e *target) { e.MaxConcurrent = 4 })
	var wg sync.WaitGroup
	for i := range 200 {
		e := example(t, event.NameTaskCompleted)
		e.ID = fmt.Sprintf("task/%d", i)
		wg.Go(func() {
			if err := w.post(t.Context(), e, binding{Endpoint: "e"}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(ids) != 200 || most > 4 {
		t.Errorf("%d events arrived, %d at once; want 200, at most 4", len(ids), most)
	}
}
