package sdk_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// hostile is an error whose message cannot be had.
type hostile struct{}

func (*hostile) Error() string { panic("no message") }

// TestFailures is what the host hears of every kind of failure.
func TestFailures(t *testing.T) {
	cause := errors.New("cause")
	_, noFile := os.Open("/no/such/file")
	tests := map[string]struct {
		err  error
		want sdktest.Failure
	}{
		"ordinary":       {cause, sdktest.Failure{Verdict: sdk.Retryable, Message: "cause", Class: "*errors.errorString"}},
		"wrapped":        {fmt.Errorf("around: %w", cause), sdktest.Failure{Verdict: sdk.Retryable, Message: "around: cause", Class: "*errors.errorString"}},
		"permanent":      {sdk.Permanent(cause), sdktest.Failure{Verdict: sdk.Final, Message: "cause", Class: "*errors.errorString"}},
		"permanent deep": {fmt.Errorf("around: %w", sdk.Permanent(cause)), sdktest.Failure{Verdict: sdk.Final, Message: "around: cause", Class: "*errors.errorString"}},
		"retry after":    {sdk.RetryAfter(cause, time.Minute), sdktest.Failure{Verdict: sdk.Retryable, Message: "cause", Class: "*errors.errorString", RetryAfter: time.Minute}},
		"unavailable":    {sdk.Unavailable(cause), sdktest.Failure{Verdict: sdk.Retryable, Message: "cause", Class: "*errors.errorString", Source: sdk.FromDownstream}},
		"outermost verdict counts": {
			sdk.RetryAfter(sdk.Permanent(cause), time.Second),
			sdktest.Failure{Verdict: sdk.Retryable, Message: "cause", Class: "*errors.errorString", RetryAfter: time.Second},
		},
		"everything, composed": {
			sdk.Permanent(sdk.WithCode(sdk.WithDetails(sdk.WithPartial(sdk.Downstream(cause), []int{1}), map[string]int{"a": 1}), "declined")),
			sdktest.Failure{
				Verdict: sdk.Final, Message: "cause", Class: "*errors.errorString", Code: "declined", Source: sdk.FromDownstream,
				Details: json.RawMessage(`{"a":1}`), Partial: json.RawMessage(`[1]`),
			},
		},
		"everything, as a literal": {
			&sdk.Error{Err: cause, Verdict: sdk.Final, Code: "declined", Source: sdk.FromDownstream, Details: "d", Partial: 1},
			sdktest.Failure{
				Verdict: sdk.Final, Message: "cause", Class: "*errors.errorString", Code: "declined", Source: sdk.FromDownstream,
				Details: json.RawMessage(`"d"`), Partial: json.RawMessage(`1`),
			},
		},
		"literal without an error": {&sdk.Error{Code: "declined"}, sdktest.Failure{Verdict: sdk.Retryable, Message: "declined", Class: "*sdk.Error", Code: "declined"}},
		"empty literal":            {&sdk.Error{}, sdktest.Failure{Verdict: sdk.Retryable, Message: "failed", Class: "*sdk.Error"}},
		"class is the innermost real type": {
			sdk.WithCode(fmt.Errorf("around: %w", noFile), "x"),
			sdktest.Failure{Verdict: sdk.Retryable, Message: "around: " + noFile.Error(), Class: class(noFile), Code: "x"},
		},
		"class in joined errors": {
			errors.Join(cause, &net.AddrError{Err: "bad", Addr: "x"}),
			sdktest.Failure{Verdict: sdk.Retryable, Message: "cause\naddress x: bad", Class: "*net.AddrError"},
		},
		"details too large": {
			sdk.WithDetails(cause, strings.Repeat("x", 4096)),
			sdktest.Failure{Verdict: sdk.Retryable, Message: "cause", Class: "*errors.errorString", Details: json.RawMessage(`{"omitted":"4098 bytes are more than 4096"}`)},
		},
		"partial output too large": {
			sdk.WithPartial(cause, strings.Repeat("x", 64<<10)),
			sdktest.Failure{Verdict: sdk.Retryable, Message: "cause", Class: "*errors.errorString", Partial: json.RawMessage(`{"omitted":"65538 bytes are more than 65536"}`)},
		},
		"details that do not marshal": {
			sdk.WithDetails(cause, make(chan int)),
			sdktest.Failure{Verdict: sdk.Retryable, Message: "cause", Class: "*errors.errorString", Details: json.RawMessage(`{"omitted":"chan int does not marshal: json: unsupported type: chan int"}`)},
		},
		"message too long": {
			errors.New(strings.Repeat("ä", 5000)),
			sdktest.Failure{Verdict: sdk.Retryable, Message: strings.Repeat("ä", 4094) + " ...", Class: "*errors.errorString"},
		},
		"message that is no text": {errors.New("a\xffb"), sdktest.Failure{Verdict: sdk.Retryable, Message: "a\uFFFDb", Class: "*errors.errorString"}},
		"message that panics":     {&hostile{}, sdktest.Failure{Verdict: sdk.Retryable, Message: "*sdk_test.hostile, whose Error method panics: no message", Class: "*sdk_test.hostile"}},
		"cancelled by itself": {
			&sdk.Error{Err: cause, Verdict: sdk.Cancelled},
			sdktest.Failure{Verdict: sdk.Cancelled, Message: "cause", Class: "*errors.errorString"},
		},
	}
	var err error
	p := one(t, sdk.Func(func(context.Context, struct{}) (int, error) { return 0, err }))
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err = tt.err
			got := p.Run(t, sdktest.Attempt{Handler: "h"})
			if diff := cmp.Diff(&tt.want, got.Failure); diff != "" {
				t.Errorf("failure (-want +got):\n%s", diff)
			}
		})
	}
}

// class is the type of the innermost error.
func class(err error) string {
	for inner := err; inner != nil; inner = errors.Unwrap(inner) {
		err = inner
	}
	return fmt.Sprintf("%T", err)
}

func TestWrappersSeeThrough(t *testing.T) {
	err := sdk.Permanent(sdk.WithCode(sdk.WithDetails(sdk.WithPartial(sdk.Downstream(sdk.RetryAfter(fs.ErrNotExist, 1)), 1), 1), "x"))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Error("errors.Is does not see through")
	}
	if e, ok := errors.AsType[*sdk.Error](err); !ok || e.Verdict != sdk.Final {
		t.Errorf("errors.As finds %+v, want the outermost", e)
	}
	want := sdk.Error{Err: err, Verdict: sdk.Final, Code: "x", Details: 1, Partial: 1, Source: sdk.FromDownstream, RetryAfter: 1}
	if diff := cmp.Diff(want, sdk.Explain(err), cmpopts.EquateErrors()); diff != "" {
		t.Errorf("Explain (-want +got):\n%s", diff)
	}
	for name, err := range map[string]error{
		"Permanent": sdk.Permanent(nil), "RetryAfter": sdk.RetryAfter(nil, 1), "WithCode": sdk.WithCode(nil, "x"),
		"WithDetails": sdk.WithDetails(nil, 1), "WithPartial": sdk.WithPartial(nil, 1), "Downstream": sdk.Downstream(nil),
	} {
		if err != nil {
			t.Errorf("%s of nil is %v, want nil", name, err)
		}
	}
}

func TestPanics(t *testing.T) {
	tests := map[string]struct {
		panics  func()
		message string
		class   string
	}{
		"text":      {func() { panic("boom") }, "panic: boom", "string"},
		"error":     {func() { panic(&net.AddrError{Err: "bad"}) }, "panic: bad", "*net.AddrError"},
		"plain":     {func() { panic(errors.New("boom")) }, "panic: boom", "*errors.errorString"},
		"runtime":   {func() { clear(map[string][]int{}["x"][:1]) }, "panic: runtime error: slice bounds out of range [:1] with capacity 0", "runtime.boundsError"},
		"nil":       {func() { panic(nil) }, "panic: panic called with nil argument", "*runtime.PanicNilError"}, //nolint:govet // on purpose
		"Goexit":    {runtime.Goexit, "panic: the handler ended its goroutine with runtime.Goexit", "string"},
		"permanent": {func() { panic(sdk.Permanent(errors.New("boom"))) }, "panic: boom", "*errors.errorString"},
	}
	var panics func()
	p := one(t, sdk.Func(func(context.Context, struct{}) (int, error) { panics(); return 0, nil }))
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			panics = tt.panics
			got := p.Run(t, sdktest.Attempt{Handler: "h"}).Failure
			if got == nil || got.Code != sdk.CodePanic || got.Message != tt.message || got.Class != tt.class {
				t.Fatalf("failure %v of class %s, want %s of class %s", got, got.Class, tt.message, tt.class)
			}
			if n := len(got.Stack); n == 0 || n > 10 || !strings.Contains(got.Stack[0], "errors_test.go") {
				t.Errorf("stack %q, want at most 10 frames, innermost in this file", got.Stack)
			}
		})
	}
	// Both verdicts hold: a panic is retryable unless it says otherwise.
	panics = func() { panic(sdk.Permanent(errors.New("boom"))) }
	if got := p.Run(t, sdktest.Attempt{Handler: "h"}).Failure; got.Verdict != sdk.Final {
		t.Errorf("verdict %v of a panic with a permanent error, want permanent", got.Verdict)
	}
}

func TestCancelError(t *testing.T) {
	tests := []struct {
		reason             string
		canceled, deadline bool
	}{
		{sdk.ReasonTimeout, false, true},
		{sdk.ReasonHostGone, true, false},
		{"cancel_requested", true, false},
	}
	for _, tt := range tests {
		err := fmt.Errorf("around: %w", &sdk.CancelError{Reason: tt.reason})
		if !errors.Is(err, sdk.ErrCancelled) || errors.Is(err, context.Canceled) != tt.canceled || errors.Is(err, context.DeadlineExceeded) != tt.deadline {
			t.Errorf("%v: is it ErrCancelled, Canceled, DeadlineExceeded: %v, %v, %v", err,
				errors.Is(err, sdk.ErrCancelled), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded))
		}
	}
}
