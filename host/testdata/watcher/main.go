// Plugin watcher has subscribers that misbehave.
package main

import (
	"context"
	"errors"
	"sync"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

func main() {
	released := make(chan struct{})
	release := sync.OnceFunc(func() { close(released) })
	sdk.Serve(sdk.Plugin{
		Name: "watcher", Version: "1.0.0",
		Subscribers: sdk.Subscribers{
			// rejects can handle nothing.
			"rejects": sdk.On(func(context.Context, sdk.Event[event.StepCompleted]) error {
				return sdk.Permanent(errors.New("of no use"))
			}),
			// holds keeps the first event until the handler release was called.
			"holds": sdk.On(func(ctx context.Context, _ sdk.Event[event.TaskInitialized]) error {
				select {
				case <-released:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}),
		},
		Handlers: sdk.Handlers{
			"release": sdk.Func(func(context.Context, any) (any, error) {
				release()
				return nil, nil
			}),
		},
	})
}
