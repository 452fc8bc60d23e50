package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/oklog/ulid/v2"
	"golang.org/x/sync/errgroup"

	"github.com/tasker-engine/tasker/host/internal/api"
	"github.com/tasker-engine/tasker/host/internal/boltstore"
	"github.com/tasker-engine/tasker/host/internal/delivery"
	"github.com/tasker-engine/tasker/host/internal/engine"
	"github.com/tasker-engine/tasker/host/internal/killpoint"
	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/internal/publish"
	"github.com/tasker-engine/tasker/host/internal/runner"
	"github.com/tasker-engine/tasker/host/internal/supervisor"
	"github.com/tasker-engine/tasker/host/internal/telemetry"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// Host runs tasks. It is a [Service] for its own process; the control socket serves
// the same to others.
type Host struct {
	reading

	opts       Options
	log        hclog.Logger
	started    time.Time
	journal    *eventLog
	runner     *runner.Runner
	supervisor *supervisor.Supervisor
	delivery   *delivery.Delivery
	binder     *binder
	handshake  *handshake
	values     valueChecks
	given      *given
	retention  *retention
	server     *api.Server
	metrics    *telemetry.Metrics // nil = nothing is measured
	born       time.Time          // started, on the monotonic clock
	events     *publish.Host
	relay      *telemetry.Relay // of spans; nil = none are exported
	settled    *bell            // rings at every change in the life of a plugin
	ready      chan struct{}
	stopping   chan struct{}             // closed when nothing more is started
	asked      chan string               // by whom the host was asked to end
	cut        atomic.Pointer[time.Time] // when attempts are cut, nil before the host ends
	misread    atomic.Pointer[string]    // why the configuration was not reloaded, nil when it was
	used       atomic.Bool               // it was run or closed
	left       []api.SubscriptionStatus

	ids struct {
		sync.Mutex
		entropy io.Reader
	}
}

var _ Service = (*Host)(nil)

// Open opens the home and makes the parts of a host; nothing runs before [Host.Run].
// Errors: task.ErrInvalid for options, task.ErrLocked when another host has the home.
func Open(ctx context.Context, opts Options) (_ *Host, err error) {
	opts = opts.withDefaults()
	if err := errors.Join(ctx.Err(), opts.validate()); err != nil {
		return nil, err
	}
	if opts.Home, err = filepath.Abs(opts.Home); err != nil {
		return nil, fmt.Errorf("home: %w", err)
	}
	if err := os.MkdirAll(opts.Home, homeMode); err != nil {
		return nil, fmt.Errorf("home: %w", err)
	}
	set, err := template.Load(template.Options{Environment: opts.Environment}, opts.TemplateDirs...)
	if err != nil {
		return nil, err
	}
	plan := planMetrics(opts)
	st, err := boltstore.Open(StorePath(opts.Home), boltstore.Options{
		Now: opts.Now, Metered: plan.On(), SlowAfter: opts.SlowOperation, OnSlow: logSlow(opts.Logger.Named("store")),
	})
	if err != nil {
		return nil, err
	}
	h := &Host{
		opts: opts, log: opts.Logger, started: opts.Now(), born: time.Now(), ready: make(chan struct{}),
		stopping: make(chan struct{}), asked: make(chan string, 1), settled: newBell(), given: newGiven(set),
	}
	h.ids.entropy = ulid.Monotonic(rand.NewChaCha8(seed()), 0)
	h.reading = reading{store: st, templates: set, now: opts.Now, plugins: h, snapshots: newSnapshotCache()}
	if err := h.assemble(ctx, plan); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	for _, d := range set.Problems() {
		h.log.Warn("template is left out", logkeys.Problem, d.Error())
	}
	return h, nil
}

// assemble makes the parts and ties them together.
func (h *Host) assemble(ctx context.Context, plan telemetry.Plan) error {
	hostID, epoch := h.store.Identity()
	h.journal = newEventLog(h.store)
	h.retention = newRetention(h)
	h.events = publish.ForHost(hostID, epoch, h.journal.Submit, func(err error) {
		if err != nil {
			h.log.Error("event not recorded", logkeys.Error, err)
		}
	})
	h.runner = runner.New(runner.Options{
		Store: killpoint.Store(ctx, h.journal), Now: h.opts.Now, Logger: h.log.Named("runner"), Metered: plan.On(),
		Wanted: func(plugin string) { h.supervisor.Wake(plugin) },
		Engine: engine.Host{
			Epoch: epoch, CancelGrace: h.opts.CancelGrace, Workflow: h.opts.WorkflowEvents, Rand: h.opts.Rand,
		},
	})
	if err := errors.Join(h.assembleTraces(ctx, hostID), h.assembleDelivery(ctx)); err != nil {
		return err
	}
	if err := h.assembleSupervisor(hostID, plan.On()); err != nil {
		return err
	}
	if err := h.startMetrics(ctx, plan); err != nil {
		return err
	}
	var err error
	h.server, err = api.Listen(api.Config{
		Home: h.opts.Home, Mode: h.opts.Mode, Version: h.opts.Version, Service: h,
		Logger: h.log.Named("control"), HealthAddr: h.opts.HealthAddr, Metrics: h.WriteMetrics, Now: h.opts.Now,
	})
	if err != nil {
		return errors.Join(err, h.closeMetrics(ctx))
	}
	return nil
}

// assembleDelivery makes what brings events to subscribers.
func (h *Host) assembleDelivery(ctx context.Context) (err error) {
	h.binder = &binder{h: h, load: h.store.Load, told: make(map[string]bool)}
	h.delivery, err = delivery.New(ctx, delivery.Options{
		Store: h.journal, Publisher: h.events, Streams: streams{h}, Values: h.reading, Template: h.binder.template, Traces: h.relay,
		Logger: h.log.Named("delivery"), Now: h.opts.Now, DrainTimeout: h.opts.DeliveryGrace,
	})
	if err == nil {
		h.journal.grown = h.delivery.Wake
	}
	return err
}

// assembleSupervisor makes what runs plugins.
func (h *Host) assembleSupervisor(hostID string, metered bool) error {
	runDir, err := api.RuntimeDir(h.opts.Home)
	if err != nil {
		return err
	}
	installed, err := installedPlugins(h.opts.Home)
	if err != nil {
		return err
	}
	h.supervisor, err = supervisor.New(supervisor.Options{
		Logger: h.log.Named("plugin"), Sink: sink{h}, Values: h.reading, Traces: spans{h}, Dirs: h.opts.PluginDirs, RunDir: runDir,
		Installed: installed,
		DataDir:   filepath.Join(h.opts.Home, dataDir), LogDir: filepath.Join(h.opts.Home, logDir),
		HostID: hostID, HostVersion: h.opts.Version, LogLevel: h.opts.LogLevel, LogLevels: h.opts.PluginLogLevels,
		StartTimeout: h.opts.StartTimeout, StartTimeouts: h.opts.StartTimeouts, DrainTimeout: h.opts.Grace,
		CancelGrace: h.opts.CancelGrace, HangTimeout: h.opts.HangTimeout, GrantEnv: h.opts.PluginEnv, StandardEnv: standardEnv(),
		Configs: h.opts.PluginConfigs, DefaultCapacity: h.opts.Concurrency, Metered: metered, Isolation: h.opts.isolation(),
		Rests: h.opts.PluginRests, ManifestDir: filepath.Join(h.opts.Home, manifestDir),
		CheckManifest: func(ctx context.Context, m *supervisor.Manifest) (notes, warnings []string, err error) {
			return h.handshake.check(ctx, m)
		},
	})
	if err != nil {
		return err
	}
	h.handshake = &handshake{
		plugins: h.supervisor.Plugins, discovered: h.supervisor.Discovered(), settled: h.settled,
		registered: templateEvents(h.templates), published: h.given.events, workflow: h.opts.WorkflowEvents, now: h.opts.Now,
		recall:   func(ctx context.Context) error { return h.given.recall(ctx, h.reading) },
		accepted: h.store.CustomEvents, accept: h.acceptEvents, unknown: make(map[string][]string),
	}
	return nil
}

// errUsed is returned by a second Run.
var errUsed = errors.New("a host runs once")

// Close lets go of the home of a host that was opened and is not to be run. After Run,
// which does it by itself, it does nothing.
func (h *Host) Close() error {
	if !h.used.CompareAndSwap(false, true) {
		return nil
	}
	return errors.Join(h.server.Close(), h.closeMetrics(context.Background()), h.store.Close())
}

// Run runs the host until ctx ends and what was running has ended, or until a part
// fails. It lets go of the home; a Host runs once.
func (h *Host) Run(ctx context.Context) error {
	if !h.used.CompareAndSwap(false, true) {
		return errUsed
	}
	work, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	parts, partsCtx := errgroup.WithContext(work)
	parts.Go(func() error { return h.runner.Run(partsCtx, killpoint.Dispatcher(partsCtx, h.supervisor)) })
	parts.Go(func() error { return h.delivery.Run(partsCtx) })
	parts.Go(func() error { return h.supervisor.Run(partsCtx) })
	parts.Go(func() error { return h.cutLog(partsCtx) })
	parts.Go(func() error { return h.retention.run(partsCtx) })
	parts.Go(func() error { return h.server.Run(partsCtx) })
	parts.Go(func() error { return h.runTraces(partsCtx) })
	parts.Go(func() error { h.warnOfAbsent(partsCtx); return nil })
	parts.Go(func() error { return h.wakeSubscribers(partsCtx) })
	if h.metrics != nil {
		parts.Go(func() error { return h.metrics.Run(partsCtx) })
	}
	h.events.HostStarted(h.opts.Version, h.opts.Now())
	close(h.ready)

	select {
	case <-ctx.Done():
		h.end(work)
	case by := <-h.asked:
		h.log.Info("asked to end: the home is taken over", logkeys.Cause, "asked by "+by)
		h.end(work)
	case <-partsCtx.Done(): // a part failed: the others stop with it
		h.events.HostStopping("failed", h.opts.Now())
	}
	cut()
	return errors.Join(parts.Wait(), h.store.Close())
}

// StopHost implements [Service].
func (h *Host) StopHost(_ context.Context, by string) error {
	select {
	case h.asked <- by:
	default: // it was asked already
	}
	return nil
}

// end tells everybody that the host ends, and drains it.
func (h *Host) end(work context.Context) {
	until := h.opts.Now().Add(h.opts.Grace)
	h.cut.Store(&until)
	close(h.stopping)
	h.events.HostStopping("stopped", h.opts.Now())
	h.drain(work)
}

// drain ends the intake and waits until what is in flight has ended, as long as the
// grace allows.
func (h *Host) drain(work context.Context) {
	ctx, cancel := context.WithTimeout(work, h.opts.Grace)
	defer cancel()
	go func() { // ends with ctx
		select {
		case <-h.opts.Abort:
			cancel()
		case <-ctx.Done():
		}
	}()
	h.log.Info("stopping: no new attempts are started", logkeys.Grace, h.opts.Grace.String())
	if err := h.runner.Drain(ctx); err != nil {
		h.log.Warn("attempts were cut; they run again when the home is opened next", logkeys.Cause, err)
	}
	if h.opts.Mode == ModeRun {
		h.letSubscribersStart(ctx)
	}
	_ = h.journal.settle(ctx) // so that subscribers get what is being committed, if there is time
	if err := h.delivery.Drain(ctx); err != nil && ctx.Err() == nil {
		h.log.Error("what subscribers have got is not noted; they get it again", logkeys.Error, err)
	}
	if h.opts.Mode == ModeRun {
		h.left, _ = h.Subscriptions(work) // for [Host.Left] alone
	}
	h.supervisor.Drain(ctx)
	if h.metrics != nil {
		h.metrics.Flush(ctx) // while there is somebody to ask
	}
}

// Ready is closed once Run has started the parts.
func (h *Host) Ready() <-chan struct{} { return h.ready }

// Stopping is closed once the host has been told to end and drains.
func (h *Host) Stopping() <-chan struct{} { return h.stopping }

// Left returns the subscriptions as they were when nothing more was delivered, for a host
// of [ModeRun] that was stopped. Call it once Run has returned.
func (h *Host) Left() []api.SubscriptionStatus { return h.left }

// HealthAddr returns the address of the health port, empty when there is none.
func (h *Host) HealthAddr() string { return h.server.HealthAddr() }

// newID returns a task id: ids made later sort later, within a millisecond too.
func (h *Host) newID(now time.Time) (task.ID, error) {
	h.ids.Lock()
	defer h.ids.Unlock()
	id, err := ulid.New(ulid.Timestamp(now), h.ids.entropy)
	if err != nil {
		return "", fmt.Errorf("task id: %w", err)
	}
	return task.ID(id.String()), nil
}

func defaultRand() float64 { return rand.Float64() } //nolint:gosec // spreads retries, guards nothing
