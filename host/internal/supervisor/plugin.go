package supervisor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/internal/shim"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// plugin is one plugin binary over its whole life: one process after the other. An
// upgrade begins another one beside it, which takes its name over.
type plugin struct {
	sup      *Supervisor
	binary   Binary
	approved bool            // it was installed: what it declares must be what was approved
	config   json.RawMessage // what its processes are configured with
	resume   chan struct{}   // capacity 1: it may be started again
	wake     chan struct{}   // capacity 1: something wants it
	ended    chan struct{}   // closed when run returned
	leave    farewell
	replaces *plugin // whose name it has to share as long as it is on trial
	trial    *trial  // nil = it need not prove itself

	intake     context.Context //nolint:containedctx // ends when nothing of it is started any more
	stopIntake context.CancelFunc

	// Owned by run.
	history  history
	suspects suspects
	name     string // as the manifest says, or the file before the first start
	granted  grant  // what its next process gets

	mu       sync.Mutex
	info     PluginInfo
	in       *instance // nil unless ready
	reserve  bool      // its successor serves: it is not started again as long as that lasts
	previous *release  // what a rollback returns to
	mended   *Binary   // what was installed, compared again since it was refused; nil = it was not

	finished atomic.Uint64 // attempts
}

// verdict is what follows the end of a process.
type verdict int

const (
	startAgain  verdict = iota // at once
	startLater                 // after info.RetryAt
	startWanted                // once something wants it
	startNever                 // until an operator resumes it
	startNoMore                // the host stops
)

func newPlugin(s *Supervisor, b binary, config json.RawMessage) *plugin {
	p := &plugin{
		sup: s, binary: Binary{Name: b.name, Path: b.path}, name: b.name, config: config,
		resume: make(chan struct{}, 1), wake: make(chan struct{}, 1), ended: make(chan struct{}), leave: farewell{said: make(chan struct{})},
		info: PluginInfo{Name: b.name, Path: b.path, State: task.PluginStopped, Since: time.Now().UTC()},
	}
	if b.approved != nil {
		p.binary, p.approved, p.info.Version = *b.approved, true, b.approved.Version
	}
	p.granted = s.opts.firstGrant(p.binary, config)
	p.intake, p.stopIntake = context.WithCancel(s.intake)
	return p
}

// run keeps the plugin running until life ends; its intake ends earlier, at the beginning
// of a drain: then nothing is started any more.
func (p *plugin) run(life context.Context, found error) {
	defer close(p.ended)
	defer p.stopIntake()
	next := startAgain
	if found != nil {
		p.setState(task.PluginRefused, found.Error())
		next = startNever
	} else if p.mayBeLazy() {
		next = startWanted
	}
	for {
		switch next {
		case startAgain:
		case startLater:
			if !p.pause(p.intake, time.Until(p.snapshot().RetryAt)) { //nolint:contextcheck // it ends before life does
				next = startNoMore
			}
		case startWanted:
			if !p.sleep() {
				next = startNoMore
			}
		case startNever:
			select {
			case <-p.resume:
				p.history, p.suspects = history{}, suspects{}
				p.mend()
			case <-p.intake.Done():
				return // it keeps its state: nothing of it runs
			}
		case startNoMore:
		}
		if p.inReserve() {
			next = startNever
			continue
		}
		if next == startNoMore || p.intake.Err() != nil {
			p.setState(task.PluginStopped, p.leave.cause())
			return
		}
		p.began()
		if next = p.once(life, p.intake); p.trial.failed() {
			return // its state tells why
		}
	}
}

// mend takes what was installed as it is by now, after it was refused.
func (p *plugin) mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mended == nil {
		return
	}
	p.binary, p.mended = *p.mended, nil
	p.info.Path, p.info.Version = p.binary.Path, p.binary.Version
	p.granted = p.sup.opts.firstGrant(p.binary, p.config)
}

// retire ends the plugin for good: nothing of it is started any more, and its process ends
// once it has finished what it holds.
func (p *plugin) retire(why string) {
	p.leave.say(why)
	p.stopIntake()
}

// inReserve reports whether its successor serves.
func (p *plugin) inReserve() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reserve && p.intake.Err() == nil
}

// setReserve says whether its successor serves. When it does not any more, what ended
// meanwhile is started again.
func (p *plugin) setReserve(reserve bool) {
	p.mu.Lock()
	p.reserve = reserve
	idle := p.in == nil
	p.mu.Unlock()
	if !reserve && idle {
		notify(p.resume)
	}
}

// pause waits and reports whether the time passed or an operator cut it short.
func (p *plugin) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-p.resume:
		return true
	case <-ctx.Done():
		return false
	}
}

// once lives through one process.
func (p *plugin) once(life, intake context.Context) verdict {
	select {
	case <-p.resume: // came too late: it is started anyway
	default:
	}
	in, err := p.start(intake)
	if err != nil {
		return p.failedStart(intake, err)
	}
	readyAt := time.Now()
	p.sup.register(p, in)
	p.becameReady(in)
	end := in.supervise(life)
	p.sup.unregister(p, in)
	p.trial.ended(end)
	lost := in.close()
	held := in.held(lost)
	p.sup.opts.Sink.InstanceGone(in.id, end.cause, lost)
	in.launch.release()
	useful := in.useful()
	if !end.crashed {
		p.setState(task.PluginStopped, end.why)
		if end.again && !p.trial.failed() {
			return p.replaced(end.why, time.Since(readyAt), useful)
		}
		if end.idle {
			return startWanted
		}
		return startNoMore
	}
	if panicked := in.launch.output.panicked(); panicked != "" {
		end.why += ": " + panicked
	}
	if blamed := p.suspects.charge(time.Now(), held, p.sup.opts.Restart.Window); blamed != "" && !useful {
		useful, end.why = true, end.why+"; "+blamed
	}
	p.reportCrash(in.launch, end.why, lost)
	return p.crashed(end.why, time.Since(readyAt), useful)
}

// start starts a process and brings it to readiness. What the manifest says may call
// for another name or environment than the process has: then it is started again.
func (p *plugin) start(ctx context.Context) (*instance, error) {
	if !p.sup.acquireStart(ctx) {
		return nil, ctx.Err()
	}
	defer p.sup.releaseStart()
	for range 2 {
		in, again, err := p.startOnce(ctx)
		if !again {
			return in, err
		}
	}
	return nil, refuse(fmt.Errorf("%s: its manifest changes from start to start", p.binary.Path))
}

func (p *plugin) startOnce(ctx context.Context) (in *instance, again bool, err error) {
	if !task.ValidPluginName(p.name) {
		return nil, false, refuse(fmt.Errorf("%s: its file name gives the plugin name %q: want [a-z][a-z0-9-]{0,31}", p.binary.Path, p.name))
	}
	l := p.sup.newLaunch(p)
	ctx, cancel := context.WithTimeout(ctx, p.sup.opts.startTimeout(p.name))
	defer cancel()
	p.setStarting(l.instance)
	in, again, err = p.bringUp(ctx, l)
	if err == nil && !again {
		return in, false, nil
	}
	if in != nil {
		in.cancel()
	}
	if again {
		l.stop(p.sup.opts.StopGrace)
	}
	l.release()
	if again {
		return nil, true, nil
	}
	failure := l.failure(ctx, err)
	if l.process.pid() != 0 && !failure.Refused && !errors.Is(ctx.Err(), context.Canceled) {
		p.reportCrash(l, failure.Error(), nil)
	}
	return nil, false, failure
}

// bringUp takes a process through the phases of the start.
func (p *plugin) bringUp(ctx context.Context, l *launch) (in *instance, again bool, err error) {
	disarm := context.AfterFunc(ctx, l.process.kill)
	defer disarm()
	p.setState(task.PluginHandshaking, "")
	if err := l.connect(ctx); err != nil {
		if errors.Is(err, shim.ErrUnenforceable) {
			p.setInForce(l.inForce()) // what it lacks
		}
		return nil, false, err
	}
	p.setPID(l.process.pid())
	m, err := l.describe(ctx)
	if err != nil {
		return nil, false, err
	}
	if err := p.checkIdentity(m); err != nil {
		return nil, false, refuse(err)
	}
	named := m.Name == p.name
	p.rename(m.Name) // another name, another configuration
	if granted := p.sup.opts.grantOf(p.binary, m, p.config); !named || !granted.equal(p.granted) {
		p.granted = granted
		return nil, true, nil
	}
	if err := p.sup.claimName(p, m.Name); err != nil {
		return nil, false, refuse(err)
	}
	p.setManifest(m)
	p.setInForce(l.inForce())
	p.setState(task.PluginConfiguring, "")
	if err := p.check(ctx, l, m); err != nil {
		return nil, false, err
	}
	if err := l.configure(ctx, m); err != nil {
		return nil, false, err
	}
	in = newInstance(l, m, &p.sup.drain, &p.leave, p.says)
	in.meters, in.finished, in.trial = p.sup.meters.of(m), &p.finished, p.trial
	if err := in.open(); err != nil {
		return in, false, err
	}
	if !disarm() {
		return in, false, ctx.Err()
	}
	l.dropSocket()
	return in, false, nil
}

// check has the manifest accepted. Others may start meanwhile: it may have to wait for
// them.
func (p *plugin) check(ctx context.Context, l *launch, m *Manifest) error {
	l.phase = phaseCheck
	p.sup.releaseStart()
	notes, warnings, err := p.sup.opts.CheckManifest(ctx, m)
	p.sup.starts <- struct{}{} // the caller gives it back; whoever has one ends within its start timeout
	switch {
	case ctx.Err() != nil:
		return cmp.Or(err, ctx.Err())
	case err != nil:
		return refuse(fmt.Errorf("plugin %s: %w", m.Name, err))
	}
	for _, w := range warnings {
		p.sup.opts.Logger.Warn("plugin declares what may be a mistake", logkeys.Plugin, m.Name, logkeys.Warning, w)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.info.Accepted = append(p.info.Accepted, notes...)
	p.info.Warnings = warnings
	return nil
}

// becameReady tells everybody that an instance takes work.
func (p *plugin) becameReady(in *instance) {
	m := in.manifest
	info := p.snapshot()
	p.sup.opts.Logger.Info("plugin declares", logkeys.Plugin, m.Name, logkeys.Version, m.Version, logkeys.Accepted, info.Accepted, logkeys.Refused, info.Refused)
	p.setState(task.PluginReady, "")
	p.sup.takeWanted(m.Name) // it is there
	p.remember(m)
	in.run()
	ready := task.Instance{
		ID: in.id, Plugin: m.Name, Version: m.Version, Capacity: in.told, Offers: m.offers(), Trial: p.trial.pending(),
	}
	p.sup.opts.Sink.InstanceReady(ready)
	p.trial.isReady(ready)
}

// failedStart decides what follows a start that failed.
func (p *plugin) failedStart(intake context.Context, err error) verdict {
	var r *refusal
	var failure *StartError
	onTrial := p.trial.fail(err)
	switch {
	case intake.Err() != nil:
		return startNoMore
	case onTrial && !errors.As(err, &r) && (!errors.As(err, &failure) || !failure.Refused):
		p.tell(task.PluginLife{State: task.PluginStopped, Cause: err.Error(), Crashed: true})
		return startNoMore
	case errors.As(err, &failure) && failure.Refused, errors.As(err, &r):
		p.setState(task.PluginRefused, err.Error())
		return startNever
	default:
		return p.crashed(err.Error(), 0, false)
	}
}

// crashed decides when a plugin whose process ended by itself is started again.
func (p *plugin) crashed(why string, ready time.Duration, useful bool) verdict {
	if p.trial.failed() {
		p.tell(task.PluginLife{State: task.PluginStopped, Cause: why, Crashed: true})
		return startNoMore
	}
	now := time.Now().UTC()
	wait, quarantined := p.history.ended(now, ready, useful, p.sup.opts.Restart, rand.Float64()) //nolint:gosec // jitter
	life := task.PluginLife{Cause: why, Crashed: true, State: task.PluginBackoff, RetryAt: now.Add(wait)}
	if quarantined {
		life.State, life.RetryAt, life.Crashes = task.PluginQuarantined, time.Time{}, len(p.history.crashes)
	}
	p.tell(life)
	if quarantined {
		return startNever
	}
	return startLater
}

// replaced decides when an instance that ended on purpose gets its successor: at once
// when it was of use, else after a wait, lest it does nothing but start and end.
func (p *plugin) replaced(why string, ready time.Duration, useful bool) verdict {
	if useful {
		return startAgain
	}
	now := time.Now().UTC()
	wait, _ := p.history.ended(now, ready, true, p.sup.opts.Restart, rand.Float64()) //nolint:gosec // jitter
	p.tell(task.PluginLife{Cause: why, State: task.PluginBackoff, RetryAt: now.Add(wait)})
	return startLater
}

// reportCrash keeps what is known about a crash.
func (p *plugin) reportCrash(l *launch, why string, lost []task.AttemptID) {
	info := p.snapshot()
	stderr, trace := l.output.report()
	e := exit{code: -1}
	if l.waitExit(0) {
		e = l.process.exit()
	}
	attempts := make([]string, 0, len(lost))
	for _, id := range lost {
		attempts = append(attempts, id.String())
	}
	p.sup.opts.Sink.Crashed(store.Crash{
		Plugin: p.name, Version: info.Version, Instance: l.instance, At: time.Now().UTC(),
		Phase: string(l.phase), Cause: why, ExitCode: e.code, Signal: e.signal,
		Stderr: stderr, Panic: trace, Attempts: attempts,
	})
}

// setState changes the state and tells the sink; the same state again is no change.
func (p *plugin) setState(state task.PluginState, cause string) {
	p.mu.Lock()
	same := p.info.State == state && p.info.Cause == cause
	p.mu.Unlock()
	if !same {
		p.tell(task.PluginLife{State: state, Cause: cause})
	}
}

// says notes what a ready instance says of itself. Another text is kept and told to
// nobody: it may change at every tick.
func (p *plugin) says(state task.PluginState, text string) {
	if state == task.PluginDegraded {
		p.trial.fail(fmt.Errorf("it says that it is degraded: %s", text))
	}
	p.mu.Lock()
	same := p.info.State == state
	if same {
		p.info.Cause = text
	}
	p.mu.Unlock()
	if !same {
		p.tell(task.PluginLife{State: state, Cause: text, Again: state == task.PluginReady})
	}
}

// tell records a change and hands it to the sink.
func (p *plugin) tell(life task.PluginLife) {
	life.At = time.Now().UTC()
	p.mu.Lock()
	p.info.State, p.info.Cause, p.info.Since, p.info.RetryAt = life.State, life.Cause, life.At, life.RetryAt
	if p.in == nil && life.State != task.PluginHandshaking && life.State != task.PluginConfiguring {
		p.info.PID = 0
	}
	life.Plugin, life.Version, life.Instance = p.info.Name, p.info.Version, p.info.Instance
	if life.State == task.PluginReady && !life.Again && p.info.Manifest != nil {
		life.Handlers = p.info.Manifest.handlerRefs()
	}
	if life.Crashed {
		p.info.Crashes++
	}
	p.mu.Unlock()
	p.sup.logLife(life)
	p.sup.opts.Sink.Life(life)
}

func (p *plugin) setStarting(instance string) {
	p.mu.Lock()
	p.info.Instance = instance
	p.mu.Unlock()
	p.setState(task.PluginStarting, "")
}

func (p *plugin) began() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.info.Starts++
}

func (p *plugin) setPID(pid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.info.PID = pid
}

func (p *plugin) setInForce(f *InForce) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.info.InForce = f
}

func (p *plugin) rename(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if name != p.name {
		p.name, p.info.Name, p.config = name, name, p.sup.opts.config(name)
	}
}

// setManifest notes the declaration and what becomes of its parts.
func (p *plugin) setManifest(m *Manifest) {
	var accepted, refused, unset []string
	for _, h := range m.Handlers {
		accepted = append(accepted, "handler "+h.Ref())
	}
	for _, name := range m.Permissions.Env {
		if name == anyEnv || slices.Contains(p.granted.env, name) {
			continue
		}
		if _, set := os.LookupEnv(name); set {
			refused = append(refused, "environment variable "+name+": not granted")
		} else {
			unset = append(unset, name)
		}
	}
	if len(unset) > 0 { // nothing is kept from the plugin
		p.sup.opts.Logger.Debug("plugin asks for environment variables that are not set", logkeys.Plugin, m.Name, logkeys.Names, unset)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.info.Manifest, p.info.Version, p.info.Accepted, p.info.Refused, p.info.Warnings = m, m.Version, accepted, refused, nil
}

// snapshot returns what is known about the plugin now.
func (p *plugin) snapshot() PluginInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	info := p.info
	info.Finished = p.finished.Load()
	if p.in != nil {
		info.Capacity, info.InFlight, info.Leaked = p.in.usage()
	}
	info.Config = p.config
	if p.previous != nil {
		info.Previous = p.previous.binary.Version
	}
	return info
}
