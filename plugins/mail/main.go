// Command tasker-plugin-mail sends events by mail: each at once, or many in one mail.
package main

import "github.com/tasker-engine/tasker/plugin/sdk"

func main() { sdk.Serve(plugin()) }
