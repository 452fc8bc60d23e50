package host

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/time/rate"

	"github.com/tasker-engine/tasker/host/internal/api"
	"github.com/tasker-engine/tasker/host/internal/boltstore"
	"github.com/tasker-engine/tasker/host/internal/delivery"
	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/internal/runner"
	"github.com/tasker-engine/tasker/host/internal/supervisor"
	"github.com/tasker-engine/tasker/host/internal/telemetry"
	"github.com/tasker-engine/tasker/host/task"
)

// unknownPlugin stands in metrics for all plugins that steps name and that do not exist:
// templates may name as many as they like.
const unknownPlugin = "unknown"

// planMetrics decides whether anything is measured, and for whom. A host that runs one
// task leaves the endpoint to the one that stays.
func planMetrics(opts Options) telemetry.Plan {
	plan, err := telemetry.PlanMetrics(opts.MetricsAddr, os.LookupEnv)
	if err != nil {
		opts.Logger.Warn("a variable of OpenTelemetry is left out", logkeys.Error, err)
	}
	if opts.Mode == ModeRun {
		plan.Listen = ""
	}
	return plan
}

// endpointError says that the endpoint of the metrics cannot be opened.
type endpointError struct{ error }

func (e *endpointError) Unwrap() error { return e.error }

// Hint returns the remedy.
func (e *endpointError) Hint() string {
	return "set metrics.listen to another address, or to none"
}

// startMetrics opens what shows metrics, if anything is to.
func (h *Host) startMetrics(ctx context.Context, plan telemetry.Plan) error {
	if !plan.On() {
		return nil
	}
	hostID, _ := h.store.Identity()
	res, err := telemetry.Resource(ctx, h.opts.Version, hostID)
	if err != nil {
		return fmt.Errorf("metrics: %w: %w", task.ErrInvalid, err)
	}
	h.metrics, err = telemetry.StartMetrics(ctx, telemetry.MetricsOptions{
		Plan: plan, Resource: res, Logger: h.log.Named("metrics"), Read: h.readMetrics,
	})
	if err != nil {
		return &endpointError{err}
	}
	return nil
}

func (h *Host) closeMetrics(ctx context.Context) error {
	if h.metrics == nil {
		return nil
	}
	return h.metrics.Close(ctx)
}

// MetricsAddr returns the address of the metrics endpoint, empty when there is none.
func (h *Host) MetricsAddr() string {
	if h.metrics == nil {
		return ""
	}
	return h.metrics.Addr()
}

// ErrNoMetrics is returned for the metrics of a host that measures nothing.
var ErrNoMetrics error = api.ErrNoMetrics

// WriteMetrics writes the host's metrics in the text format of Prometheus. Error:
// [ErrNoMetrics].
func (h *Host) WriteMetrics(w io.Writer) error {
	if h.metrics == nil {
		return ErrNoMetrics
	}
	return h.metrics.Write(w)
}

// slowPerSecond is how many slow operations are logged per second; all are counted.
const slowPerSecond = 5

// logSlow tells of slow operations of the store. It is no warning: a disk may be busy, and
// the metrics tell how often.
func logSlow(log hclog.Logger) func(boltstore.Slow) {
	limit := rate.NewLimiter(slowPerSecond, slowPerSecond)
	return func(s boltstore.Slow) {
		if limit.Allow() {
			log.Info("slow operation", logkeys.Operation, s.Operation, logkeys.Took, s.Took.String(), logkeys.Reads, s.Reads, logkeys.Writes, s.Puts)
		}
	}
}

// readMetrics asks all parts.
func (h *Host) readMetrics(ctx context.Context) (*telemetry.Reading, error) {
	engine, err := h.runner.Metrics(ctx)
	if err != nil {
		return nil, err
	}
	counters, err := h.store.Counters(ctx)
	if err != nil {
		return nil, err
	}
	subscriptions, err := h.delivery.List(ctx)
	if err != nil {
		return nil, err
	}
	r := &telemetry.Reading{
		Version: h.opts.Version, GoVersion: runtime.Version(), Mode: string(h.opts.Mode), Uptime: time.Since(h.born),
		Tasks:         make(map[string]uint64, len(task.Statuses())),
		Engine:        telemetry.Engine{Decisions: engine.Decisions, RoundTime: engine.RoundTime, Live: engine.Live},
		Subscriptions: subscriptionMetrics(subscriptions),
	}
	for _, status := range task.Statuses() {
		r.Tasks[string(status)] = counters[status]
	}
	plugins := h.supervisor.Metrics()
	r.Plugins = pluginMetrics(plugins)
	r.Queues = queueMetrics(plugins, engine.Plugins)
	r.Store, err = h.storeMetrics(ctx)
	return r, err
}

func (h *Host) storeMetrics(ctx context.Context) (telemetry.Store, error) {
	m, err := h.store.Metrics()
	if err != nil {
		return telemetry.Store{}, err
	}
	last, err := h.store.LastSeq(ctx)
	if err != nil {
		return telemetry.Store{}, err
	}
	s := telemetry.Store{
		Commits: m.Commits, CommitTime: m.CommitTime, BatchSize: m.BatchSize, FileBytes: m.FileBytes, FreeBytes: m.FreeBytes,
		Events: last, Operations: make(map[string]telemetry.Operation, len(m.Operations)),
	}
	for name, op := range m.Operations {
		s.Operations[name] = telemetry.Operation(op)
	}
	return s, nil
}

func pluginMetrics(plugins []supervisor.Metrics) (out []telemetry.Plugin) {
	states := make([]string, 0, len(task.PluginStates()))
	for _, state := range task.PluginStates() {
		states = append(states, string(state))
	}
	claims := make(map[string]int, len(plugins))
	for _, p := range plugins {
		claims[p.Name]++
	}
	for _, p := range plugins {
		if p.State == task.PluginRefused && claims[p.Name] > 1 {
			continue // the name is another one's
		}
		m := telemetry.Plugin{
			Name: p.Name, State: string(p.State), States: states, HasUsage: p.HasUsage,
			Memory: p.Used.Memory, OpenFiles: p.Used.OpenFiles, Threads: p.Used.Threads, CPU: p.CPU,
			Restarts: max(p.Starts-1, 0), Crashes: p.Crashes, Handlers: make(map[string]telemetry.Handler, len(p.Handlers)),
		}
		for name, h := range p.Handlers {
			m.Handlers[name] = telemetry.Handler(h)
		}
		out = append(out, m)
	}
	return out
}

// queueMetrics sums up what waits for plugins that do not exist.
func queueMetrics(plugins []supervisor.Metrics, queues map[string]runner.PluginMetrics) (out []telemetry.Queue) {
	unknown := telemetry.Queue{Plugin: unknownPlugin}
	known := make(map[string]bool, len(plugins))
	for _, p := range plugins {
		if known[p.Name] {
			continue // two binaries claim the name
		}
		known[p.Name] = true
		q := queues[p.Name]
		out = append(out, telemetry.Queue{
			Plugin: p.Name, Ready: q.Ready, OldestFor: q.OldestFor, InFlight: q.InFlight, QueueTime: q.QueueTime,
		})
	}
	for name, q := range queues {
		if !known[name] {
			unknown.Ready += q.Ready
			unknown.OldestFor = max(unknown.OldestFor, q.OldestFor)
		}
	}
	return append(out, unknown)
}

func subscriptionMetrics(subscriptions []delivery.Status) (out []telemetry.Subscription) {
	for _, s := range subscriptions {
		out = append(out, telemetry.Subscription{
			Name: s.Cursor.Subscription, Behind: s.Behind, BehindFor: s.BehindFor, Delivered: s.Cursor.Delivered, Dead: s.Dead,
		})
	}
	return out
}
