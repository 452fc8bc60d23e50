// Command tasker-plugin-exec runs a command as a step, without writing code.
package main

import "github.com/tasker-engine/tasker/plugin/sdk"

func main() { sdk.Serve(plugin()) }
