// Command tasker-plugin-orders fulfils orders against a real HTTP service that misbehaves: it shows how
// handlers call APIs, and how retries never charge twice. See README.md.
package main

import (
	"fmt"
	"os"

	"github.com/tasker-engine/tasker/examples/02-orders/internal/shop"
	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/httpapi"
)

func main() {
	client, err := httpapi.New(httpapi.Options{MaxResponseBody: 1 << 20})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	sdk.Serve(plugin(client))
}

func plugin(client *httpapi.Client) sdk.Plugin {
	return sdk.Plugin{
		Name:        "orders",
		Version:     "1.0.0",
		Description: "Fulfils orders against the shop service of this example",
		Permissions: sdk.Permissions{Network: sdk.NetworkLoopback},
		Handlers: sdk.Handlers{
			"validate": sdk.Typed(validate{client}, sdk.Options{Description: "check the order and price it", Idempotency: sdk.Idempotent}),
			"reserve":  sdk.Typed(reserve{httpapi.API[shop.Reservation]{Client: client}}, sdk.Options{Description: "put stock aside"}),
			"charge":   sdk.Typed(charge{client}, sdk.Options{Description: "take the money"}),
			"ship":     sdk.Typed(ship{httpapi.API[shop.Shipment]{Client: client}}, sdk.Options{Description: "send what was reserved"}),
			"notify":   sdk.Typed(notify{httpapi.API[shop.Notification]{Client: client}}, sdk.Options{Description: "tell the customer"}),
		},
	}
}
