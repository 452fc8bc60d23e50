// Command tasker-plugin-telemetry makes OpenTelemetry traces of tasks and exports them by OTLP.
package main

import "github.com/tasker-engine/tasker/plugin/sdk"

func main() { sdk.Serve(plugin()) }
