package httpapi_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/httpapi"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// The handlers of the contract take {"n": 1}, have an API make {"n": 2} of it, and store that in one form or another.
type number struct {
	N int `json:"n"`
}

// api is a handler that has its client embedded.
type api struct{ *httpapi.Client }

func (a api) Process(ctx context.Context, in number) (*httpapi.Response, error) {
	return a.Post(ctx, "/increment", in)
}

type decoded struct{ api }

func (decoded) ProcessResults(_ context.Context, r *httpapi.Response) (number, error) {
	var out number
	err := r.Decode(&out)
	return out, err
}

// bodies stores the body alone.
type bodies struct{ httpapi.API[number] }

func (b bodies) Process(ctx context.Context, in number) (*httpapi.Response, error) {
	return b.Post(ctx, "/increment", in)
}

type shaped struct {
	api

	results func(context.Context, *httpapi.Response) (any, error)
}

func (s shaped) ProcessResults(ctx context.Context, r *httpapi.Response) (any, error) {
	return s.results(ctx, r)
}

type judged struct {
	api

	results func(context.Context, *httpapi.Response) error
}

func (j judged) ProcessResults(ctx context.Context, r *httpapi.Response) error {
	return j.results(ctx, r)
}

var errSentinel = errors.New("sentinel")

// TestContract: a handler that calls an API is a handler like any other, whatever its form and its ProcessResults. These are the
// cases of the SDK's own contract test.
func TestContract(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || string(body) != `{"n":1}` {
			t.Errorf("the request's body is %s (%v)", body, err)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"n": 2}`))
	})
	a := api{client(t, httpapi.Options{BaseURL: server.URL})}
	const whole = `{"status":200,"headers":{"content-type":"application/json"},"body":{"n":2}}`
	failed := &sdktest.Failure{Verdict: sdk.Retryable, Message: "sentinel"}
	tests := map[string]struct {
		handler sdk.Handler
		want    string
		failure *sdktest.Failure
	}{
		"Typed":                  {handler: sdk.Typed(a), want: whole},
		"Typed, options":         {handler: sdk.Typed(a, sdk.Options{Version: 4}), want: whole},
		"Typed, decoded results": {handler: sdk.Typed(decoded{a}), want: `{"n":2}`},
		"Typed, API":             {handler: sdk.Typed(bodies{httpapi.API[number]{Client: a.Client}}), want: `{"n":2}`},
		"Typed, replaced results": {
			handler: sdk.Typed(shaped{a, func(context.Context, *httpapi.Response) (any, error) { return number{2}, nil }}), want: `{"n":2}`,
		},
		"Typed, same results": {
			handler: sdk.Typed(shaped{a, func(_ context.Context, r *httpapi.Response) (any, error) { return r, nil }}), want: whole,
		},
		"Typed, results return nothing": {
			handler: sdk.Typed(shaped{a, func(context.Context, *httpapi.Response) (any, error) { return nil, nil }}), want: whole,
		},
		"Typed, results without results": {handler: sdk.Typed(judged{a, func(context.Context, *httpapi.Response) error { return nil }}), want: whole},
		"Typed, results fail": {
			handler: sdk.Typed(shaped{a, func(context.Context, *httpapi.Response) (any, error) { return nil, errSentinel }}), failure: failed,
		},
		"Typed, results without results fail": {
			handler: sdk.Typed(judged{a, func(context.Context, *httpapi.Response) error { return errSentinel }}), failure: failed,
		},
		"Typed, results fail permanently": {
			handler: sdk.Typed(judged{a, func(context.Context, *httpapi.Response) error { return sdk.Permanent(errSentinel) }}),
			failure: &sdktest.Failure{Verdict: sdk.Final, Message: "sentinel"},
		},
		"Typed, results panic": {
			handler: sdk.Typed(shaped{a, func(context.Context, *httpapi.Response) (any, error) { panic("in results") }}),
			failure: &sdktest.Failure{Verdict: sdk.Retryable, Code: sdk.CodePanic, Message: "panic: in results"},
		},
		"Func": {handler: sdk.Func(a.Process), want: whole},
		"Func of a result": {handler: sdk.Func(func(ctx context.Context, in number) (number, error) {
			r, err := a.Process(ctx, in)
			if err != nil {
				return number{}, err
			}
			return decoded{a}.ProcessResults(ctx, r)
		}), want: `{"n":2}`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for form, byReference := range map[string]bool{"inline": false, "by reference": true} {
				got := run(t, tt.handler, sdktest.Attempt{Input: number{1}, ByReference: byReference})
				if tt.failure == nil && string(got.Output) != tt.want {
					t.Errorf("%s: output %s, want %s (failure %v)", form, got.Output, tt.want, got.Failure)
				}
				if f := tt.failure; f != nil && (got.Failure == nil || got.Output != nil ||
					got.Failure.Verdict != f.Verdict || got.Failure.Code != f.Code || got.Failure.Message != f.Message) {
					t.Errorf("%s: failure %v, output %s, want failure %v", form, got.Failure, got.Output, f)
				}
			}
		})
	}
}
