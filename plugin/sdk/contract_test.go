package sdk_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// The handlers of the contract all take {"n": 1} and store {"n": 2}, each in its own form.
type number struct {
	N int `json:"n"`
}

func increment(_ context.Context, in number) (number, error) { return number{in.N + 1}, nil }

type raw struct{}

func (raw) Process(ctx context.Context, input json.RawMessage) (any, error) {
	var in number
	if err := json.Unmarshal(input, &in); err != nil {
		return nil, err
	}
	return increment(ctx, in)
}

// rawWithResults adds a ProcessResults to a raw handler.
type rawWithResults struct {
	raw

	results func(context.Context, any) (any, error)
}

func (r rawWithResults) ProcessResults(ctx context.Context, output any) (any, error) {
	return r.results(ctx, output)
}

type typed struct{}

func (typed) Process(ctx context.Context, in number) (number, error) { return increment(ctx, in) }

type typedSame struct {
	typed

	results func(context.Context, number) (number, error)
}

func (t typedSame) ProcessResults(ctx context.Context, n number) (number, error) {
	return t.results(ctx, n)
}

type typedAny struct {
	typed

	results func(context.Context, any) (any, error)
}

func (t typedAny) ProcessResults(ctx context.Context, n any) (any, error) { return t.results(ctx, n) }

type typedPointer struct {
	typed

	results func(context.Context, number) (*number, error)
}

func (t typedPointer) ProcessResults(ctx context.Context, n number) (*number, error) {
	return t.results(ctx, n)
}

type typedNothing struct {
	typed

	results func(context.Context, number) error
}

func (t typedNothing) ProcessResults(ctx context.Context, n number) error { return t.results(ctx, n) }

// inherits has the default ProcessResults of what it embeds.
type inherits struct{ typedSame }

// identity and its like are what ProcessResults may do.
func same(_ context.Context, n number) (number, error)         { return n, nil }
func fails(context.Context, number) (number, error)            { return number{}, errSentinel }
func panics(context.Context, number) (number, error)           { panic("in results") }
func sameAny(_ context.Context, v any) (any, error)            { return v, nil }
func replacedAny(context.Context, any) (any, error)            { return number{2}, nil }
func nothingAny(context.Context, any) (any, error)             { return nil, nil }
func failsAny(context.Context, any) (any, error)               { return nil, errSentinel }
func panicsAny(context.Context, any) (any, error)              { panic("in results") }
func nothingPointer(context.Context, number) (*number, error)  { return nil, nil }
func replacedPointer(context.Context, number) (*number, error) { return &number{2}, nil }
func nothing(context.Context, number) error                    { return nil }
func failsNothing(context.Context, number) error               { return errSentinel }
func failsPermanently(context.Context, number) (number, error) {
	return number{}, sdk.Permanent(errSentinel)
}

var errSentinel = errors.New("sentinel")

// TestContract runs every kind of handler, with every kind of ProcessResults, through the same attempt.
func TestContract(t *testing.T) {
	increments := incrementsByAPI(t)
	tests := map[string]struct {
		handler sdk.Handler
		failure *sdktest.Failure // nil: stores {"n": 2}
	}{
		"Handler":                                 {handler: raw{}},
		"Handler, options":                        {handler: sdk.With(raw{}, sdk.Options{Version: 2})},
		"Handler, default results":                {handler: rawWithResults{results: sameAny}},
		"Handler, replaced results":               {handler: rawWithResults{results: replacedAny}},
		"Handler, options, replaced results":      {handler: sdk.With(rawWithResults{results: replacedAny}, sdk.Options{})},
		"Handler, results return nothing":         {handler: rawWithResults{results: nothingAny}},
		"Handler, results fail":                   {handler: rawWithResults{results: failsAny}, failure: failed},
		"Handler, results panic":                  {handler: rawWithResults{results: panicsAny}, failure: panicked},
		"Func":                                    {handler: sdk.Func(increment)},
		"Func, options":                           {handler: sdk.Func(increment, sdk.Options{Version: 3})},
		"Func of any":                             {handler: sdk.Func(func(context.Context, any) (any, error) { return number{2}, nil })},
		"Func of raw messages":                    {handler: sdk.Func(func(context.Context, json.RawMessage) (json.RawMessage, error) { return []byte(`{"n": 2}`), nil })},
		"Func of pointers":                        {handler: sdk.Func(func(_ context.Context, in *number) (*number, error) { return &number{in.N + 1}, nil })},
		"Typed":                                   {handler: sdk.Typed(typed{})},
		"Typed, options":                          {handler: sdk.Typed(typed{}, sdk.Options{Version: 4})},
		"Typed, default results":                  {handler: sdk.Typed(typedSame{results: same})},
		"Typed, inherited results":                {handler: sdk.Typed(inherits{typedSame{results: same}})},
		"Typed, replaced results":                 {handler: sdk.Typed(typedPointer{results: replacedPointer})},
		"Typed, results of any":                   {handler: sdk.Typed(typedAny{results: replacedAny})},
		"Typed, results of any return nothing":    {handler: sdk.Typed(typedAny{results: nothingAny})},
		"Typed, results return nil":               {handler: sdk.Typed(typedPointer{results: nothingPointer})},
		"Typed, results return nothing":           {handler: sdk.Typed(typedNothing{results: nothing})},
		"Typed, results fail":                     {handler: sdk.Typed(typedSame{results: fails}), failure: failed},
		"Typed, results that return nothing fail": {handler: sdk.Typed(typedNothing{results: failsNothing}), failure: failed},
		"Typed, results panic":                    {handler: sdk.Typed(typedSame{results: panics}), failure: panicked},
		"API":                                     {handler: sdk.Typed(increments)},
		"API, options":                            {handler: sdk.Typed(increments, sdk.Options{Version: 5})},
		"API, results of any":                     {handler: sdk.Typed(apiAny{increments, replacedAPI})},
		"API, results fail":                       {handler: sdk.Typed(apiAny{increments, failsAPI}), failure: failed},
		"API, results panic":                      {handler: sdk.Typed(apiAny{increments, panicsAPI}), failure: panicked},
		"Typed, results fail permanently":         {handler: sdk.Typed(typedSame{results: failsPermanently}), failure: final},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for form, byReference := range map[string]bool{"inline": false, "by reference": true} {
				got := one(t, tt.handler).Run(t, sdktest.Attempt{Handler: "h", Input: number{1}, ByReference: byReference})
				if want := `{"n":2}`; tt.failure == nil && string(got.Output) != want {
					t.Errorf("%s: output %s, want %s (failure %v)", form, got.Output, want, got.Failure)
				}
				if f := tt.failure; f != nil && (got.Failure == nil || got.Output != nil ||
					got.Failure.Verdict != f.Verdict || got.Failure.Code != f.Code || got.Failure.Message != f.Message) {
					t.Errorf("%s: failure %v, output %s, want failure %v", form, got.Failure, got.Output, f)
				}
			}
		})
	}
}

var (
	failed   = &sdktest.Failure{Verdict: sdk.Retryable, Message: "sentinel"}
	final    = &sdktest.Failure{Verdict: sdk.Final, Message: "sentinel"}
	panicked = &sdktest.Failure{Verdict: sdk.Retryable, Code: sdk.CodePanic, Message: "panic: in results"}
)
