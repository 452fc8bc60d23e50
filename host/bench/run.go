package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

// Config says what one run measures.
type Config struct {
	Dir         string // a directory of its own, on the disk that is measured
	Executable  string // started as [RoleHandler], [RoleSink] and [RoleFloor]
	Version     string // of the host
	Workload    Workload
	InFlight    int           // tasks at once; ignored by an open workload
	Rate        float64       // tasks per second of an open workload
	Payload     int           // bytes of the task's input, which each step gets and returns
	Subscribers int           // subscriptions to everything
	Tasks       int           // 0 = as many as For allows
	For         time.Duration // 0 = until there are Tasks
	Finished    int           // tasks that are in the store before
	// Templates are further templates by file name, instead of the workload's.
	Templates map[string]string
	Floor     bool // measure the floor, too
}

const (
	warmUp   = 10              // one part in so many of a run is driven before it is measured
	maxFloor = 2 * time.Second // how long a floor is measured at most

	minGroupCommit = 50 * time.Millisecond
)

// Result is what a run gave.
type Result struct {
	Workload    string  `json:"workload"`
	InFlight    int     `json:"in_flight"` // 0 for an open workload
	Rate        float64 `json:"rate"`      // tasks per second asked for, 0 for a closed one
	Payload     int     `json:"payload_bytes"`
	Subscribers int     `json:"subscribers"`
	// Finished is nil unless the store held finished tasks before.
	Finished *FinishedResult `json:"finished"`

	Tasks          int     `json:"tasks"`
	Steps          int     `json:"steps"`
	Seconds        float64 `json:"seconds"`
	TasksPerSecond float64 `json:"tasks_per_second"`
	StepsPerSecond float64 `json:"steps_per_second"`

	Task     Latency `json:"task"`     // engine's stamps
	Step     Latency `json:"step"`     // engine's stamps
	Observed Latency `json:"observed"` // as its creator sees a task

	Cost    Cost    `json:"cost"`
	Commits Commits `json:"commits"`

	Floor *FloorResult `json:"floor"` // nil when it was not measured
	// GroupCommit is how many steps per second bare transactions of the same records
	// allow, 0 when the floor was not measured.
	GroupCommit float64 `json:"group_commit_steps_per_second"`
	// OfFloor is steps per second relative to the floor's, LatencyOfFloor the observed
	// median of a task. 0 when the floor was not measured.
	OfFloor        float64 `json:"of_floor"`
	LatencyOfFloor float64 `json:"latency_of_floor"`
}

// Cost is what a step used, in microseconds of CPU and allocations on the heap.
type Cost struct {
	Host       float64 `json:"host_cpu_us"`       // the generator, which runs in the host's process, included
	Plugin     float64 `json:"plugin_cpu_us"`     // of the handler's process
	Subscriber float64 `json:"subscriber_cpu_us"` // of the subscribers' process
	Reading    float64 `json:"reading_cpu_us"`    // to read the log once, as the generator does
	Allocs     float64 `json:"host_allocs"`
	AllocBytes float64 `json:"host_alloc_bytes"`
	HostRSS    int64   `json:"host_rss"`  // bytes, the mapped store included; 0 = unknown
	HostAnon   int64   `json:"host_anon"` // bytes, without what is mapped from files
	PluginRSS  int64   `json:"plugin_rss"`
}

// Commits is what the store did.
type Commits struct {
	Count       uint64  `json:"count"`
	PerSecond   float64 `json:"per_second"`
	WriteSets   uint64  `json:"write_sets"`
	Batch       float64 `json:"batch"`   // write sets per commit
	Mean        float64 `json:"mean_us"` // of a transaction
	Puts        uint64  `json:"puts"`
	PutsPerStep float64 `json:"puts_per_step"`
	BytesPerPut int     `json:"bytes_per_put"` // key and value, on average
	Writes      Writes  `json:"writes_per_task"`
}

// Run measures one workload on a host of its own.
func Run(ctx context.Context, cfg Config) (_ *Result, err error) {
	if cfg.Finished > 0 {
		if err := fill(ctx, cfg); err != nil {
			return nil, err
		}
	}
	h, err := start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	r, err := h.measure(ctx)
	if err = errors.Join(err, h.end()); err != nil {
		return nil, err
	}
	if !cfg.Floor || cfg.Workload.Open {
		return r, nil
	}
	return r, r.compare(ctx, cfg)
}

// running is a host that is measured.
type running struct {
	*host.Host

	cfg    Config
	opened time.Duration // from opening the home to a host that runs
	stop   context.CancelFunc
	ended  chan error
}

// start prepares a home and runs a host in it until its plugins are ready.
func start(ctx context.Context, cfg Config) (*running, error) {
	templates, plugins := filepath.Join(cfg.Dir, "templates"), filepath.Join(cfg.Dir, "plugins")
	roles := []string{RoleHandler}
	usage := "name: usage\nversion: 1.0.0\nsteps:\n  - {name: handler, handler: " + RoleHandler + "/" + HandlerUsage + "}\n"
	if cfg.Subscribers > 0 {
		roles = append(roles, RoleSink+strconv.Itoa(cfg.Subscribers))
		usage += "  - {name: sink, handler: " + roles[1] + "/" + HandlerUsage + "}\n"
	}
	err := errors.Join(os.MkdirAll(templates, 0o700), os.MkdirAll(plugins, 0o700), cfg.write(templates, usage))
	for _, role := range roles {
		err = errors.Join(err, install(cfg.Executable, filepath.Join(plugins, roleFile(role))))
	}
	if err != nil {
		return nil, err
	}
	began := time.Now()
	h, err := host.Open(ctx, host.Options{
		Home: filepath.Join(cfg.Dir, "home"), PluginDirs: []string{plugins}, TemplateDirs: []string{templates},
		Version: cfg.Version, LogLevel: "warn",
		Logger: hclog.New(&hclog.LoggerOptions{Name: "host", Level: hclog.Error, Output: os.Stderr}),
	})
	if err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	r := &running{Host: h, cfg: cfg, stop: stop, ended: make(chan error, 1)}
	go func() { r.ended <- h.Run(run) }() // ends with stop
	<-h.Ready()
	r.opened = time.Since(began)
	for _, role := range roles {
		if err := r.await(ctx, role); err != nil {
			return nil, errors.Join(err, r.end())
		}
	}
	return r, nil
}

// install makes a program available under another name.
func install(executable, path string) (err error) {
	if err := os.Symlink(executable, path); err == nil || errors.Is(err, os.ErrExist) {
		return nil
	}
	in, err := os.Open(executable) // where links need a privilege
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o700) //nolint:gosec // it is started
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// errEnough ends the reading of events.
var errEnough = errors.New("enough")

// startTimeout is how long a plugin may take to be ready.
const startTimeout = 30 * time.Second

// await waits until a plugin is ready.
func (r *running) await(ctx context.Context, plugin string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	state := task.PluginState("unknown")
	look := func() error {
		all, err := r.Plugins(ctx)
		for _, p := range all {
			if p.Name == plugin {
				state = p.State
			}
		}
		if state == task.PluginReady {
			return errEnough
		}
		return err
	}
	health, err := r.Health(ctx)
	if err == nil {
		err = look()
	}
	if err == nil {
		from := health.Store.LastSeq // what comes later is not missed
		err = r.Events(ctx, host.EventQuery{From: from, Type: "plugin.*", Follow: true}, func(host.LogEntry) error { return look() })
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	return errors.Join(fmt.Errorf("plugin %s is %s, want ready", plugin, state), err, ctx.Err())
}

// end stops the host in an orderly way.
func (r *running) end() error {
	r.stop()
	return <-r.ended
}

// measure drives the load twice, the first time to warm up.
func (r *running) measure(ctx context.Context) (*Result, error) {
	load := Load{
		Request: task.Request{Template: "default/" + r.cfg.Workload.Name, Input: document(r.cfg.Payload)},
		Tasks:   r.cfg.Tasks, For: r.cfg.For, InFlight: r.cfg.InFlight,
	}
	if r.cfg.Workload.Open {
		load.Rate, load.InFlight = r.cfg.Rate, 0
	}
	warm := load
	warm.Tasks, warm.For = (load.Tasks+warmUp-1)/warmUp, load.For/warmUp
	if _, err := Drive(ctx, r.Host, warm); err != nil {
		return nil, fmt.Errorf("warm up: %w", err)
	}
	pluginsBefore, err := r.usage(ctx)
	if err != nil {
		return nil, err
	}
	before, err := r.StoreStats(ctx)
	if err != nil {
		return nil, err
	}
	used := Measure()
	sample, err := Drive(ctx, r.Host, load)
	if err != nil {
		return nil, err
	}
	used = Measure().since(used).without(sample.Reading)
	after, err := r.StoreStats(ctx)
	if err != nil {
		return nil, err
	}
	plugins, err := r.usage(ctx)
	if err != nil {
		return nil, err
	}
	out := r.result(sample, before, after)
	if r.cfg.Finished > 0 {
		slowest, err := r.list(ctx)
		if err != nil {
			return nil, err
		}
		const ms = float64(time.Millisecond)
		out.Finished = &FinishedResult{Tasks: r.cfg.Finished, FileBytes: before.FileBytes, Open: float64(r.opened) / ms, List: float64(slowest) / ms}
	}
	out.Cost = newCost(float64(sample.Steps), used, sample.Reading.CPU)
	perStep := func(now, then Usage) float64 {
		return float64(now.CPU-then.CPU) / float64(time.Microsecond) / float64(sample.Steps)
	}
	out.Cost.Plugin, out.Cost.PluginRSS = perStep(plugins.handler, pluginsBefore.handler), plugins.handler.RSS
	out.Cost.Subscriber = perStep(plugins.sink, pluginsBefore.sink)
	return out, nil
}

func newCost(steps float64, used Usage, reading time.Duration) Cost {
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) / steps }
	return Cost{
		Host: us(used.CPU), Reading: us(reading), HostRSS: used.RSS, HostAnon: used.Anon,
		Allocs: float64(used.Allocs) / steps, AllocBytes: float64(used.AllocBytes) / steps,
	}
}

// pluginUsage is what the plugins' processes have used.
type pluginUsage struct{ handler, sink Usage }

// usage asks the plugins what they have used, by a task.
func (r *running) usage(ctx context.Context) (u pluginUsage, err error) {
	created, err := r.CreateTask(ctx, task.Request{Template: "default/usage"})
	if err != nil {
		return u, err
	}
	var last *task.View
	err = r.WatchTask(ctx, string(created.ID), func(v *task.View) error { last = v; return nil })
	if err == nil {
		last, err = r.Task(ctx, string(created.ID))
	}
	if err != nil {
		return u, err
	}
	for i, of := range []*Usage{&u.handler, &u.sink}[:len(last.Steps)] {
		if err := json.Unmarshal(last.Steps[i].Output, of); err != nil {
			return u, fmt.Errorf("usage of plugin %s: %w", last.Steps[i].Handler, err)
		}
	}
	return u, nil
}

// submitOperation is the name under which the store counts what decisions write.
const submitOperation = "submit"

// result puts together what was sampled and counted.
func (r *running) result(s *Sample, before, after *host.StoreStats) *Result {
	seconds, steps := s.Took.Seconds(), float64(s.Steps)
	out := &Result{
		Workload: r.cfg.Workload.Name, InFlight: r.cfg.InFlight, Payload: r.cfg.Payload, Subscribers: r.cfg.Subscribers,
		Tasks: s.Tasks, Steps: s.Steps, Seconds: seconds, TasksPerSecond: float64(s.Tasks) / seconds, StepsPerSecond: steps / seconds,
		Task: latency(s.Task), Step: latency(s.Step), Observed: latency(s.Observed),
	}
	if r.cfg.Workload.Open {
		out.InFlight, out.Rate = 0, r.cfg.Rate
	}
	c := Commits{
		Count: after.Commits - before.Commits, WriteSets: after.WriteSets - before.WriteSets,
		Puts: after.Operations[submitOperation].Puts - before.Operations[submitOperation].Puts,
	}
	c.PerSecond, c.PutsPerStep = float64(c.Count)/seconds, float64(c.Puts)/steps
	if c.Count > 0 {
		c.Batch = float64(c.WriteSets) / float64(c.Count)
		c.Mean = float64(after.CommitTime-before.CommitTime) / float64(time.Microsecond) / float64(c.Count)
	}
	c.Writes = writes(float64(s.Tasks), float64(c.Puts), before, after)
	c.BytesPerPut = c.Writes.bytes()
	out.Commits = c
	return out
}

// logRecords is what the store calls the records of its log.
const logRecords = "log"

// writes finds out what was written for a task: the log only grows, and of the other
// records some are written more than once.
func writes(tasks, puts float64, before, after *host.StoreStats) (w Writes) {
	var logKeys, stateKeys, logBytes, stateBytes float64
	for sign, stats := range map[float64]*host.StoreStats{1: after, -1: before} {
		for _, b := range stats.Buckets {
			if b.Name == logRecords {
				logKeys, logBytes = logKeys+sign*float64(b.Keys), logBytes+sign*float64(b.Bytes)
			} else {
				stateKeys, stateBytes = stateKeys+sign*float64(b.Keys), stateBytes+sign*float64(b.Bytes)
			}
		}
	}
	w = Writes{LogPuts: logKeys / tasks, StatePuts: max(puts-logKeys, 0) / tasks, StateKeys: stateKeys / tasks}
	if logKeys > 0 {
		w.LogBytes = int(logBytes / logKeys)
	}
	if stateKeys > 0 {
		w.StateBytes = int(stateBytes / stateKeys)
	}
	return w
}

// compare measures the floor of a result.
func (r *Result) compare(ctx context.Context, cfg Config) error {
	long := min(max(cfg.For, 0), maxFloor)
	dir := filepath.Join(cfg.Dir, "floor")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	floor, err := Floor(ctx, FloorConfig{
		Dir: dir, Executable: cfg.Executable, Workload: cfg.Workload, InFlight: cfg.InFlight, Tasks: cfg.Tasks, For: long,
		Payload: cfg.Payload, Writes: r.Commits.Writes,
	})
	if err != nil {
		return fmt.Errorf("floor: %w", err)
	}
	puts := max(1, int(float64(r.Commits.Puts)/float64(max(r.Commits.Count, 1))))
	const share = 4 // of the floor's time
	records, err := GroupCommit(dir, puts, r.Commits.BytesPerPut, max(long/share, minGroupCommit))
	if err != nil {
		return fmt.Errorf("group commit: %w", err)
	}
	r.Floor, r.GroupCommit = floor, records/r.Commits.PutsPerStep
	r.OfFloor = r.StepsPerSecond / floor.StepsPerSecond
	r.LatencyOfFloor = float64(r.Observed.P50) / float64(floor.Task.P50)
	return nil
}

// IdleResult is what a host with nothing to do does.
type IdleResult struct {
	Seconds float64 `json:"seconds"`
	Commits uint64  `json:"commits"`
	CPU     float64 `json:"cpu_share"` // of one processor
	RSS     int64   `json:"rss"`       // bytes; 0 = unknown
}

// Idle watches a host with a plugin and nothing to do, after it has had the same time to
// settle: cursors, for one, are written a second after they moved.
func Idle(ctx context.Context, cfg Config, long time.Duration) (_ *IdleResult, err error) {
	h, err := start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.end()) }()
	if err := pause(ctx, long); err != nil {
		return nil, err
	}
	before, err := h.StoreStats(ctx)
	if err != nil {
		return nil, err
	}
	used, began := Measure(), time.Now()
	if err := pause(ctx, long); err != nil {
		return nil, err
	}
	took := time.Since(began)
	used = Measure().since(used)
	after, err := h.StoreStats(ctx)
	if err != nil {
		return nil, err
	}
	return &IdleResult{
		Seconds: took.Seconds(), Commits: after.Commits - before.Commits, CPU: used.CPU.Seconds() / took.Seconds(), RSS: used.RSS,
	}, nil
}

// pause waits for a time.
func pause(ctx context.Context, long time.Duration) error {
	timer := time.NewTimer(long)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
