// Command tasker-plugin-orders packs and ships orders, and publishes two events of its own about that.
package main

import (
	"context"
	"errors"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// Order is what the template is run with.
type Order struct {
	OrderID string   `json:"order_id"`
	Items   []string `json:"items" jsonschema:"minItems=1"`
	Missing string   `json:"missing,omitempty" jsonschema_description:"An item that is not on the shelf."`
}

// Parcel is what packing results in.
type Parcel struct {
	Tracking string `json:"tracking"`
	Grams    int    `json:"grams"`
}

// Picked is published for each item, at once: also when packing fails afterwards.
type Picked struct {
	OrderID string `json:"order_id"`
	Item    string `json:"item"`
}

// EventName implements event.Payload.
func (Picked) EventName() string { return "orders.picked" }

// Shipped is published when the parcel has left, together with the success of the step: never without it.
type Shipped struct {
	OrderID  string `json:"order_id" jsonschema_description:"The order's number."`
	Carrier  string `json:"carrier"`
	Tracking string `json:"tracking" jsonschema_description:"What the carrier knows the parcel by."`
	Grams    int    `json:"grams"`
}

// EventName implements event.Payload.
func (Shipped) EventName() string { return "orders.shipped" }

func pack(ctx context.Context, o Order) (Parcel, error) {
	for _, item := range o.Items {
		if item == o.Missing {
			return Parcel{}, sdk.Permanent(sdk.WithCode(errors.New(item+" is not on the shelf"), "out_of_stock"))
		}
		if err := sdk.Emit(ctx, Picked{OrderID: o.OrderID, Item: item}); err != nil {
			return Parcel{}, err
		}
	}
	return Parcel{Tracking: "TRK-" + o.OrderID, Grams: 250 * len(o.Items)}, nil
}

func ship(ctx context.Context, o Order) (Parcel, error) {
	p, err := sdk.Result[Parcel](ctx, "pack")
	if err != nil {
		return Parcel{}, err
	}
	return p, sdk.Emit(ctx, Shipped{OrderID: o.OrderID, Carrier: "parcel", Tracking: p.Tracking, Grams: p.Grams})
}

func plugin() sdk.Plugin {
	return sdk.Plugin{
		Name:     "orders",
		Version:  "1.0.0",
		Handlers: sdk.Handlers{"pack": sdk.Func(pack), "ship": sdk.Func(ship)},
		Events: sdk.Events{
			sdk.Declare(Picked{OrderID: "1001", Item: "pot-cast"}, sdk.EventOptions{Description: "An item was taken off the shelf.", Immediate: true}),
			sdk.Declare(Shipped{OrderID: "1001", Carrier: "parcel", Tracking: "TRK-1001", Grams: 750},
				sdk.EventOptions{Description: "A parcel has left the house."}),
		},
	}
}

func main() { sdk.Serve(plugin()) }
