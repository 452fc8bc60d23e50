package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// mock is the plugin.
func mock() sdk.Plugin {
	return sdk.Plugin{
		Name:           "mock",
		Version:        "1.0.0",
		Title:          "Fails in every way that a plugin can, on request.",
		Vendor:         "Tasker",
		Licence:        "Apache-2.0",
		MaxConcurrency: 256,
		Permissions:    sdk.Permissions{FSWrite: []string{"*"}, Subprocess: true},
		Handlers: sdk.Handlers{
			"echo":      handle(sdk.Options{Description: "Returns its input and the results of its dependencies."}, echo),
			"noop":      handle(sdk.Options{Description: "Does nothing."}, noop),
			"sleep":     handle(sdk.Options{Description: "Takes a while."}, sleep),
			"limited":   handle(sdk.Options{Description: "Takes a while, at most 12 at once.", MaxConcurrency: 12}, sleep),
			"flaky":     handle(sdk.Options{Description: "Fails the first attempts of a step.", ErrorCodes: []string{"flaky"}}, flaky),
			"panic":     handle(sdk.Options{Description: "Panics in the first attempts of a step."}, panics),
			"exit":      handle(sdk.Options{Description: "Ends the process in the first attempts of a step."}, exit),
			"hang":      handle(sdk.Options{Description: "Hangs until it is cancelled, or beyond."}, hang),
			"flood":     handle(sdk.Options{Description: "Floods standard error and standard output."}, flood),
			"child":     handle(sdk.Options{Description: "Leaves a child behind that holds standard error."}, child),
			"heartbeat": handle(sdk.Options{Description: "Beats, and continues from its last checkpoint."}, heartbeat),
			"big":       handle(sdk.Options{Description: "Returns a large result."}, big),
		},
	}
}

// handle makes a handler of a function that takes the step's config, and keeps the ledger around it. All
// handlers are idempotent.
func handle[C config, O any](options sdk.Options, fn func(ctx context.Context, input json.RawMessage, config C) (O, error)) sdk.Handler {
	var typ C
	options.Config, options.Idempotency = typ, sdk.Idempotent
	return sdk.Func(func(ctx context.Context, input json.RawMessage) (out O, err error) {
		c, err := sdk.Config[C](ctx)
		if err != nil {
			return out, err
		}
		if err := record(ctx, c.ledger(), "start"); err != nil {
			return out, err
		}
		out, err = fn(ctx, input, c)
		if recorded := record(ctx, c.ledger(), "end"); err == nil {
			err = recorded
		}
		return out, err
	}, options)
}

// echoed is the result of mock/echo.
type echoed struct {
	Input   json.RawMessage            `json:"input"`
	Results map[string]json.RawMessage `json:"results"`
}

func echo(ctx context.Context, input json.RawMessage, _ common) (echoed, error) {
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

// nothing is the result of handlers that have none.
type nothing struct{}

func noop(context.Context, json.RawMessage, common) (nothing, error) { return nothing{}, nil }

type sleepConfig struct {
	common

	For sdk.Duration `json:"for" jsonschema_description:"How long it takes."`
}

func sleep(ctx context.Context, _ json.RawMessage, c sleepConfig) (nothing, error) {
	return nothing{}, wait(ctx, c.For.D())
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

type flakyConfig struct {
	common
	faulty

	Kind       string       `json:"kind,omitempty"        jsonschema:"enum=retryable,enum=permanent" jsonschema_description:"What the failures are. Default retryable."`
	RetryAfter sdk.Duration `json:"retry_after,omitempty" jsonschema_description:"What the failures ask to wait."`
	Message    string       `json:"message,omitempty"     jsonschema_description:"What the failures say."`
}

func flaky(ctx context.Context, _ json.RawMessage, c flakyConfig) (nothing, error) {
	if !c.fails(ctx) {
		return nothing{}, nil
	}
	err := errors.New("failing as configured")
	if c.Message != "" {
		err = errors.New(c.Message)
	}
	switch {
	case c.Kind == "permanent":
		err = sdk.Permanent(err)
	case c.RetryAfter > 0:
		err = sdk.RetryAfter(err, c.RetryAfter.D())
	}
	return nothing{}, sdk.WithCode(err, "flaky")
}

type heartbeatConfig struct {
	common

	Every      sdk.Duration `json:"every"                jsonschema_description:"The time between two heartbeats."`
	For        sdk.Duration `json:"for"                  jsonschema_description:"How long it takes in all, over all attempts if it keeps checkpoints."`
	Checkpoint bool         `json:"checkpoint,omitempty" jsonschema_description:"Keep a checkpoint with each heartbeat, and continue from the last one."`
}

// beaten is the result of mock/heartbeat.
type beaten struct {
	// Beats is the number of heartbeats in all; the first of them that this attempt made is From + 1.
	Beats int `json:"beats"`
	From  int `json:"from"`
}

func heartbeat(ctx context.Context, _ json.RawMessage, c heartbeatConfig) (beaten, error) {
	if c.Every <= 0 {
		return beaten{}, sdk.Permanent(errors.New("every must be more than 0"))
	}
	from, _, err := sdk.LastCheckpoint[int](ctx)
	if err != nil {
		return beaten{}, err
	}
	total := int(c.For / c.Every)
	for n := from + 1; n <= total; n++ {
		if err := wait(ctx, c.Every.D()); err != nil {
			return beaten{}, err
		}
		sdk.Heartbeat(ctx, float64(n)/float64(total), "beating")
		if !c.Checkpoint {
			continue
		}
		if err := sdk.Checkpoint(ctx, n); err != nil {
			return beaten{}, err
		}
	}
	return beaten{Beats: max(total, from), From: from}, nil
}

type bigConfig struct {
	common

	Bytes int `json:"bytes" jsonschema:"minimum=0" jsonschema_description:"The size of the text in the result."`
}

// large is the result of mock/big.
type large struct {
	Data string `json:"data"`
}

func big(_ context.Context, _ json.RawMessage, c bigConfig) (large, error) {
	return large{Data: strings.Repeat("x", c.Bytes)}, nil
}
