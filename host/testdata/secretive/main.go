// Plugin secretive is told a secret in its configuration, and hands on what it is told in
// every way that data can take: in a custom event, the details of a failure and a result.
package main

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

type config struct {
	Secret string `json:"secret"`
}

// told carries what the attempt was told.
type told struct {
	What string `json:"what"`
}

// EventName names the event.
func (told) EventName() string { return "secretive.told" }

func main() {
	var c config
	tell := func(ctx context.Context, input json.RawMessage) (any, error) {
		sdk.Logger(ctx).Trace("telling")
		if err := sdk.Emit(ctx, told{What: c.Secret}); err != nil {
			return nil, err
		}
		if sdk.Attempt(ctx).Number == 1 {
			return nil, sdk.WithDetails(errors.New("not at first: "+c.Secret), told{What: c.Secret})
		}
		return map[string]any{"input": input, "config": c.Secret}, nil
	}
	sdk.Serve(sdk.Plugin{
		Name: "secretive", Version: "1.0.0", Config: &c,
		Events: sdk.Events{
			sdk.Declare(told{What: "all"}, sdk.EventOptions{Description: "Something was told.", Immediate: true}),
		},
		Handlers: sdk.Handlers{"tell": sdk.Func(tell)},
	})
}
