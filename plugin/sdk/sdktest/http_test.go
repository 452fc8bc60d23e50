package sdktest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// ask sends a request and returns "status body", or "error".
func ask(t *testing.T, method, url, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "error"
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return "error"
	}
	return strings.TrimSpace(fmt.Sprint(resp.StatusCode, " ", string(got), " ", resp.Header.Get("Retry-After")))
}

func TestHTTPReplies(t *testing.T) {
	api := sdktest.HTTP(t)
	charge := api.On("POST", "/charge").Reply(429, sdktest.RetryAfter(2), 200, sdktest.JSON(map[string]int{"n": 1}))
	api.On("GET", "/items?page=2").Reply(200, sdktest.Body("text/plain", "two"))
	items := api.On("GET", "/items").Reply(201, 200, sdktest.Body("text/plain", "rest")).Repeat()
	api.On("POST", "/bad").Reply(200, sdktest.Reset(), 200, sdktest.CutShort(`{"n":`), 200, sdktest.JSON(json.RawMessage(`{`)))

	var got []string
	for _, r := range [][2]string{
		{"POST", "/charge"},
		{"POST", "/charge"},
		{"GET", "/items?page=2&size=10"},
		{"GET", "/items"},
		{"GET", "/items"},
		{"GET", "/items?page=3"},
		{"POST", "/bad"},
		{"POST", "/bad"},
		{"POST", "/bad"},
	} {
		got = append(got, ask(t, r[0], api.URL+r[1], `{"cents": 5}`))
	}
	want := []string{"429  2", `200 {"n":1}`, "200 two", "201", "200 rest", "200 rest", "error", "error", "200 {"}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("answers (-got +want):\n%s", diff)
	}
	var body struct{ Cents int }
	charge.Requests()[1].Decode(t, &body)
	if len(charge.Requests()) != 2 || body.Cents != 5 || len(items.Requests()) != 3 || len(api.Requests()) < 9 {
		t.Errorf("%d charges, the second of %d; %d items; %d requests", len(charge.Requests()), body.Cents, len(items.Requests()), len(api.Requests()))
	}
}

// TestHTTPHang: a request that is not answered ends when its client gives up, or with the server.
func TestHTTPHang(t *testing.T) {
	api := sdktest.HTTP(t)
	stub := api.On("GET", "/slow").Reply(200, sdktest.Hang()).Repeat()
	ctx, cancel := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	asking.Go(func() {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, api.URL+"/slow", http.NoBody)
		if err != nil {
			t.Error(err)
			return
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
			t.Errorf("status %d, want no answer", resp.StatusCode)
		}
	})
	stub.Await(1)
	cancel()
	asking.Wait()
}

// failing is a test that fails without failing this one.
type failing struct {
	testing.TB

	mu       sync.Mutex
	errors   []string
	cleanups []func()
}

func (r *failing) Helper() {}

func (r *failing) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *failing) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

func (r *failing) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	panic(r)
}

// failures runs a test and returns how it fails.
func failures(t *testing.T, test func(*failing)) []string {
	t.Helper()
	r := &failing{TB: t}
	func() {
		defer func() {
			if p := recover(); p != nil && p != any(r) {
				panic(p)
			}
		}()
		test(r)
	}()
	for _, f := range slices.Backward(r.cleanups) {
		f()
	}
	return r.errors
}

func TestHTTPFailsTheTest(t *testing.T) {
	for name, tt := range map[string]struct {
		test func(*failing)
		want []string
	}{
		"all is well": {func(tb *failing) {
			api := sdktest.HTTP(tb)
			api.On("GET", "/").Reply(200)
			ask(t, "GET", api.URL, "")
		}, nil},
		"an unexpected request": {func(tb *failing) {
			ask(t, "PUT", sdktest.HTTP(tb).URL+"/x?y=1", "")
		}, []string{"unexpected request PUT /x?y=1"}},
		"one request too many": {func(tb *failing) {
			api := sdktest.HTTP(tb)
			api.On("GET", "/a").Reply(200)
			ask(t, "GET", api.URL+"/a", "")
			ask(t, "GET", api.URL+"/a", "")
		}, []string{"unexpected request GET /a"}},
		"another query": {func(tb *failing) {
			api := sdktest.HTTP(tb)
			api.On("GET", "/a?b=1").Reply(200)
			ask(t, "GET", api.URL+"/a?b=2", "")
		}, []string{"unexpected request GET /a?b=2", "GET /a?b=1: 1 of 1 answers were not asked for"}},
		"an unused answer": {func(tb *failing) {
			api := sdktest.HTTP(tb)
			api.On("GET", "/a").Reply(503, 200)
			ask(t, "GET", api.URL+"/a", "")
		}, []string{"GET /a: 1 of 2 answers were not asked for"}},
		"an unused answer that repeats": {func(tb *failing) {
			sdktest.HTTP(tb).On("GET", "/a").Reply(200).Repeat()
		}, []string{"GET /a: 1 of 1 answers were not asked for"}},
		"no path":         {func(tb *failing) { sdktest.HTTP(tb).On("GET", "a") }, []string{`On("GET", "a"): want a path that starts with a slash`}},
		"no status":       {func(tb *failing) { sdktest.HTTP(tb).On("GET", "/").Reply(7) }, []string{"Reply to GET /: 7 is no status"}},
		"no status first": {func(tb *failing) { sdktest.HTTP(tb).On("GET", "/").Reply(sdktest.RetryAfter(1)) }, []string{"Reply to GET /: a status comes first"}},
		"something else":  {func(tb *failing) { sdktest.HTTP(tb).On("GET", "/").Reply("200") }, []string{"Reply to GET /: 200 is a string, want a status or a part of an answer"}},
		"a body that is no JSON": {func(tb *failing) {
			sdktest.HTTP(tb).On("GET", "/").Reply(200, sdktest.JSON(func() {}))
		}, []string{"Reply to GET /: json: unsupported type: func()", "GET /: 1 of 1 answers were not asked for"}},
		"two bodies": {func(tb *failing) {
			sdktest.HTTP(tb).On("GET", "/").Reply(200, sdktest.JSON(1), sdktest.Body("text/plain", "1"))
		}, []string{"Reply to GET /: an answer has one body", "GET /: 1 of 1 answers were not asked for"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(failures(t, tt.test), tt.want); diff != "" {
				t.Errorf("failures (-got +want):\n%s", diff)
			}
		})
	}
}
