// Command tasker-plugin-http calls HTTP APIs without code: a step's config says what to ask for and what to keep of the answer.
package main

import "github.com/tasker-engine/tasker/plugin/sdk"

func main() { sdk.Serve(plugin()) }
