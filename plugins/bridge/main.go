// Command tasker-plugin-bridge forwards events to NATS JetStream.
package main

import "github.com/tasker-engine/tasker/plugin/sdk"

func main() { sdk.Serve(plugin()) }
