// Plugin watch subscribes to events and emits one. What its subscriber of failures does
// follows from the step that failed: with "poison" it cannot handle the event until the
// file mended lies in the plugin's working directory, "reject" it never wants, and every
// other one it takes. That of what was shipped looks at the order in the same way.
//
// Under the name wrong it subscribes to an event that there is not.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// Shipped is a custom event.
type Shipped struct {
	Order string `json:"order"`
}

// EventName implements event.Payload.
func (Shipped) EventName() string { return "watch.shipped" }

// target is the config of bindings.
type target struct {
	To string `json:"to,omitempty"`
}

func failed(_ context.Context, e sdk.Event[event.StepFailed]) error {
	switch e.Step {
	case "poison":
		if _, err := os.Stat("mended"); err == nil {
			return nil
		}
		return sdk.RetryAfter(errors.New("the sink is closed"), 10*time.Millisecond)
	case "reject":
		return sdk.Permanent(errors.New("nobody wants this"))
	default:
		return nil
	}
}

func shipped(_ context.Context, e sdk.Event[Shipped]) error {
	switch e.Payload.Order {
	case "late":
		return errors.New("not now")
	case "lost":
		return sdk.Permanent(errors.New("no such order"))
	default:
		return nil
	}
}

func ship(ctx context.Context, _ any) (any, error) {
	return nil, sdk.Emit(ctx, Shipped{Order: "o-1"})
}

func main() {
	if strings.HasPrefix(filepath.Base(os.Args[0]), "tasker-plugin-wrong") {
		wrong()
		return
	}
	sdk.Serve(sdk.Plugin{
		Name: "watch", Version: "1.0.0",
		Handlers: sdk.Handlers{"ship": sdk.Func(ship)},
		Events:   sdk.Events{sdk.Declare(Shipped{Order: "o-1"}, sdk.EventOptions{Description: "An order has left the house."})},
		Subscribers: sdk.Subscribers{
			"failures": sdk.Subscribe(sdk.On(failed), sdk.SubscriberOptions{
				Description: "tells of steps that failed", MaxAttempts: 2, Order: sdk.TaskOrder, Config: target{To: "nobody"},
			}),
			"shipped": sdk.On(shipped),
			"ends": sdk.Subscribe(sdk.On(func(context.Context, sdk.Event[event.TaskCompleted]) error { return nil }),
				sdk.SubscriberOptions{Bound: true}),
		},
	})
}

func wrong() {
	sdk.Serve(sdk.Plugin{
		Name: "wrong", Version: "1.0.0",
		Handlers: sdk.Handlers{"ship": sdk.Func(ship)},
		Events:   sdk.Events{sdk.Declare(Lost{})},
		Subscribers: sdk.Subscribers{
			"typo": sdk.OnNamed("watch.shiped", func(context.Context, sdk.Event[json.RawMessage]) error { return nil }),
		},
	})
}

// Lost is a custom event.
type Lost struct{}

// EventName implements event.Payload.
func (Lost) EventName() string { return "wrong.lost" }
