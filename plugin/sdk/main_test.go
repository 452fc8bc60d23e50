package sdk_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// TestMain makes the test binary its own plugin, one of those below, as the environment says.
func TestMain(m *testing.M) {
	if name := os.Getenv("SDK_TEST_PLUGIN"); name != "" {
		sdk.Serve(launchable()[name])
	}
	goleak.VerifyTestMain(m)
}

// launchable are the plugins that tests launch as processes.
func launchable() map[string]sdk.Plugin {
	return map[string]sdk.Plugin{
		"process": {
			Name: "process", Version: "1.2.3", Title: "Behaves like a process.", Config: &processConfig{},
			Handlers: sdk.Handlers{
				"print": sdk.Func(printAll),
				"hold":  sdk.Func(hold),
			},
		},
		"events": {
			Name: "test", Version: "1.0.0", Subscribers: sdk.Subscribers{
				"audit": all(receive[json.RawMessage]),
				"pager": sdk.Subscribe(sdk.Routes(sdk.On(receive[event.TaskFailed]), sdk.On(receive[event.StepFailed])), sdk.SubscriberOptions{
					Description: "Pages.\nDay and night.", Order: sdk.TaskOrder, Start: "now", Window: 2, MaxAttempts: 3,
					Timeout: time.Minute, Bound: true, Filter: "event.step != ''", Config: number{},
				}),
			},
			Events: sdk.Events{sdk.Declare(shipped{OrderID: "o-1"}, sdk.EventOptions{Description: "An order has left."})},
		},
		"traced": {Name: "traced", Version: "1.0.0", Handlers: sdk.Handlers{"work": sdk.Func(work)}},
		"broken": {Name: "Broken", Version: "one", Handlers: sdk.Handlers{"x": nil}},
	}
}

// processConfig writes a file when it is closed.
type processConfig struct {
	Closed string `json:"closed,omitempty"`
}

func (c *processConfig) Close() error {
	if c.Closed == "" {
		return nil
	}
	return os.WriteFile(c.Closed, []byte("closed"), 0o600)
}

// printAll prints where nothing may be printed, itself and through a child.
func printAll(ctx context.Context, _ struct{}) (int, error) {
	_, _ = fmt.Fprintln(os.Stdout, "printed to stdout")
	fmt.Fprintln(os.Stderr, "printed to stderr")
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "SDK_TEST_PLUGIN=process", "TASKER_PLUGIN=")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stdout // explains itself
	_ = cmd.Run()
	return cmd.ProcessState.ExitCode(), nil
}

// hold says that it runs, and runs until it is cancelled.
func hold(ctx context.Context, _ struct{}) (string, error) {
	sdk.Logger(ctx).Info("holding")
	<-ctx.Done()
	return "", context.Cause(ctx)
}

// one runs a plugin with one handler, h.
func one(t *testing.T, h sdk.Handler) *sdktest.Plugin {
	t.Helper()
	return sdktest.Start(t, sdk.Plugin{Name: "test", Version: "1.0.0", Handlers: sdk.Handlers{"h": h}})
}
