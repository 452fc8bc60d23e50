package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// TestMain makes the test binary its own plugin: launched, it is the mock plugin.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == childArg {
		main()
		return
	}
	if sdktest.Launched() {
		main()
	}
	goleak.VerifyTestMain(m)
}

type values = map[string]any

func TestHandlers(t *testing.T) {
	p := sdktest.Start(t, mock())
	tests := []struct {
		name    string
		attempt sdktest.Attempt
		output  string
		failure *sdktest.Failure
	}{
		{
			name:    "echo returns input and results",
			attempt: sdktest.Attempt{Handler: "echo", Input: 1, Results: map[string]any{"a": values{"n": 2}, "b": "x"}},
			output:  `{"input":1,"results":{"a":{"n":2},"b":"x"}}`,
		},
		{
			name:    "echo keeps large numbers",
			attempt: sdktest.Attempt{Handler: "echo", Input: json.RawMessage(`{"id":9007199254740993}`)},
			output:  `{"input":{"id":9007199254740993},"results":{}}`,
		},
		{
			name:    "echo without input, below a skipped step",
			attempt: sdktest.Attempt{Handler: "echo", Skipped: []string{"a"}},
			output:  `{"input":null,"results":{"a":null}}`,
		},
		{name: "noop", attempt: sdktest.Attempt{Handler: "noop"}, output: `{}`},
		{name: "sleep", attempt: sdktest.Attempt{Handler: "sleep", Config: values{"for": "1ms"}}, output: `{}`},
		{name: "limited", attempt: sdktest.Attempt{Handler: "limited", Config: values{"for": "1ms"}}, output: `{}`},
		{
			name:    "flaky fails",
			attempt: sdktest.Attempt{Handler: "flaky", Config: values{"times": 2}, Number: 2},
			failure: &sdktest.Failure{Verdict: sdk.Retryable, Code: "flaky", Message: "failing as configured", Class: "*errors.errorString"},
		},
		{name: "flaky recovers", attempt: sdktest.Attempt{Handler: "flaky", Config: values{"times": 2}, Number: 3}, output: `{}`},
		{name: "flaky never fails", attempt: sdktest.Attempt{Handler: "flaky", Config: values{"times": 0}}, output: `{}`},
		{
			name:    "flaky permanent",
			attempt: sdktest.Attempt{Handler: "flaky", Config: values{"kind": "permanent", "message": "no way"}},
			failure: &sdktest.Failure{Verdict: sdk.Final, Code: "flaky", Message: "no way", Class: "*errors.errorString"},
		},
		{
			name:    "flaky asks to wait",
			attempt: sdktest.Attempt{Handler: "flaky", Config: values{"times": 1, "retry_after": "1m"}},
			failure: &sdktest.Failure{Verdict: sdk.Retryable, Code: "flaky", Message: "failing as configured", Class: "*errors.errorString", RetryAfter: time.Minute},
		},
		{name: "panic recovers", attempt: sdktest.Attempt{Handler: "panic", Config: values{"times": 1}, Number: 2}, output: `{}`},
		{name: "exit does not", attempt: sdktest.Attempt{Handler: "exit", Config: values{"times": 1}, Number: 2}, output: `{}`},
		{name: "flood nothing", attempt: sdktest.Attempt{Handler: "flood", Config: values{"lines": 0, "bytes": 0}}, output: `{}`},
		{
			name:    "heartbeat",
			attempt: sdktest.Attempt{Handler: "heartbeat", Config: values{"every": "1ms", "for": "3ms"}},
			output:  `{"beats":3,"from":0}`,
		},
		{
			name:    "heartbeat continues",
			attempt: sdktest.Attempt{Handler: "heartbeat", Config: values{"every": "1ms", "for": "3ms", "checkpoint": true}, Checkpoint: 2, Number: 2},
			output:  `{"beats":3,"from":2}`,
		},
		{name: "big", attempt: sdktest.Attempt{Handler: "big", Config: values{"bytes": 3}}, output: `{"data":"xxx"}`},
		{
			name:    "unknown config key",
			attempt: sdktest.Attempt{Handler: "sleep", Config: values{"for": "1ms", "fro": "1ms"}},
			failure: &sdktest.Failure{Verdict: sdk.Final, Code: sdk.CodeInvalidConfig, Message: "the step's config does not fit handler sleep: additional properties 'fro' not allowed"},
		},
		{
			name:    "no duration",
			attempt: sdktest.Attempt{Handler: "sleep", Config: values{"for": 5}},
			failure: &sdktest.Failure{Verdict: sdk.Final, Code: sdk.CodeInvalidConfig, Message: "the step's config does not fit handler sleep: /for: got number, want string"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := p.Run(t, tt.attempt)
			if got, want := string(got.Output), tt.output; got != want {
				t.Errorf("output %s, want %s", got, want)
			}
			if f := tt.failure; f != nil && f.Class == "" && got.Failure != nil {
				f.Class = got.Failure.Class
			}
			if diff := cmp.Diff(tt.failure, got.Failure); diff != "" {
				t.Errorf("failure (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPanic(t *testing.T) {
	p := sdktest.Start(t, mock())
	got := p.Run(t, sdktest.Attempt{Handler: "panic"}).Failure
	if got == nil || got.Code != sdk.CodePanic || got.Message != "panic: panicking as configured" || got.Class != "string" {
		t.Fatalf("failure %+v, want a panic", got)
	}
	if len(got.Stack) == 0 || !strings.Contains(got.Stack[0], "fault.go") {
		t.Errorf("stack %q, want fault.go innermost", got.Stack)
	}
	if out := p.Run(t, sdktest.Attempt{Handler: "noop"}); out.Output == nil {
		t.Errorf("the attempt after a panic failed: %+v", out)
	}
}

func TestHangCancelled(t *testing.T) {
	p := sdktest.Start(t, mock())
	r := p.Begin(t, sdktest.Attempt{Handler: "hang"})
	r.Cancel(t, "cancel_requested")
	got := r.Wait(t).Failure
	if got == nil || got.Verdict != sdk.Cancelled || got.Code != "cancel_requested" {
		t.Errorf("failure %+v, want cancelled", got)
	}
}

func TestHeartbeats(t *testing.T) {
	p := sdktest.Start(t, mock())
	r := p.Begin(t, sdktest.Attempt{Handler: "heartbeat", Config: values{"every": "1ms", "for": "10ms", "checkpoint": true}})
	if h := r.Heartbeat(t); h.Progress <= 0 || h.Note != "beating" {
		t.Errorf("heartbeat %+v, want progress and a note", h)
	}
	out := r.Wait(t)
	if got, want := string(out.Checkpoint), "10"; got != want {
		t.Errorf("last checkpoint %s, want %s", got, want)
	}
}

func TestLedger(t *testing.T) {
	p := sdktest.Start(t, mock())
	path := filepath.Join(t.TempDir(), "ledger")
	p.Run(t, sdktest.Attempt{Handler: "noop", Config: values{"ledger": path}, ID: "t/0/1"})
	p.Run(t, sdktest.Attempt{Handler: "flaky", Config: values{"ledger": path, "times": 1}, ID: "t/1/1"})
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("t/0/1 start\nt/0/1 end\nt/1/1 start\nt/1/1 end\n", string(got)); diff != "" {
		t.Errorf("ledger (-want +got):\n%s", diff)
	}
	out := p.Run(t, sdktest.Attempt{Handler: "noop", Config: values{"ledger": filepath.Join(path, "no", "directory")}})
	if out.Failure == nil {
		t.Error("an attempt that cannot keep its ledger succeeded")
	}
}

func launch(t *testing.T) *sdktest.Plugin {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return sdktest.Launch(t, binary)
}

func TestLaunchedExit(t *testing.T) {
	p := launch(t)
	path := filepath.Join(t.TempDir(), "ledger")
	held := p.Begin(t, sdktest.Attempt{Handler: "hang"})
	got := p.Run(t, sdktest.Attempt{Handler: "exit", Config: values{"code": 7, "times": 1, "ledger": path}, ID: "t/0/1"})
	if got.Lost == nil {
		t.Errorf("outcome %+v, want lost", got)
	}
	if held.Wait(t).Lost == nil {
		t.Error("an attempt of a process that ended is not lost")
	}
	if code := p.Exit(t); code != 7 {
		t.Errorf("exit code %d, want 7", code)
	}
	if got, _ := os.ReadFile(path); string(got) != "t/0/1 start\n" {
		t.Errorf("ledger %q, want the start alone", got)
	}
}

func TestLaunchedFlood(t *testing.T) {
	p := launch(t)
	out := p.Run(t, sdktest.Attempt{Handler: "flood", Config: values{"lines": 1000, "bytes": 100, "hostile": true}})
	if out.Output == nil {
		t.Fatalf("outcome %+v, want success", out)
	}
	if out := p.Run(t, sdktest.Attempt{Handler: "noop"}); out.Output == nil {
		t.Errorf("the attempt after the flood failed: %+v", out)
	}
	p.CutLifeline()
	p.Exit(t)
	stderr := p.Stderr()
	for _, want := range []string{
		strings.Repeat(strings.Repeat("x", 100)+"\n", 1000), `{"@message": 1}` + "\n", strings.Repeat("o", 1<<20),
	} {
		if !strings.Contains(stderr, want) {
			t.Errorf("standard error lacks %.40q", want)
		}
	}
}

func TestLaunchedHangIgnoresCancel(t *testing.T) {
	p := launch(t)
	r := p.Begin(t, sdktest.Attempt{Handler: "hang", Config: values{"ignore_cancel": true}})
	r.Log(t) // it hangs
	r.Cancel(t, "cancel_requested")
	if left := p.Drain(t, time.Millisecond); left != 1 {
		t.Errorf("%d attempts left after the drain, want 1", left)
	}
	p.Kill()
	if r.Wait(t).Lost == nil {
		t.Error("the attempt of a killed process is not lost")
	}
}

func TestLaunchedChild(t *testing.T) {
	p := launch(t)
	out := p.Run(t, sdktest.Attempt{Handler: "child", Config: values{"for": "1m"}})
	var got orphan
	out.Decode(t, &got)
	proc, err := os.FindProcess(got.Pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proc.Kill() })
	p.CutLifeline()
	if code := p.Exit(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if runtime.GOOS == "linux" {
		cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", got.Pid))
		if err != nil || !bytes.Contains(cmdline, []byte(childArg)) {
			t.Errorf("the child is gone: %q, %v", cmdline, err)
		}
	}
}
