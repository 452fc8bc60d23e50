// Plugin leaky is told a secret in its configuration and one in its input, and hands both on in every way that there is. What it
// says begins with the name of the way, so that a test sees that it looks where something is.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"go.opentelemetry.io/otel"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

type config struct {
	Token string `json:"token"`
}

// card is what a step is asked with.
type card struct {
	Pin string `json:"pin" jsonschema:"writeOnly=true"`
}

type told struct {
	Text string `json:"text"`
}

// now and then are events that are recorded at once, and with a success.
type (
	now  told
	then told
)

// EventName names the event.
func (now) EventName() string { return "leaky.now" }

// EventName names the event.
func (then) EventName() string { return "leaky.then" }

var secret config

func say(way string, in card) told {
	return told{Text: "way-" + way + ": " + secret.Token + " and " + in.Pin + "."}
}

// leak fails once, and succeeds then.
func leak(ctx context.Context, in card) (told, error) {
	sdk.Logger(ctx).Info(say("log", in).Text, "field", say("field", in))
	fmt.Fprintln(os.Stderr, say("stderr", in).Text)
	_, span := otel.Tracer("leaky").Start(ctx, say("span", in).Text)
	span.RecordError(errors.New(say("span-error", in).Text))
	span.End()
	sdk.Heartbeat(ctx, 0.5, say("note", in).Text)
	if err := errors.Join(sdk.Checkpoint(ctx, say("checkpoint", in)), sdk.Emit(ctx, now(say("now", in))), sdk.Emit(ctx, then(say("then", in)))); err != nil {
		return told{}, err
	}
	if sdk.Attempt(ctx).Number == 1 {
		err := sdk.WithPartial(sdk.WithDetails(errors.New(say("message", in).Text), say("details", in)), say("partial", in))
		return told{}, sdk.WithCode(err, "way-code-"+secret.Token)
	}
	return say("output", in), nil
}

// take hands on what it was given.
func take(ctx context.Context, _ card) (told, error) {
	return sdk.Result[told](ctx, "leak")
}

// burst panics, and ends the process when it is asked again.
func burst(ctx context.Context, in card) (told, error) {
	if sdk.Attempt(ctx).Number == 1 {
		panic(say("panic", in).Text)
	}
	fmt.Fprintln(os.Stderr, say("crash", in).Text)
	os.Exit(3)
	return told{}, nil
}

// refuses is a subscriber that cannot handle anything.
type refuses struct{ sdk.BaseSubscriber }

// OnTaskStarted refuses the event.
func (*refuses) OnTaskStarted(context.Context, sdk.Event[event.TaskStarted]) error {
	return sdk.Permanent(errors.New(say("reason", card{}).Text))
}

func main() {
	sdk.Serve(sdk.Plugin{
		Name: "leaky", Version: "1.0.0", Config: &secret,
		Events: sdk.Events{
			sdk.Declare(now{Text: "x"}, sdk.EventOptions{Description: "Recorded at once.", Immediate: true}),
			sdk.Declare(then{Text: "x"}, sdk.EventOptions{Description: "Recorded with the success."}),
		},
		Handlers:    sdk.Handlers{"leak": sdk.Func(leak), "take": sdk.Func(take), "burst": sdk.Func(burst)},
		Subscribers: sdk.Subscribers{"refuses": &refuses{}},
	})
}
