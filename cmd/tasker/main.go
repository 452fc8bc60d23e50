// The tasker command: runs tasks, serves a home, and asks what is going on in it.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/tasker-engine/tasker/cmd/tasker/cli"
	"github.com/tasker-engine/tasker/cmd/tasker/pace"
	"github.com/tasker-engine/tasker/host"
)

func main() {
	host.LaunchPlugin()
	if cli.ServePlugin(os.Args[0]) {
		return
	}
	pace.Collections()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
