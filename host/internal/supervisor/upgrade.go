package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/task"
)

// DefaultProbe is how long what replaces another instance has to be fine, at least.
const DefaultProbe = 10 * time.Second

// ErrRolledBack is returned when a plugin stays, or is again, what it was before an upgrade.
var ErrRolledBack = errors.New("rolled back")

// errAborted is why an upgrade ends that an operator does not want any more.
var errAborted = errors.New("aborted by an operator")

// UpgradePhase is a part of an upgrade.
type UpgradePhase string

// The phases of an upgrade, in order. Canary is left out unless it was asked for.
const (
	UpgradeStarting UpgradePhase = "starting" // the successor is started beside the plugin
	UpgradeCanary   UpgradePhase = "canary"   // it takes a share of the new attempts
	UpgradeProbing  UpgradePhase = "probing"  // it has taken over and has to be fine for a while
	UpgradeDraining UpgradePhase = "draining" // what it replaces finishes what it holds
	UpgradeDone     UpgradePhase = "done"
	UpgradeRolled   UpgradePhase = "rolled_back"
)

// UpgradeOptions say how to upgrade. The zero value takes over at once.
type UpgradeOptions struct {
	// Canary is the share of the new attempts, above 0 and below 1, that the successor gets
	// until [Supervisor.Promote] or [Supervisor.Abort]. 0 = it takes over at once.
	Canary float64
	// ProbeFor is how long the successor has to be fine after it took over; if it crashes,
	// ends or says that it is degraded by then, its predecessor is back. 0 = DefaultProbe.
	ProbeFor time.Duration
	// Config is the configuration of the successor. nil = that of the plugin.
	Config json.RawMessage
	// Check is asked once the successor is ready and before it gets anything; an error keeps
	// the plugin as it is. old is nil when the plugin never described itself. nil accepts all.
	Check func(ctx context.Context, old, next *Manifest) error
	// Tell is told of each phase, from a goroutine of the supervisor; nil = nobody.
	Tell func(phase UpgradePhase, text string)
}

// UpgradeResult is how an upgrade stands when a call returns.
type UpgradeResult struct {
	From, To string       // versions; empty when not known
	Instance string       // of the successor, "plugin#n"; empty when it did not get ready
	Phase    UpgradePhase // UpgradeDone, UpgradeCanary or UpgradeRolled
	Why      string       // with UpgradeRolled
}

// Successor is what a plugin is being upgraded to.
type Successor struct {
	Version  string // empty before its manifest was read
	Path     string
	Instance string
	PID      int
	State    task.PluginState
	Phase    UpgradePhase
	Share    float64 // of the new attempts
	InFlight int     // attempts that it holds
}

// release is a binary with the configuration that it ran with.
type release struct {
	binary   Binary
	approved bool
	config   json.RawMessage
}

// release returns what the plugin runs.
func (p *plugin) release() release {
	p.mu.Lock()
	defer p.mu.Unlock()
	return release{binary: p.binary, approved: p.approved, config: p.config}
}

// trial is what a successor has to pass. It is decided once.
type trial struct {
	ready chan task.Instance // capacity 1: it is ready
	over  chan struct{}      // closed when it is decided

	mu      sync.Mutex
	decided bool
	err     error // why it failed, nil = it is kept
}

func newTrial() *trial {
	return &trial{ready: make(chan task.Instance, 1), over: make(chan struct{})}
}

// decide ends the trial; it reports whether it was open.
func (t *trial) decide(err error) bool {
	if t == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.decided {
		return false
	}
	t.decided, t.err = true, err
	close(t.over)
	return true
}

func (t *trial) keep() bool          { return t.decide(nil) }
func (t *trial) fail(err error) bool { return t.decide(err) }

// ended says that a process on trial has ended, for whatever reason.
func (t *trial) ended(end ending) {
	if t.pending() {
		t.fail(errors.New(end.why))
	}
}

func (t *trial) isReady(in task.Instance) {
	if t.pending() {
		t.ready <- in
	}
}

func (t *trial) pending() bool {
	if t == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.decided
}

func (t *trial) failed() bool { return t.failure() != nil }

func (t *trial) failure() error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// upgrade replaces a plugin by its successor: the same one with another binary, or with
// another configuration. One goroutine conducts it.
type upgrade struct {
	sup       *Supervisor
	name      string
	old, next *plugin
	opts      UpgradeOptions
	in        task.Instance // once the successor is ready

	shared  chan struct{} // closed when the successor takes its share
	promote chan struct{} // capacity 1: it is to take over
	done    chan struct{} // closed at the end; result and err are set before

	mu     sync.Mutex
	phase  UpgradePhase
	share  float64
	listen func(UpgradePhase, string)
	result UpgradeResult
	err    error
}

// Upgrade replaces a plugin by another binary, while it works: the successor is started
// beside it and brought to readiness; then new attempts and, at a batch boundary, events go
// to it; what the plugin holds it finishes before it ends. When the successor does not get
// ready, or fails within its probe, the plugin is what it was before, and the error is
// [ErrRolledBack] with the reason. With a canary it returns once the share flows. The end
// of ctx rolls back. Further errors: [task.ErrNotFound], [task.ErrInvalid] when it is being
// upgraded already, [task.ErrStopping].
func (s *Supervisor) Upgrade(ctx context.Context, name string, b Binary, o UpgradeOptions) (UpgradeResult, error) {
	b.Name = name
	return s.replace(ctx, name, o, func(old *plugin) (release, error) {
		r := old.release()
		r.binary, r.approved = b, b.Version != ""
		return r, nil
	})
}

// Reload replaces a plugin by the same binary with another configuration, as
// [Supervisor.Upgrade] does. A nil configuration is the one that it has: then only the
// process is replaced.
func (s *Supervisor) Reload(ctx context.Context, name string, config json.RawMessage, o UpgradeOptions) (UpgradeResult, error) {
	return s.replace(ctx, name, o, func(old *plugin) (release, error) {
		r := old.release()
		if config != nil {
			r.config = config
		}
		return r, nil
	})
}

// Rollback replaces a plugin by what it was before its last upgrade since the host
// started, as [Supervisor.Upgrade] does. [task.ErrNotFound] when there is nothing.
func (s *Supervisor) Rollback(ctx context.Context, name string, o UpgradeOptions) (UpgradeResult, error) {
	return s.replace(ctx, name, o, func(old *plugin) (release, error) {
		old.mu.Lock()
		defer old.mu.Unlock()
		if old.previous == nil {
			return release{}, fmt.Errorf("plugin %s was not upgraded since the host started: %w", name, task.ErrNotFound)
		}
		return *old.previous, nil
	})
}

// Promote has the successor on trial take over, as [Supervisor.Upgrade] without a canary
// does. [task.ErrNotFound] when there is none.
func (s *Supervisor) Promote(ctx context.Context, name string, tell func(UpgradePhase, string)) (UpgradeResult, error) {
	u, err := s.upgradeOf(name)
	if err != nil {
		return UpgradeResult{}, err
	}
	u.mu.Lock()
	u.listen = tell
	u.mu.Unlock()
	notify(u.promote)
	return u.wait(ctx, nil)
}

// Abort ends an upgrade: the plugin is what it was before. [task.ErrNotFound] when it is
// not being upgraded, or has been already.
func (s *Supervisor) Abort(name string) error {
	u, err := s.upgradeOf(name)
	if err != nil {
		return err
	}
	if !u.next.trial.fail(errAborted) && !u.next.trial.failed() {
		return fmt.Errorf("plugin %s: the upgrade is over: %w: see `tasker plugin rollback`", name, task.ErrInvalid)
	}
	<-u.done
	return nil
}

func (s *Supervisor) upgradeOf(name string) (*upgrade, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.upgrades[name]; u != nil {
		return u, nil
	}
	return nil, fmt.Errorf("plugin %s is not being upgraded: %w", name, task.ErrNotFound)
}

// replace begins an upgrade and waits for its end, or for its canary.
func (s *Supervisor) replace(ctx context.Context, name string, o UpgradeOptions, to func(*plugin) (release, error)) (UpgradeResult, error) {
	if o.Canary < 0 || o.Canary >= 1 {
		return UpgradeResult{}, fmt.Errorf("canary %v: %w: want a share above 0 and below 1", o.Canary, task.ErrInvalid)
	}
	setDefault(&o.ProbeFor, DefaultProbe)
	u, err := s.beginUpgrade(name, o, to) //nolint:contextcheck // the successor outlives the call
	if err != nil {
		return UpgradeResult{}, err
	}
	return u.wait(ctx, u.shared)
}

// beginUpgrade starts the successor and who conducts the upgrade.
func (s *Supervisor) beginUpgrade(name string, o UpgradeOptions, to func(*plugin) (release, error)) (*upgrade, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := slices.IndexFunc(s.plugins, func(p *plugin) bool { return s.names[name] == p })
	if at < 0 {
		at = slices.IndexFunc(s.plugins, func(p *plugin) bool { return p.snapshot().Name == name })
	}
	switch {
	case at < 0:
		return nil, fmt.Errorf("plugin %q: %w", name, task.ErrNotFound)
	case s.over || s.intake.Err() != nil:
		return nil, task.ErrStopping
	case s.upgrades[name] != nil:
		return nil, fmt.Errorf("plugin %s is being upgraded already: %w: promote it, abort it, or wait for its end", name, task.ErrInvalid)
	}
	old := s.plugins[at]
	r, err := to(old)
	if err != nil {
		return nil, err
	}
	found := newBinary(r.binary.Path)
	if found.err != nil {
		return nil, fmt.Errorf("%w: %w", task.ErrInvalid, found.err)
	}
	r.binary.Path = found.path
	if o.Config != nil {
		r.config = o.Config
	}
	next := newPlugin(s, binary{path: r.binary.Path, name: name}, r.config)
	next.binary, next.approved, next.replaces, next.trial = r.binary, r.approved, old, newTrial()
	next.info.Version = r.binary.Version
	u := &upgrade{
		sup: s, name: name, old: old, next: next, opts: o, listen: o.Tell, phase: UpgradeStarting,
		shared: make(chan struct{}), promote: make(chan struct{}, 1), done: make(chan struct{}),
	}
	s.upgrades[name] = u
	s.beginLocked(next, nil)
	s.lives.Go(u.conduct)
	return u, nil
}

// wait waits for the end of the upgrade, or for a milestone before. The end of ctx rolls
// back.
func (u *upgrade) wait(ctx context.Context, milestone <-chan struct{}) (UpgradeResult, error) {
	select {
	case <-u.done:
	case <-milestone:
	case <-ctx.Done():
		u.next.trial.fail(fmt.Errorf("who asked for it has gone: %w", ctx.Err()))
		<-u.done
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.listen = nil
	return u.result, u.err
}

// conduct leads through the upgrade.
func (u *upgrade) conduct() {
	err := u.run()
	u.finish(err)
	u.sup.mu.Lock()
	delete(u.sup.upgrades, u.name)
	u.sup.mu.Unlock()
	close(u.done)
}

func (u *upgrade) run() error {
	u.enter(UpgradeStarting, 0, "%s is started beside %s", u.next.binary.Path, u.old.label())
	in, err := u.awaitReady()
	if err != nil {
		return err
	}
	u.mu.Lock()
	u.in, u.result.Instance = in, in.ID
	u.mu.Unlock()
	if u.opts.Canary > 0 {
		if err := u.tryShare(in); err != nil {
			return err
		}
	}
	return u.takeOver(in)
}

// awaitReady waits until the successor is ready and accepted.
func (u *upgrade) awaitReady() (task.Instance, error) {
	select {
	case <-u.next.trial.over:
		return task.Instance{}, u.next.trial.failure()
	case in := <-u.next.trial.ready:
		if u.opts.Check == nil {
			return in, nil
		}
		if err := u.opts.Check(u.next.intake, u.old.snapshot().Manifest, u.next.snapshot().Manifest); err != nil {
			u.next.trial.fail(err)
		}
		return in, u.next.trial.failure()
	}
}

// tryShare gives the successor its share, until it is promoted.
func (u *upgrade) tryShare(in task.Instance) error {
	u.sup.opts.Sink.InstanceShare(in, u.opts.Canary)
	u.enter(UpgradeCanary, u.opts.Canary, "%s gets %.4g %% of the new attempts", u.next.label(), 100*u.opts.Canary)
	close(u.shared)
	select {
	case <-u.promote:
		return nil
	case <-u.next.trial.over:
		return u.next.trial.failure()
	}
}

// takeOver has the successor serve, and the plugin end once the successor has proved
// itself. The plugin's process stays until then: it finishes what it holds, and is back at
// once if it has to be.
func (u *upgrade) takeOver(in task.Instance) error {
	u.old.setReserve(true)
	u.serveBy(u.old, u.next)
	u.sup.opts.Sink.InstanceShare(in, 1)
	u.enter(UpgradeProbing, 1, "%s takes over and has to be fine for %s", u.next.label(), u.opts.ProbeFor)
	probe := time.NewTimer(u.opts.ProbeFor)
	defer probe.Stop()
	select {
	case <-probe.C:
		if !u.next.trial.keep() {
			break
		}
		u.enter(UpgradeDraining, 1, "%s finishes what it holds", u.old.label())
		before := u.old.release()
		u.next.mu.Lock()
		u.next.previous = &before
		u.next.mu.Unlock()
		u.vacate(u.old)
		u.old.retire("replaced by " + u.next.label())
		<-u.old.ended
		return nil
	case <-u.next.trial.over:
	}
	u.serveBy(u.next, u.old)
	u.old.setReserve(false)
	return u.next.trial.failure()
}

// finish tells the result. What failed has ended by then, and its predecessor serves.
func (u *upgrade) finish(err error) {
	from, to := u.old.snapshot(), u.next.snapshot()
	keeper, phase, text := u.next, UpgradeDone, fmt.Sprintf("%s serves", u.next.label())
	if err != nil {
		u.letGo()
		u.vacate(u.next)
		u.next.retire("given up: " + err.Error())
		<-u.next.ended
		u.letGo() // it may have been given something as it ended
		why := err.Error()
		keeper, phase = u.old, UpgradeRolled
		text = fmt.Sprintf("%s stays, %s is given up: %s", u.old.label(), u.next.label(), why)
		err = fmt.Errorf("plugin %s stays at %s, %s is given up: %w: %w", from.Name, orUnknown(from.Version), orUnknown(to.Version), ErrRolledBack, err)
		u.sup.opts.Logger.Warn("plugin is not upgraded", logkeys.Plugin, from.Name, logkeys.Version, to.Version, logkeys.Cause, why)
		u.mu.Lock()
		u.result.Why = why
		u.mu.Unlock()
	}
	keeper.mu.Lock()
	keeper.info.Upgrade = text
	keeper.mu.Unlock()
	u.enter(phase, 0, "%s", text)
	u.mu.Lock()
	u.err = err
	u.mu.Unlock()
}

// enter notes a phase and tells of it.
func (u *upgrade) enter(phase UpgradePhase, share float64, format string, args ...any) {
	from, to := u.old.snapshot(), u.next.snapshot()
	u.mu.Lock()
	u.phase, u.share = phase, share
	u.result.Phase, u.result.From, u.result.To = phase, from.Version, to.Version
	listen := u.listen
	u.mu.Unlock()
	if listen != nil {
		listen(phase, fmt.Sprintf(format, args...))
	}
}

// serveBy has one plugin serve in the place of another.
func (u *upgrade) serveBy(old, next *plugin) {
	s := u.sup
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names[u.name] = next
	if at := slices.Index(s.plugins, old); at >= 0 {
		s.plugins[at] = next
	}
}

// vacate waits until what a plugin was given has ended, for half of what a drain may take:
// what is being claimed for it must not be told to start as it drains.
func (u *upgrade) vacate(p *plugin) {
	p.mu.Lock()
	in := p.in
	p.mu.Unlock()
	if in == nil {
		return
	}
	ctx, cancel := context.WithTimeout(u.sup.intake, u.sup.opts.DrainTimeout/2)
	defer cancel()
	u.sup.opts.Sink.Vacate(ctx, in.id)
}

// letGo takes everything from the instance on trial, so that others get it.
func (u *upgrade) letGo() {
	if u.in.ID != "" {
		u.sup.opts.Sink.InstanceShare(u.in, 0)
	}
}

// successor returns what a plugin is being upgraded to, nil = nothing.
func (s *Supervisor) successor(p *plugin) *Successor {
	s.mu.Lock()
	var u *upgrade
	for _, other := range s.upgrades {
		if other.old == p || other.next == p {
			u = other
		}
	}
	s.mu.Unlock()
	if u == nil {
		return nil
	}
	info := u.next.snapshot()
	u.mu.Lock()
	defer u.mu.Unlock()
	return &Successor{
		Version: info.Version, Path: info.Path, Instance: info.Instance, PID: info.PID, State: info.State, Phase: u.phase, Share: u.share,
		InFlight: info.InFlight,
	}
}

// label names a plugin with its version, for people.
func (p *plugin) label() string {
	info := p.snapshot()
	if info.Version == "" {
		return info.Name
	}
	return info.Name + " " + info.Version
}

func orUnknown(version string) string {
	if version == "" {
		return "what it was"
	}
	return version
}

// checkIdentity refuses a process of an installed plugin that is not what was approved.
func (p *plugin) checkIdentity(m *Manifest) error {
	b := p.binary
	if p.approved || p.replaces != nil {
		if m.Name != b.Name {
			return fmt.Errorf("%s is not plugin %s: expected the name %q, found %q", b.Path, b.Name, b.Name, m.Name)
		}
	}
	if !p.approved {
		return nil
	}
	if m.Version != b.Version {
		return fmt.Errorf("plugin %s is not what was installed: expected version %s, found %s: run `tasker plugin install` with what it is now",
			b.Name, b.Version, m.Version)
	}
	if b.ManifestDigest == "" {
		return nil
	}
	digest, err := m.Digest()
	if err != nil {
		return err
	}
	if digest != b.ManifestDigest {
		return fmt.Errorf("plugin %s %s does not declare what was approved: expected manifest %s, found %s: if that is right, run `tasker plugin approve %s`",
			b.Name, b.Version, b.ManifestDigest, digest, b.Name)
	}
	return nil
}
