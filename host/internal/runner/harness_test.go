package runner_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/tasker-engine/tasker/host/internal/boltstore"
	"github.com/tasker-engine/tasker/host/internal/boltstore/bolttest"
	"github.com/tasker-engine/tasker/host/internal/company"
	"github.com/tasker-engine/tasker/host/internal/engine"
	"github.com/tasker-engine/tasker/host/internal/runner"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/storetest"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// checks is how many cases a property gets unless the command line says otherwise: each
// opens a store.
const checks = "30"

func TestMain(m *testing.M) {
	if err := flag.Set("rapid.checks", checks); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// rig is a runner over a real store, with plugins that the test plays. It works inside
// and outside of a synctest bubble.
type rig struct {
	*runner.Runner

	t       *testing.T
	dir     string
	bolt    *boltstore.Store
	store   store.Store // what the runner sees
	plugins *plugins
	log     *strings.Builder // of the runner, WARN and above
	logged  *sync.Mutex
	ended   chan error
	stop    context.CancelFunc
	tasks   uint64
	clock   *clock
}

// clock is a wall clock that can be set.
type clock struct {
	mu   sync.Mutex
	off  time.Duration
	zone *time.Location // nil = UTC
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now().Round(0).Add(c.off)
	if c.zone != nil {
		now = now.In(c.zone)
	}
	return now
}

func (c *clock) move(zone string, hours int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.zone = time.FixedZone(zone, hours*3600)
}

func (c *clock) set(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off += by
}

// newRig opens a store in dir; wrap may stand between it and the runner.
func newRig(t *testing.T, dir string, wrap func(store.Store) store.Store) *rig {
	t.Helper()
	g := &rig{t: t, dir: dir, plugins: &plugins{}, clock: &clock{}, log: &strings.Builder{}, logged: &sync.Mutex{}}
	g.open(wrap)
	return g
}

func (g *rig) open(wrap func(store.Store) store.Store) {
	g.t.Helper()
	var err error
	if g.bolt, err = boltstore.Open(filepath.Join(g.dir, bolttest.FileName), boltstore.Options{Now: g.clock.now}); err != nil {
		g.t.Fatal(err)
	}
	g.store = g.bolt
	if wrap != nil {
		g.store = wrap(g.bolt)
	}
	_, epoch := g.bolt.Identity()
	g.Runner = runner.New(runner.Options{
		Store: g.store, Now: g.clock.now, Metered: true,
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Warn, Output: g}),
		Engine: engine.Host{Epoch: epoch, CancelGrace: time.Second, Rand: func() float64 { return 0.5 }},
	})
	ctx, stop := context.WithCancel(context.Background())
	g.stop, g.ended = stop, make(chan error, 1)
	g.plugins.runner = g.Runner
	go func() { g.ended <- g.Run(ctx, g.plugins) }()
}

// Write implements io.Writer for the log.
func (g *rig) Write(p []byte) (int, error) {
	g.logged.Lock()
	defer g.logged.Unlock()
	return g.log.Write(p)
}

// close stops the runner and the store and verifies what is left; wantLog is what the
// runner must have warned of, "" for nothing.
func (g *rig) close(wantLog string) {
	g.t.Helper()
	g.stop()
	if err := <-g.ended; err != nil {
		g.t.Errorf("runner ended with %v", err)
	}
	g.plugins.wait()
	if err := g.bolt.Close(); err != nil {
		g.t.Error(err)
	}
	g.logged.Lock()
	defer g.logged.Unlock()
	if log := g.log.String(); (wantLog == "") != (log == "") || !strings.Contains(log, wantLog) {
		g.t.Errorf("log %q, want %q", log, wantLog)
	}
	bolttest.Verify(g.t, filepath.Join(g.dir, bolttest.FileName))
}

// parse parses a template: keys, then one step per line as "name: flow keys".
func parse(t *testing.T, keys string, steps ...string) *template.Template {
	t.Helper()
	text := "name: t\nversion: 1.0.0\n" + keys + "\nsteps:\n"
	for _, s := range steps {
		text += "- {name: " + s + "}\n"
	}
	tmpl, err := template.Parse("t.yaml", []byte(text), template.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return tmpl
}

// spec returns the spec of the next task.
func (g *rig) spec(tmpl *template.Template, change ...func(*task.Spec)) task.Spec {
	g.tasks++
	now := g.clock.now()
	s := task.Spec{
		ID: storetest.ID(now, g.tasks), Template: tmpl.Ref(), CreatedAt: now.UTC(),
		Input: task.Value{Inline: []byte("{}")}, InputHash: storetest.Hash([]byte("{}")),
	}
	s.CorrelationID = string(s.ID)
	if tmpl.Deadline > 0 {
		s.Deadline = s.CreatedAt.Add(tmpl.Deadline)
	}
	for _, c := range change {
		c(&s)
	}
	return s
}

// create creates a task and returns its id when it is durable.
func (g *rig) create(tmpl *template.Template, change ...func(*task.Spec)) task.ID {
	g.t.Helper()
	s := g.spec(tmpl, change...)
	if err := g.Create(context.Background(), engine.New(s, tmpl)); err != nil {
		g.t.Fatalf("create: %v", err)
	}
	return s.ID
}

// load returns a task as stored.
func (g *rig) load(id task.ID) *task.Task {
	g.t.Helper()
	a, err := g.bolt.Load(context.Background(), id)
	if err != nil {
		g.t.Fatal(err)
	}
	return a.Task
}

// await waits until the stored task is as wanted, woken by its commits.
func (g *rig) await(id task.ID, wanted func(*task.Task) bool) *task.Task {
	g.t.Helper()
	changes, stop := g.Watch(id)
	defer stop()
	timeout := time.NewTimer(48 * time.Hour) // in a bubble; outside of one the test times out first
	defer timeout.Stop()
	for {
		v := g.load(id)
		if wanted(v) {
			return v
		}
		if v.Status.Terminal() {
			g.t.Fatalf("task %s is %s: %s", id, v.Status, statuses(v))
		}
		select {
		case <-changes:
		case <-timeout.C:
			g.t.Fatalf("task %s stays %s: %s", id, v.Status, statuses(v))
		}
	}
}

// end waits until a task has ended and checks how.
func (g *rig) end(id task.ID, want task.Status) *task.Task {
	g.t.Helper()
	v := g.await(id, func(v *task.Task) bool { return v.Status.Terminal() })
	if v.Status != want {
		g.t.Errorf("task %s is %s, want %s: %s", id, v.Status, want, statuses(v))
	}
	return v
}

func statuses(v *task.Task) string {
	var b strings.Builder
	for i := range v.Steps {
		fmt.Fprintf(&b, "%d=%s/%d ", i, v.Steps[i].Status, v.Steps[i].Attempts)
	}
	return b.String()
}

// commits returns how many transactions the store has made.
func (g *rig) commits() uint64 {
	g.t.Helper()
	s, err := g.bolt.Stats(context.Background())
	if err != nil {
		g.t.Fatal(err)
	}
	return s.Commits
}

// behaviour is the config of the steps: what the played handler does.
type behaviour struct {
	For        task.Duration `json:"for"`         // how long an attempt takes
	Fails      uint32        `json:"fails"`       // the first attempts fail
	RetryAfter task.Duration `json:"retry_after"` // their wish
	Hangs      bool          `json:"hangs"`       // never answers by itself
	Stubborn   bool          `json:"stubborn"`    // nor when it is cancelled
	Large      int           `json:"large"`       // the result is a text of so many bytes
}

// plugins plays plugin instances.
type plugins struct {
	runner *runner.Runner
	wg     sync.WaitGroup

	mu        sync.Mutex
	instances map[string]*played
	calls     []string // "dispatch id", "cancel id" in order
	starts    []start
	faults    []string
}

type start struct {
	id       task.AttemptID
	at       time.Time
	a        *task.Assignment
	instance string
}

// played is one instance.
type played struct {
	task.Instance

	held    map[task.AttemptID]*attempt
	company *company.Company
}

type attempt struct {
	handler  string
	canceled chan struct{}
	gone     chan struct{} // the instance died
}

// offers are the handlers of every played plugin.
func offers(plugin string) []task.Offer {
	return []task.Offer{
		{Plugin: plugin, PluginVersion: "1.0.0", Handler: "do", Version: 1},
		{Plugin: plugin, PluginVersion: "1.0.0", Handler: "other", Version: 1},
		{Plugin: plugin, PluginVersion: "1.0.0", Handler: "two", Version: 1, MaxConcurrency: 2},
	}
}

// start makes an instance ready.
func (p *plugins) start(id string, capacity int, change ...func(*task.Instance)) {
	plugin, _, _ := strings.Cut(id, "#")
	in := &played{
		Instance: task.Instance{ID: id, Plugin: plugin, Version: "1.0.0", Capacity: capacity, Offers: offers(plugin)},
		held:     make(map[task.AttemptID]*attempt),
		company:  company.New(func() { go p.runner.InstanceRoom(id) }),
	}
	for _, c := range change {
		c(&in.Instance)
	}
	p.mu.Lock()
	if p.instances == nil {
		p.instances = make(map[string]*played)
	}
	p.instances[id] = in
	p.mu.Unlock()
	p.runner.InstanceReady(in.Instance)
}

// capacity changes how much an instance takes. What was claimed before may still come,
// so the largest capacity that it ever had is what it must never exceed.
func (p *plugins) capacity(id string, n int) {
	p.mu.Lock()
	if in := p.instances[id]; in != nil {
		in.Capacity = max(n, in.Capacity)
	}
	p.mu.Unlock()
	p.runner.InstanceCapacity(id, n)
}

// kill ends an instance with what it holds.
func (p *plugins) kill(id string, cause task.LossCause) {
	p.mu.Lock()
	in := p.instances[id]
	delete(p.instances, id)
	var sent []task.AttemptID
	if in != nil {
		for attempt, a := range in.held {
			close(a.gone)
			sent = append(sent, attempt)
		}
	}
	p.mu.Unlock()
	p.runner.InstanceGone(id, cause, sent)
}

func (p *plugins) wait() {
	p.mu.Lock()
	for _, in := range p.instances {
		for _, a := range in.held {
			close(a.gone)
		}
	}
	p.instances = nil
	p.mu.Unlock()
	p.wg.Wait()
}

// Dispatch implements runner.Plugins.
func (p *plugins) Dispatch(instance string, as []*task.Assignment) {
	p.mu.Lock()
	defer p.mu.Unlock()
	in := p.instances[instance]
	for _, a := range as {
		p.calls = append(p.calls, "dispatch "+a.ID.String())
		if in == nil {
			continue // it has died
		}
		p.starts = append(p.starts, start{id: a.ID, at: time.Now(), a: a, instance: instance})
		at := &attempt{handler: a.Handler.Handler, canceled: make(chan struct{}), gone: make(chan struct{})}
		if in.held[a.ID] != nil {
			p.faults = append(p.faults, "attempt "+a.ID.String()+" was dispatched twice")
		}
		in.held[a.ID] = at
		if len(in.held) > in.Capacity {
			p.faults = append(p.faults, fmt.Sprintf("%s holds %d attempts, its capacity is %d", instance, len(in.held), in.Capacity))
		}
		twos := 0
		for _, h := range in.held {
			if h.handler == "two" {
				twos++
			}
		}
		if twos > 2 {
			p.faults = append(p.faults, fmt.Sprintf("%s holds %d attempts of a handler that takes 2", instance, twos))
		}
		p.wg.Go(func() { p.execute(in, a, at) })
	}
}

// execute plays the handler.
func (p *plugins) execute(in *played, a *task.Assignment, at *attempt) {
	var b behaviour
	rep := task.Report{ID: a.ID, Instance: in.ID, Kind: task.ReportSucceeded, Output: []byte("1")}
	if len(a.Config) > 0 {
		if err := json.Unmarshal(a.Config, &b); err != nil {
			rep = failed(rep, task.KindPermanent, err.Error())
		}
	}
	if b.Large > 0 {
		rep.Output = []byte(`"` + strings.Repeat("x", b.Large) + `"`)
	}
	if a.ID.Number <= b.Fails {
		rep = failed(rep, task.KindRetryable, "failing as configured")
		rep.Failure.RetryAfter = b.RetryAfter
	}
	var done <-chan time.Time
	if !b.Hangs {
		timer := time.NewTimer(b.For.Std())
		defer timer.Stop()
		done = timer.C
	}
	canceled := at.canceled
	if b.Stubborn {
		canceled = nil
	}
	select {
	case <-done:
	case <-canceled:
		rep = failed(rep, task.KindCancelled, "cancelled")
	case <-at.gone:
		return
	}
	p.mu.Lock()
	delete(in.held, a.ID)
	p.mu.Unlock()
	p.runner.Reports([]task.Report{rep})
}

func failed(r task.Report, kind task.ErrorKind, message string) task.Report {
	r.Kind, r.Output = task.ReportFailed, nil
	r.Failure = &task.Failure{Kind: kind, Source: task.SourcePlugin, Message: message}
	return r
}

// Join implements runner.Plugins.
func (p *plugins) Join(instance string, alone bool) bool {
	c := p.companyOf(instance)
	return c != nil && c.Join(p, alone)
}

// Leave implements runner.Plugins.
func (p *plugins) Leave(instance string) {
	if c := p.companyOf(instance); c != nil {
		c.Leave(p)
	}
}

// companyOf returns who has something in flight in an instance, nil when it has ended.
func (p *plugins) companyOf(instance string) *company.Company {
	p.mu.Lock()
	defer p.mu.Unlock()
	if in := p.instances[instance]; in != nil {
		return in.company
	}
	return nil
}

// Cancel implements runner.Plugins.
func (p *plugins) Cancel(instance string, id task.AttemptID, _ string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, "cancel "+id.String())
	if in := p.instances[instance]; in != nil && in.held[id] != nil {
		select {
		case <-in.held[id].canceled:
		default:
			close(in.held[id].canceled)
		}
	}
}

// started returns the starts of a step, by the instant of their dispatch.
func (p *plugins) started(id task.ID, o task.Ordinal) (at []time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.starts {
		if s.id.Task == id && s.id.Ordinal == o {
			at = append(at, s.at)
		}
	}
	return at
}

// order returns the steps in the order of their first dispatch: "task's number/ordinal".
func (p *plugins) order() (out []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.starts {
		out = append(out, fmt.Sprintf("%s/%d", string(s.id.Task)[task.IDLen-2:], s.id.Ordinal))
	}
	return out
}

func (p *plugins) check(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.faults {
		t.Error(f)
	}
}
