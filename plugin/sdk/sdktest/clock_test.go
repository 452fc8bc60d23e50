package sdktest_test

import (
	"context"
	"errors"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// patient is a plugin whose handlers wait: one for a day, one that asks to be asked again in an hour.
func patient() sdk.Plugin {
	return sdk.Plugin{Name: "patient", Version: "1.0.0", Handlers: sdk.Handlers{
		"day": sdk.Func(func(ctx context.Context, _ struct{}) (string, error) {
			select {
			case <-time.After(24 * time.Hour):
				return "done", nil
			case <-ctx.Done():
				return "", context.Cause(ctx)
			}
		}),
		"later": sdk.Func(func(ctx context.Context, _ struct{}) (map[string]any, error) {
			a := sdk.Attempt(ctx)
			if a.Number == 1 {
				return nil, errors.Join(sdk.Checkpoint(ctx, 41), sdk.RetryAfter(errors.New("busy"), time.Hour))
			}
			at, _, err := sdk.LastCheckpoint[int](ctx)
			return map[string]any{"at": at, "key": sdk.IdempotencyKey(ctx), "number": a.Number}, err
		}),
	}}
}

// TestFakeClock: in a bubble neither work nor limits nor pauses take time.
func TestFakeClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := sdktest.Start(t, patient())
		begin := time.Now()
		if got := p.Run(t, sdktest.Attempt{Handler: "day"}); string(got.Output) != `"done"` || time.Since(begin) != 24*time.Hour {
			t.Errorf("output %s after %s, failure %v; want done after a day", got.Output, time.Since(begin), got.Failure)
		}
		begin = time.Now()
		got := p.Run(t, sdktest.Attempt{Handler: "day", Timeout: time.Hour})
		if got.Failure == nil || got.Failure.Code != sdk.CodeTimeout || time.Since(begin) != time.Hour {
			t.Errorf("failure %v after %s, want a timeout after an hour", got.Failure, time.Since(begin))
		}
		begin = time.Now()
		again := p.Begin(t, sdktest.Attempt{Handler: "later", IdempotencyKey: "k"}).Again(t, p).Wait(t)
		if want := `{"at":41,"key":"k","number":2}`; string(again.Output) != want || time.Since(begin) != time.Hour {
			t.Errorf("output %s after %s, failure %v; want %s after an hour", again.Output, time.Since(begin), again.Failure, want)
		}
	})
}

// TestCrash kills a process amid an attempt; the next one has the same key and goes on from the checkpoint.
func TestCrash(t *testing.T) {
	binary := sdktest.Build(t, "../../../plugins/mock")
	p := sdktest.Launch(t, binary)
	held := p.Begin(t, sdktest.Attempt{
		Handler: "heartbeat", Config: map[string]any{"every": "1ms", "for": "24h", "checkpoint": true},
	})
	checkpoint(t, held)
	p.Kill()
	lost := held.Wait(t)
	if lost.Lost == nil {
		t.Fatalf("outcome %+v, want a loss", lost)
	}
	kept, err := strconv.Atoi(string(lost.Checkpoint))
	if err != nil {
		t.Fatal(err)
	}
	again := held.Again(t, sdktest.Launch(t, binary))
	if got := checkpoint(t, again); got <= kept {
		t.Errorf("the next attempt is at %d, want it to go on from %d", got, kept)
	}
	again.Cancel(t, "enough")
	again.Wait(t)
}

// checkpoint waits for a checkpoint: a heartbeat may come without one.
func checkpoint(t *testing.T, r *sdktest.Running) int {
	t.Helper()
	for {
		if doc := r.Heartbeat(t).Checkpoint; doc != nil {
			n, err := strconv.Atoi(string(doc))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
}

// TestAgainAfterSuccess: a step that succeeded has no further attempt.
func TestAgainAfterSuccess(t *testing.T) {
	got := failures(t, func(tb *failing) {
		p := sdktest.Start(t, counter())
		p.Begin(t, sdktest.Attempt{Handler: "double", Input: 1, ID: "a"}).Again(tb, p)
	})
	if len(got) != 1 || got[0] != "attempt a succeeded: no other one follows" {
		t.Errorf("failures %q", got)
	}
}
