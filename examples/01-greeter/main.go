// Command tasker-plugin-greeter is the smallest plugin: one handler that greets a guest.
package main

import (
	"context"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

type guest struct {
	Name string `json:"name"`
}

type greeting struct {
	Text string `json:"text"`
}

func greet(_ context.Context, in guest) (greeting, error) {
	return greeting{Text: "Hello, " + in.Name + "!"}, nil
}

func main() {
	sdk.Serve(sdk.Plugin{Name: "greeter", Version: "1.0.0", Handlers: sdk.Handlers{"greet": sdk.Func(greet)}})
}
