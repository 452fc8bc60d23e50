package host_test

import (
	"testing"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/bench"
	"github.com/tasker-engine/tasker/host/task"
)

// BenchmarkCatchUp compares the 99th percentile of the time of a step while three
// subscriptions catch up with what happened while they were paused, with that of the same
// load just before. It reports how many events each was behind, and how many at the end of
// the load: few say that the catch-up was over by then.
func BenchmarkCatchUp(b *testing.B) {
	l := newLoad(b, func(*host.Options) {}, mockPlugin, sinkPlugin)
	subscriptions := []string{"sink/first", "sink/second", "sink/third"}
	each := func(f func(name string) error) {
		b.Helper()
		for _, name := range subscriptions {
			if err := f(name); err != nil {
				b.Fatal(err)
			}
		}
	}
	behind := func() float64 { return float64(l.Subscription(subscriptions[0]).Behind) }
	with := bench.Load{Tasks: 1000, Rate: 200}
	var p50, p99, backlog, left []float64
	for b.Loop() {
		each(func(name string) error {
			return l.PauseSubscription(b.Context(), name, task.Operation{By: "benchmark"})
		})
		l.run(bench.Load{Tasks: 10_000, InFlight: 64})
		before := l.run(with)
		backlog = append(backlog, behind())
		each(func(name string) error { return l.ResumeSubscription(b.Context(), name) })
		during := l.run(with)
		left = append(left, behind())
		l.AwaitDelivered(subscriptions...)
		p50 = append(p50, float64(during.Step.ValueAtPercentile(50))/float64(before.Step.ValueAtPercentile(50)))
		p99 = append(p99, float64(during.Step.ValueAtPercentile(99))/float64(before.Step.ValueAtPercentile(99)))
	}
	b.ReportMetric(median(backlog), "events-behind")
	b.ReportMetric(median(left), "events-left")
	b.ReportMetric(median(p50), "step-p50-ratio")
	b.ReportMetric(median(p99), "step-p99-ratio")
	b.ReportMetric(0, "ns/op")
}
