// Command tasker-plugin-webhook posts events to URLs: signed, as JSON, as CloudEvents, or as messages for chats.
package main

import "github.com/tasker-engine/tasker/plugin/sdk"

func main() { sdk.Serve(plugin()) }
