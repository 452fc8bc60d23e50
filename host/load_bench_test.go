package host_test

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
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

// run creates n tasks, every so often or, with every 0, as soon as one of inFlight ends,
// waits for all of them, and returns what each took from its creation to its end by the
// host's clock, sorted, and how long all of them took.
func (l *load) run(n, inFlight int, every time.Duration) (took []time.Duration, all time.Duration) {
	l.tb.Helper()
	ctx, cancel := context.WithTimeout(l.tb.Context(), hosttest.Patience)
	defer cancel()
	stats, err := l.StoreStats(ctx)
	if err != nil {
		l.tb.Fatal(err)
	}
	slots := make(chan struct{}, inFlight)
	var watching sync.WaitGroup
	watching.Go(func() { took = l.watch(ctx, stats.LastSeq+1, n, slots) })
	began := time.Now()
	tick := time.NewTicker(max(every, time.Nanosecond))
	defer tick.Stop()
	for range n {
		if every > 0 {
			<-tick.C
		} else {
			slots <- struct{}{}
		}
		if _, err := l.CreateTask(ctx, task.Request{Source: []byte(linear5), SourceName: "linear.yaml"}); err != nil {
			l.tb.Fatal(err)
		}
	}
	watching.Wait()
	slices.Sort(took)
	return took, time.Since(began)
}

// watch reads the log until n tasks have ended.
func (l *load) watch(ctx context.Context, from uint64, n int, slots <-chan struct{}) (took []time.Duration) {
	began := make(map[string]int64)
	err := l.Events(ctx, host.EventQuery{From: from, Follow: true}, func(entry host.LogEntry) error {
		var e eventv1.Event
		if err := proto.Unmarshal(entry.Encoded, &e); err != nil {
			return err
		}
		switch e.GetType() {
		case event.NameTaskInitialized:
			began[e.GetTaskId()] = e.GetAt()
		case event.NameTaskCompleted:
			took = append(took, time.Duration(e.GetAt()-began[e.GetTaskId()]))
			select {
			case <-slots:
			default:
			}
			if len(took) == n {
				return errSeen
			}
		}
		return nil
	})
	if len(took) != n {
		l.tb.Errorf("%d of %d tasks ended: %v", len(took), n, err)
	}
	return took
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func median[T cmp.Ordered](of []T) T {
	slices.Sort(of)
	return of[len(of)/2]
}

// compare measures two hosts in turn and reports the median of the rounds' ratios.
func compare(b *testing.B, without, with *load, measure func(*load) float64) {
	b.Helper()
	measure(without)
	measure(with)
	var ratios []float64
	b.ResetTimer()
	for range b.N {
		base := measure(without)
		ratios = append(ratios, measure(with)/base)
	}
	b.StopTimer()
	b.ReportMetric(median(ratios), "ratio")
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
			compare(b, without, with, func(l *load) float64 {
				took, _ := l.run(flight.tasks, flight.inFlight, 0)
				return float64(quantile(took, 0.5))
			})
		})
	}
}

// BenchmarkSubscribersUnderLoad compares the 99th percentile of the time of a task on a
// host whose three subscriptions get everything with that on a host without any, both at
// 70 % of what the one with subscribers manages: the goal is a ratio of at most 1.2.
func BenchmarkSubscribersUnderLoad(b *testing.B) {
	without := newLoad(b, func(*host.Options) {}, mockPlugin)
	with := newLoad(b, func(*host.Options) {}, mockPlugin, sinkPlugin)
	const tasks = 5000
	with.run(tasks, 64, 0)
	_, all := with.run(tasks, 64, 0)
	every := time.Duration(float64(all) / tasks / 0.7)
	b.Run("share=0.7", func(b *testing.B) {
		compare(b, without, with, func(l *load) float64 {
			took, _ := l.run(tasks, tasks, every)
			return float64(quantile(took, 0.99))
		})
	})
	b.Logf("a task every %s, %.0f events/s to each subscription", every, 12/every.Seconds())
}
