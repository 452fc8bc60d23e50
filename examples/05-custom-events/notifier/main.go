// Command tasker-plugin-notifier writes letters to customers whose orders were shipped. It is what somebody else would
// write: a Go module of its own that knows of the event orders.shipped what its documentation says.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// Shipped is what this subscriber reads of the event. What it does not name is ignored.
type Shipped struct {
	OrderID  string `json:"order_id"`
	Tracking string `json:"tracking"`
}

// EventName says which event it is.
func (Shipped) EventName() string { return "orders.shipped" }

// Letter is what a binding may set.
type Letter struct {
	Greeting string `json:"greeting,omitempty"`
}

// Customers writes to customers, and leaves a note where an order is stuck.
type Customers struct{ sdk.BaseSubscriber }

// OnOrdersShipped receives the custom event of another plugin, by its name.
func (c *Customers) OnOrdersShipped(ctx context.Context, e sdk.Event[Shipped]) error {
	letter, err := sdk.BindingConfig[Letter](ctx)
	if err != nil {
		return err
	}
	text := fmt.Sprintf("%s: order %s is on its way as %s.\n", letter.Greeting, e.Payload.OrderID, e.Payload.Tracking)
	c.Logger(ctx).Info("writing a letter", "order", e.Payload.OrderID)
	// Written twice, it is the same letter: the order's number is its name.
	return os.WriteFile("order-"+e.Payload.OrderID+".txt", []byte(text), 0o600)
}

// SubscriberOptions gives the config of bindings its defaults.
func (*Customers) SubscriberOptions() sdk.SubscriberOptions {
	return sdk.SubscriberOptions{Description: "Writes to customers whose orders were shipped.", Order: sdk.TaskOrder, Config: Letter{Greeting: "Hello"}}
}

// Desk hears of what a template calls an order that is stuck. It has no type for that: any payload will do.
type Desk struct{ sdk.BaseSubscriber }

// OnEvent receives what SubscribeTo asks for.
func (*Desk) OnEvent(_ context.Context, e sdk.Event[json.RawMessage]) error {
	return os.WriteFile("stuck-"+e.Task+".json", e.Payload, 0o600)
}

func plugin() sdk.Plugin {
	desk := &Desk{}
	desk.SubscribeTo("fulfilment.stuck")
	return sdk.Plugin{Name: "notifier", Version: "1.0.0", Subscribers: sdk.Subscribers{"customers": &Customers{}, "desk": desk}}
}

func main() { sdk.Serve(plugin()) }
