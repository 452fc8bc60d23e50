package sdk_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// The subscribers of this file are declared wrongly, each in its own way.
type misspelt struct{ sdk.BaseSubscriber }

func (*misspelt) OnStepFail(context.Context, sdk.Event[event.StepFailed]) error { return nil }
func (*misspelt) OnShipped(context.Context, sdk.Event[shipped]) error           { return nil }
func (*misspelt) OnZebra(sdk.Event[json.RawMessage])                            {}

type misshapen struct{ sdk.BaseSubscriber }

func (*misshapen) OnStepFailed(context.Context, event.StepFailed) error { return nil }
func (*misshapen) OnTaskFailed(context.Context, sdk.Event[event.TaskFailed]) {
}
func (*misshapen) OnTaskStarted(context.Context, sdk.Event[event.StepStarted]) error { return nil }
func (*misshapen) OnEvent(context.Context, sdk.Event[event.StepFailed]) error        { return nil }
func (*misshapen) OnGap(sdk.Gap)                                                     {}
func (*misshapen) OnError(error) error                                               { return nil }
func (*misshapen) SubscriberOptions() *sdk.SubscriberOptions                         { return nil }

type deaf struct{ sdk.BaseSubscriber }

type unasked struct{ sdk.BaseSubscriber }

func (*unasked) OnEvent(context.Context, rawEvent) error { return nil }

type nilBase struct{ *sdk.BaseSubscriber }

type optioned struct{ sdk.BaseSubscriber }

func (*optioned) OnStepFailed(context.Context, rawEvent) error { return nil }
func (*optioned) OnGap(context.Context, sdk.Gap)               {}
func (*optioned) SubscriberOptions() sdk.SubscriberOptions {
	return sdk.SubscriberOptions{OnGap: func(context.Context, sdk.Gap) {}}
}

type ownStepFailed struct{}

func (ownStepFailed) EventName() string { return "step.failed" }

type stepFial struct{}

func (stepFial) EventName() string { return "step.fialed" }

func receive[P any](context.Context, sdk.Event[P]) error { return nil }

func TestBrokenSubscribers(t *testing.T) {
	loud := func(patterns ...string) sdk.Subscriber {
		d := &deaf{}
		d.SubscribeTo(patterns...)
		return d
	}
	twice := sdk.Subscribe(sdk.On(receive[event.StepFailed]), sdk.SubscriberOptions{})
	one := &optionless{}
	var absent *deaf
	var nilFunc func(context.Context, sdk.Event[event.StepFailed]) error
	tests := map[string]struct {
		subs sdk.Subscribers
		want []string
	}{
		"name": {sdk.Subscribers{"My sub": sdk.On(receive[event.StepFailed])}, []string{
			`Subscribers["My sub"]: "My sub" is no name of a subscription; want [a-z][a-z0-9_-]{0,31}`,
		}},
		"nil": {sdk.Subscribers{"a": nil, "b": absent, "c": sdk.On(nilFunc), "d": nilBase{}, "e": sdk.OnNamed("step.failed", nilFunc)}, []string{
			`Subscribers["a"]: the subscriber is nil`,
			`Subscribers["b"]: the subscriber is nil`,
			`Subscribers["c"]: On[event.StepFailed]: the function is nil`,
			`Subscribers["d"]: sdk_test.nilBase embeds a nil *sdk.BaseSubscriber; embed sdk.BaseSubscriber`,
			`Subscribers["e"]: OnNamed("step.failed"): the function is nil`,
		}},
		"misspelt methods": {sdk.Subscribers{"s": &misspelt{}}, []string{
			`Subscribers["s"]: OnShipped has the payload of test.shipped; want it named OnTestShipped`,
			`Subscribers["s"]: OnStepFail matches no event; did you mean OnStepFailed?`,
			`Subscribers["s"]: OnZebra matches no event`,
		}},
		"misshapen methods": {sdk.Subscribers{"s": &misshapen{}}, []string{
			`Subscribers["s"]: OnError is func(error) error; want func(context.Context, error) error`,
			`Subscribers["s"]: OnEvent is func(context.Context, sdk.Event[event.StepFailed]) error; want func(context.Context, sdk.Event[json.RawMessage]) error`,
			`Subscribers["s"]: OnGap is func(sdk.Gap); want func(context.Context, sdk.Gap)`,
			`Subscribers["s"]: OnStepFailed is func(context.Context, event.StepFailed) error; want func(context.Context, sdk.Event[event.StepFailed]) error`,
			`Subscribers["s"]: OnTaskFailed is func(context.Context, sdk.Event[event.TaskFailed]); want func(context.Context, sdk.Event[event.TaskFailed]) error`,
			`Subscribers["s"]: OnTaskStarted has the payload event.StepStarted, which is not that of task.started; want func(context.Context, sdk.Event[event.TaskStarted]) error, or sdk.Event[json.RawMessage]`,
			`Subscribers["s"]: SubscriberOptions is func() *sdk.SubscriberOptions; want func() sdk.SubscriberOptions`,
		}},
		"no events": {sdk.Subscribers{"a": &deaf{}, "b": loud("step.*"), "c": &unasked{}, "d": sdk.Routes()}, []string{
			`Subscribers["a"]: it receives no event: it has no method such as OnStepFailed(context.Context, sdk.Event[event.StepFailed]) error`,
			`Subscribers["b"]: SubscribeTo(["step.*"]) has no receiver: there is no method OnEvent(context.Context, sdk.Event[json.RawMessage]) error`,
			`Subscribers["c"]: OnEvent receives what SubscribeTo asks for, which was not called`,
			`Subscribers["d"]: it receives no event`,
		}},
		"unknown events": {sdk.Subscribers{
			"a": sdk.OnNamed("step.fialed", receive[json.RawMessage]), "b": sdk.OnNamed("step.zebra*", receive[json.RawMessage]),
			"c": sdk.OnNamed("Step failed", receive[json.RawMessage]), "d": sdk.On(receive[stepFial]), "e": sdk.OnNamed("*.failed", receive[any]),
		}, []string{
			`Subscribers["a"]: OnNamed("step.fialed"): there is no event step.fialed; did you mean step.failed?`,
			`Subscribers["b"]: OnNamed("step.zebra*"): the pattern matches no event`,
			`Subscribers["c"]: OnNamed("Step failed"): "Step failed" is no event; want a name such as step.failed, or a pattern such as task.*`,
			`Subscribers["d"]: On[sdk_test.stepFial]: there is no event step.fialed; did you mean step.failed?`,
			`Subscribers["e"]: OnNamed("*.failed"): "*.failed" is no event; want a name such as step.failed, or a pattern such as task.*`,
		}},
		"payloads": {sdk.Subscribers{
			"a": sdk.OnNamed("step.failed", receive[event.StepCompleted]), "b": sdk.OnNamed("step.*", receive[event.StepFailed]),
			"c": sdk.On(receive[ownStepFailed]), "d": sdk.On(receive[*event.StepFailed]),
		}, []string{
			`Subscribers["a"]: OnNamed("step.failed"): the payload event.StepCompleted is that of step.completed; want json.RawMessage, or a type without a method EventName`,
			`Subscribers["b"]: OnNamed("step.*"): the payload event.StepFailed is that of step.failed; want json.RawMessage, or a type without a method EventName`,
			`Subscribers["c"]: On[sdk_test.ownStepFailed]: the payload of step.failed is event.StepFailed; rename the event, or use OnNamed with a type without a method EventName`,
			`Subscribers["d"]: On[*event.StepFailed]: the payload is a pointer; want event.StepFailed`,
		}},
		"twice": {sdk.Subscribers{
			"a": sdk.Routes(sdk.On(receive[event.StepFailed]), sdk.OnNamed("step.failed", receive[json.RawMessage])),
			"b": sdk.Subscribe(twice, sdk.SubscriberOptions{}), "c": sdk.Routes(twice), "d": sdk.Subscribe(&watcher{}, sdk.SubscriberOptions{}),
			"e": one, "f": one, "g": sdk.Routes(&optionless{}), "h": &optioned{},
		}, []string{
			`Subscribers["a"]: step.failed is received twice, by On[event.StepFailed] and OnNamed("step.failed")`,
			`Subscribers["b"]: options are given more than once`,
			`Subscribers["c"]: subscriber 0 of Routes has options of its own: give them to the whole, with Subscribe(Routes(...), options)`,
			`Subscribers["d"]: OnEvent receives what SubscribeTo asks for, which was not called`,
			`Subscribers["d"]: options are given more than once`,
			`Subscribers["f"]: the same value serves another subscription; want one for each`,
			`Subscribers["g"]: subscriber 0 of Routes is a struct, which is a subscriber by itself; Routes takes On and OnNamed`,
			`Subscribers["h"]: OnGap is given as a method and as an option`,
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := sdktest.TryStart(t, sdk.Plugin{Name: "test", Version: "1.0.0", Subscribers: tt.subs})
			got, _ := errors.AsType[*sdk.DeclarationError](err)
			if got == nil {
				t.Fatalf("error %v, want a DeclarationError", err)
			}
			if diff := cmp.Diff(tt.want, got.Problems); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// optionless is a sound subscriber.
type optionless struct{ sdk.BaseSubscriber }

func (*optionless) OnStepFailed(context.Context, rawEvent) error { return nil }

func TestBrokenSubscriberOptions(t *testing.T) {
	tests := map[string]struct {
		opts sdk.SubscriberOptions
		want string
	}{
		"order":        {sdk.SubscriberOptions{Order: 7}, "option Order: 7 is unknown; want GlobalOrder or TaskOrder"},
		"window":       {sdk.SubscriberOptions{Window: 65}, "option Window: 65 is out of range; want 0 (the host decides) to 64"},
		"attempts":     {sdk.SubscriberOptions{MaxAttempts: -1}, "option MaxAttempts: -1 is out of range; want 0 (the host decides) to 1000"},
		"timeout":      {sdk.SubscriberOptions{Timeout: -1}, "option Timeout: -1ns is negative"},
		"start":        {sdk.SubscriberOptions{Start: "yesterday"}, `option Start: "yesterday" is no start; want "now", "beginning" or a time such as "2006-01-02T15:04:05Z"`},
		"lanes":        {sdk.SubscriberOptions{Order: sdk.TaskOrder, Lanes: 2000}, "option Lanes: 2000 is out of range; want 0 (16) to 1024"},
		"global lanes": {sdk.SubscriberOptions{Lanes: 2}, "option Lanes: there is one lane in GlobalOrder; want Order TaskOrder with it"},
		"filter":       {sdk.SubscriberOptions{Filter: string(make([]byte, 5000))}, "option Filter: it has 5000 bytes; want at most 4096"},
		"description":  {sdk.SubscriberOptions{Description: string(make([]byte, 5000))}, "option Description: it has 5000 bytes; want at most 4096"},
		"config":       {sdk.SubscriberOptions{Config: &watcherConfig{}}, "option Config: is a *sdk_test.watcherConfig; want a struct, whose fields are the defaults"},
		"channel":      {sdk.SubscriberOptions{Config: channel{}}, "option Config: no JSON Schema can be derived from sdk_test.channel: unsupported type chan int"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := sdktest.TryStart(t, subscriberPlugin(sdk.Subscribe(&optionless{}, tt.opts)))
			got, _ := errors.AsType[*sdk.DeclarationError](err)
			if got == nil || len(got.Problems) != 1 || got.Problems[0] != `Subscribers["s"]: `+tt.want {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}
