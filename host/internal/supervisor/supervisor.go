package supervisor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/task"
)

// PluginInfo is what is known about a plugin.
type PluginInfo struct {
	Name     string
	Version  string // empty before the manifest was read
	Path     string
	State    task.PluginState
	Cause    string // why it is in its state, for people
	Since    time.Time
	RetryAt  time.Time       // with PluginBackoff
	PID      int             // 0 = no process
	Instance string          // the last one, "plugin#n"
	Capacity int             // attempts at once; 0 unless ready
	InFlight int             // attempts that it holds
	Leaked   int             // of these, cancelled ones that do not end
	Crashes  int             // since the host started
	Starts   int             // since the host started; a second process for its name or environment is none
	Manifest *Manifest       // nil before it was read
	InForce  *InForce        // what is kept from the last process that was described, nil before one was
	Previous string          // the version that a rollback returns to, empty = none
	Config   json.RawMessage // what it is configured with
	Accepted []string        // what of the declaration is served, "handler greet@1"
	Refused  []string        // what is not, with the reason
	Warnings []string        // what is served and may be a mistake
	// Successor is what the plugin is being upgraded to, nil = nothing; Upgrade is how the
	// last upgrade went, for people.
	Successor *Successor
	Upgrade   string
	// Finished are the attempts that ended in its processes.
	Finished uint64
}

// Supervisor runs plugin processes. Make it with [New]; Run once.
type Supervisor struct {
	opts   Options
	starts chan struct{} // one token per start at a time

	stopIntake context.CancelFunc
	intake     context.Context //nolint:containedctx // ends with the first Drain, or with Run
	stopped    chan struct{}   // closed when every plugin of Run has ended
	discovered chan struct{}   // closed when Run knows which plugins there are
	drain      drainSignal

	lives sync.WaitGroup // of plugins and upgrades

	mu        sync.Mutex
	lifetime  context.Context //nolint:containedctx // of Run, for what is started later
	launcher  launcher
	plugins   []*plugin            // those that serve, in the order of discovery
	lines     []*plugin            // all that have not ended: also what comes and what goes
	instances map[string]*instance // ready ones, by id
	names     map[string]*plugin   // who has a name
	launches  map[string]int       // processes that were started under a name
	wanted    map[string]bool      // plugins without a process that something wants
	upgrades  map[string]*upgrade  // under way, by name
	logs      map[string]*pluginLog
	running   bool
	over      bool // nothing is begun any more

	meters *meters
}

// New checks the options, and that the plugin directories can be read. It starts nothing.
func New(opts Options) (*Supervisor, error) {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	if _, err := discover(opts.Installed, opts.Dirs, opts.Paths); err != nil {
		return nil, err // now, and not when others wait for what Run finds
	}
	intake, stop := context.WithCancel(context.Background())
	return &Supervisor{
		opts: opts, starts: make(chan struct{}, opts.MaxParallelStarts),
		intake: intake, stopIntake: stop, stopped: make(chan struct{}), discovered: make(chan struct{}),
		drain:     drainSignal{begun: make(chan struct{})},
		instances: make(map[string]*instance),
		names:     make(map[string]*plugin),
		launches:  make(map[string]int),
		wanted:    make(map[string]bool),
		upgrades:  make(map[string]*upgrade),
		logs:      make(map[string]*pluginLog),
		meters:    newMeters(opts.Metered),
	}, nil
}

// errRunTwice is returned by a second Run.
var errRunTwice = errors.New("a supervisor runs once")

// Run discovers the plugins, starts them and keeps them running until ctx ends; then
// it stops what was not drained and returns nil when no process is left. A plugin
// that cannot run is no error of Run: it has a state. [task.ErrLocked] when the run
// directory belongs to a living host.
func (s *Supervisor) Run(ctx context.Context) error {
	s.mu.Lock()
	again := s.running
	s.running = true
	s.mu.Unlock()
	if again {
		return errRunTwice
	}
	defer close(s.stopped)
	defer s.stopIntake()
	found, err := discover(s.opts.Installed, s.opts.Dirs, s.opts.Paths)
	if err != nil {
		return err
	}
	run, swept, err := openRunDir(s.opts.RunDir)
	if err != nil {
		return err
	}
	defer run.close()
	for _, r := range swept {
		s.opts.Logger.Warn("ended a plugin process that a dead host left", logkeys.Instance, r.Instance, logkeys.PID, r.PID, logkeys.Path, r.Path)
	}
	defer s.closeLogs()
	f := newForker()
	var forking sync.WaitGroup
	forking.Go(f.run)
	defer forking.Wait()
	defer f.stop()

	groups, noGroups := s.openGroups()
	defer context.AfterFunc(ctx, s.stopIntake)()
	s.mu.Lock()
	s.launcher = launcher{opts: s.opts, forker: f, run: run, groups: groups, noGroups: noGroups}
	s.lifetime = ctx
	for _, b := range found {
		p := newPlugin(s, b, s.opts.config(b.name))
		s.plugins = append(s.plugins, p)
		s.beginLocked(p, b.err) //nolint:contextcheck // its life is that of Run
	}
	s.mu.Unlock()
	close(s.discovered)
	<-s.intake.Done()
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	s.lives.Wait()
	<-ctx.Done()
	return nil
}

// beginLocked starts the life of a plugin.
func (s *Supervisor) beginLocked(p *plugin, found error) {
	s.lines = append(s.lines, p)
	life := s.lifetime
	s.lives.Go(func() {
		p.run(life, found)
		s.mu.Lock()
		s.lines = slices.DeleteFunc(s.lines, func(l *plugin) bool { return l == p })
		s.mu.Unlock()
	})
}

// Drain stops starting and dispatching, lets the attempts in flight end for at most
// the drain timeout or until ctx ends, and then stops every process: lifeline, TERM,
// KILL. It returns when no process is left.
func (s *Supervisor) Drain(ctx context.Context) {
	s.drain.begin(ctx)
	s.stopIntake()
	s.mu.Lock()
	running := s.running
	s.mu.Unlock()
	if running {
		s.awaitPlugins()
	}
}

// awaitPlugins waits until every plugin has ended.
func (s *Supervisor) awaitPlugins() {
	s.mu.Lock()
	lines := slices.Clone(s.lines)
	s.mu.Unlock()
	for _, p := range lines {
		select {
		case <-p.ended:
		case <-s.stopped:
		}
	}
}

// Dispatch hands attempts to an instance; it never blocks. Attempts for an instance
// that is gone or draining are dropped: its InstanceGone says that they were not sent.
func (s *Supervisor) Dispatch(instance string, as []*task.Assignment) {
	if in := s.instance(instance); in != nil {
		in.dispatch(as)
	}
}

// Cancel asks an instance to stop an attempt; it never blocks.
func (s *Supervisor) Cancel(instance string, id task.AttemptID, reason string) {
	if in := s.instance(instance); in != nil {
		in.cancelAttempt(id, reason)
	}
}

// stepsParty is the party of all steps in an instance.
const stepsParty = "steps"

// Join asks whether one more attempt may be given to an instance, or, with alone, whether
// one may have the instance to itself. It is asked before the attempt counts, and
// [Supervisor.Leave] told when the last one has ended. Whoever is refused waits for
// [Sink.InstanceRoom], or for the instance's end. It never blocks.
func (s *Supervisor) Join(instance string, alone bool) bool {
	in := s.instance(instance)
	return in != nil && in.company.Join(stepsParty, alone)
}

// Leave says that no attempt is on an instance or on its way there, and that none wants to
// be alone in it.
func (s *Supervisor) Leave(instance string) {
	if in := s.instance(instance); in != nil {
		in.company.Leave(stepsParty)
	}
}

// Discovered is closed when Run knows which plugins there are: from then on
// [Supervisor.Plugins] lists all of them.
func (s *Supervisor) Discovered() <-chan struct{} { return s.discovered }

// Plugins returns what is known about every plugin, by name.
func (s *Supervisor) Plugins() []PluginInfo {
	s.mu.Lock()
	plugins := slices.Clone(s.plugins)
	s.mu.Unlock()
	infos := make([]PluginInfo, 0, len(plugins))
	for _, p := range plugins {
		info := p.snapshot()
		info.Successor = s.successor(p)
		infos = append(infos, info)
	}
	slices.SortStableFunc(infos, func(a, b PluginInfo) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Path, b.Path))
	})
	return infos
}

// InFlight returns how many attempts of a handler, in any version, the instances of a
// plugin hold.
func (s *Supervisor) InFlight(plugin, handler string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, in := range s.instances {
		if in.manifest.Name == plugin {
			n += in.inFlight(handler)
		}
	}
	return n
}

// Declared returns what an instance that is ready declares, nil when it is gone.
func (s *Supervisor) Declared(instance string) *Manifest {
	if in := s.instance(instance); in != nil {
		return in.manifest
	}
	return nil
}

// Resume starts a plugin that is quarantined, refused or in backoff again, with its
// crashes forgotten. [task.ErrNotFound], or [task.ErrInvalid] when it waits for nothing.
//
// installed is what the plugin is by now, compared again with what was approved: one that was refused is then started
// as that. Nil = as what it was.
func (s *Supervisor) Resume(name string, installed *Binary) error {
	s.mu.Lock()
	plugins := slices.Clone(s.plugins)
	s.mu.Unlock()
	err := fmt.Errorf("plugin %q: %w", name, task.ErrNotFound)
	for _, p := range plugins {
		info := p.snapshot()
		if info.Name != name {
			continue
		}
		switch info.State {
		case task.PluginQuarantined, task.PluginRefused, task.PluginBackoff, task.PluginIdle:
			if info.State == task.PluginRefused && installed != nil && p.approved {
				p.mu.Lock()
				p.mended = installed
				p.mu.Unlock()
			}
			notify(p.resume)
			return nil
		default:
			err = fmt.Errorf("plugin %s: %w: it is %s", name, task.ErrInvalid, info.State)
		}
	}
	return err
}

// Logs returns the last n lines of a plugin's log, oldest first; none when it has none.
func (s *Supervisor) Logs(name string, n int) ([]LogLine, error) {
	return ReadLog(s.opts.LogDir, name, n)
}

// ReadLog is [Supervisor.Logs] for a log directory, with or without a supervisor.
func ReadLog(dir, name string, n int) ([]LogLine, error) {
	if !task.ValidPluginName(name) {
		return nil, fmt.Errorf("plugin name %q: %w: want [a-z][a-z0-9-]{0,31}", name, task.ErrInvalid)
	}
	return readLog(dir, name, n)
}

func (s *Supervisor) instance(id string) *instance {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.instances[id]
}

// register makes an instance reachable.
func (s *Supervisor) register(p *plugin, in *instance) {
	s.mu.Lock()
	s.instances[in.id] = in
	s.mu.Unlock()
	p.mu.Lock()
	p.in = in
	p.mu.Unlock()
}

func (s *Supervisor) unregister(p *plugin, in *instance) {
	s.mu.Lock()
	delete(s.instances, in.id)
	s.mu.Unlock()
	p.mu.Lock()
	p.in = nil
	p.mu.Unlock()
}

// acquireStart waits for a token to start a process with; false when ctx ended first.
func (s *Supervisor) acquireStart(ctx context.Context) bool {
	select {
	case s.starts <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *Supervisor) releaseStart() { <-s.starts }

// claimName gives a name to a plugin, or says who has it.
func (s *Supervisor) claimName(p *plugin, name string) error {
	s.mu.Lock()
	owner, taken := s.names[name]
	if !taken {
		s.names[name] = p
	}
	s.mu.Unlock()
	if taken && owner != p && owner != p.replaces {
		return duplicateName(name, owner.snapshot().Path, p.binary.Path)
	}
	return nil
}

// newLaunch prepares the next process of a plugin.
func (s *Supervisor) newLaunch(p *plugin) *launch {
	log := s.log(p.name)
	s.mu.Lock()
	r := s.launcher
	s.launches[p.name]++
	instance := p.name + "#" + strconv.Itoa(s.launches[p.name])
	s.mu.Unlock()
	r.opts.Configs = map[string]json.RawMessage{p.name: p.config}
	return r.newLaunch(p.binary, p.name, instance, p.granted, log)
}

// log returns the log of a plugin.
func (s *Supervisor) log(name string) *pluginLog {
	s.mu.Lock()
	defer s.mu.Unlock()
	l, ok := s.logs[name]
	if !ok {
		l = newPluginLog(s.opts.LogDir, name, func(err error) {
			s.opts.Logger.Error("plugin output is not kept", logkeys.Plugin, name, logkeys.Error, err)
		})
		s.logs[name] = l
	}
	return l
}

// logLife writes one line per change of state, as loud as the state is bad.
func (s *Supervisor) logLife(life task.PluginLife) {
	level := hclog.Info
	switch life.State {
	case task.PluginStarting, task.PluginHandshaking, task.PluginConfiguring:
		level = hclog.Debug
	case task.PluginDegraded, task.PluginBackoff:
		level = hclog.Warn
	case task.PluginQuarantined, task.PluginRefused:
		level = hclog.Error
	case task.PluginReady, task.PluginDraining, task.PluginStopped, task.PluginIdle:
	}
	args := []any{logkeys.Plugin, life.Plugin, logkeys.Instance, life.Instance}
	if life.Cause != "" {
		args = append(args, logkeys.Cause, life.Cause)
	}
	if !life.RetryAt.IsZero() {
		args = append(args, logkeys.RetryAt, life.RetryAt.UTC().Format(time.RFC3339))
	}
	if life.Crashed {
		s.opts.Logger.Log(level, "plugin crashed", append(args, logkeys.State, string(life.State))...)
		return
	}
	s.opts.Logger.Log(level, "plugin is "+string(life.State), args...)
}

func (s *Supervisor) closeLogs() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.logs {
		l.close()
	}
}
