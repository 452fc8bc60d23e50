package sdktest_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestBuiltBinary is the whole way: build a plugin, launch it, crash it.
func TestBuiltBinary(t *testing.T) {
	p := sdktest.Launch(t, sdktest.Build(t, "../../../plugins/mock"))
	if got := p.Manifest().GetName(); got != "mock" {
		t.Errorf("name %s, want mock", got)
	}
	held := p.Begin(t, sdktest.Attempt{Handler: "hang"})
	if got := held.Log(t); got.Message != "hanging" {
		t.Errorf("log %+v, want hanging", got)
	}
	out := p.Run(t, sdktest.Attempt{Handler: "echo", Input: 1, Results: map[string]any{"a": 2}, Skipped: []string{"b"}, ByReference: true})
	if got, want := string(out.Output), `{"input":1,"results":{"a":2,"b":null}}`; got != want {
		t.Errorf("output %s (failure %v), want %s", got, out.Failure, want)
	}
	p.Kill()
	if held.Wait(t).Lost == nil {
		t.Error("the attempt of a killed plugin is not lost")
	}
	if code := p.Exit(t); code == 0 {
		t.Error("a killed plugin ended well")
	}
}

func TestNoPlugin(t *testing.T) {
	binary := sdktest.Build(t, "./testdata/noplugin")
	if _, err := sdktest.TryLaunch(t, binary); err == nil || !strings.Contains(err.Error(), "I am no plugin.") {
		t.Errorf("error %v, want one with what it printed", err)
	}
	if _, err := sdktest.TryLaunch(t, binary+"-is-not-there"); err == nil {
		t.Error("a binary that is not there was launched")
	}
}

// TestScript waits for what a handler says, in its order, and cancels it.
func TestScript(t *testing.T) {
	p := sdktest.Start(t, sdk.Plugin{Name: "test", Version: "1.0.0", Handlers: sdk.Handlers{
		"h": sdk.Func(func(ctx context.Context, _ struct{}) (int, error) {
			sdk.Heartbeat(ctx, 0.25, "first")
			sdk.Logger(ctx).Info("a line", "k", 1)
			<-ctx.Done()
			return 0, context.Cause(ctx)
		}),
	}})
	r := p.Begin(t, sdktest.Attempt{Handler: "h", Timeout: time.Hour})
	if got := r.Heartbeat(t); got.Progress != 0.25 || got.Note != "first" {
		t.Errorf("heartbeat %+v", got)
	}
	if got := r.Log(t); got.Message != "a line" || string(got.Fields) != `{"k":1}` {
		t.Errorf("log %+v", got)
	}
	r.Cancel(t, "why not")
	if got := r.Wait(t); got.Failure.String() != "cancelled why not: attempt cancelled: why not" {
		t.Errorf("failure %s", got.Failure)
	}
}
