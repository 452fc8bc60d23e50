package telemetry

import (
	"github.com/tasker-engine/tasker/host/internal/measure"
)

// Attribute keys. Their values are few: names that plugins declare, words of this program,
// and never the id of a task.
const (
	KeyPlugin       = "plugin"       // as its manifest says
	KeyHandler      = "handler"      // as the manifest says, without the version
	KeyOutcome      = "outcome"      // of an attempt
	KeyState        = "state"        // of a plugin
	KeyStatus       = "status"       // of a task
	KeyOperation    = "operation"    // of the store
	KeySubscription = "subscription" // "plugin/name"
	KeyVersion      = "version"      // of the host
	KeyGoVersion    = "go_version"   // that the host was built with
	KeyMode         = "mode"         // "serve" or "run"
)

// Kind is the kind of a metric.
type Kind string

// The kinds.
const (
	Counter   Kind = "counter"   // only grows, while a host lives
	Gauge     Kind = "gauge"     // goes up and down
	Histogram Kind = "histogram" // counts values by size
)

// Metric is one metric of a host.
type Metric struct {
	Name        string // "tasker.group.name"
	Kind        Kind
	Unit        string // UCUM: "s", "By", or what is counted, in braces
	Attributes  []string
	Description string

	values     func(*Reading, emit)         // of counters and gauges
	histograms func(*Reading, emitSnapshot) // of histograms
}

// emit takes one value with its attributes, in the order of [Metric].Attributes.
type emit func(value float64, attributes ...string)

// emitSnapshot takes one histogram, whose numbers are divided by scale.
type emitSnapshot func(s measure.Snapshot, scale float64, attributes ...string)

// nanoseconds are what latencies are measured in; they are told in seconds.
const nanoseconds = 1e9

// Catalogue returns all metrics of a host. The metrics of the Go runtime (go.*) are those
// of the OpenTelemetry conventions and are not in it.
func Catalogue() []Metric {
	var all []Metric
	groups := [][]Metric{engineMetrics(), storeMetrics(), attemptMetrics(), pluginMetrics(), deliveryMetrics(), hostMetrics()}
	for _, group := range groups {
		all = append(all, group...)
	}
	return all
}

func engineMetrics() []Metric {
	return []Metric{
		{
			Name: "tasker.engine.decisions", Kind: Counter, Unit: "{decision}",
			Description: "Decisions of the engine: each takes what has happened to one task and says what is written and done.",
			values:      func(r *Reading, e emit) { e(float64(r.Engine.Decisions)) },
		},
		{
			Name: "tasker.engine.round.duration", Kind: Histogram, Unit: "s",
			Description: "How long the loop around the engine worked before it waited again: all decisions of a round, and what follows from what was committed.",
			histograms:  func(r *Reading, e emitSnapshot) { e(r.Engine.RoundTime, nanoseconds) },
		},
		{
			Name: "tasker.engine.tasks.live", Kind: Gauge, Unit: "{task}",
			Description: "Tasks that the host holds in memory because they have not ended.",
			values:      func(r *Reading, e emit) { e(float64(r.Engine.Live)) },
		},
		{
			Name: "tasker.tasks", Kind: Gauge, Unit: "{task}", Attributes: []string{KeyStatus},
			Description: "Tasks in the store by status.",
			values: func(r *Reading, e emit) {
				for status, n := range r.Tasks {
					e(float64(n), status)
				}
			},
		},
		{
			Name: "tasker.engine.steps.ready", Kind: Gauge, Unit: "{step}", Attributes: []string{KeyPlugin},
			Description: "Steps that could run and wait for a slot of their plugin. Those of plugins that do not exist have the plugin \"unknown\".",
			values: func(r *Reading, e emit) {
				for _, q := range r.Queues {
					e(float64(q.Ready), q.Plugin)
				}
			},
		},
		{
			Name: "tasker.engine.steps.ready.age", Kind: Gauge, Unit: "s", Attributes: []string{KeyPlugin},
			Description: "How long the oldest ready step has waited; 0 when none waits.",
			values: func(r *Reading, e emit) {
				for _, q := range r.Queues {
					e(q.OldestFor.Seconds(), q.Plugin)
				}
			},
		},
		{
			Name: "tasker.engine.attempts.in_flight", Kind: Gauge, Unit: "{attempt}", Attributes: []string{KeyPlugin},
			Description: "Attempts that hold a slot of their plugin.",
			values: func(r *Reading, e emit) {
				for _, q := range r.Queues {
					e(float64(q.InFlight), q.Plugin)
				}
			},
		},
	}
}

func storeMetrics() []Metric {
	operations := func(value func(Operation) uint64) func(*Reading, emit) {
		return func(r *Reading, e emit) {
			for name, op := range r.Store.Operations {
				e(float64(value(op)), name)
			}
		}
	}
	return []Metric{
		{
			Name: "tasker.store.commits", Kind: Counter, Unit: "{commit}",
			Description: "Transactions that wrote: one fsync each.",
			values:      func(r *Reading, e emit) { e(float64(r.Store.Commits)) },
		},
		{
			Name: "tasker.store.commit.duration", Kind: Histogram, Unit: "s",
			Description: "How long a transaction that writes took, fsync included.",
			histograms:  func(r *Reading, e emitSnapshot) { e(r.Store.CommitTime, nanoseconds) },
		},
		{
			Name: "tasker.store.commit.size", Kind: Histogram, Unit: "{write_set}",
			Description: "How many write sets went into one transaction.",
			histograms:  func(r *Reading, e emitSnapshot) { e(r.Store.BatchSize, 1) },
		},
		{
			Name: "tasker.store.operations", Kind: Counter, Unit: "{operation}", Attributes: []string{KeyOperation},
			Description: "Operations of the store by name.",
			values:      operations(func(o Operation) uint64 { return o.Calls }),
		},
		{
			Name: "tasker.store.operations.slow", Kind: Counter, Unit: "{operation}", Attributes: []string{KeyOperation},
			Description: "Operations that took as long as store.slow_operation or longer; each is logged. The operation \"commit\" is a transaction that writes.",
			values:      operations(func(o Operation) uint64 { return o.Slow }),
		},
		{
			Name: "tasker.store.reads", Kind: Counter, Unit: "{record}", Attributes: []string{KeyOperation},
			Description: "Records that operations read. Divided by the operations it is what one costs.",
			values:      operations(func(o Operation) uint64 { return o.Reads }),
		},
		{
			Name: "tasker.store.writes", Kind: Counter, Unit: "{record}", Attributes: []string{KeyOperation},
			Description: "Records that operations wrote or removed.",
			values:      operations(func(o Operation) uint64 { return o.Puts }),
		},
		{
			Name: "tasker.store.file.size", Kind: Gauge, Unit: "By",
			Description: "Size of the store's file.",
			values:      func(r *Reading, e emit) { e(float64(r.Store.FileBytes)) },
		},
		{
			Name: "tasker.store.file.free", Kind: Gauge, Unit: "By",
			Description: "Of the file, pages that hold nothing and are used before it grows.",
			values:      func(r *Reading, e emit) { e(float64(r.Store.FreeBytes)) },
		},
		{
			Name: "tasker.events.recorded", Kind: Counter, Unit: "{event}",
			Description: "Events that were ever recorded in the log: its last sequence.",
			values:      func(r *Reading, e emit) { e(float64(r.Store.Events)) },
		},
	}
}

func attemptMetrics() []Metric {
	handlers := func(value func(Handler) measure.Snapshot) func(*Reading, emitSnapshot) {
		return func(r *Reading, e emitSnapshot) {
			for _, p := range r.Plugins {
				for name, h := range p.Handlers {
					e(value(h), nanoseconds, p.Name, name)
				}
			}
		}
	}
	return []Metric{
		{
			Name: "tasker.plugin.attempts", Kind: Counter, Unit: "{attempt}", Attributes: []string{KeyPlugin, KeyHandler, KeyOutcome},
			Description: "Attempts that ended, by outcome: succeeded, failed_retryable, failed_permanent, cancelled, timed_out, and lost with their process.",
			values: func(r *Reading, e emit) {
				for _, p := range r.Plugins {
					for name, h := range p.Handlers {
						for outcome, n := range h.Outcomes {
							e(float64(n), p.Name, name, outcome)
						}
					}
				}
			},
		},
		{
			Name: "tasker.plugin.queue.duration", Kind: Histogram, Unit: "s", Attributes: []string{KeyPlugin},
			Description: "How long steps waited from ready to claimed: the first part of an attempt's latency.",
			histograms: func(r *Reading, e emitSnapshot) {
				for _, q := range r.Queues {
					e(q.QueueTime, nanoseconds, q.Plugin)
				}
			},
		},
		{
			Name: "tasker.plugin.wire.duration", Kind: Histogram, Unit: "s", Attributes: []string{KeyPlugin, KeyHandler},
			Description: "How long attempts were on their way to the plugin and back: the second part of an attempt's latency.",
			histograms:  handlers(func(h Handler) measure.Snapshot { return h.Wire }),
		},
		{
			Name: "tasker.plugin.handler.duration", Kind: Histogram, Unit: "s", Attributes: []string{KeyPlugin, KeyHandler},
			Description: "How long the plugin had attempts, as it says itself: the third part of an attempt's latency.",
			histograms:  handlers(func(h Handler) measure.Snapshot { return h.Handler }),
		},
	}
}

func pluginMetrics() []Metric {
	plugins := func(value func(Plugin) float64) func(*Reading, emit) {
		return func(r *Reading, e emit) {
			for _, p := range r.Plugins {
				e(value(p), p.Name)
			}
		}
	}
	used := func(value func(Plugin) float64) func(*Reading, emit) {
		return func(r *Reading, e emit) {
			for _, p := range r.Plugins {
				if p.HasUsage {
					e(value(p), p.Name)
				}
			}
		}
	}
	return []Metric{
		{
			Name: "tasker.plugin.memory", Kind: Gauge, Unit: "By", Attributes: []string{KeyPlugin},
			Description: "Resident memory of the plugin's process. On Linux.",
			values:      used(func(p Plugin) float64 { return float64(p.Memory) }),
		},
		{
			Name: "tasker.plugin.files.open", Kind: Gauge, Unit: "{file}", Attributes: []string{KeyPlugin},
			Description: "Open file descriptors of the plugin's process. On Linux.",
			values:      used(func(p Plugin) float64 { return float64(p.OpenFiles) }),
		},
		{
			Name: "tasker.plugin.threads", Kind: Gauge, Unit: "{thread}", Attributes: []string{KeyPlugin},
			Description: "Threads of the plugin's process. On Linux.",
			values:      used(func(p Plugin) float64 { return float64(p.Threads) }),
		},
		{
			Name: "tasker.plugin.cpu.time", Kind: Counter, Unit: "s", Attributes: []string{KeyPlugin},
			Description: "Processor time of the plugin's processes, as far as it was seen while they ran. On Linux.",
			values:      plugins(func(p Plugin) float64 { return p.CPU.Seconds() }),
		},
		{
			Name: "tasker.plugin.restarts", Kind: Counter, Unit: "{start}", Attributes: []string{KeyPlugin},
			Description: "Starts of the plugin after the first one, whatever ended it.",
			values:      plugins(func(p Plugin) float64 { return float64(p.Restarts) }),
		},
		{
			Name: "tasker.plugin.crashes", Kind: Counter, Unit: "{crash}", Attributes: []string{KeyPlugin},
			Description: "Crashes and failed starts of the plugin.",
			values:      plugins(func(p Plugin) float64 { return float64(p.Crashes) }),
		},
		{
			Name: "tasker.plugin.instances", Kind: Gauge, Unit: "{instance}", Attributes: []string{KeyPlugin, KeyState},
			Description: "1 for the state that the plugin is in, 0 for all others.",
			values: func(r *Reading, e emit) {
				for _, p := range r.Plugins {
					for _, state := range p.States {
						if state == p.State {
							e(1, p.Name, state)
						} else {
							e(0, p.Name, state)
						}
					}
				}
			},
		},
	}
}

func deliveryMetrics() []Metric {
	subscriptions := func(value func(Subscription) float64) func(*Reading, emit) {
		return func(r *Reading, e emit) {
			for _, s := range r.Subscriptions {
				e(value(s), s.Name)
			}
		}
	}
	return []Metric{
		{
			Name: "tasker.delivery.lag.events", Kind: Gauge, Unit: "{event}", Attributes: []string{KeySubscription},
			Description: "Events of the log that the subscription has not done with, wanted or not.",
			values:      subscriptions(func(s Subscription) float64 { return float64(s.Behind) }),
		},
		{
			Name: "tasker.delivery.lag.time", Kind: Gauge, Unit: "s", Attributes: []string{KeySubscription},
			Description: "How long ago the oldest of these events was recorded.",
			values:      subscriptions(func(s Subscription) float64 { return s.BehindFor.Seconds() }),
		},
		{
			Name: "tasker.delivery.delivered", Kind: Counter, Unit: "{event}", Attributes: []string{KeySubscription},
			Description: "Events that the subscription has acknowledged, ever.",
			values:      subscriptions(func(s Subscription) float64 { return float64(s.Delivered) }),
		},
		{
			Name: "tasker.delivery.dead_letters", Kind: Gauge, Unit: "{event}", Attributes: []string{KeySubscription},
			Description: "Events that the subscription could not handle and that nobody has retried or discarded.",
			values:      subscriptions(func(s Subscription) float64 { return float64(s.Dead) }),
		},
	}
}

func hostMetrics() []Metric {
	return []Metric{
		{
			Name: "tasker.build.info", Kind: Gauge, Unit: "", Attributes: []string{KeyVersion, KeyGoVersion, KeyMode},
			Description: "Always 1; its attributes say what runs.",
			values:      func(r *Reading, e emit) { e(1, r.Version, r.GoVersion, r.Mode) },
		},
		{
			Name: "tasker.host.uptime", Kind: Gauge, Unit: "s",
			Description: "How long the host has run.",
			values:      func(r *Reading, e emit) { e(r.Uptime.Seconds()) },
		},
	}
}
