package supervisor

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/tasker-engine/tasker/host/internal/measure"
	"github.com/tasker-engine/tasker/host/task"
)

// Metrics is what is measured of one plugin.
type Metrics struct {
	PluginInfo

	HasUsage bool          // of a process that runs, where the system tells
	Used     Usage         // by it
	CPU      time.Duration // that its processes used since the host started, as far as it was seen
	Handlers map[string]HandlerMetrics
}

// HandlerMetrics is what is measured of one handler, in all its versions.
type HandlerMetrics struct {
	Outcomes map[string]uint64 // attempts by how they ended; all outcomes are there
	Wire     measure.Snapshot  // from the host to the plugin and back, without the attempt itself, ns
	Handler  measure.Snapshot  // that the plugin had the attempt, as it says, ns
}

// outcome is how an attempt ended.
type outcome int

// The outcomes.
const (
	outcomeSucceeded outcome = iota
	outcomeFailed            // may be tried again
	outcomeFailedForGood
	outcomeCancelled
	outcomeTimedOut
	outcomeLost
	outcomes // how many there are
)

func outcomeNames() [outcomes]string {
	return [outcomes]string{"succeeded", "failed_retryable", "failed_permanent", "cancelled", "timed_out", "lost"}
}

// isTimeout reports whether an attempt that is cancelled for a reason took too long.
func isTimeout(reason string) bool {
	return reason == task.CodeTimeout || reason == task.CodeHeartbeatTimeout
}

// handlerMeter measures the attempts of one handler.
type handlerMeter struct {
	outcomes      [outcomes]atomic.Uint64
	wire, handler *measure.Histogram
}

// count counts how an attempt ended, the first time only.
func (h *held) count(o outcome) {
	if h.meter != nil && !h.counted {
		h.counted = true
		h.meter.outcomes[o].Add(1)
	}
}

// ended measures an attempt that ended with a report, which arrived at a time. took is how
// long the plugin had it, 0 = it does not say.
func (h *held) ended(r *task.Report, now time.Time, took time.Duration) {
	if h.meter == nil {
		return
	}
	h.count(outcomeOf(r))
	if whole := now.Sub(h.sentAt); took > 0 {
		h.meter.handler.Observe(int64(took))
		h.meter.wire.Observe(int64(max(whole-took, 0)))
	}
}

func outcomeOf(r *task.Report) outcome {
	switch {
	case r.Failure == nil:
		return outcomeSucceeded
	case r.Failure.Kind == task.KindTimeout, isTimeout(r.Failure.Code): // the plugin may notice first
		return outcomeTimedOut
	case r.Failure.Kind == task.KindPermanent:
		return outcomeFailedForGood
	case r.Failure.Kind == task.KindCancelled:
		return outcomeCancelled
	default:
		return outcomeFailed
	}
}

// clock returns the time, zero when nothing is measured.
func (in *instance) clock() time.Time {
	if in.meters == nil {
		return time.Time{}
	}
	return time.Now()
}

// meters keep what is measured of plugins over the lives of their processes. Nil measures
// nothing.
type meters struct {
	mu       sync.Mutex
	handlers map[string]map[string]*handlerMeter // by plugin and handler
	cpu      map[string]*cpuMeter                // by plugin
}

func newMeters(on bool) *meters {
	if !on {
		return nil
	}
	return &meters{handlers: make(map[string]map[string]*handlerMeter), cpu: make(map[string]*cpuMeter)}
}

// of returns the meters of an instance with a manifest, by handler; they are shared with
// the instances before.
func (m *meters) of(manifest *Manifest) map[string]*handlerMeter {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.handlers[manifest.Name]
	if all == nil {
		all = make(map[string]*handlerMeter)
		m.handlers[manifest.Name] = all
	}
	mine := make(map[string]*handlerMeter, len(manifest.Handlers))
	for _, h := range manifest.Handlers {
		if all[h.Name] == nil {
			all[h.Name] = &handlerMeter{wire: measure.NewLatency(), handler: measure.NewLatency()}
		}
		mine[h.Name] = all[h.Name]
	}
	return mine
}

func (m *meters) snapshot(plugin string) map[string]HandlerMetrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make(map[string]HandlerMetrics, len(m.handlers[plugin]))
	for name, h := range m.handlers[plugin] {
		hm := HandlerMetrics{Outcomes: make(map[string]uint64, outcomes), Wire: h.wire.Snapshot(), Handler: h.handler.Snapshot()}
		for o, outcome := range outcomeNames() {
			hm.Outcomes[outcome] = h.outcomes[o].Load()
		}
		out[name] = hm
	}
	return out
}

// cpuMeter adds up the processor time of processes that follow each other.
type cpuMeter struct {
	pid  int
	past time.Duration // of processes before
	last time.Duration // of this one, as last seen
}

// used returns the processor time of a plugin's processes. What a process used after it
// was looked at last is not in it.
func (m *meters) used(plugin string, pid int, now time.Duration) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.cpu[plugin]
	if c == nil {
		c = &cpuMeter{}
		m.cpu[plugin] = c
	}
	if pid != 0 {
		if pid != c.pid {
			c.pid, c.past, c.last = pid, c.past+c.last, 0
		}
		c.last = max(c.last, now)
	}
	return c.past + c.last
}

// Metrics returns what is measured of every plugin, by name; nothing unless
// [Options].Metered is set.
func (s *Supervisor) Metrics() []Metrics {
	if s.meters == nil {
		return nil
	}
	var out []Metrics
	for _, info := range s.Plugins() {
		m := Metrics{PluginInfo: info, Handlers: s.meters.snapshot(info.Name)}
		pid := 0
		if m.Used, m.HasUsage = info.Usage(); m.HasUsage {
			pid = info.PID
		}
		m.CPU = s.meters.used(info.Name, pid, m.Used.CPUTime)
		out = append(out, m)
	}
	return out
}
