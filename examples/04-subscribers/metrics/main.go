// Command tasker-plugin-metrics counts attempts, in a file for the textfile collector of Prometheus' node exporter.
package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// output is in the plugin's data directory, in which it runs.
const output = "tasker.prom"

// counter has counts by series. Each process begins anew, as Prometheus expects of counters.
type counter struct {
	sdk.BaseSubscriber

	counts map[string]int
}

func (c *counter) OnStepCompleted(_ context.Context, e sdk.Event[event.StepCompleted]) error {
	return c.count(e.ID, e.Payload.MetricTags())
}

func (c *counter) OnStepFailed(_ context.Context, e sdk.Event[event.StepFailed]) error {
	return c.count(e.ID, e.Payload.MetricTags())
}

// count needs no lock: without options events come one after the other.
func (c *counter) count(id string, tags event.Tags) error {
	if c.Seen(id) { // an event may come twice, and is counted once
		return nil
	}
	counts := maps.Clone(c.counts)
	counts[fmt.Sprintf("tasker_attempts_total{template=%q,step=%q,status=%q}", tags["template"], tags["step"], tags["status"])]++
	var text strings.Builder
	for _, series := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintln(&text, series, counts[series])
	}
	if err := os.WriteFile(output+".new", []byte(text.String()), 0o644); err != nil { //nolint:gosec // others read it
		return err
	}
	if err := os.Rename(output+".new", output); err != nil {
		return err
	}
	c.counts = counts // only now: what failed is delivered again
	return nil
}

func main() {
	sdk.Serve(sdk.Plugin{Name: "metrics", Version: "1.0.0", Subscribers: sdk.Subscribers{"attempts": &counter{counts: map[string]int{}}}})
}
