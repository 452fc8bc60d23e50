package runner

import (
	"context"
	"time"

	"github.com/tasker-engine/tasker/host/internal/measure"
)

// Metrics is what a runner does at this moment, and has counted since it was made.
type Metrics struct {
	Decisions uint64
	RoundTime measure.Snapshot // of a round of the loop, without its waits, ns
	Live      int              // tasks in memory: unfinished, or just being operated on
	Plugins   map[string]PluginMetrics
}

// PluginMetrics is what waits for one plugin and what it holds. A plugin that steps name
// need not exist.
type PluginMetrics struct {
	Ready     int              // steps that wait for a slot
	OldestFor time.Duration    // how long the oldest of them has waited
	InFlight  int              // attempts
	QueueTime measure.Snapshot // from ready to claimed, ns
}

// meters belong to the loop. Without them measuring costs a comparison.
type meters struct {
	on        bool
	began     time.Time // this round; zero when nothing is measured
	roundTime *measure.Histogram
	decisions uint64
}

func newMeters(on bool) meters {
	if !on {
		return meters{}
	}
	return meters{on: true, roundTime: measure.NewLatency()}
}

func (m *meters) newQueueTime() *measure.Histogram {
	if !m.on {
		return nil
	}
	return measure.NewLatency()
}

// begin begins a round.
func (m *meters) begin() {
	if m.on {
		m.began = time.Now()
	}
}

// end ends a round: what follows is a wait.
func (m *meters) end() { m.roundTime.Since(m.began) }

// Metrics returns what was counted. It asks the loop, which looks at every step that
// waits. Errors: task.ErrStopping, and the end of ctx.
func (r *Runner) Metrics(ctx context.Context) (Metrics, error) {
	answer := make(chan Metrics, 1)
	err := r.call(ctx, func(reply func(error)) {
		answer <- r.metrics()
		reply(nil)
	})
	if err != nil {
		return Metrics{}, err
	}
	return <-answer, nil
}

func (r *Runner) metrics() Metrics {
	m := Metrics{
		Decisions: r.meters.decisions, RoundTime: r.meters.roundTime.Snapshot(),
		Live: len(r.tasks), Plugins: make(map[string]PluginMetrics, len(r.pools)),
	}
	for name, p := range r.pools {
		pm := PluginMetrics{QueueTime: p.queueTime.Snapshot()}
		for _, q := range p.queues {
			pm.Ready += q.Len()
			for _, item := range q.items {
				pm.OldestFor = max(pm.OldestFor, r.meters.began.Sub(item.since))
			}
		}
		for _, inst := range p.instances {
			pm.InFlight += len(inst.slots)
		}
		m.Plugins[name] = pm
	}
	return m
}
