package sdktest_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/recording"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// counter is a plugin whose handler counts, which changes from run to run, and refuses nothing but 0.
func counter() sdk.Plugin {
	type result struct {
		Double int `json:"double"`
		Run    int `json:"run"`
	}
	runs := 0
	return sdk.Plugin{Name: "counter", Version: "1.0.0", Handlers: sdk.Handlers{
		"double": sdk.Func(func(_ context.Context, n int) (result, error) {
			if runs++; n == 0 {
				return result{}, sdk.Permanent(errors.New("nothing to double"))
			}
			return result{Double: 2 * n, Run: runs}, nil
		}),
	}}
}

// TestReplay records a success and a failure and asks the same again.
func TestReplay(t *testing.T) {
	dir := t.TempDir()
	p := sdktest.Start(t, counter())
	p.Record(t, filepath.Join(dir, "success.json"), sdktest.Attempt{Handler: "double", Input: 4}, "/output/run")
	p.Record(t, filepath.Join(dir, "failure.json"), sdktest.Attempt{Handler: "double", Input: 0, Results: map[string]any{"a": 1}})
	p.Replay(t, dir)
	p.Replay(t, filepath.Join(dir, "success.json"))

	a, err := recording.Read(filepath.Join(dir, "failure.json"))
	if err != nil {
		t.Fatal(err)
	}
	if e := a.Outcome.Error; e == nil || e.Kind != "permanent" || e.Message != "nothing to double" || string(a.Results["a"]) != "1" {
		t.Errorf("recorded %+v", a)
	}
	a.Outcome = recording.Outcome{Output: []byte("1")}
	t.Setenv("SDKTEST_UPDATE", "1")
	if err := a.Write(filepath.Join(dir, "failure.json")); err != nil {
		t.Fatal(err)
	}
	p.Replay(t, filepath.Join(dir, "failure.json"))
	if a, err = recording.Read(filepath.Join(dir, "failure.json")); err != nil || a.Outcome.Error == nil {
		t.Errorf("the recording was not updated: %+v, %v", a, err)
	}
}

// TestBoth: the same test in both ways.
func TestBoth(t *testing.T) {
	ran := 0
	echo := sdk.Plugin{Name: "mock", Version: "1.0.0", Handlers: sdk.Handlers{
		"echo": sdk.Func(func(_ context.Context, n int) (map[string]int, error) { return map[string]int{"input": n}, nil }),
	}}
	sdktest.Both(t, echo, "../../../plugins/mock", func(t *testing.T, p *sdktest.Plugin) {
		t.Helper()
		ran++
		var got struct{ Input int }
		p.Run(t, sdktest.Attempt{Handler: "echo", Input: 7}).Decode(t, &got)
		if got.Input != 7 {
			t.Errorf("got %+v, want 7", got)
		}
	})
	if want := 2; ran != want && !testing.Short() {
		t.Errorf("the test ran %d times, want %d", ran, want)
	}
}
