package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tasker-engine/tasker/host/bench"
	"github.com/tasker-engine/tasker/plugin/sdk"
)

// benchConcurrency is how many attempts the bench's plugin takes at once: so many that it
// is never what limits.
const benchConcurrency = 16384

// ServePlugin is main when the binary was started under the name of one of the bench's
// plugins, as `tasker bench` does with itself: then it serves and does not return before
// the process is to end. Else it returns false at once.
func ServePlugin(arg0 string) bool {
	switch role := bench.Role(arg0); role {
	case "":
		return false
	case bench.RoleFloor:
		bench.ServeFloor()
	case bench.RoleHandler:
		sdk.Serve(sdk.Plugin{
			Name: role, Version: "1.0.0", MaxConcurrency: benchConcurrency,
			Description: "What tasker bench measures with.",
			Handlers:    sdk.Handlers{bench.HandlerEcho: echo{}, bench.HandlerUsage: usage{}, bench.HandlerWork: work{}},
		})
	default:
		sdk.Serve(sinkPlugin(role))
	}
	return true
}

// echo returns its input.
type echo struct{}

// Process implements sdk.Handler.
func (echo) Process(_ context.Context, input json.RawMessage) (any, error) { return input, nil }

// errWork is how an attempt of [work] fails.
var errWork = errors.New("failing, as one in twenty does")

// work does what its attempt is to do.
type work struct{}

// Process implements sdk.Handler.
func (work) Process(ctx context.Context, input json.RawMessage) (any, error) {
	job := bench.Work(sdk.Attempt(ctx).ID)
	timer := time.NewTimer(job.Takes)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	switch {
	case job.Permanent:
		return nil, sdk.Permanent(errWork)
	case job.Fails:
		return nil, errWork
	default:
		return input, nil
	}
}

// usage returns what the plugin's process has used.
type usage struct{}

// Process implements sdk.Handler.
func (usage) Process(context.Context, json.RawMessage) (any, error) { return bench.Measure(), nil }

// sinkPlugin subscribes to everything about tasks and steps, as often as its name says, and
// drops it.
func sinkPlugin(role string) sdk.Plugin {
	n, err := strconv.Atoi(strings.TrimPrefix(role, bench.RoleSink))
	if err != nil {
		n = 1
	}
	drop := func(context.Context, sdk.Event[json.RawMessage]) error { return nil }
	subscribers := make(sdk.Subscribers, n)
	for i := range n {
		subscribers[fmt.Sprintf("all%d", i)] = sdk.Routes(sdk.OnNamed("task.*", drop), sdk.OnNamed("step.*", drop))
	}
	return sdk.Plugin{
		Name: role, Version: "1.0.0", Description: "What tasker bench measures with.",
		Handlers: sdk.Handlers{bench.HandlerUsage: usage{}}, Subscribers: subscribers,
	}
}
