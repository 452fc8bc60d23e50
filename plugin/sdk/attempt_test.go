package sdk_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

type greeting struct {
	Name string `json:"name"`
	Nick string `json:"nick,omitempty"`
}

func TestInput(t *testing.T) {
	p := one(t, sdk.Func(func(_ context.Context, in greeting) (string, error) { return in.Name + "/" + in.Nick, nil }))
	tests := map[string]struct {
		input   any
		output  string
		message string
	}{
		"fits":             {map[string]any{"name": "Ada", "nick": "A"}, `"Ada/A"`, ""},
		"optional missing": {map[string]any{"name": "Ada"}, `"Ada/"`, ""},
		"further keys":     {map[string]any{"name": "Ada", "other": 1}, `"Ada/"`, ""},
		"not escaped":      {map[string]any{"name": "<&>"}, `"<&>/"`, ""},
		"required missing": {map[string]any{"nick": "A"}, "", "the input does not fit handler h: missing property 'name'"},
		"none":             {nil, "", "the input does not fit handler h: missing property 'name'"},
		"wrong types":      {map[string]any{"name": 1, "nick": true}, "", "the input does not fit handler h: /name: got number, want string; /nick: got boolean, want string"},
		"no object":        {"Ada", "", "the input does not fit handler h: got string, want object"},
		"no JSON":          {json.RawMessage("{"), "", "the input does not fit handler h: no valid JSON: unexpected EOF"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := p.Run(t, sdktest.Attempt{Handler: "h", Input: tt.input})
			if string(got.Output) != tt.output {
				t.Errorf("output %s, want %s", got.Output, tt.output)
			}
			if f := got.Failure; tt.message != "" && (f == nil || f.Verdict != sdk.Final || f.Code != sdk.CodeInvalidInput || f.Message != tt.message) {
				t.Errorf("failure %v, want %s", f, tt.message)
			}
		})
	}
}

func TestResultsThatCannotBeStored(t *testing.T) {
	tests := map[string]struct {
		out  any
		code string
		want string
	}{
		"too large":       {strings.Repeat("x", sdk.MaxValue), sdk.CodeTooLarge, "the result has 15728642 bytes, the limit is 15728640: store it elsewhere and return where"},
		"channel":         {make(chan int), sdk.CodeInvalidResult, "the result, a chan int, does not marshal to JSON: json: unsupported type: chan int"},
		"broken raw":      {json.RawMessage("{"), sdk.CodeInvalidResult, "the result, a json.RawMessage, does not marshal to JSON: json: error calling MarshalJSON for type json.RawMessage: unexpected end of JSON input"},
		"panics":          {&marshalPanics{}, sdk.CodePanic, "panic: no JSON"},
		"fits, just so":   {strings.Repeat("x", sdk.MaxValue-2), "", ""},
		"null is a value": {nil, "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := one(t, sdk.Func(func(context.Context, struct{}) (any, error) { return tt.out, nil }))
			got := p.Run(t, sdktest.Attempt{Handler: "h"})
			switch f := got.Failure; {
			case tt.code == "" && got.Output == nil:
				t.Errorf("failure %v, want an output", f)
			case tt.code != "" && (f == nil || f.Code != tt.code || f.Message != tt.want):
				t.Errorf("failure %v, want %s: %s", f, tt.code, tt.want)
			}
		})
	}
}

type marshalPanics struct{}

func (*marshalPanics) MarshalJSON() ([]byte, error) { panic("no JSON") }

// stepConfig is a step's config.
type stepConfig struct {
	Region string       `json:"region"`
	Wait   sdk.Duration `json:"wait,omitempty"`
}

func TestConfig(t *testing.T) {
	read := func(ctx context.Context, _ struct{}) (string, error) {
		c, err := sdk.Config[stepConfig](ctx)
		return c.Region + "/" + c.Wait.String(), err
	}
	declared, undeclared := one(t, sdk.Func(read, sdk.Options{Config: stepConfig{}})), one(t, sdk.Func(read))
	tests := map[string]struct {
		p       *sdktest.Plugin
		config  any
		output  string
		message string
	}{
		"fits":                   {declared, map[string]any{"region": "eu", "wait": "1s"}, `"eu/1s"`, ""},
		"missing":                {declared, nil, "", "the step's config does not fit handler h: missing property 'region'"},
		"unknown key":            {declared, map[string]any{"region": "eu", "reg": 1}, "", "the step's config does not fit handler h: additional properties 'reg' not allowed"},
		"undeclared fits":        {undeclared, map[string]any{"region": "eu"}, `"eu/0s"`, ""},
		"undeclared unknown key": {undeclared, map[string]any{"reg": 1}, "", `decode the step's config: json: unknown field "reg"`},
		"undeclared none":        {undeclared, nil, `"/0s"`, ""},
		"no duration":            {undeclared, map[string]any{"wait": "soon"}, "", `decode the step's config: "soon" is no duration; want one such as 200ms, 1.5s or 2m`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := tt.p.Run(t, sdktest.Attempt{Handler: "h", Config: tt.config})
			if string(got.Output) != tt.output {
				t.Errorf("output %s, want %s", got.Output, tt.output)
			}
			if f := got.Failure; tt.message != "" && (f == nil || f.Verdict != sdk.Final || f.Code != sdk.CodeInvalidConfig || f.Message != tt.message) {
				t.Errorf("failure %v, want %s", f, tt.message)
			}
		})
	}
}

func TestResults(t *testing.T) {
	p := one(t, sdk.Func(func(ctx context.Context, step string) (map[string]any, error) {
		v, err := sdk.Result[map[string]any](ctx, step)
		if err != nil {
			return nil, err
		}
		again, err := sdk.Result[map[string]any](ctx, step)
		return map[string]any{"v": v, "same": cmp.Equal(v, again), "all": sdk.Results(ctx)}, err
	}))
	for _, byReference := range []bool{false, true} {
		a := sdktest.Attempt{
			Handler: "h", ByReference: byReference, Skipped: []string{"c"},
			Results: map[string]any{"a": map[string]any{"n": 1}, "b": map[string]any{"large": strings.Repeat("x", 2<<20)}},
		}
		for step, want := range map[string]string{
			"a": `{"all":[{"Step":"a","Status":"complete","Size":7},{"Step":"b","Status":"complete","Size":2097164},{"Step":"c","Status":"skipped","Size":0}],"same":true,"v":{"n":1}}`,
			"c": `{"all":[{"Step":"a","Status":"complete","Size":7},{"Step":"b","Status":"complete","Size":2097164},{"Step":"c","Status":"skipped","Size":0}],"same":true,"v":null}`,
		} {
			a.Input = step
			if got := p.Run(t, a); string(got.Output) != want {
				t.Errorf("by reference %v, step %s: output %s (failure %v), want %s", byReference, step, got.Output, got.Failure, want)
			}
		}
		a.Input = "b"
		if got := p.Run(t, a); len(got.Output) < 2<<20 {
			t.Errorf("by reference %v: output of %d bytes, want the large one (failure %v)", byReference, len(got.Output), got.Failure)
		}
		a.Input = "x"
		if got := p.Run(t, a).Failure; got == nil || got.Message != `step "x": no such dependency result: there are results of [a b c]` {
			t.Errorf("by reference %v: failure %v, want ErrNoResult", byReference, got)
		}
	}
}

func TestAttemptInfo(t *testing.T) {
	const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
	var got sdk.AttemptInfo
	p := one(t, sdk.Func(func(ctx context.Context, _ struct{}) (string, error) {
		got = sdk.Attempt(ctx)
		return sdk.IdempotencyKey(ctx), nil
	}))
	out := p.Run(t, sdktest.Attempt{
		Handler: "h", Number: 2, Limit: 5, Task: "T", Step: "s", IdempotencyKey: "k", CorrelationID: "c", Tags: []string{"t"},
		Timeout: time.Hour, HeartbeatTimeout: time.Minute, Traceparent: traceparent, Tracestate: "a=1",
		Previous: &sdktest.Failure{Verdict: sdk.Retryable, Code: "x", Message: "m", Class: "*e"},
	})
	want := sdk.AttemptInfo{
		ID: "T/0/2", Task: "T", Namespace: "default", Template: "sdktest", TemplateVersion: "1.0.0", Step: "s", Handler: "h",
		Number: 2, Limit: 5, Timeout: time.Hour, HeartbeatTimeout: time.Minute, Tags: []string{"t"}, CorrelationID: "c",
		Traceparent: traceparent, Tracestate: "a=1",
		Previous: &sdk.Previous{Verdict: sdk.Retryable, Code: "x", Message: "m", Class: "*e"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("attempt (-want +got):\n%s", diff)
	}
	if string(out.Output) != `"k"` {
		t.Errorf("idempotency key %s, want k", out.Output)
	}
}

func TestCheckpoints(t *testing.T) {
	p := one(t, sdk.Func(func(ctx context.Context, size int) (string, error) {
		last, ok, err := sdk.LastCheckpoint[string](ctx)
		if err != nil {
			return "", err
		}
		sdk.Heartbeat(ctx, 0.5, "half")
		return fmt.Sprint(last, ok), sdk.Checkpoint(ctx, strings.Repeat("x", size))
	}))
	got := p.Run(t, sdktest.Attempt{Handler: "h", Input: 3})
	if string(got.Output) != `"false"` || string(got.Checkpoint) != `"xxx"` {
		t.Errorf("output %s, checkpoint %s; want none before and xxx after", got.Output, got.Checkpoint)
	}
	if h := got.Heartbeats[len(got.Heartbeats)-1]; h.Progress != 0.5 || h.Note != "half" {
		t.Errorf("heartbeat %+v, want progress and note kept by the checkpoint", h)
	}
	got = p.Run(t, sdktest.Attempt{Handler: "h", Input: 3, Checkpoint: "abc", Number: 2})
	if string(got.Output) != `"abctrue"` {
		t.Errorf("output %s, want the last checkpoint", got.Output)
	}
	got = p.Run(t, sdktest.Attempt{Handler: "h", Input: sdk.MaxCheckpoint - 1})
	if got.Failure == nil || got.Failure.Message != "checkpoint of 65537 bytes, the limit is 65536: value too large" || got.Checkpoint != nil {
		t.Errorf("failure %v, want too large", got.Failure)
	}
	got = p.Run(t, sdktest.Attempt{Handler: "h", Input: 1, Checkpoint: 5})
	if got.Failure == nil || got.Failure.Verdict != sdk.Retryable {
		t.Errorf("failure %v, want one of decoding", got.Failure)
	}
}

// TestLastCheckpointSurvives keeps the last of many checkpoints, however they are merged.
func TestLastCheckpointSurvives(t *testing.T) {
	p := one(t, sdk.Func(func(ctx context.Context, n int) (int, error) {
		for i := range n {
			if err := sdk.Checkpoint(ctx, i+1); err != nil {
				return 0, err
			}
			sdk.Heartbeat(ctx, 1, "beat")
		}
		return n, nil
	}))
	got := p.Run(t, sdktest.Attempt{Handler: "h", Input: 10000})
	if string(got.Checkpoint) != "10000" {
		t.Errorf("last checkpoint %s, want 10000", got.Checkpoint)
	}
}

func TestLogs(t *testing.T) {
	p := one(t, sdk.Func(func(ctx context.Context, _ struct{}) (int, error) {
		l := sdk.Logger(ctx).With("user", "ada").Named("part")
		l.Debug("debug", "n", 1, "err", errors.New("bad"), "d", time.Second)
		l.Trace("below the level")
		s := sdk.Slog(ctx)
		s.DebugContext(ctx, "below the level too", "enabled", s.Enabled(ctx, slog.LevelDebug-1))
		s.With("a", 1).WithGroup("g").ErrorContext(ctx, "oops", "b", 2, slog.Group("h", "c", 3))
		l.Warn("odd", "key")
		l.Info("no JSON", "ch", make(chan int) == nil, "f", func() {} == nil)
		return 0, nil
	}))
	want := []sdktest.LogLine{
		{Level: "debug", Message: "debug", Fields: json.RawMessage(`{"d":"1s","err":"bad","logger":"part","n":1,"user":"ada"}`)},
		{Level: "debug", Message: "below the level too", Fields: json.RawMessage(`{"enabled":false}`)},
		{Level: "error", Message: "oops", Fields: json.RawMessage(`{"a":1,"g.b":2,"g.h.c":3}`)},
		{Level: "warn", Message: "odd", Fields: json.RawMessage(`{"EXTRA_VALUE_AT_END":"key","logger":"part","user":"ada"}`)},
		{Level: "info", Message: "no JSON", Fields: json.RawMessage(`{"ch":false,"f":false,"logger":"part","user":"ada"}`)},
	}
	got := p.Run(t, sdktest.Attempt{Handler: "h"})
	if diff := cmp.Diff(want, got.Logs); diff != "" {
		t.Errorf("logs (-want +got):\n%s", diff)
	}
}

// TestLogFlood drops lines that the host does not keep up with, and says so.
func TestLogFlood(t *testing.T) {
	const lines = 20_000
	p := one(t, sdk.Func(func(ctx context.Context, _ struct{}) (int, error) {
		log := sdk.Slog(ctx)
		for i := range lines {
			log.InfoContext(ctx, "line", "i", i)
		}
		return 0, nil
	}))
	got := p.Run(t, sdktest.Attempt{Handler: "h"})
	if got.Output == nil || len(got.Logs) == 0 || len(got.Logs) > lines {
		t.Errorf("%d log lines (failure %v), want some of %d", len(got.Logs), got.Failure, lines)
	}
}

// TestOutsideAnAttempt calls a handler directly, as a unit test does.
func TestOutsideAnAttempt(t *testing.T) {
	ctx := t.Context()
	sdk.Heartbeat(ctx, 1, "x")
	sdk.Logger(ctx).Info("x")
	sdk.Slog(ctx).InfoContext(ctx, "x")
	c, configErr := sdk.Config[stepConfig](ctx)
	_, found, lastErr := sdk.LastCheckpoint[int](ctx)
	if err := errors.Join(sdk.Checkpoint(ctx, make(chan int)), configErr, lastErr); err != nil {
		t.Error(err)
	}
	if found || c != (stepConfig{}) || sdk.IdempotencyKey(ctx) != "" || sdk.Results(ctx) != nil || sdk.Attempt(ctx).ID != "" {
		t.Error("there is something where there is nothing")
	}
	if _, err := sdk.Result[int](ctx, "x"); !errors.Is(err, sdk.ErrNoResult) {
		t.Errorf("error %v, want ErrNoResult", err)
	}
}
