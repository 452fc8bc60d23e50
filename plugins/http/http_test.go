package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/httpapi"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// TestMain makes the test binary its own plugin.
func TestMain(m *testing.M) {
	if sdktest.Launched() {
		main()
	}
	goleak.VerifyTestMain(m)
}

type (
	object = map[string]any
	list   = []any
)

// with makes the plugin's configuration: the service "shop".
func with(url string, more object) sdktest.Options {
	settings := object{"url": url}
	maps.Copy(settings, more)
	return sdktest.Options{Config: object{"services": object{"shop": settings}}, LogLevel: "trace"}
}

// run executes one attempt of a step with a config.
func run(t *testing.T, opts sdktest.Options, config object, a sdktest.Attempt) *sdktest.Outcome {
	t.Helper()
	a.Handler, a.Config = "request", config
	return sdktest.Start(t, plugin(), opts).Run(t, a)
}

// one asserts that there was one request, and returns it.
func one(t *testing.T, stub *sdktest.HTTPStub) sdktest.HTTPRequest {
	t.Helper()
	got := stub.Requests()
	if len(got) != 1 {
		t.Fatalf("%d requests, want 1", len(got))
	}
	return got[0]
}

var (
	input   = json.RawMessage(`{"order": "o/1 ä", "n": 12345678901234567890, "ok": true, "tags": ["a", "b&c"], "nothing": null, "a/b": {"~": 1}}`)
	results = object{"charge": object{"id": "ch_1", "lines": list{object{"sku": "x"}}}}
)

// TestRequest: what a config asks for is what is sent.
func TestRequest(t *testing.T) {
	tests := map[string]struct {
		config object
		path   string // as it is sent, with the query
		body   string
		kind   string // of the body
		header string // X-Test
	}{
		"a URL":         {config: object{"url": "/v1/orders?all=1"}, path: "/base/v1/orders?all=1"},
		"the service":   {config: object{}, path: "/base"},
		"segments":      {config: object{"path": list{"orders", object{"$input": "/order"}, object{"$input": "/n"}, 7}}, path: "/base/orders/o%2F1%20%C3%A4/12345678901234567890/7"},
		"URL, segments": {config: object{"url": "v1/?q=1", "path": list{"{order}"}}, path: "/base/v1/%7Border%7D?q=1"},
		"query": {
			config: object{"query": object{
				"o": object{"$input": "/order"}, "t": object{"$input": "/tags"}, "x": object{"$input": "/nothing"}, "ok": object{"$input": "/ok"},
				"d": object{"$input": "/gone", "$default": 5}, "e": object{"$result": "/gone/id", "$default": nil}, "r": object{"$result": "/charge/lines/0/sku"},
			}},
			path: "/base?d=5&o=o%2F1+%C3%A4&ok=true&r=x&t=a&t=b%26c",
		},
		"JSON": {
			config: object{"method": "POST", "body": object{
				"order": object{"$input": "/order"}, "n": object{"$input": "/n"}, "deep": list{object{"$input": "/a~1b/~0"}, "{{n}} $input"},
				"charge": object{"$result": "/charge"}, "as is": object{"$literal": object{"$input": "/order"}},
			}},
			path: "/base", kind: "application/json",
			body: `{"as is":{"$input":"/order"},"charge":{"id":"ch_1","lines":[{"sku":"x"}]},"deep":[1,"{{n}} $input"],"n":12345678901234567890,"order":"o/1 ä"}`,
		},
		"the input":  {config: object{"method": "PUT", "body": object{"$input": ""}}, path: "/base", kind: "application/json", body: `{"a/b":{"~":1},"n":12345678901234567890,"nothing":null,"ok":true,"order":"o/1 ä","tags":["a","b\u0026c"]}`},
		"a form":     {config: object{"method": "POST", "encoding": "form", "body": object{"o": object{"$input": "/order"}, "t": list{1, 2}}}, path: "/base", kind: "application/x-www-form-urlencoded", body: "o=o%2F1+%C3%A4&t=1&t=2"},
		"a text":     {config: object{"method": "PATCH", "encoding": "text", "body": object{"$result": "/charge/id"}}, path: "/base", kind: "text/plain; charset=utf-8", body: "ch_1"},
		"headers":    {config: object{"headers": object{"x-test": object{"$input": "/n"}}}, path: "/base", header: "12345678901234567890"},
		"null body":  {config: object{"method": "POST", "body": object{"$input": "/nothing"}}, path: "/base", kind: "application/json", body: "null"},
		"of skipped": {config: object{"method": "POST", "body": object{"$result": "/skipped"}}, path: "/base", kind: "application/json", body: "null"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			api := sdktest.HTTP(t)
			method, _ := tt.config["method"].(string)
			if method == "" {
				method = http.MethodGet
			}
			escaped, query, _ := strings.Cut(tt.path, "?")
			path, err := http.NewRequestWithContext(t.Context(), method, "http://x"+escaped, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			plain := *path.URL
			plain.RawPath, plain.Host, plain.Scheme = "", "", ""
			stub := api.On(method, plain.String()).Reply(200)
			tt.config["service"] = "shop"
			a := sdktest.Attempt{Input: input, Results: results, Skipped: []string{"skipped"}, IdempotencyKey: "key", CorrelationID: "corr"}
			if got := run(t, with(api.URL+"/base", nil), tt.config, a); got.Failure != nil {
				t.Fatal(got.Failure)
			}
			got := one(t, stub)
			if got.EscapedPath != escaped || got.Query.Encode() != query && query != "" || len(got.Query) > 0 && query == "" {
				t.Errorf("asked for %s?%s, want %s", got.EscapedPath, got.Query.Encode(), tt.path)
			}
			if string(got.Body) != tt.body || got.Header.Get("Content-Type") != tt.kind || got.Header.Get("X-Test") != tt.header {
				t.Errorf("body %s of %q, header %q; want %s of %q, %q", got.Body, got.Header.Get("Content-Type"), got.Header.Get("X-Test"), tt.body, tt.kind, tt.header)
			}
			if key := got.Header.Get("Idempotency-Key"); (key == "key") != (method != http.MethodGet) || got.Header.Get("X-Correlation-Id") != "corr" {
				t.Errorf("key %q, correlation id %q", key, got.Header.Get("X-Correlation-Id"))
			}
		})
	}
}

// TestRefused: what cannot be meant fails for good, with its place, and nothing is sent.
func TestRefused(t *testing.T) {
	api := sdktest.HTTP(t)
	shop := func(c object) object { c["service"] = "shop"; return c }
	for name, tt := range map[string]struct {
		config  object
		code    string
		message string
	}{
		"nowhere":            {object{}, sdk.CodeInvalidConfig, "/url: without a service it is an http or https URL with a host"},
		"unknown service":    {object{"service": "warehouse"}, sdk.CodeInvalidConfig, `the plugin's configuration has no service "warehouse", only [shop]`},
		"elsewhere":          {shop(object{"url": "http://evil.example"}), sdk.CodeInvalidConfig, "/url: with a service it is a path below the service's URL, so that credentials go nowhere else"},
		"elsewhere, //":      {shop(object{"url": "//evil.example"}), sdk.CodeInvalidConfig, "/url: with a service it is a path below the service's URL, so that credentials go nowhere else"},
		"above":              {shop(object{"url": "../admin"}), httpapi.CodeInvalidRequest, "the path has a segment that is . or .., or one made by Path that is empty"},
		"above, escaped":     {shop(object{"url": "/%2e%2e/admin"}), httpapi.CodeInvalidRequest, "the path has a segment that is . or .., or one made by Path that is empty"},
		"above, by a value":  {shop(object{"path": list{".."}}), codeReference, `/path/0: ".." is no segment of a path`},
		"empty segment":      {shop(object{"path": list{"orders", ""}}), codeReference, `/path/1: "" is no segment of a path`},
		"credentials":        {object{"url": "http://a:b@shop.example"}, sdk.CodeInvalidConfig, "/url: credentials belong into the plugin's configuration"},
		"a body with GET":    {shop(object{"body": 1}), sdk.CodeInvalidConfig, "/body: GET has none"},
		"a list as segment":  {shop(object{"path": list{object{"$input": "/tags"}}}), codeReference, "/path/0: want a text, a number or a boolean, not a list"},
		"no such input":      {shop(object{"query": object{"q": object{"$input": "/gone"}}}), codeReference, "/query/q: the input: /gone: nothing there"},
		"no such element":    {shop(object{"query": object{"q": object{"$input": "/tags/02"}}}), codeReference, "/query/q: the input: /tags/02: nothing there"},
		"no such result":     {shop(object{"query": object{"q": object{"$result": "/charge/gone"}}}), codeReference, "/query/q: the results of step charge: /gone: nothing there"},
		"no such step":       {shop(object{"query": object{"q": object{"$result": "/ship/id"}}}), codeReference, `/query/q: step "ship": no such dependency result: there are results of [charge]`},
		"no such reference":  {shop(object{"query": object{"q": object{"$imput": "/n"}}}), sdk.CodeInvalidConfig, "/query/q: a reference is {$input: POINTER}, {$result: /STEP/POINTER}, either with $default, or {$literal: ANYTHING}"},
		"two lines":          {shop(object{"headers": object{"X-Test": "a\r\nX-Other: b"}}), codeReference, "/headers/X-Test: the value has more than one line"},
		"no header":          {shop(object{"headers": object{"X Test": "a"}}), sdk.CodeInvalidConfig, `/headers: "X Test" is no name of a header`},
		"pages of a POST":    {shop(object{"method": "POST", "pages": object{"items": "/body"}}), sdk.CodeInvalidConfig, "/pages: only GET has pages"},
		"no pointer":         {shop(object{"pages": object{"items": "body"}}), sdk.CodeInvalidConfig, `/pages/items: "body" is no JSON pointer, such as /body/id`},
		"a form of a number": {shop(object{"method": "POST", "encoding": "form", "body": 1}), sdk.CodeInvalidConfig, "/body: with encoding: form it is an object"},
	} {
		t.Run(name, func(t *testing.T) {
			got := run(t, with(api.URL, nil), tt.config, sdktest.Attempt{Input: input, Results: results}).Failure
			if got == nil || got.Verdict != sdk.Final || got.Code != tt.code || got.Message != tt.message {
				t.Errorf("failure %v\nwant a permanent %s: %s", got, tt.code, tt.message)
			}
		})
	}
}

func TestExtract(t *testing.T) {
	const body = `{"id": 12345678901234567890, "lines": [{"sku": "x"}], "none": null}`
	for name, tt := range map[string]struct {
		extract any
		want    string
		failure string
	}{
		"all":        {nil, `{"body":{"id":12345678901234567890,"lines":[{"sku":"x"}],"none":null},"headers":{"content-type":"application/json","location":"/orders/1"},"status":201}`, ""},
		"one":        {"/body/lines/0/sku", `"x"`, ""},
		"the body":   {"/body", `{"id":12345678901234567890,"lines":[{"sku":"x"}],"none":null}`, ""},
		"several":    {object{"id": "/body/id", "at": "/headers/location", "status": "/status", "none": "/body/none"}, `{"at":"/orders/1","id":12345678901234567890,"none":null,"status":201}`, ""},
		"missing":    {object{"id": "/body/gone"}, "", "retryable invalid_response: the answer: /body/gone: nothing there"},
		"no pointer": {"body", "", `permanent invalid_config: `},
	} {
		t.Run(name, func(t *testing.T) {
			api := sdktest.HTTP(t)
			config := object{"method": "POST", "url": api.URL + "/orders", "expect": list{201}}
			if tt.extract != nil {
				config["extract"] = tt.extract
			}
			if name != "no pointer" {
				api.On("POST", "/orders").Reply(201, sdktest.Header("Location", "/orders/1"), sdktest.JSON(json.RawMessage(body)))
			}
			got := run(t, sdktest.Options{}, config, sdktest.Attempt{})
			if tt.failure != "" {
				if got.Failure == nil || !strings.HasPrefix(got.Failure.String(), tt.failure) {
					t.Errorf("failure %v, want %s", got.Failure, tt.failure)
				}
				return
			}
			if string(got.Output) != tt.want {
				t.Errorf("result %s (failure %v), want %s", got.Output, got.Failure, tt.want)
			}
		})
	}
}

func TestPages(t *testing.T) {
	page := func(next any, items ...any) sdktest.HTTPPart {
		return sdktest.JSON(object{"data": items, "next": next})
	}
	link := func(text string) sdktest.HTTPPart { return sdktest.Header("Link", text) }
	for name, tt := range map[string]struct {
		stub    func(*sdktest.HTTPServer)
		pages   object
		want    string
		failure string
	}{
		"by a pointer": {func(api *sdktest.HTTPServer) {
			api.On("GET", "/items?page=2").Reply(200, page(api.URL+"/items?page=3", 3))
			api.On("GET", "/items?page=3").Reply(200, page(nil, 4))
			api.On("GET", "/items").Reply(200, page("?page=2", 1, 2))
		}, object{"items": "/body/data", "next": "/body/next"}, `{"body":[1,2,3,4],"n":3}`, ""},
		"by links": {func(api *sdktest.HTTPServer) {
			api.On("GET", "/items?after=2").Reply(200, page(nil, 3), link(`</items>; rel="prev first"`))
			api.On("GET", "/items").Reply(200, page(nil, 1, 2), link(`</items?x=1>; rel=last, </items?after=2>; title="a"; rel="next"`))
		}, object{"items": "/body/data"}, `{"body":[1,2,3],"n":2}`, ""},
		"one page": {func(api *sdktest.HTTPServer) { api.On("GET", "/items").Reply(200, page("", 1)) }, object{"items": "/body/data", "next": "/body/next"}, `{"body":[1],"n":1}`, ""},
		"too many": {func(api *sdktest.HTTPServer) {
			api.On("GET", "/items?page=2").Reply(200, page("?page=3", 2))
			api.On("GET", "/items").Reply(200, page("?page=2", 1))
		}, object{"items": "/body/data", "next": "/body/next", "limit": 2}, "", "permanent too_many_pages: there are more than 2 pages"},
		"in a circle": {func(api *sdktest.HTTPServer) {
			api.On("GET", "/items").Reply(200, page("/items", 1))
		}, object{"items": "/body/data", "next": "/body/next"}, "", "permanent invalid_response: page 1: the next page is one that was there already"},
		"elsewhere": {func(api *sdktest.HTTPServer) {
			api.On("GET", "/items").Reply(200, page("http://evil.example/items", 1))
		}, object{"items": "/body/data", "next": "/body/next"}, "", "permanent invalid_response: page 1: the next page is on another server, evil.example"},
		"a failing page": {func(api *sdktest.HTTPServer) {
			api.On("GET", "/items?page=2").Reply(429, sdktest.RetryAfter(3))
			api.On("GET", "/items").Reply(200, page("?page=2", 1))
		}, object{"items": "/body/data", "next": "/body/next"}, "", "retryable HTTP_429: page 2: GET /items: 429 Too Many Requests"},
		"no list": {func(api *sdktest.HTTPServer) { api.On("GET", "/items").Reply(200, page("")) }, object{"items": "/body/next"}, "", "retryable invalid_response: page 1: /body/next is a string, want a list"},
	} {
		t.Run(name, func(t *testing.T) {
			api := sdktest.HTTP(t)
			tt.stub(api)
			config := object{"service": "shop", "url": "items", "pages": tt.pages, "extract": object{"body": "/body", "n": "/pages"}}
			got := run(t, with(api.URL, object{"bearer": "tok"}), config, sdktest.Attempt{})
			if tt.failure != "" {
				if got.Failure == nil || got.Failure.String() != tt.failure {
					t.Errorf("failure %v, want %s", got.Failure, tt.failure)
				}
				return
			}
			if string(got.Output) != tt.want {
				t.Errorf("result %s (failure %v), want %s", got.Output, got.Failure, tt.want)
			}
			for _, r := range api.Requests() {
				if r.Header.Get("Authorization") != "Bearer tok" {
					t.Errorf("%s was asked for without credentials", r.Path)
				}
			}
		})
	}
}

// TestLogin: credentials are those of the configuration, and nobody gets to see them.
func TestLogin(t *testing.T) {
	for name, tt := range map[string]struct {
		settings object
		header   string
		want     string
	}{
		"bearer":    {object{"bearer": "hush-hush"}, "Authorization", "Bearer hush-hush"},
		"basic":     {object{"basic": object{"username": "ada", "password": "hush-hush"}}, "Authorization", "Basic YWRhOmh1c2gtaHVzaA=="},
		"a header":  {object{"headers": object{"x-shop": "hush-hush"}}, "X-Shop", "hush-hush"},
		"no login":  {object{}, "Authorization", ""},
		"one's own": {object{"bearer": "hush-hush"}, "Authorization", "Bearer hush-hush"},
	} {
		t.Run(name, func(t *testing.T) {
			api := sdktest.HTTP(t)
			stub := api.On("GET", "/").Reply(403, sdktest.JSON(object{"message": "not with " + tt.want + ", hush-hush"}))
			config := object{"service": "shop"}
			if name == "one's own" {
				config["headers"] = object{"Authorization": "Bearer mine"}
			}
			got := run(t, with(api.URL, tt.settings), config, sdktest.Attempt{})
			if value := one(t, stub).Header.Get(tt.header); value != tt.want {
				t.Errorf("%s: %q, want %q", tt.header, value, tt.want)
			}
			if told := fmt.Sprintf("%+v %s %+v", got.Failure, got.Failure.Details, got.Logs); tt.want != "" && (strings.Contains(told, "hush") || strings.Contains(told, "YWRh")) {
				t.Errorf("the secret is told: %s", told)
			}
		})
	}
}

// TestSpans: every request of a step is to be seen in its trace, that for a token, too.
func TestSpans(t *testing.T) {
	api := sdktest.HTTP(t)
	api.On("POST", "/token").Reply(200, sdktest.JSON(object{"access_token": "hush-hush", "token_type": "Bearer", "expires_in": 3600}))
	api.On("GET", "/items?page=2").Reply(200, sdktest.JSON(object{"data": list{2}}))
	api.On("GET", "/items").Reply(200, sdktest.JSON(object{"data": list{1}, "next": "?page=2"}))
	settings := object{"oauth2": object{"token_url": api.URL + "/token", "client_id": "me", "client_secret": "hush-hush"}}
	config := object{"service": "shop", "url": "items", "pages": object{"items": "/body/data", "next": "/body/next"}}
	got := run(t, with(api.URL, settings), config, sdktest.Attempt{})
	want := fmt.Sprintf(`handler.process
  api.call http.request.method=POST url.full=%[1]s/token http.response.status_code=200
  api.call http.request.method=GET url.full=%[1]s/items http.response.status_code=200
  api.call http.request.method=GET url.full=%[1]s/items?page=*** http.response.status_code=200
`, api.URL)
	if tree := sdktest.SpanTree(got.Spans, "http.request.method", "url.full", "http.response.status_code"); tree != want {
		t.Errorf("spans (failure %v)\n%s\nwant\n%s", got.Failure, tree, want)
	}
	if told := fmt.Sprint(got.Spans); strings.Contains(told, "hush") {
		t.Errorf("the spans show a secret: %s", told)
	}
	for _, r := range api.Requests() {
		if parent := r.Header.Get("Traceparent"); !strings.Contains(parent, got.Spans[0].Trace) {
			t.Errorf("%s has traceparent %q, want one in trace %s", r.Path, parent, got.Spans[0].Trace)
		}
	}
}

func TestOAuth2(t *testing.T) {
	token := func(value string) sdktest.HTTPPart {
		return sdktest.JSON(object{"access_token": value, "token_type": "Bearer", "expires_in": 3600})
	}
	setup := func(t *testing.T) (*sdktest.HTTPServer, func() *sdktest.Outcome) {
		t.Helper()
		api := sdktest.HTTP(t)
		p := sdktest.Start(t, plugin(), with(api.URL, object{"oauth2": object{
			"token_url": api.URL + "/token", "client_id": "me", "client_secret": "hush-hush", "scopes": list{"read"}, "parameters": object{"audience": list{"shop"}},
		}}))
		return api, func() *sdktest.Outcome {
			return p.Run(t, sdktest.Attempt{Handler: "request", Config: object{"service": "shop", "method": "POST", "url": "/x", "body": 1}})
		}
	}
	t.Run("a token is kept", func(t *testing.T) {
		api, ask := setup(t)
		tokens := api.On("POST", "/token").Reply(200, token("one"))
		calls := api.On("POST", "/x").Reply(200, 200)
		for range 2 {
			if got := ask(); got.Failure != nil {
				t.Fatal(got.Failure)
			}
		}
		if body := string(one(t, tokens).Body); !strings.Contains(body, "grant_type=client_credentials") || !strings.Contains(body, "audience=shop") || !strings.Contains(body, "scope=read") {
			t.Errorf("asked for a token with %s", body)
		}
		if got := calls.Requests()[1].Header.Get("Authorization"); got != "Bearer one" {
			t.Errorf("Authorization: %s", got)
		}
	})
	t.Run("a token that is refused is replaced, once", func(t *testing.T) {
		api, ask := setup(t)
		api.On("POST", "/token").Reply(200, token("one"), 200, token("two"))
		calls := api.On("POST", "/x").Reply(401, 401)
		if got := ask().Failure; got == nil || got.Code != "HTTP_401" || got.Verdict != sdk.Final {
			t.Errorf("failure %v, want HTTP_401", got)
		}
		for i, r := range calls.Requests() {
			if want := []string{"Bearer one", "Bearer two"}[i]; r.Header.Get("Authorization") != want || string(r.Body) != "1" {
				t.Errorf("request %d: %s, body %s; want %s", i, r.Header.Get("Authorization"), r.Body, want)
			}
		}
	})
	t.Run("no token", func(t *testing.T) {
		api, ask := setup(t)
		api.On("POST", "/token").Reply(401, sdktest.JSON(object{"error": "invalid_client"}), 503, sdktest.RetryAfter(4), 200, sdktest.Reset())
		var got []string
		for range 3 {
			f := ask().Failure
			got = append(got, fmt.Sprint(f.Verdict, " ", f.Code, " ", f.RetryAfter))
			if strings.Contains(f.Message, "hush") {
				t.Errorf("the secret is told: %s", f.Message)
			}
		}
		want := []string{"permanent HTTP_401 0s", "retryable HTTP_503 " + (4 * time.Second).String(), "retryable network_error 0s"}
		if diff := cmp.Diff(got, want); diff != "" {
			t.Errorf("failures (-got +want):\n%s", diff)
		}
	})
}

// TestConfiguration: what an operator has to mend is said where it is, without secrets.
func TestConfiguration(t *testing.T) {
	for name, tt := range map[string]struct {
		settings object
		want     string
	}{
		"no URL":        {object{"url": "shop"}, "/services/shop: httpapi: the base URL is no http or https URL with a host"},
		"credentials":   {object{"url": "http://a:hush@shop"}, "/services/shop/url: want an http or https URL"},
		"two logins":    {object{"bearer": "hush", "basic": object{"username": "a", "password": "hush"}}, "/services/shop: one of bearer, basic and oauth2 is enough"},
		"two lines":     {object{"bearer": "hush\n"}, "/services/shop/bearer: the token has more than one line"},
		"no token URL":  {object{"oauth2": object{"token_url": "x", "client_id": "a", "client_secret": "hush"}}, "/services/shop/oauth2/token_url: want an http or https URL with a host"},
		"no CA":         {object{"tls": object{"ca_file": "/no/such/file"}}, "/services/shop/tls/ca_file: open /no/such/file"},
		"no such key":   {object{"beaver": "hush"}, "beaver"},
		"no header":     {object{"headers": object{"X Y": "hush"}}, `/services/shop/headers: "X Y" is no header`},
		"negative time": {object{"timeout": "-1s"}, "/services/shop/timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := sdktest.TryStart(t, plugin(), with("http://shop.example", tt.settings))
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hush") {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}

// TestProcess: it works as a process, too.
func TestProcess(t *testing.T) {
	api := sdktest.HTTP(t)
	api.On("GET", "/").Reply(204)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := sdktest.Launch(t, self, with(api.URL, nil))
	got := p.Run(t, sdktest.Attempt{Handler: "request", Config: object{"service": "shop"}})
	if want := `{"body":null,"headers":{},"status":204}`; string(got.Output) != want {
		t.Errorf("result %s (failure %v), want %s", got.Output, got.Failure, want)
	}
}

func TestNextLink(t *testing.T) {
	for header, want := range map[string]string{
		"":                                 "",
		`<a>; rel="next"`:                  "a",
		`<a>; rel=prev, <b,c;d>; rel=NEXT`: "b,c;d",
		`<a>;rel="prev";title="x, y",<b>;rel="first next"`: "b",
		`<a>; rel="nextish"`: "",
		`<a; rel=next`:       "",
		`rel=next`:           "",
	} {
		if got := nextLink([]string{header}); got != want {
			t.Errorf("nextLink(%s) = %q, want %q", header, got, want)
		}
	}
}
