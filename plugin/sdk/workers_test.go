package sdk_test

import (
	"context"
	"runtime"
	"sync"
	"testing"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// TestNoAttemptWaitsForAnother: attempts that end only when all of them run do end, whatever the others did with the
// goroutines that they ran in.
func TestNoAttemptWaitsForAnother(t *testing.T) {
	const n = 100
	var all sync.WaitGroup
	handlers := sdk.Handlers{
		"meet": sdk.Func(func(ctx context.Context, _ struct{}) (bool, error) {
			all.Done()
			all.Wait()
			return true, ctx.Err()
		}),
		"pass": sdk.Func(func(context.Context, struct{}) (bool, error) { return true, nil }),
		"exit": sdk.Func(func(context.Context, struct{}) (bool, error) { runtime.Goexit(); return true, nil }),
	}
	p := sdktest.Start(t, sdk.Plugin{Name: "test", Version: "1.0.0", Handlers: handlers})
	for range 3 {
		all.Add(n)
		var attempts []*sdktest.Running
		for i := range n {
			attempts = append(attempts, p.Begin(t, sdktest.Attempt{Handler: "meet"}))
			for _, name := range []string{"pass", "exit"}[:i%3] {
				attempts = append(attempts, p.Begin(t, sdktest.Attempt{Handler: name}))
			}
		}
		for _, a := range attempts {
			a.Wait(t)
		}
	}
}
