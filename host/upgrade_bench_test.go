package host_test

import (
	"context"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/bench"
	"github.com/tasker-engine/tasker/host/hosttest"
)

// BenchmarkUpgradeUnderLoad compares the 99th percentile of the time of a step while a
// plugin is replaced with that of the same load, on the same host, just before. It is replaced by itself: what is
// measured is the switch, which is the same for another version.
func BenchmarkUpgradeUnderLoad(b *testing.B) {
	l := newLoad(b, func(*host.Options) {}, mockPlugin)
	with := bench.Load{Tasks: 1000, Rate: 200}
	var p50, p99, took []float64
	for b.Loop() {
		before := l.run(with)
		replaced := make(chan error, 1)
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), hosttest.Patience)
			defer cancel()
			_, err := l.UpgradePlugin(ctx, host.UpgradeRequest{Plugin: "mock", Action: host.ActionReload, Probe: time.Second}, func(host.UpgradeProgress) {})
			replaced <- err
		}()
		during := l.run(with)
		if err := <-replaced; err != nil {
			b.Fatal(err)
		}
		p50 = append(p50, float64(during.Step.ValueAtPercentile(50))/float64(before.Step.ValueAtPercentile(50)))
		took = append(took, float64(during.Step.ValueAtPercentile(99))/float64(time.Millisecond))
		p99 = append(p99, float64(during.Step.ValueAtPercentile(99))/float64(before.Step.ValueAtPercentile(99)))
	}
	b.ReportMetric(median(p50), "step-p50-ratio")
	b.ReportMetric(median(p99), "step-p99-ratio")
	b.ReportMetric(median(took), "step-p99-ms")
	b.ReportMetric(0, "ns/op")
}
