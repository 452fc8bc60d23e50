package host_test

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"testing"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/bench"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
)

// linear5 is the workload of these benchmarks: five steps that do nothing, in a row.
const linear5 = `
name: linear
version: 1.0.0
steps:
  - {name: a, handler: mock/noop}
  - {name: b, handler: mock/noop, depends_on: [a]}
  - {name: c, handler: mock/noop, depends_on: [b]}
  - {name: d, handler: mock/noop, depends_on: [c]}
  - {name: e, handler: mock/noop, depends_on: [d]}
`

const (
	sinkPlugin = "./testdata/sink"
	mockPlugin = "../plugins/mock"
)

// load drives one host.
type load struct {
	*hosttest.Host

	tb testing.TB
}

func newLoad(tb testing.TB, change func(*host.Options), plugins ...string) *load {
	tb.Helper()
	h := hosttest.Start(tb, hosttest.Plugins(plugins...), hosttest.Options(change), hosttest.Expect("the subscriber lags"))
	for _, p := range []string{"mock", "sink"} {
		if p == "mock" || len(plugins) > 1 {
			h.AwaitPlugin(p)
		}
	}
	return &load{Host: h, tb: tb}
}

// run drives a load of linear tasks.
func (l *load) run(with bench.Load) *bench.Sample {
	l.tb.Helper()
	ctx, cancel := context.WithTimeout(l.tb.Context(), hosttest.Patience)
	defer cancel()
	with.Request = task.Request{Source: []byte(linear5), SourceName: "linear.yaml"}
	s, err := bench.Drive(ctx, l.Host, with)
	if err != nil {
		l.tb.Fatal(err)
	}
	return s
}

func median[T cmp.Ordered](of []T) T {
	slices.Sort(of)
	return of[len(of)/2]
}

// compare measures two hosts in turn and reports, for each thing that was measured, the
// median of the rounds' ratios.
func compare(b *testing.B, without, with *load, measure func(*load) map[string]float64) {
	b.Helper()
	measure(without)
	measure(with)
	ratios := make(map[string][]float64)
	b.ResetTimer()
	for range b.N {
		base := measure(without)
		for what, value := range measure(with) {
			ratios[what] = append(ratios[what], value/base[what])
		}
	}
	b.StopTimer()
	for what, of := range ratios {
		b.ReportMetric(median(of), what+"-ratio")
	}
	b.ReportMetric(0, "ns/op")
}

// BenchmarkHungSubscriber compares the time of a task on a host with subscribers that
// never answer with that on a host without any: the goal is a ratio of at most 1.05.
func BenchmarkHungSubscriber(b *testing.B) {
	without := newLoad(b, func(*host.Options) {}, mockPlugin)
	with := newLoad(b, func(o *host.Options) {
		o.PluginConfigs = map[string]json.RawMessage{"sink": json.RawMessage(`{"hang": true}`)}
	}, mockPlugin, sinkPlugin)
	for _, flight := range []struct {
		name            string
		tasks, inFlight int
	}{{"in-flight=1", 200, 1}, {"in-flight=64", 2000, 64}} {
		b.Run(flight.name, func(b *testing.B) {
			compare(b, without, with, func(l *load) map[string]float64 {
				s := l.run(bench.Load{Tasks: flight.tasks, InFlight: flight.inFlight})
				return map[string]float64{"task-p50": float64(s.Task.ValueAtPercentile(50))}
			})
		})
	}
}

// BenchmarkSubscribersUnderLoad compares the 99th percentile of the time of a step, and of
// a task, on a host whose three subscriptions get everything with that on a host without
// any, both at 70 % of what the one with subscribers manages: the goal is a ratio of at
// most 1.2 for the steps.
func BenchmarkSubscribersUnderLoad(b *testing.B) {
	without := newLoad(b, func(*host.Options) {}, mockPlugin)
	with := newLoad(b, func(*host.Options) {}, mockPlugin, sinkPlugin)
	const tasks = 5000
	var rates []float64
	for range 3 {
		rates = append(rates, tasks/with.run(bench.Load{Tasks: tasks, InFlight: 64}).Took.Seconds())
	}
	rate := 0.7 * median(rates)
	b.Run("share=0.7", func(b *testing.B) {
		compare(b, without, with, func(l *load) map[string]float64 {
			s := l.run(bench.Load{Tasks: tasks, Rate: rate})
			return map[string]float64{
				"step-p99": float64(s.Step.ValueAtPercentile(99)),
				"task-p99": float64(s.Task.ValueAtPercentile(99)),
			}
		})
	})
	b.Logf("%.0f tasks/s, %.0f events/s to each subscription", rate, 12*rate)
}
