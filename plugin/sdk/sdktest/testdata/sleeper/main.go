// Command sleeper is a subscriber that sleeps over the first delivery of each event.
package main

import (
	"context"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

func main() {
	sdk.Serve(sdk.Plugin{Name: "sleeper", Version: "1.0.0", Subscribers: sdk.Subscribers{"sleep": sdk.On(sleep)}})
}

func sleep(ctx context.Context, e sdk.Event[event.StepFailed]) error {
	if e.Delivery > 1 {
		return nil
	}
	sdk.Logger(ctx).Info("sleeping")
	<-ctx.Done()
	return context.Cause(ctx)
}
