package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/httpapi"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// TestHeaders (rule R6): every request says on whose behalf it is made, unless the handler says otherwise.
func TestHeaders(t *testing.T) {
	api := sdktest.HTTP(t)
	post := api.On("POST", "/x").Reply(200)
	get := api.On("GET", "/x").Reply(200)
	mine := api.On("PUT", "/x").Reply(200)
	c := client(t, httpapi.Options{BaseURL: api.URL, Header: http.Header{"X-Tenant": {"acme"}, "User-Agent": {"test"}}})
	h := sdk.Func(func(ctx context.Context, _ any) (any, error) {
		_, errPost := c.Post(ctx, "/x", 1)
		_, errGet := c.Get(ctx, "/x")
		req, errReq := c.Request(ctx, http.MethodPut, "/x", nil)
		req.Header.Set("Idempotency-Key", sdk.IdempotencyKey(ctx)+"/refund")
		req.Header.Set("X-Correlation-ID", "mine")
		req.Header.Set("X-Tenant", "other")
		_, errPut := c.Do(req)
		return nil, errors.Join(errPost, errGet, errReq, errPut)
	})
	if got := run(t, h, sdktest.Attempt{IdempotencyKey: "key", CorrelationID: "corr"}); got.Failure != nil {
		t.Fatal(got.Failure)
	}
	names := []string{"Idempotency-Key", "X-Correlation-Id", "X-Tenant", "User-Agent", "Baggage"}
	const baggage = "workflow.correlation_id=corr"
	for _, tt := range []struct {
		stub *sdktest.HTTPStub
		want []string
	}{
		{post, []string{"key", "corr", "acme", "test", baggage}},
		{get, []string{"", "corr", "acme", "test", baggage}},
		{mine, []string{"key/refund", "mine", "other", "test", baggage}},
	} {
		r := tt.stub.Requests()[0]
		var got []string
		for _, name := range names {
			got = append(got, r.Header.Get(name))
		}
		if diff := cmp.Diff(got, tt.want); diff != "" {
			t.Errorf("%s: headers %v (-got +want):\n%s", r.Method, names, diff)
		}
	}
}

// TestLayers: a request passes the layers in order, with all headers, and once for each redirect that is followed.
func TestLayers(t *testing.T) {
	api := sdktest.HTTP(t)
	api.On("POST", "/old").Reply(307, sdktest.Header("Location", "/new"))
	api.On("POST", "/new").Reply(200)
	var passed []string
	layer := func(name string) httpapi.Layer {
		return func(next http.RoundTripper) http.RoundTripper {
			return roundTripper(func(req *http.Request) (*http.Response, error) {
				passed = append(passed, fmt.Sprint(name, " ", req.URL.Path, " ", req.Header.Get("X-Correlation-Id")))
				return next.RoundTrip(req)
			})
		}
	}
	c := client(t, httpapi.Options{BaseURL: api.URL, Redirects: 1, Layers: []httpapi.Layer{layer("a"), layer("b")}})
	if got := run(t, posts(c, "/old"), sdktest.Attempt{Input: 1, CorrelationID: "corr"}); got.Failure != nil {
		t.Fatal(got.Failure)
	}
	if diff := cmp.Diff(passed, []string{"a /old corr", "b /old corr", "a /new corr", "b /new corr"}); diff != "" {
		t.Errorf("passed (-got +want):\n%s", diff)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// TestTrace: each request names its span, in the trace of the attempt, unless the handler has said otherwise.
func TestTrace(t *testing.T) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for name, tt := range map[string]struct {
		traceparent, tracestate string
		own                     map[string]string
		want, wantState         string // SPAN stands for the id of the span
	}{
		"both":            {parent, "a=1", nil, "00-0af7651916cd43dd8448eb211c80319c-SPAN-01", "a=1"},
		"no state":        {parent, "", nil, "00-0af7651916cd43dd8448eb211c80319c-SPAN-01", ""},
		"a bad state":     {parent, "=", nil, "00-0af7651916cd43dd8448eb211c80319c-SPAN-01", ""},
		"not sampled":     {parent[:len(parent)-1] + "0", "", nil, "00-0af7651916cd43dd8448eb211c80319c-SPAN-00", ""},
		"one's own":       {parent, "a=1", map[string]string{"Traceparent": "00-mine"}, "00-mine", ""},
		"one's own state": {parent, "a=1", map[string]string{"Tracestate": "b=2"}, "00-0af7651916cd43dd8448eb211c80319c-SPAN-01", "b=2"},
	} {
		t.Run(name, func(t *testing.T) {
			api := sdktest.HTTP(t)
			stub := api.On("GET", "/").Reply(200)
			c := client(t, httpapi.Options{BaseURL: api.URL})
			h := sdk.Func(func(ctx context.Context, _ any) (any, error) {
				req, err := c.Request(ctx, http.MethodGet, "/", nil)
				if err != nil {
					return nil, err
				}
				for name, value := range tt.own {
					req.Header.Set(name, value)
				}
				return c.Do(req)
			})
			out := run(t, h, sdktest.Attempt{Traceparent: tt.traceparent, Tracestate: tt.tracestate})
			if out.Failure != nil {
				t.Fatal(out.Failure)
			}
			got := stub.Requests()[0].Header
			want := strings.ReplaceAll(tt.want, "SPAN", out.Span(t, "api.call").ID)
			if got.Get("Traceparent") != want || got.Get("Tracestate") != tt.wantState {
				t.Errorf("traceparent %q, tracestate %q; want %q, %q", got.Get("Traceparent"), got.Get("Tracestate"), want, tt.wantState)
			}
		})
	}
}

func TestRedirects(t *testing.T) {
	other := sdktest.HTTP(t)
	for name, tt := range map[string]struct {
		method, location string
		status, limit    int
		followed         bool
	}{
		"not by default":     {"GET", "/new", 302, 0, false},
		"GET":                {"GET", "/new", 302, 1, true},
		"POST becomes GET":   {"POST", "/new", 302, 1, false},
		"POST stays POST":    {"POST", "/new", 308, 1, true},
		"to another host":    {"GET", other.URL + "/new", 307, 5, false},
		"more than allowed":  {"GET", "/old", 307, 3, false},
		"without a location": {"GET", "", 300, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			api := sdktest.HTTP(t)
			var parts []any
			if parts = append(parts, tt.status); tt.location != "" {
				parts = append(parts, sdktest.Header("Location", tt.location))
			}
			old := api.On(tt.method, "/old").Reply(parts...)
			if tt.location == "/old" {
				old.Repeat()
			}
			if tt.followed {
				api.On(tt.method, "/new").Reply(200)
			}
			c := client(t, httpapi.Options{BaseURL: api.URL, Redirects: tt.limit})
			req, err := c.Request(t.Context(), tt.method, "/old", nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = c.Do(req)
			if got := sdk.Explain(err); tt.followed && err != nil || !tt.followed && (got.Code != fmt.Sprintf("HTTP_%d", tt.status) || got.Verdict != sdk.Retryable) {
				t.Errorf("error %v, want followed %v", err, tt.followed)
			}
			if want := tt.limit + 1; tt.location == "/old" && len(old.Requests()) != want {
				t.Errorf("%d requests, want %d", len(old.Requests()), want)
			}
		})
	}
}

// TestSecrets (rule H3): what is secret of a request is neither logged nor in an error, even when the API repeats it.
func TestSecrets(t *testing.T) {
	const secret = "hush-hush-hush"
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		_, _ = fmt.Fprintf(w, `{"message": "not with %s", "headers": %q, "far": %q}`, secret, fmt.Sprint(r.Header), strings.Repeat("x", 3900)+secret)
	})
	c := client(t, httpapi.Options{BaseURL: server.URL, SecretHeaders: []string{"x-shop"}, Header: http.Header{"X-Api-Key": {secret + "1"}}})
	for name, set := range map[string]func(*http.Request){
		"Bearer":   func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+secret) },
		"Basic":    func(r *http.Request) { r.SetBasicAuth("ada", secret) },
		"Cookie":   func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "s", Value: secret}) },
		"by name":  func(r *http.Request) { r.Header.Set("X-Session-Token", secret) },
		"declared": func(r *http.Request) { r.Header.Set("X-Shop", secret) },
	} {
		t.Run(name, func(t *testing.T) {
			h := sdk.Func(func(ctx context.Context, _ any) (any, error) {
				req, err := c.Request(ctx, http.MethodGet, "/?token="+secret, nil)
				if err != nil {
					return nil, err
				}
				set(req)
				r, err := c.Do(req)
				if e, ok := errors.AsType[*httpapi.StatusError](err); ok && (bytes.Contains(e.Body, []byte(secret)) || len(e.Body) > 4096) {
					t.Errorf("the body that is kept: %s", e.Body)
				}
				return r, err
			})
			got := run(t, h, sdktest.Attempt{})
			if told := fmt.Sprintf("%+v %s", got.Failure, got.Failure.Details); strings.Contains(told, secret) || !strings.Contains(told, "***") {
				t.Errorf("the failure tells: %s", told)
			}
			logged := ""
			for _, l := range got.Logs {
				logged += l.Message + string(l.Fields)
			}
			if strings.Contains(logged, secret) || !strings.Contains(logged, "called an API") || !strings.Contains(logged, `"status":403`) {
				t.Errorf("logged: %s", logged)
			}
		})
	}
}

// TestErrorBody (rule H3): what fits into 4 KiB of the body is kept, whatever it consists of, and the message has the API's words.
func TestErrorBody(t *testing.T) {
	for name, tt := range map[string]struct {
		kind, body string
		message    string
		truncated  bool
	}{
		"message":     {"application/json", `{"message": "no\n stock"}`, "GET /x: 422 Unprocessable Entity: no stock", false},
		"problem":     {"application/problem+json", `{"title": "Sold out", "detail": "no stock"}`, "GET /x: 422 Unprocessable Entity: no stock", false},
		"error":       {"application/json", `{"error": {"message": "no stock"}}`, "GET /x: 422 Unprocessable Entity: no stock", false},
		"text":        {"text/plain; charset=utf-8", "no stock", "GET /x: 422 Unprocessable Entity: no stock", false},
		"HTML":        {"text/html", "<p>no stock</p>", "GET /x: 422 Unprocessable Entity", false},
		"nothing":     {"", "", "GET /x: 422 Unprocessable Entity", false},
		"a long text": {"text/plain", strings.Repeat("ä", 3000), "GET /x: 422 Unprocessable Entity: " + strings.Repeat("ä", 100) + "...", true},
		"escapes":     {"text/html", strings.Repeat("\x01\"", 2000), "GET /x: 422 Unprocessable Entity", true},
		"binary":      {"application/pdf", strings.Repeat("\xff\xfea", 2000), "GET /x: 422 Unprocessable Entity", true},
	} {
		t.Run(name, func(t *testing.T) {
			api := sdktest.HTTP(t)
			api.On("GET", "/x").Reply(422, sdktest.Body(tt.kind, tt.body))
			got := run(t, gets(client(t, httpapi.Options{BaseURL: api.URL}), "/x?q=1"), sdktest.Attempt{}).Failure
			var d struct {
				Status    int    `json:"status"`
				Body      string `json:"body"`
				Truncated bool   `json:"truncated"`
			}
			if err := json.Unmarshal(got.Details, &d); err != nil {
				t.Fatal(err)
			}
			if got.Message != tt.message || d.Status != 422 || d.Truncated != tt.truncated || len(got.Details) > sdk.MaxDetails {
				t.Errorf("message %q, status %d, truncated %v, %d bytes of details; want %q, truncated %v", got.Message, d.Status, d.Truncated, len(got.Details), tt.message, tt.truncated)
			}
			if !tt.truncated && d.Body != tt.body || tt.truncated && len(d.Body) < 500 {
				t.Errorf("kept %d bytes: %.100q", len(d.Body), d.Body)
			}
		})
	}
}

func TestRequestBodies(t *testing.T) {
	for name, tt := range map[string]struct {
		body       any
		want, kind string
		code       string
	}{
		"nothing":   {nil, "", "", ""},
		"a struct":  {number{1}, `{"n":1}`, "application/json", ""},
		"HTML":      {"<&>", `"<&>"`, "application/json", ""},
		"raw JSON":  {json.RawMessage(`{"n": 1}`), `{"n": 1}`, "application/json", ""},
		"a form":    {url.Values{"a": {"1 2", "ä"}}, "a=1+2&a=%C3%A4", "application/x-www-form-urlencoded", ""},
		"bytes":     {[]byte("raw"), "raw", "application/octet-stream", ""},
		"a reader":  {io.MultiReader(strings.NewReader("re"), strings.NewReader("ad")), "read", "application/octet-stream", ""},
		"no JSON":   {func() {}, "", "", httpapi.CodeInvalidRequest},
		"too large": {strings.Repeat("x", 99), "", "", httpapi.CodeRequestTooLarge},
		"an endless reader": {
			io.MultiReader(strings.NewReader(strings.Repeat("x", 60)), strings.NewReader(strings.Repeat("x", 60))), "", "", httpapi.CodeRequestTooLarge,
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if tt.code == "" && (err != nil || string(body) != tt.want || r.Header.Get("Content-Type") != tt.kind) {
					t.Errorf("body %s of %q (%v), want %s of %q", body, r.Header.Get("Content-Type"), err, tt.want, tt.kind)
				}
				w.WriteHeader(http.StatusNoContent)
			})
			_, err := client(t, httpapi.Options{BaseURL: server.URL, MaxRequestBody: 100}).Post(t.Context(), "/", tt.body)
			if got := sdk.Explain(err); got.Code != tt.code || tt.code != "" && got.Verdict != sdk.Final {
				t.Errorf("error %v, %v %q; want %q", err, got.Verdict, got.Code, tt.code)
			}
		})
	}
}

func TestPaths(t *testing.T) {
	for _, tt := range []struct{ base, path, want string }{
		{"", "", "/api/v1?key=1"},
		{"", "orders", "/api/v1/orders?key=1"},
		{"", "/orders/?a=b", "/api/v1/orders/?key=1&a=b"},
		{"", httpapi.Path("orders", "a/b c", "ä?"), "/api/v1/orders/a%2Fb%20c/%C3%A4%3F?key=1"},
		{"", httpapi.Path("orders", ""), "refused"},
		{"", httpapi.Path("orders", ".."), "refused"},
		{"", "/orders/../admin", "refused"},
		{"", "/orders/%2E%2e/admin", "refused"},
		{"", "://", "refused"},
		{"", "ftp://example.com/", "refused"},
		{"", "mailto:ada@example.com", "refused"},
		{"none", "/orders", "refused"},
	} {
		api := serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RequestURI) })
		base := api.URL + "/api/v1?key=1"
		if tt.base != "" {
			base = ""
		}
		r, err := client(t, httpapi.Options{BaseURL: base}).Get(t.Context(), tt.path)
		got := "refused"
		if err == nil {
			got = string(r.Body)
		} else if e := sdk.Explain(err); e.Verdict != sdk.Final || e.Code != httpapi.CodeInvalidRequest {
			t.Errorf("%q: error %v, %v %s", tt.path, err, e.Verdict, e.Code)
		}
		if got != tt.want {
			t.Errorf("%q below %q: %s, want %s", tt.path, base, got, tt.want)
		}
	}
}

// TestStored: what is stored of an answer when the handler does not shape it (rule H4).
func TestStored(t *testing.T) {
	for name, tt := range map[string]struct {
		kind, body string
		stored     []string
		want       string
	}{
		"JSON":         {"application/json", `{"n": 12345678901234567890}`, nil, `{"status":200,"headers":{"content-type":"application/json","etag":"1"},"body":{"n":12345678901234567890}}`},
		"JSON unsaid":  {"", `[1]`, []string{"ETAG"}, `{"status":200,"headers":{"etag":"1"},"body":[1]}`},
		"a text":       {"text/plain", "<n>", []string{}, `{"status":200,"headers":{},"body":"<n>"}`},
		"bytes":        {"image/png", "\xff\x00", []string{}, `{"status":200,"headers":{},"body":"/wA=","encoding":"base64"}`},
		"nothing":      {"application/json", "", []string{}, `{"status":200,"headers":{},"body":null}`},
		"all cookies":  {"text/plain", "x", []string{"set-cookie"}, `{"status":200,"headers":{"set-cookie":"a=1, b=2"},"body":"x"}`},
		"a JSON text":  {"text/plain", `{"n": 1}`, []string{}, `{"status":200,"headers":{},"body":"{\"n\": 1}"}`},
		"vendor types": {"application/vnd.api+json", `{}`, []string{}, `{"status":200,"headers":{},"body":{}}`},
	} {
		t.Run(name, func(t *testing.T) {
			server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Content-Type"] = nil
				if tt.kind != "" {
					w.Header().Set("Content-Type", tt.kind)
				}
				w.Header().Set("Etag", "1")
				w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
				_, _ = io.WriteString(w, tt.body)
			})
			c := client(t, httpapi.Options{BaseURL: server.URL, StoredHeaders: tt.stored})
			if got := run(t, gets(c, "/"), sdktest.Attempt{}); string(got.Output) != tt.want {
				t.Errorf("stored %s (failure %v), want %s", got.Output, got.Failure, tt.want)
			}
		})
	}
}

// TestDecode: an answer that does not fit may be a better one next time.
func TestDecode(t *testing.T) {
	for body, want := range map[string]string{`{"n":1}`: "", `[]`: httpapi.CodeInvalidResponse, ``: httpapi.CodeInvalidResponse} {
		err := httpapi.Response{Body: []byte(body)}.Decode(&number{})
		if got := sdk.Explain(err); got.Code != want || want != "" && (got.Verdict != sdk.Retryable || got.Source != sdk.FromDownstream) {
			t.Errorf("Decode of %q: %v, code %q, want %q", body, err, got.Code, want)
		}
	}
}

func TestTLS(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = quiet()
	server.StartTLS()
	defer server.Close()
	plain := serve(t, func(http.ResponseWriter, *http.Request) {})
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		files httpapi.TLS
		url   string
		code  string
	}{
		"trusted":        {httpapi.TLS{CAFile: ca}, server.URL, ""},
		"unknown signer": {httpapi.TLS{}, server.URL, httpapi.CodeTLS},
		"another name":   {httpapi.TLS{CAFile: ca, ServerName: "bank.example"}, server.URL, httpapi.CodeTLS},
		"no TLS":         {httpapi.TLS{CAFile: ca}, strings.Replace(plain.URL, "http:", "https:", 1), httpapi.CodeTLS},
	} {
		t.Run(name, func(t *testing.T) {
			config, err := tt.files.Config()
			if err != nil {
				t.Fatal(err)
			}
			_, err = client(t, httpapi.Options{BaseURL: tt.url, TLS: config}).Get(t.Context(), "/")
			if got := sdk.Explain(err); got.Code != tt.code || tt.code != "" && (got.Verdict != sdk.Retryable || got.Source != sdk.FromDownstream) {
				t.Errorf("error %v, %v %q, want another attempt, %q", err, got.Verdict, got.Code, tt.code)
			}
		})
	}
	for want, files := range map[string]httpapi.TLS{
		"/ca_file: open":                       {CAFile: "no.pem"},
		"/ca_file: there is no certificate in": {CAFile: "client_test.go"},
		"/cert_file: a certificate and its":    {KeyFile: ca},
		"/cert_file: tls:":                     {CertFile: ca, KeyFile: ca},
	} {
		if _, err := files.Config(); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

// TestBreaker: a host that fails is left alone, and tried again by one call.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		status, calls := 500, 0
		c := client(t, httpapi.Options{
			BaseURL: "http://api.example", Breaker: httpapi.Breaker{Failures: 3, Delay: time.Minute},
			Transport: answering(func() (int, error) {
				calls++
				if status == 0 {
					return 0, errors.New("no route")
				}
				return status, nil
			}),
		})
		ask := func(want string) {
			t.Helper()
			_, err := c.Get(t.Context(), "/")
			got := sdk.Explain(err)
			if text := fmt.Sprint(got.Code, " ", got.RetryAfter, " ", calls); text != want {
				t.Errorf("%s (%v), want %s", text, err, want)
			}
		}
		ask("HTTP_500 0s 1")
		ask("HTTP_500 0s 2")
		status = 429
		ask("HTTP_429 0s 3") // it answers: the row is over
		status = 0
		ask("network_error 0s 4")
		ask("network_error 0s 5")
		ask("network_error 0s 6")
		ask("circuit_open 1m0s 6")
		if _, err := c.Get(t.Context(), "http://other.example/"); sdk.Explain(err).Code != httpapi.CodeNetwork {
			t.Errorf("another host: %v, want it to be asked", err)
		}
		<-time.After(40 * time.Second)
		ask("circuit_open 20s 7")
		<-time.After(20 * time.Second)
		ask("network_error 0s 8") // one call has tried it
		ask("circuit_open 1m0s 8")
		status = 200
		<-time.After(time.Minute)
		ask(" 0s 9")
		ask(" 0s 10")
	})
}

// TestRate: calls wait for their turn, or fail when it comes too late.
func TestRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := client(t, httpapi.Options{
			BaseURL: "http://api.example", Rate: httpapi.Rate{PerSecond: 2, Burst: 1},
			Transport: answering(func() (int, error) { return 200, nil }),
		})
		began := time.Now()
		for range 5 {
			if _, err := c.Get(t.Context(), "/"); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("5 calls took %s of fake time, want 2s", took)
		}
		short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := c.Get(short, "/")
		if got := sdk.Explain(err); got.Code != httpapi.CodeRateLimited || got.Verdict != sdk.Retryable || got.RetryAfter != 500*time.Millisecond {
			t.Errorf("error %v, %s, after %s; want rate_limited, after 500ms", err, got.Code, got.RetryAfter)
		}
		gone, leave := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, leave)
		if _, err := c.Get(gone, "/"); !errors.Is(err, context.Canceled) || sdk.Explain(err).Verdict != sdk.Undecided {
			t.Errorf("error %v, want the context's", err)
		}
	})
}

// answering is the end of a chain without a network.
func answering(answer func() (int, error)) http.RoundTripper {
	return roundTripper(func(*http.Request) (*http.Response, error) {
		status, err := answer()
		if err != nil {
			return nil, err
		}
		return &http.Response{StatusCode: status, Header: make(http.Header), Body: http.NoBody}, nil
	})
}

func TestOptions(t *testing.T) {
	for want, opts := range map[string]httpapi.Options{
		"httpapi: the base URL is no http or https URL with a host": {BaseURL: "ftp://hush@example.com"},
		"httpapi: a time is less than nothing":                      {Timeout: -1},
		"httpapi: a limit is less than nothing":                     {Redirects: -1},
		"httpapi: the rate is no number of calls":                   {Rate: httpapi.Rate{PerSecond: -1}},
		"httpapi: a layer is nil":                                   {Layers: []httpapi.Layer{nil}},
	} {
		if _, err := httpapi.New(opts); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

// TestPathProperties: whatever a segment is, a request goes below the base URL and carries it whole, or is refused.
func TestPathProperties(t *testing.T) {
	c := client(t, httpapi.Options{BaseURL: "http://api.example/v1"})
	rapid.Check(t, func(rt *rapid.T) {
		segments := rapid.SliceOfN(rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{".", "..", "", "/", "%2e%2e", "..\\", "a/../b", "?", "#", ";x=1"})), 1, 4).Draw(rt, "segments")
		req, err := c.Request(t.Context(), http.MethodGet, httpapi.Path(segments...), nil)
		if err != nil {
			if !slices.ContainsFunc(segments, func(s string) bool { return s == "" || s == "." || s == ".." }) {
				rt.Fatalf("%q is refused: %v", segments, err)
			}
			return
		}
		sent := req.URL.EscapedPath()
		rest, ok := strings.CutPrefix(sent, "/v1/")
		if !ok || req.URL.Host != "api.example" || req.URL.RawQuery != "" || req.URL.Fragment != "" {
			rt.Fatalf("%q leads to %s", segments, req.URL)
		}
		var got []string
		for s := range strings.SplitSeq(rest, "/") {
			plain, err := url.PathUnescape(s)
			if err != nil {
				rt.Fatal(err)
			}
			got = append(got, plain)
		}
		if diff := cmp.Diff(got, segments); diff != "" {
			rt.Errorf("%s (-got +want):\n%s", sent, diff)
		}
	})
}

// TestAbandonedTrial: a call that was to try a host and was given up leaves the host alone for another while.
func TestAbandonedTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := false
		c := client(t, httpapi.Options{
			BaseURL: "http://api.example", Breaker: httpapi.Breaker{Failures: 1, Delay: time.Minute},
			Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
				if hang {
					<-req.Context().Done()
				}
				return nil, errors.New("no route")
			}),
		})
		codes := func(ctx context.Context) string {
			_, err := c.Get(ctx, "/")
			return sdk.Explain(err).Code
		}
		gone, leave := context.WithCancel(t.Context())
		got := []string{codes(t.Context())}
		<-time.After(time.Minute)
		hang = true
		time.AfterFunc(time.Second, leave)
		got = append(got, codes(gone), codes(t.Context()))
		<-time.After(time.Minute)
		hang = false
		got = append(got, codes(t.Context()))
		if diff := cmp.Diff(got, []string{httpapi.CodeNetwork, "", httpapi.CodeCircuitOpen, httpapi.CodeNetwork}); diff != "" {
			t.Errorf("codes (-got +want):\n%s", diff)
		}
	})
}
