// Command tasker-plugin-metrics counts events and shows the counts to Prometheus.
package main

import "github.com/tasker-engine/tasker/plugin/sdk"

func main() { sdk.Serve(plugin(&metrics{})) }
