// Command tasker-plugin-journal appends events to files: JSON Lines or CSV, rotated, synced and chained as told.
package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

func main() {
	if code, done := command(os.Args[1:], os.Stdout, os.Stderr); done {
		os.Exit(code)
	}
	sdk.Serve(plugin())
}

// usage says what the binary does by hand, beside what every plugin does.
const usage = "To follow the chain through files, the oldest one first: tasker-plugin-journal verify FILE..."

// command runs what is asked for by hand and returns the exit code. What every plugin answers is left to the SDK.
func command(args []string, stdout, stderr io.Writer) (code int, done bool) {
	switch {
	case len(args) == 0:
		return 0, false
	case args[0] == "verify" && len(args) > 1:
		return verify(args[1:], stdout, stderr), true
	case args[0] == "verify":
		_, _ = fmt.Fprintf(stderr, "verify: name the files\n%s\n", usage)
		return 2, true
	case args[0] == "-h", args[0] == "--help", args[0] == "help":
		_, _ = fmt.Fprintf(stderr, "%s\n\n", usage)
		return 0, false
	case !strings.HasPrefix(args[0], "-"):
		_, _ = fmt.Fprintf(stderr, "there is no command %q\n%s\n", args[0], usage)
		return 2, true
	default:
		return 0, false
	}
}
