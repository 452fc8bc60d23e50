// Command notifier is the smallest subscriber.
package main

import (
	"context"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

type notifier struct{ sdk.BaseSubscriber }

func (n *notifier) OnStepFailed(ctx context.Context, e sdk.Event[event.StepFailed]) error {
	n.Logger(ctx).Error("step failed", "task", e.Task, "step", e.Step, "why", e.Payload.Message)
	return nil
}

func main() {
	sdk.Serve(sdk.Plugin{Name: "notifier", Version: "1.0.0", Subscribers: sdk.Subscribers{"failures": &notifier{}}})
}
