package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.uber.org/goleak"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/httpapi"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client makes a client that ends with the test.
func client(t *testing.T, opts httpapi.Options) *httpapi.Client {
	t.Helper()
	c, err := httpapi.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// serve starts a server that misbehaves as it likes.
func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // else nothing tells that the client has left
		r.Body = io.NopCloser(bytes.NewReader(body))
		h(w, r)
	}))
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s
}

// run executes one attempt of a handler over the wire.
func run(t *testing.T, h sdk.Handler, a sdktest.Attempt) *sdktest.Outcome {
	t.Helper()
	return begin(t, h, a).Wait(t)
}

func begin(t *testing.T, h sdk.Handler, a sdktest.Attempt) *sdktest.Running {
	t.Helper()
	p := sdktest.Start(t, sdk.Plugin{Name: "test", Version: "1.0.0", Handlers: sdk.Handlers{"h": h}}, sdktest.Options{LogLevel: "trace"})
	a.Handler = "h"
	return p.Begin(t, a)
}

// posts is a handler that posts its input.
func posts(c *httpapi.Client, path string, opts ...httpapi.CallOption) sdk.Handler {
	return sdk.Func(func(ctx context.Context, in json.RawMessage) (*httpapi.Response, error) {
		return c.Post(ctx, path, in, opts...)
	})
}

// gets is a handler that gets.
func gets(c *httpapi.Client, path string) sdk.Handler {
	return sdk.Func(func(ctx context.Context, _ json.RawMessage) (*httpapi.Response, error) { return c.Get(ctx, path) })
}

// quiet is a log of what a test provokes.
func quiet() *log.Logger { return log.New(io.Discard, "", 0) }
