package main

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// mock is the plugin.
func mock() sdk.Plugin {
	return sdk.Plugin{
		Name:           "mock",
		Version:        "1.0.0",
		Title:          "Injects faults on request.",
		Vendor:         "Tasker",
		Licence:        "Apache-2.0",
		MaxConcurrency: 256,
		Handlers: sdk.Handlers{
			"echo":  handle("Returns its input and the results of its dependencies.", echo),
			"noop":  handle("Does nothing.", noop),
			"sleep": handle("Takes a while.", sleep),
			"flaky": handle("Fails the first attempts of a step.", flaky),
		},
	}
}

// handle makes a handler of a function that takes the step's config.
func handle[C, O any](description string, fn func(ctx context.Context, input json.RawMessage, config C) (O, error)) sdk.Handler {
	var zero C
	return sdk.Func(func(ctx context.Context, input json.RawMessage) (O, error) {
		config, err := sdk.Config[C](ctx)
		if err != nil {
			var none O
			return none, err
		}
		return fn(ctx, input, config)
	}, sdk.Options{Description: description, Idempotency: sdk.Idempotent, Config: zero})
}

// none is the config of handlers that need nothing.
type none struct{}

// echoed is the result of mock/echo.
type echoed struct {
	Input   json.RawMessage            `json:"input"`
	Results map[string]json.RawMessage `json:"results"`
}

func echo(ctx context.Context, input json.RawMessage, _ none) (echoed, error) {
	out := echoed{Input: input, Results: make(map[string]json.RawMessage)}
	for _, dep := range sdk.Results(ctx) {
		v, err := sdk.Result[json.RawMessage](ctx, dep.Step)
		if err != nil {
			return echoed{}, err
		}
		out.Results[dep.Step] = v
	}
	return out, nil
}

func noop(context.Context, json.RawMessage, none) (struct{}, error) { return struct{}{}, nil }

// sleepConfig configures mock/sleep.
type sleepConfig struct {
	For sdk.Duration `json:"for"`
}

func sleep(ctx context.Context, _ json.RawMessage, c sleepConfig) (struct{}, error) {
	return struct{}{}, wait(ctx, c.For.D())
}

// wait waits, unless the attempt ends first.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// flakyConfig configures mock/flaky.
type flakyConfig struct {
	// Times is how many attempts fail.
	Times int `json:"times"`
	// Kind is retryable or permanent.
	Kind       string       `json:"kind,omitempty"        jsonschema:"enum=retryable,enum=permanent"`
	RetryAfter sdk.Duration `json:"retry_after,omitempty"`
	Message    string       `json:"message,omitempty"`
}

func flaky(ctx context.Context, _ json.RawMessage, c flakyConfig) (struct{}, error) {
	if sdk.Attempt(ctx).Number > c.Times {
		return struct{}{}, nil
	}
	err := errors.New("flaky: failing as configured")
	if c.Message != "" {
		err = errors.New(c.Message)
	}
	switch {
	case c.Kind == "permanent":
		err = sdk.Permanent(err)
	case c.RetryAfter > 0:
		err = sdk.RetryAfter(err, c.RetryAfter.D())
	}
	return struct{}{}, sdk.WithCode(err, "flaky")
}
