// Package runner is the loop around the engine. It keeps the aggregates of all
// unfinished tasks, gathers what happens to them, has the engine decide, commits the
// write sets, and only then acts: it sends attempts to plugin instances, arms timers,
// wakes who waits.
//
// One goroutine, [Runner.Run], owns all state; everything else reaches it through the
// inbox. At most one write set per task is in flight: inputs that arrive meanwhile are
// decided together after it. A slot is the presence of an attempt in its instance's map,
// never a counter, so slots cannot leak.
package runner

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tasker-engine/tasker/host/internal/engine"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// Plugins sends work to plugin instances. Its methods must not block.
type Plugins interface {
	// Dispatch queues attempts for an instance; those for one that is gone are dropped. The
	// list is used again after it returns, the assignments are not.
	Dispatch(instance string, as []*task.Assignment)
	// Cancel asks an instance to stop an attempt.
	Cancel(instance string, id task.AttemptID, reason string)
	// Join asks whether one more attempt may be claimed for an instance, or, with alone,
	// whether one may have the process to itself, events included. Who is refused is told by
	// [Runner.InstanceRoom] when to ask again, unless the instance drains or goes.
	Join(instance string, alone bool) bool
	// Leave says that an instance holds no attempt that is waited for, and that none wants it.
	Leave(instance string)
}

// Options configure a runner. All fields but Metered, Idle and Wanted are required.
type Options struct {
	Store  store.Store
	Engine engine.Host
	Logger hclog.Logger
	// Now is the wall clock.
	Now func() time.Time
	// Metered measures rounds and queues for [Runner.Metrics].
	Metered bool
	// Idle is called by the loop before it waits with nothing to decide and no commit in flight; next is its
	// first timer, zero for none. It must not wait for the runner. Who sets Now may set it forward here, to
	// that timer at most: that is how a simulation passes time. nil = nobody is told.
	Idle func(next time.Time)
	// Wanted is called by the loop with the name of a plugin without an instance that a step
	// waits for. It must not block. nil = nobody is told.
	Wanted func(plugin string)
}

// Named limits of the runner.
const (
	// CheckpointInterval is the shortest time between two stored checkpoints of an attempt.
	CheckpointInterval = time.Second
	// CommitRetry is how long a task waits before a failed commit is tried again.
	CommitRetry = time.Second
)

// Runner runs tasks.
type Runner struct {
	opts    Options
	log     hclog.Logger
	plugins Plugins // set by Run

	mu      sync.Mutex
	inbox   []message // for the loop, in order
	stopped bool      // the loop has ended: nothing is taken any more
	wake    chan struct{}

	watchers watchers
	draining atomic.Bool
	broken   atomic.Int64 // unfinished tasks that could not be loaded

	// What follows belongs to the loop.
	tasks     map[task.ID]*entry
	decision  engine.Decision // one at a time
	templates templates
	pools     map[string]*pool     // by plugin
	instances map[string]*instance // by id
	timers    timers
	dirty     []*entry    // have inputs and no commit in flight
	spare     []*entry    // memory for dirty
	arrivals  uint64      // steps that were ever queued
	senders   []*instance // have attempts to send in this round
	cancels   []engine.CancelAttempt
	commits   int // in flight
	intake    bool
	idle      chan struct{} // closed once nothing is in flight after intake has ended
	isIdle    bool
	meters    meters
}

// message is what the loop is told: something to run, or how a task's commit ended.
type message struct {
	run   func() // nil for the end of a commit
	entry *entry
	err   error
}

// entry is one cached task.
type entry struct {
	agg        *engine.Aggregate
	inputs     []input // to be decided next
	alone      int     // so many of them are decided one by one
	deciding   []input // decided, their write set is in flight
	spare      []input // memory for inputs
	actions    actions // of what was decided, to be taken once it is durable
	committing bool
	committed  func(store.Commit, error) // told by the store; one for all commits of the task
	dirty      bool
	queued     map[task.Ordinal]*ready // in a ready queue
	timers     map[task.Ordinal]*timer // armed, by step; deadlineTimer is the task's own
}

// actions are what follows a decision, kept from an [engine.Outcome].
type actions struct {
	dispatch []task.Ordinal
	cancel   []engine.CancelAttempt
	stored   bool // there was something to commit
	ended    bool
}

func (a *actions) keep(out *engine.Outcome) {
	a.dispatch = append(a.dispatch[:0], out.Dispatch...)
	a.cancel = append(a.cancel[:0], out.Cancel...)
	a.stored, a.ended = out.WriteSet != nil, out.Ended
}

func (r *Runner) newEntry(agg *engine.Aggregate) *entry {
	e := &entry{agg: agg}
	e.committed = func(_ store.Commit, err error) { r.send(message{entry: e, err: err}) }
	return e
}

// input is one input of the engine with who waits for it.
type input struct {
	in    engine.Input
	claim *slot       // reserved, when in is a claim
	reply func(error) // nil = nobody waits
}

func (in *input) done(err error) {
	if in.reply != nil {
		in.reply(err)
	}
}

// New returns a runner; [Runner.Run] makes it work.
func New(opts Options) *Runner {
	return &Runner{
		opts: opts, log: opts.Logger, wake: make(chan struct{}, 1), idle: make(chan struct{}),
		tasks: make(map[task.ID]*entry), pools: make(map[string]*pool), instances: make(map[string]*instance),
		intake:    true,
		templates: templates{parsed: make(map[string]*template.Template)}, meters: newMeters(opts.Metered),
	}
}

// Run loads the unfinished tasks and runs them until ctx ends; what was submitted by
// then is committed and acted on before it returns. An orderly stop ends the intake
// first: see [Runner.Drain].
func (r *Runner) Run(ctx context.Context, plugins Plugins) error {
	r.plugins = plugins
	defer r.close() //nolint:contextcheck // what is begun is finished after ctx has ended
	if err := r.boot(ctx); err != nil {
		return fmt.Errorf("load unfinished tasks: %w", err)
	}
	clock := time.NewTimer(time.Hour)
	defer clock.Stop()
	done := ctx.Done()
	var told []message
	r.meters.begin()
	for {
		r.decideAll() //nolint:contextcheck // what is begun is finished after ctx has ended
		r.flush()
		r.checkIdle()
		r.meters.end()
		if done == nil && r.commits == 0 {
			return nil
		}
		r.tellIdle()
		clock.Reset(r.untilNext())
		select {
		case <-r.wake:
		case <-clock.C:
		case <-done:
			done = nil // commits in flight are waited for
			r.endIntake()
		}
		r.meters.begin()
		told = r.take(told)
		for i := range told {
			r.handle(&told[i]) //nolint:contextcheck // what is begun is finished after ctx has ended
		}
		clear(told)
		r.fire()
	}
}

// post has the loop run f; false when the loop has ended.
func (r *Runner) post(f func()) bool { return r.send(message{run: f}) }

// send hands a message to the loop; false when the loop has ended. Only the first after
// the loop has taken the others wakes it.
func (r *Runner) send(m message) bool {
	r.mu.Lock()
	if r.stopped {
		r.mu.Unlock()
		return false
	}
	r.inbox = append(r.inbox, m)
	first := len(r.inbox) == 1
	r.mu.Unlock()
	if first {
		select {
		case r.wake <- struct{}{}:
		default:
		}
	}
	return true
}

// tellIdle calls [Options.Idle] if nothing is going on.
func (r *Runner) tellIdle() {
	if r.opts.Idle == nil || r.commits > 0 {
		return
	}
	r.mu.Lock()
	told := len(r.inbox) > 0
	r.mu.Unlock()
	if told {
		return
	}
	var next time.Time
	if len(r.timers) > 0 {
		next = r.timers[0].at
	}
	r.opts.Idle(next)
}

// take returns the messages that have come, and leaves memory for the next ones.
func (r *Runner) take(memory []message) []message {
	r.mu.Lock()
	defer r.mu.Unlock()
	told := r.inbox
	r.inbox = memory[:0]
	return told
}

func (r *Runner) handle(m *message) {
	if m.run != nil {
		m.run()
	} else {
		r.ended(m.entry, m.err)
	}
}

// close ends the loop: who still waits gets an error.
func (r *Runner) close() {
	r.mu.Lock()
	r.stopped = true
	rest := r.inbox
	r.inbox = nil
	r.mu.Unlock()
	for i := range rest {
		r.handle(&rest[i])
	}
	for _, e := range r.tasks {
		for i := range e.inputs {
			e.inputs[i].done(task.ErrStopping)
		}
	}
	r.watchers.close()
}

// call runs f in the loop and waits for its reply or the end of ctx.
func (r *Runner) call(ctx context.Context, f func(reply func(error))) error {
	answer := make(chan error, 1)
	reply := func(err error) { answer <- err }
	if !r.post(func() { f(reply) }) {
		return task.ErrStopping
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Create stores a new task and starts it. It returns when the task is durable. Errors:
// those of the engine and of [store.Store.Submit].
func (r *Runner) Create(ctx context.Context, agg *engine.Aggregate) error {
	return r.call(ctx, func(reply func(error)) {
		if !r.intake {
			reply(task.ErrStopping)
			return
		}
		e := r.newEntry(agg)
		r.tasks[agg.Task.ID] = e
		r.add(e, input{in: engine.Create{}, reply: reply})
	})
}

// Operate applies an operator's input to a task, finished or not, and returns when it
// is durable.
func (r *Runner) Operate(ctx context.Context, id task.ID, in engine.Input) error {
	return r.call(ctx, func(reply func(error)) { //nolint:contextcheck // runs in the loop, which outlives the caller
		e, err := r.entry(id)
		if err != nil {
			reply(err)
			return
		}
		r.add(e, input{in: in, reply: reply})
	})
}

// entry returns the cached task, loading it when it is not cached (it has ended).
func (r *Runner) entry(id task.ID) (*entry, error) {
	if e, ok := r.tasks[id]; ok {
		return e, nil
	}
	stored, err := r.opts.Store.Load(context.Background(), id)
	if err != nil {
		return nil, err
	}
	agg, err := r.templates.restore(stored)
	if err != nil {
		return nil, err
	}
	e := r.newEntry(agg)
	r.tasks[id] = e
	return e, nil
}

// add queues an input for a task.
func (r *Runner) add(e *entry, in input) {
	e.inputs = append(e.inputs, in)
	r.mark(e)
}

// waits reports whether a task must wait for a commit or, after a failed one, for the
// time to try again.
func (r *Runner) waits(e *entry) bool { return e.committing || e.timers[commitTimer] != nil }

// mark has a task decided in this round unless it waits.
func (r *Runner) mark(e *entry) {
	if !e.dirty && !r.waits(e) {
		e.dirty = true
		r.dirty = append(r.dirty, e)
	}
}

// Drain ends the intake: no step is claimed and no task is created any more. It
// returns when no attempt whose result counts and no commit is in flight, or when ctx
// ends.
func (r *Runner) Drain(ctx context.Context) error {
	if !r.post(r.endIntake) {
		return nil
	}
	select {
	case <-r.idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Alive reports whether the loop answers before ctx ends.
func (r *Runner) Alive(ctx context.Context) bool {
	return r.call(ctx, func(reply func(error)) { reply(nil) }) == nil
}

// Broken returns the number of unfinished tasks that could not be loaded and stay as
// they are until the host is restarted.
func (r *Runner) Broken() int { return int(r.broken.Load()) }

// Draining reports whether the intake has ended.
func (r *Runner) Draining() bool { return r.draining.Load() }

func (r *Runner) endIntake() {
	r.intake = false
	r.draining.Store(true)
}

func (r *Runner) checkIdle() {
	if r.isIdle || r.intake || r.commits > 0 {
		return
	}
	for _, inst := range r.instances {
		for id := range inst.slots {
			if r.awaited(id) {
				return
			}
		}
	}
	r.isIdle = true
	close(r.idle)
}

// awaited reports whether the result of an attempt would still count: one that timed out
// or was cancelled and never answers is waited for by nobody.
func (r *Runner) awaited(id task.AttemptID) bool {
	e := r.tasks[id.Task]
	if e == nil {
		return false
	}
	a := e.agg.Step(id.Ordinal).Attempt
	return a != nil && a.Number == id.Number && a.Status == task.AttemptRunning
}

// maxTemplates bounds the cache of templates; beyond it the cache starts anew.
const maxTemplates = 256

// templates caches the templates of snapshots by hash.
type templates struct {
	parsed map[string]*template.Template
}

func (c *templates) restore(stored *store.Aggregate) (*engine.Aggregate, error) {
	hash := stored.Task.Template.Hash
	tmpl, ok := c.parsed[hash]
	if !ok {
		var err error
		if tmpl, err = template.FromSnapshot(stored.Template); err != nil {
			return nil, fmt.Errorf("task %s: template snapshot: %w", stored.Task.ID, err)
		}
		if len(c.parsed) >= maxTemplates {
			clear(c.parsed)
		}
		c.parsed[hash] = tmpl
	}
	if len(stored.Task.Steps) != len(tmpl.Steps) {
		return nil, fmt.Errorf("task %s: %d steps stored, template has %d: %w",
			stored.Task.ID, len(stored.Task.Steps), len(tmpl.Steps), store.ErrCorrupt)
	}
	return engine.Restore(stored.Task, tmpl), nil
}

// requestError reports whether an error of a commit concerns only the request or the
// report that caused it, so that trying again is of no use.
func requestError(err error) bool {
	var dup *store.DuplicateError
	return errors.As(err, &dup) || errors.Is(err, task.ErrKeyConflict) || errors.Is(err, task.ErrTooLarge) ||
		errors.Is(err, task.ErrInvalid)
}
