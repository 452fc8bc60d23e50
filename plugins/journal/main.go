// Command tasker-plugin-journal appends events to files: JSON Lines or CSV, rotated, synced and chained as told.
package main

import (
	"os"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

func main() {
	if len(os.Args) > 2 && os.Args[1] == "verify" {
		os.Exit(verify(os.Args[2:], os.Stdout, os.Stderr))
	}
	sdk.Serve(plugin())
}
