// Command tasker-plugin-alert watches events by rules and tells an Alertmanager what is wrong.
package main

import "github.com/tasker-engine/tasker/plugin/sdk"

func main() { sdk.Serve(plugin(&alerts{})) }
