// Command tasker-plugin-orders fulfils orders against a real HTTP service that misbehaves: it shows how
// handlers classify what a service answers, and how retries never charge twice. See README.md.
package main

import (
	"github.com/tasker-engine/tasker/plugin/sdk"
)

func main() { sdk.Serve(plugin()) }

func plugin() sdk.Plugin {
	o := &orders{http: newClient()}
	return sdk.Plugin{
		Name:        "orders",
		Version:     "1.0.0",
		Description: "Fulfils orders against the shop service of this example",
		Permissions: sdk.Permissions{Network: sdk.NetworkLoopback},
		Handlers: sdk.Handlers{
			"validate": sdk.Func(o.validate, sdk.Options{Description: "check the order and price it", Idempotency: sdk.Idempotent}),
			"reserve":  sdk.Func(o.reserve, sdk.Options{Description: "put stock aside"}),
			"charge":   sdk.Func(o.charge, sdk.Options{Description: "take the money"}),
			"ship":     sdk.Func(o.ship, sdk.Options{Description: "send what was reserved"}),
			"notify":   sdk.Func(o.notify, sdk.Options{Description: "tell the customer"}),
		},
	}
}
