// Plugin sink has three subscriptions to all events of tasks and steps, which do nothing
// with them; with {"hang": true} as its configuration they never answer.
package main

import (
	"context"
	"encoding/json"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// config is the plugin's configuration.
type config struct {
	Hang bool `json:"hang,omitempty" jsonschema_description:"Never answer."`
}

func main() {
	var c config
	take := func(ctx context.Context, _ sdk.Event[json.RawMessage]) error {
		if c.Hang {
			<-ctx.Done()
		}
		return ctx.Err()
	}
	events := func() sdk.Subscriber {
		return sdk.Routes(sdk.OnNamed("task.*", take), sdk.OnNamed("step.*", take))
	}
	sdk.Serve(sdk.Plugin{
		Name: "sink", Version: "1.0.0", Config: &c,
		Subscribers: sdk.Subscribers{"first": events(), "second": events(), "third": events()},
	})
}
