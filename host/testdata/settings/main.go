// Plugin settings shows what reaches a plugin of the host's options.
package main

import (
	"context"
	"os"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// config is the plugin's configuration.
type config struct {
	Word string `json:"word,omitempty"`
}

// seen is what a plugin sees of the options.
type seen struct {
	Word    string `json:"word,omitempty"`
	Granted string `json:"granted"`
}

func main() {
	c := &config{Word: "default"}
	show := func(ctx context.Context, _ any) (seen, error) {
		sdk.Logger(ctx).Debug("shown")
		return seen{Word: c.Word, Granted: os.Getenv("TASKER_TEST_WORD")}, nil
	}
	nap := func(ctx context.Context, _ any) (any, error) {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
		return nil, ctx.Err()
	}
	sdk.Serve(sdk.Plugin{
		Name: "settings", Version: "1.0.0", Config: c,
		Permissions: sdk.Permissions{Env: []string{"TASKER_TEST_WORD"}},
		Handlers:    sdk.Handlers{"show": sdk.Func(show), "nap": sdk.Func(nap)},
	})
}
