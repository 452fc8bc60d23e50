// Plugin bomb may start processes, and does nothing else.
package main

import (
	"context"
	"os/exec"
	"syscall"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

// bomb is what an attempt starts.
type bomb struct {
	Seconds string `json:"seconds"` // that each process sleeps
}

// explode starts processes in sessions of their own, and leaves them, as fast as it can.
func explode(_ context.Context, b bomb) (struct{}, error) {
	for {
		c := exec.Command("sleep", b.Seconds)
		c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if err := c.Start(); err != nil {
			continue // the kernel may have enough of it
		}
		_ = c.Process.Release()
	}
}

func main() {
	sdk.Serve(sdk.Plugin{
		Name: "bomb", Version: "1.0.0", Permissions: sdk.Permissions{Subprocess: true},
		Handlers: sdk.Handlers{"explode": sdk.Func(explode)},
	})
}
