// Command tasker-plugin-mock fails in every way that a plugin can, on request: it is what Tasker's own tests
// run against, and useful to try out templates before their handlers exist.
package main

import "github.com/tasker-engine/tasker/plugin/sdk"

func main() { sdk.Serve(mock()) }
