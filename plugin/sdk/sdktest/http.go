package sdktest

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// maxHTTPBody is the size of the largest request that an [HTTPServer] takes, in bytes.
const maxHTTPBody = 64 << 20

// HTTPServer stands in for an HTTP API: a real server on this machine that answers as its stubs say.
type HTTPServer struct {
	// URL is its address, such as "http://127.0.0.1:40123".
	URL string

	tb     testing.TB
	closed chan struct{} // ends the answers that never come

	mu       sync.Mutex
	stubs    []*HTTPStub
	requests []HTTPRequest
	came     chan struct{} // closed and replaced with each request
}

// HTTP starts a server that answers as it is told:
//
//	api := sdktest.HTTP(t)
//	api.On("POST", "/charge").Reply(429, sdktest.RetryAfter(2), 200)
//
// The first request is answered with 429 and Retry-After: 2, the second with 200. The test fails when a request comes that no
// stub is left for, and when at its end an answer was not asked for.
func HTTP(tb testing.TB) *HTTPServer {
	tb.Helper()
	s := &HTTPServer{tb: tb, closed: make(chan struct{}), came: make(chan struct{})}
	server := httptest.NewServer(http.HandlerFunc(s.serve))
	s.URL = server.URL
	tb.Cleanup(func() {
		close(s.closed)
		server.CloseClientConnections()
		server.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, stub := range s.stubs {
			if left := len(stub.answers); left > 0 && (!stub.repeat || len(stub.taken) == 0) {
				tb.Errorf("%s %s: %d of %d answers were not asked for", stub.method, stub.pattern, left, left+stub.given)
			}
		}
	})
	return s
}

// On adds a stub for requests of a method and path. The path may have a query, "/items?page=2": then the request must have these
// values, and may have others. Of several stubs that fit, the first one that has an answer left gives it. What the stub
// answers says [HTTPStub.Reply].
func (s *HTTPServer) On(method, path string) *HTTPStub {
	s.tb.Helper()
	u, err := url.Parse(path)
	if err != nil || u.IsAbs() || !strings.HasPrefix(u.Path, "/") {
		s.tb.Fatalf("On(%q, %q): want a path that starts with a slash", method, path)
	}
	stub := &HTTPStub{s: s, method: method, pattern: path, path: u.Path, query: u.Query()}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stubs = append(s.stubs, stub)
	return stub
}

// Requests returns the requests that came, those that no stub was left for, too.
func (s *HTTPServer) Requests() []HTTPRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// serve answers a request.
func (s *HTTPServer) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxHTTPBody))
	got := HTTPRequest{Method: r.Method, Path: r.URL.Path, EscapedPath: r.URL.EscapedPath(), Query: r.URL.Query(), Header: r.Header, Body: body}
	s.mu.Lock()
	s.requests = append(s.requests, got)
	answer, found := s.take(got)
	close(s.came)
	s.came = make(chan struct{})
	s.mu.Unlock()
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadRequest) // the client has left
	case !found:
		s.tb.Errorf("unexpected request %s %s", r.Method, r.URL.RequestURI())
		http.Error(w, "no stub", http.StatusNotImplemented)
	default:
		answer.write(w, r, s.closed)
	}
}

// take finds the answer to a request. It is called with mu held.
func (s *HTTPServer) take(r HTTPRequest) (httpAnswer, bool) {
	for _, stub := range s.stubs {
		if !stub.fits(r) || len(stub.answers) == 0 {
			continue
		}
		answer := stub.answers[0]
		if !stub.repeat || len(stub.answers) > 1 {
			stub.answers = stub.answers[1:]
			stub.given++
		}
		stub.taken = append(stub.taken, r)
		return answer, true
	}
	return httpAnswer{}, false
}

// HTTPStub is what an [HTTPServer] answers to requests of one kind.
type HTTPStub struct {
	s               *HTTPServer
	method, pattern string
	path            string
	query           url.Values

	// Guarded by the server's mu.
	answers []httpAnswer // to come
	given   int          // answers that are used up
	repeat  bool         // the last answer stays
	taken   []HTTPRequest
}

// Reply adds answers, each for one request: a status begins an answer, an [HTTPPart] says more about the one before it.
//
//	Reply(503, 200, sdktest.JSON(charge), 200, sdktest.CutShort("{"))
func (h *HTTPStub) Reply(answers ...any) *HTTPStub {
	h.s.tb.Helper()
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	begun := false
	for _, a := range answers {
		switch a := a.(type) {
		case int:
			if a < 200 || a > 999 {
				h.s.tb.Fatalf("Reply to %s %s: %d is no status", h.method, h.pattern, a)
			}
			h.answers, begun = append(h.answers, httpAnswer{status: a, header: make(http.Header)}), true
		case HTTPPart:
			if !begun {
				h.s.tb.Fatalf("Reply to %s %s: a status comes first", h.method, h.pattern)
			}
			if err := a(&h.answers[len(h.answers)-1]); err != nil {
				h.s.tb.Fatalf("Reply to %s %s: %v", h.method, h.pattern, err)
			}
		default:
			h.s.tb.Fatalf("Reply to %s %s: %v is a %T, want a status or a part of an answer", h.method, h.pattern, a, a)
		}
	}
	return h
}

// Repeat makes the last answer that of all further requests. At least one must come.
func (h *HTTPStub) Repeat() *HTTPStub {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	h.repeat = true
	return h
}

// Requests returns the requests that this stub has answered.
func (h *HTTPStub) Requests() []HTTPRequest {
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	return slices.Clone(h.taken)
}

// Await waits until the stub has been asked n times.
func (h *HTTPStub) Await(n int) {
	h.s.tb.Helper()
	timeout := time.After(patience)
	for {
		h.s.mu.Lock()
		taken, came := len(h.taken), h.s.came
		h.s.mu.Unlock()
		if taken >= n {
			return
		}
		select {
		case <-came:
		case <-timeout:
			h.s.tb.Fatalf("%s %s: %d requests came, waited for %d", h.method, h.pattern, taken, n)
		}
	}
}

// fits reports whether a request is of the stub's kind.
func (h *HTTPStub) fits(r HTTPRequest) bool {
	if h.method != r.Method || h.path != r.Path {
		return false
	}
	for key, values := range h.query {
		if !slices.Equal(values, r.Query[key]) {
			return false
		}
	}
	return true
}

// HTTPRequest is a request that came.
type HTTPRequest struct {
	Method string
	// Path is the path, decoded; EscapedPath is the path as it came.
	Path, EscapedPath string
	Query             url.Values
	Header            http.Header
	Body              []byte
}

// Decode decodes the body into v, and fails the test if that cannot be.
func (r HTTPRequest) Decode(tb testing.TB, v any) {
	tb.Helper()
	if err := json.Unmarshal(r.Body, v); err != nil {
		tb.Fatalf("decode the body of %s %s: %v\n%s", r.Method, r.Path, err, r.Body)
	}
}

// httpAnswer is one answer.
type httpAnswer struct {
	status int
	header http.Header
	body   []byte
	fault  httpFault
}

// httpFault is what goes wrong with an answer.
type httpFault int

const (
	noFault  httpFault = iota
	hangs              // it never comes
	resets             // the connection breaks instead
	cutShort           // the connection breaks after the body that there is
)

// write gives the answer.
func (a httpAnswer) write(w http.ResponseWriter, r *http.Request, closed <-chan struct{}) {
	switch a.fault {
	case hangs:
		select {
		case <-r.Context().Done():
		case <-closed:
		}
		panic(http.ErrAbortHandler) // no answer, also no empty one
	case resets:
		panic(http.ErrAbortHandler) // how the standard library breaks a connection
	case cutShort:
		a.header.Set("Content-Length", fmt.Sprint(len(a.body)+1))
	case noFault:
	}
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(a.status)
	_, _ = w.Write(a.body) // fails for statuses without a body, and when the client has left
	if a.fault == cutShort {
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}
