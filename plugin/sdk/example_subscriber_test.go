package sdk_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// Pager tells people of what goes wrong. Adding a method OnTaskCancelled is all it takes to get another event.
type Pager struct {
	sdk.BaseSubscriber

	out io.Writer
}

// OnStepFailed receives every event step.failed.
func (p *Pager) OnStepFailed(ctx context.Context, e sdk.Event[event.StepFailed]) error {
	if !e.Payload.Final || p.Seen(e.ID) {
		return nil
	}
	p.Logger(ctx).Info("paging", "task", e.Task, "step", e.Step)
	_, _ = fmt.Fprintln(p.out, e.Payload.StepName, "failed:", e.Payload.Message, "-", e.Payload.Category())
	return nil
}

// A subscriber from a struct, whose methods say what it receives.
func ExampleBaseSubscriber() {
	main := func() {
		sdk.Serve(sdk.Plugin{Name: "pager", Version: "1.0.0", Subscribers: sdk.Subscribers{"failures": &Pager{out: os.Stderr}}})
	}
	_ = main // started by a host

	// A unit test calls the method.
	err := (&Pager{out: os.Stdout}).OnStepFailed(context.Background(), sdk.Event[event.StepFailed]{
		ID: "t/1", Payload: event.StepFailed{
			Step: event.Step{StepName: "charge"}, Error: event.Error{Message: "no answer", Kind: "timeout"}, Final: true,
		},
	})
	fmt.Println(err)
	// Output:
	// charge failed: no answer - timeout
	// <nil>
}

// Auditor receives whole families of events, raw.
type Auditor struct{ sdk.BaseSubscriber }

// NewAuditor makes one of patterns such as "orders.*".
func NewAuditor(patterns ...string) *Auditor {
	a := &Auditor{}
	a.SubscribeTo(patterns...)
	return a
}

// OnEvent receives what SubscribeTo asks for.
func (*Auditor) OnEvent(_ context.Context, e sdk.Event[json.RawMessage]) error {
	_, err := fmt.Fprintln(os.Stderr, e.Seq, e.Type, string(e.Payload))
	return err
}

// Patterns ask for the events of a family, such as the custom events of another plugin.
func ExampleBaseSubscriber_SubscribeTo() {
	p := sdk.Plugin{Name: "audit", Version: "1.0.0", Subscribers: sdk.Subscribers{"trail": NewAuditor("task.*", "orders.*")}}
	fmt.Println(len(p.Subscribers))
	// Output: 1
}

// MailTo is what a binding in a template may set.
type MailTo struct {
	To string `json:"to,omitempty"`
}

// Functions, options and the config of bindings.
func ExampleSubscribe() {
	mail := func(ctx context.Context, e sdk.Event[event.TaskCompleted]) error {
		config, err := sdk.BindingConfig[MailTo](ctx)
		if err != nil {
			return err
		}
		sdk.Logger(ctx).Info("mailing", "to", config.To, "took", e.Payload.Timing().Total())
		return nil
	}
	archive := func(_ context.Context, e sdk.Event[json.RawMessage]) error {
		if e.Template == "" {
			return sdk.Permanent(errors.New("there is no task to file this under"))
		}
		return sdk.RetryAfter(fmt.Errorf("the archive answered %d", http.StatusServiceUnavailable), time.Minute)
	}
	p := sdk.Plugin{Name: "office", Version: "1.0.0", Subscribers: sdk.Subscribers{
		"mail": sdk.Subscribe(sdk.On(mail), sdk.SubscriberOptions{
			Description: "Mails when a task is done.", Config: MailTo{To: "office@example.org"}, Filter: `event.template == "order"`,
		}),
		"archive": sdk.Subscribe(sdk.Routes(sdk.OnNamed("orders.*", archive), sdk.OnNamed("task.failed", archive)), sdk.SubscriberOptions{
			Order: sdk.TaskOrder, Start: "beginning", Lanes: 8,
		}),
	}}
	fmt.Println(len(p.Subscribers))
	// Output: 2
}

// Shipped is a custom event of the plugin "orders".
type Shipped struct {
	OrderID string `json:"order_id"`
}

// EventName is the event's name: the plugin's, a dot, and what has happened.
func (Shipped) EventName() string { return "orders.shipped" }

// A handler that emits an event with its success.
func ExampleEmit() {
	ship := func(ctx context.Context, o Order) (string, error) {
		if err := sdk.Emit(ctx, Shipped{OrderID: o.ID}); err != nil {
			return "", err
		}
		return "on its way", nil
	}
	p := sdk.Plugin{
		Name: "orders", Version: "1.0.0",
		Handlers: sdk.Handlers{"ship": sdk.Func(ship)},
		Events:   sdk.Events{sdk.Declare(Shipped{OrderID: "o-1"}, sdk.EventOptions{Description: "An order has left the house."})},
	}
	fmt.Println(len(p.Events))
	// Output: 1
}
