package sdktest_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// A handler is asked what a host would ask it, over the real wire.
func ExamplePlugin_Run() {
	t, done := forExample() // in a test, its own t
	defer done()

	type guest struct {
		Name string `json:"name"`
	}
	p := sdktest.Start(t, sdk.Plugin{Name: "greeter", Version: "1.0.0", Handlers: sdk.Handlers{
		"greet": sdk.Func(func(_ context.Context, g guest) (string, error) { return "Hello, " + g.Name + "!", nil }),
	}})

	got := p.Run(t, sdktest.Attempt{Handler: "greet", Input: guest{Name: "Ada"}})
	fmt.Println(string(got.Output))
	got = p.Run(t, sdktest.Attempt{Handler: "greet", Input: map[string]any{"nam": "Ada"}})
	fmt.Println(got.Failure)
	// Output:
	// "Hello, Ada!"
	// permanent invalid_input: the input does not fit handler greet: missing property 'name'
}

// The next attempt of a step has the checkpoint of the last one, and knows why that failed.
func ExampleRunning_Again() {
	t, done := forExample() // in a test, its own t
	defer done()

	p := sdktest.Start(t, sdk.Plugin{Name: "copier", Version: "1.0.0", Handlers: sdk.Handlers{
		"copy": sdk.Func(func(ctx context.Context, pages int) (string, error) {
			copied, _, err := sdk.LastCheckpoint[int](ctx)
			if err != nil || copied == pages {
				return fmt.Sprintf("%d pages", copied), err
			}
			return "", errors.Join(sdk.Checkpoint(ctx, copied+1), errors.New("out of paper"))
		}),
	}})

	first := p.Begin(t, sdktest.Attempt{Handler: "copy", Input: 1})
	fmt.Println(first.Wait(t).Failure.Message)
	second := first.Again(t, p)
	fmt.Println(string(second.Wait(t).Output))
	// Output:
	// out of paper
	// "1 pages"
}

// An event is delivered as hosts do it, again and again, until the subscriber is done with it. With testing/synctest, pauses
// of hours take no time.
func ExampleSubscription_Settle() {
	t, done := forExample() // in a test, its own t
	defer done()

	busy := errors.New("the pager is busy")
	page := func(_ context.Context, e sdk.Event[event.StepFailed]) error {
		switch e.Delivery {
		case 1:
			return sdk.RetryAfter(sdk.Unavailable(busy), 2*time.Millisecond) // not counted
		case 2:
			return sdk.RetryAfter(busy, time.Millisecond)
		default:
			return nil
		}
	}
	p := sdktest.Start(t, sdk.Plugin{Name: "pager", Version: "1.0.0", Subscribers: sdk.Subscribers{"page": sdk.On(page)}})

	got := p.Subscribe(t, "page").Settle(t, sdktest.Event{Type: "step.failed"}) // the example of the catalog
	fmt.Println(got.Verdict, "after", len(got.Answers), "deliveries")
	fmt.Println(got)
	// Output:
	// acked after 3 deliveries
	// retried 2ms retried 1ms acked
}
