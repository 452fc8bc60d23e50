// Command tasker-plugin-mock fails in every way that a plugin can, on request: it is what Tasker's own tests
// run against, and useful to try out templates before their handlers exist.
package main

import (
	"os"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

func main() {
	if len(os.Args) == 3 && os.Args[1] == childArg {
		holdStderr(os.Args[2])
		return
	}
	sdk.Serve(mock())
}
