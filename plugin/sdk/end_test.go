package sdk_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// TestEndOfContext is what a handler sees and what the host hears when an attempt is cancelled or out of time.
func TestEndOfContext(t *testing.T) {
	unrelated := errors.New("unrelated")
	tests := map[string]struct {
		timeout time.Duration
		cancel  string
		returns func(ctx context.Context) error
		verdict sdk.Verdict // Undecided: success
		code    string
		cause   string
	}{
		"cancel, returns the cause":        {cancel: "cancel_requested", returns: context.Cause, verdict: sdk.Cancelled, code: "cancel_requested"},
		"cancel, returns the context's":    {cancel: "cancel_requested", returns: context.Context.Err, verdict: sdk.Cancelled, code: "cancel_requested"},
		"cancel, returns something else":   {cancel: "cancel_requested", returns: constant(unrelated), verdict: sdk.Cancelled, code: "cancel_requested"},
		"cancel, insists on its own":       {cancel: "cancel_requested", returns: constant(sdk.Permanent(sdk.WithCode(unrelated, "own"))), verdict: sdk.Final, code: "own"},
		"cancel, succeeds all the same":    {cancel: "cancel_requested", returns: constant(nil)},
		"cancel, panics":                   {cancel: "cancel_requested", returns: func(context.Context) error { panic("late") }, verdict: sdk.Retryable, code: sdk.CodePanic},
		"timeout, returns the cause":       {timeout: 1, returns: context.Cause, verdict: sdk.Retryable, code: sdk.CodeTimeout},
		"timeout, returns the context's":   {timeout: 1, returns: context.Context.Err, verdict: sdk.Retryable, code: sdk.CodeTimeout},
		"timeout, keeps its code":          {timeout: 1, returns: constant(sdk.WithCode(unrelated, "own")), verdict: sdk.Retryable, code: "own"},
		"timeout, told by the host":        {cancel: sdk.ReasonTimeout, returns: context.Cause, verdict: sdk.Retryable, code: sdk.CodeTimeout},
		"heartbeat timeout, from the host": {cancel: "heartbeat_timeout", returns: context.Cause, verdict: sdk.Cancelled, code: "heartbeat_timeout"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := one(t, sdk.Func(func(ctx context.Context, _ struct{}) (string, error) {
				sdk.Logger(ctx).Info("running")
				<-ctx.Done()
				return context.Cause(ctx).Error(), tt.returns(ctx)
			}))
			r := p.Begin(t, sdktest.Attempt{Handler: "h", Timeout: tt.timeout})
			if tt.cancel != "" {
				r.Log(t)
				r.Cancel(t, tt.cancel)
			}
			got := r.Wait(t)
			switch f := got.Failure; {
			case tt.verdict == sdk.Undecided && got.Output == nil:
				t.Errorf("failure %v, want success", f)
			case tt.verdict != sdk.Undecided && (f == nil || f.Verdict != tt.verdict || f.Code != tt.code):
				t.Errorf("failure %v, want %s %s", f, tt.verdict, tt.code)
			}
		})
	}
}

func constant(err error) func(context.Context) error {
	return func(context.Context) error { return err }
}

func TestCancelOfNothing(t *testing.T) {
	p := one(t, sdk.Func(increment))
	r := p.Begin(t, sdktest.Attempt{Handler: "h", Input: number{1}})
	r.Wait(t)
	r.Cancel(t, "late") // of an attempt that is over: ignored
	if got := p.Run(t, sdktest.Attempt{Handler: "h", Input: number{1}}); got.Output == nil {
		t.Errorf("outcome %+v, want success", got)
	}
}

func TestDuplicateIsIgnored(t *testing.T) {
	p := one(t, sdk.Func(hold))
	r := p.Begin(t, sdktest.Attempt{Handler: "h", ID: "t/0/1"})
	r.Log(t)
	p.Resend(t, r)
	p.Resend(t, r)
	r.Cancel(t, "cancel_requested")
	got := r.Wait(t)
	if got.Failure == nil || got.Failure.Verdict != sdk.Cancelled || len(got.Logs) != 1 {
		t.Errorf("outcome %+v, want one run, cancelled", got)
	}
	if left := p.Drain(t, time.Minute); left != 0 {
		t.Errorf("%d attempts left, want 0", left)
	}
}

func TestDrain(t *testing.T) {
	p := one(t, sdk.Func(hold))
	r := p.Begin(t, sdktest.Attempt{Handler: "h"})
	r.Log(t)
	if left := p.Drain(t, time.Millisecond); left != 1 {
		t.Errorf("%d attempts left at the deadline, want 1", left)
	}
	p.AwaitStatus(t, func(s *pluginv1.Status) bool {
		return s.GetState() == pluginv1.State_STATE_DRAINING && s.GetInFlight() == 1
	})
	r.Cancel(t, "cancel_requested")
	if left := p.Drain(t, time.Minute); left != 0 {
		t.Errorf("%d attempts left, want 0", left)
	}
	if got := r.Wait(t).Failure; got == nil || got.Verdict != sdk.Cancelled {
		t.Errorf("failure %v, want cancelled", got)
	}
}

// TestStreams opens streams beside the one in use, and again after it.
func TestStreams(t *testing.T) {
	causes := make(chan error, 1)
	p := one(t, sdk.Func(func(ctx context.Context, _ struct{}) (int, error) {
		sdk.Logger(ctx).Info("running")
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return 0, nil
	}))
	r := p.Begin(t, sdktest.Attempt{Handler: "h"})
	r.Log(t) // the first stream is in use
	client := pluginv1.NewStepServiceClient(p.Conn())
	second, err := client.Work(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Recv(); err == nil || err.Error() != "rpc error: code = AlreadyExists desc = a work stream is open: there is one per process" {
		t.Errorf("a second stream: %v, want a refusal", err)
	}
	p.Disconnect()
	if cause := <-causes; !errors.Is(cause, sdk.ErrCancelled) || cause.Error() != "attempt cancelled: "+sdk.ReasonHostGone {
		t.Errorf("cause %v, want %s", cause, sdk.ReasonHostGone)
	}
	if r.Wait(t).Lost == nil {
		t.Error("the attempt of a broken stream is not lost")
	}
}

// TestHalfClose lets what runs end after the host has said that it sends no more.
func TestHalfClose(t *testing.T) {
	release := make(chan struct{})
	p := one(t, sdk.Func(func(ctx context.Context, n int) (int, error) {
		sdk.Logger(ctx).Info("running")
		<-release
		return n, nil
	}))
	var running []*sdktest.Running
	for i := range 100 {
		r := p.Begin(t, sdktest.Attempt{Handler: "h", Input: i})
		r.Log(t)
		running = append(running, r)
	}
	p.CloseSend(t)
	close(release)
	for i, r := range running {
		if got := string(r.Wait(t).Output); got != fmt.Sprint(i) {
			t.Errorf("output %s, want %d", got, i)
		}
	}
}

// TestExactlyOneResult ends attempts in every way at once, some of them cancelled meanwhile; sdktest fails the test
// for an attempt that says anything after its result.
func TestExactlyOneResult(t *testing.T) {
	p := one(t, sdk.Func(func(ctx context.Context, n int) (any, error) {
		sdk.Heartbeat(ctx, math.NaN(), "")
		switch n % 6 {
		case 0:
			return n, nil
		case 1:
			return nil, sdk.Permanent(errors.New("no"))
		case 2:
			panic("no")
		case 3:
			runtime.Goexit()
		case 4:
			return make(chan int), nil
		}
		<-ctx.Done()
		go sdk.Heartbeat(ctx, 1, "late") // what a careless handler does
		return nil, ctx.Err()
	}))
	running := make([]*sdktest.Running, 600)
	for i := range running {
		running[i] = p.Begin(t, sdktest.Attempt{Handler: "h", Input: i})
		if i%2 == 1 {
			running[i].Cancel(t, "cancel_requested")
		}
	}
	for i, r := range running {
		if got := r.Wait(t); (got.Output == nil) == (got.Failure == nil) || (got.Output != nil) != (i%6 == 0) {
			t.Errorf("attempt %d: outcome %+v", i, got)
		}
	}
	if left := p.Drain(t, time.Minute); left != 0 {
		t.Errorf("%d attempts left, want 0", left)
	}
}

// TestMany runs many attempts at once.
func TestMany(t *testing.T) {
	p := one(t, sdk.Func(increment))
	running := make([]*sdktest.Running, 5000)
	for i := range running {
		running[i] = p.Begin(t, sdktest.Attempt{Handler: "h", Input: number{i}})
	}
	for i, r := range running {
		if got, want := string(r.Wait(t).Output), fmt.Sprintf(`{"n":%d}`, i+1); got != want {
			t.Fatalf("output %s, want %s", got, want)
		}
	}
}
