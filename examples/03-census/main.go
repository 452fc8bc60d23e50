// Command tasker-plugin-census takes a census of a Go source tree: a workflow that fans out, twice, over
// real files and ends in an HTML report. See README.md.
package main

import (
	"runtime"

	"github.com/tasker-engine/tasker/plugin/sdk"
)

func main() { sdk.Serve(plugin()) }

func plugin() sdk.Plugin {
	return sdk.Plugin{
		Name:        "census",
		Version:     "1.0.0",
		Description: "Counts what is in a Go source tree and reports on it",
		// The handlers compute; more of them at once than there are processors would only finish later together.
		MaxConcurrency: runtime.NumCPU(),
		Permissions:    sdk.Permissions{FSRead: []string{"/"}, FSWrite: []string{"/"}, Subprocess: true},
		Handlers: sdk.Handlers{
			"discover": sdk.Func(discover, sdk.Options{Description: "walk the tree and deal its packages into shards", Config: DiscoverConfig{}, Idempotency: sdk.Idempotent, NoResults: true}),
			"analyse":  sdk.Func(analyse, sdk.Options{Description: "measure the packages of one shard", Config: ShardConfig{}, Idempotency: sdk.Idempotent}),
			"compare":  sdk.Func(compare, sdk.Options{Description: "look for copies of the functions of one shard", Config: ShardConfig{}, Idempotency: sdk.Idempotent}),
			"merge":    sdk.Func(merge, sdk.Options{Description: "add the shards up", Idempotency: sdk.Idempotent}),
			"report":   sdk.Func(writeReport, sdk.Options{Description: "write the HTML report and the numbers as JSON", Idempotency: sdk.Idempotent}),
		},
	}
}
