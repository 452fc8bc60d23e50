package main

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

func TestMain(m *testing.M) {
	if sdktest.Launched() {
		sdk.Serve(mock())
	}
	goleak.VerifyTestMain(m)
}

func TestEchoLaunched(t *testing.T) {
	bin, _ := os.Executable()
	p := sdktest.Launch(t, bin)
	out := p.Run(t, sdktest.Attempt{Handler: "echo", Input: 1, Results: map[string]any{"a": 2}, ByReference: true})
	if got, want := string(out.Output), `{"input":1,"results":{"a":2}}`; got != want {
		t.Errorf("output %s, want %s (%+v)", got, want, out.Failure)
	}
}

func TestEcho(t *testing.T) {
	p := sdktest.Start(t, mock())
	out := p.Run(t, sdktest.Attempt{Handler: "echo", Input: 1, Results: map[string]any{"a": 2}})
	if got, want := string(out.Output), `{"input":1,"results":{"a":2}}`; got != want {
		t.Errorf("output %s, want %s (%+v)", got, want, out.Failure)
	}
}
