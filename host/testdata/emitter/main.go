// Plugin emitter emits custom events on request.
package main

import (
	"context"
	"errors"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// done is recorded with the success of an attempt.
type done struct {
	Attempt int    `json:"attempt"`
	N       int    `json:"n"`
	Note    string `json:"note,omitempty"`
}

// EventName names the event.
func (done) EventName() string { return "emitter.done" }

// noticed is recorded at once.
type noticed struct {
	Attempt int `json:"attempt"`
	N       int `json:"n"`
}

// EventName names the event.
func (noticed) EventName() string { return "emitter.noticed" }

// config says what an attempt does, in this order.
type config struct {
	Notices int `json:"notices,omitempty"` // so many events at once
	Dones   int `json:"dones,omitempty"`   // so many events with the success
	Holds   int `json:"holds,omitempty"`   // so many attempts wait until they are cancelled
	Fails   int `json:"fails,omitempty"`   // so many attempts fail
}

func emit(ctx context.Context, _ any) (any, error) {
	c, err := sdk.Config[config](ctx)
	if err != nil {
		return nil, err
	}
	attempt := sdk.Attempt(ctx).Number
	for n := range c.Notices {
		if err := sdk.Emit(ctx, noticed{Attempt: attempt, N: n}); err != nil {
			return nil, err
		}
	}
	for n := range c.Dones {
		if err := sdk.Emit(ctx, done{Attempt: attempt, N: n, Note: "<é>"}); err != nil {
			return nil, err
		}
	}
	if attempt <= c.Holds {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if attempt <= c.Fails {
		return nil, errors.New("failing as configured")
	}
	return c.Dones, nil
}

func main() {
	sdk.Serve(sdk.Plugin{
		Name: "emitter", Version: "1.0.0",
		Events: sdk.Events{
			sdk.Declare(done{Attempt: 1, Note: "all is well"}, sdk.EventOptions{Description: "Something is done."}),
			sdk.Declare(noticed{Attempt: 1}, sdk.EventOptions{Description: "Something was noticed.", Immediate: true}),
		},
		Handlers: sdk.Handlers{"emit": sdk.Func(emit)},
	})
}
