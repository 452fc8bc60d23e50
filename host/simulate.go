package host

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/oklog/ulid/v2"

	"github.com/tasker-engine/tasker/host/internal/boltstore"
	"github.com/tasker-engine/tasker/host/internal/engine"
	"github.com/tasker-engine/tasker/host/internal/runner"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// Simulation is a task that is run on a clock of its own, with answers in place of plugins: the engine, the store and
// the checks are those of a host, and hours pass in milliseconds. The same simulation always goes the same way; waits
// with jitter are in the middle of their range.
type Simulation struct {
	// Request asks for the task; only a template given as Source is known. RequireHandlers does not matter.
	Request task.Request
	// Start is when it begins. Zero = a fixed instant.
	Start time.Time
	// Answer says how an attempt goes. It is called at the start of the attempt, one at a time.
	Answer func(*task.Assignment) Answer
	// Operations are what operators do, and when.
	Operations []SimulatedOperation
	// WorkflowEvents has the workflow.* events recorded, too.
	WorkflowEvents bool
	// Limit is how long the task may take on its clock. 0 = 10 years.
	Limit time.Duration
}

// Answer is how a simulated attempt goes. The zero value succeeds at once with null.
type Answer struct {
	// After is how long the attempt takes.
	After time.Duration
	// Output is the result, JSON. Nil = null, unless Failure says why there is none.
	Output []byte
	// Failure is why the attempt fails.
	Failure *task.Failure
	// Emits are the custom events that come with a success.
	Emits []task.Emit
	// Checkpoint is reported by a heartbeat at the start of the attempt, JSON. Nil = none.
	Checkpoint []byte
	// Crash has the plugin's process end when the attempt would: all that it holds is lost.
	Crash bool
	// Hangs has the attempt go on until it is cancelled; Silent, without heartbeats meanwhile.
	Hangs, Silent bool
}

// SimulatedOperation is an operator's wish at an instant.
type SimulatedOperation struct {
	// At is when, counted from the start.
	At time.Duration
	// Kind is cancel, pause, resume, retry or resolve.
	Kind string
	// Operation says what it is about; Task is filled in.
	Operation task.Operation
}

// SimulatedAttempt is an attempt of a simulation.
type SimulatedAttempt struct {
	Step    task.StepName
	Handler task.HandlerRef
	Number  uint32
	At      time.Duration // since the start of the simulation
}

// Simulated is what a simulation led to.
type Simulated struct {
	// View is the task at the end, with inputs and results.
	View *task.View
	// Took is how long it took on its clock.
	Took time.Duration
	// Attempts are in the order in which they started.
	Attempts []SimulatedAttempt
	// Events are those of the task, in order.
	Events []LogEntry
}

const (
	simulationLimit = 10 * 365 * 24 * time.Hour
	simulationGrace = 10 * time.Second
	simulationSlots = 1 << 20
	simulationBeats = 10_000
)

// Simulate runs a simulation until the task has ended, or waits for what never comes. Errors are those of
// [Service.CreateTask], and task.ErrInvalid for an operation that is refused or a task that goes on beyond the limit.
func Simulate(ctx context.Context, s Simulation) (_ *Simulated, err error) {
	if s.Request.Source == nil {
		return nil, fmt.Errorf("simulation: %w: no template is given", task.ErrInvalid)
	}
	tmpl, err := template.Parse(s.Request.SourceName, s.Request.Source, template.Options{Environment: s.Request.Environment})
	if err != nil {
		return nil, err
	}
	if s.Start.IsZero() {
		s.Start = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	}
	if s.Limit == 0 {
		s.Limit = simulationLimit
	}
	dir, err := os.MkdirTemp("", "tasker-simulation-")
	if err != nil {
		return nil, fmt.Errorf("simulation: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	m := newSimulator(s, tmpl)
	st, err := boltstore.Open(filepath.Join(dir, filepath.Base(StorePath(dir))), boltstore.Options{Now: m.now})
	if err != nil {
		return nil, fmt.Errorf("simulation: %w", err)
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	return m.run(ctx, st)
}

// simulator plays the plugins and the clock of one simulation. But for the clock and the channel, its fields belong to the runner's loop
// from the creation of the task on.
type simulator struct {
	Simulation

	tmpl   *template.Template
	runner *runner.Runner
	clock  atomic.Int64 // Unix nanoseconds
	id     task.ID
	begun  atomic.Bool
	done   chan error // told once

	over       bool
	operations []SimulatedOperation
	operating  atomic.Bool
	attempts   []SimulatedAttempt
	held       []*simulatedAttempt // in the order of their start
	instances  map[string]int      // how many processes a plugin has had
	beats      int
}

// simulatedAttempt is an attempt that a plugin holds.
type simulatedAttempt struct {
	assignment *task.Assignment
	instance   string
	answer     Answer
	endsAt     time.Time // zero = when it is cancelled
	beatsAt    time.Time // zero = never
}

func newSimulator(s Simulation, tmpl *template.Template) *simulator {
	m := &simulator{Simulation: s, tmpl: tmpl, done: make(chan error, 1), instances: make(map[string]int)}
	m.operations = slices.Clone(s.Operations)
	slices.SortStableFunc(m.operations, func(a, b SimulatedOperation) int { return int(a.At - b.At) })
	m.clock.Store(s.Start.UnixNano())
	return m
}

func (m *simulator) now() time.Time { return time.Unix(0, m.clock.Load()).UTC() }

// run creates the task and waits for its end.
func (m *simulator) run(ctx context.Context, st *boltstore.Store) (*Simulated, error) {
	spec, err := newSpec(m.Request, m.tmpl, m.now())
	if err != nil {
		return nil, err
	}
	id, err := ulid.New(ulid.Timestamp(m.Start), rand.NewChaCha8([32]byte{}))
	if err != nil {
		return nil, fmt.Errorf("simulation: %w", err)
	}
	m.id = task.ID(id.String())
	spec.ID = m.id
	if spec.CorrelationID == "" {
		spec.CorrelationID = string(spec.ID)
	}
	_, epoch := st.Identity()
	m.runner = runner.New(runner.Options{
		Store: st, Now: m.now, Logger: hclog.NewNullLogger(), Idle: m.idle,
		Engine: engine.Host{
			Epoch: epoch, CancelGrace: simulationGrace, Workflow: m.WorkflowEvents, Rand: func() float64 { return 0.5 },
		},
	})
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- m.runner.Run(running, m) }()
	err = m.play(ctx, spec)
	stop()
	if err := errors.Join(err, <-ended); err != nil {
		return nil, err
	}
	return m.result(ctx, st)
}

// play creates the task and waits until nothing can happen any more.
func (m *simulator) play(ctx context.Context, spec task.Spec) error {
	for _, ref := range m.tmpl.Handlers() {
		if m.instances[ref.Plugin] == 0 {
			m.startPlugin(ref.Plugin)
		}
	}
	if err := m.runner.Create(ctx, engine.New(spec, m.tmpl)); err != nil {
		return err
	}
	m.begun.Store(true)
	m.runner.Alive(ctx) // has the loop come round to be idle
	select {
	case err := <-m.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *simulator) result(ctx context.Context, st *boltstore.Store) (*Simulated, error) {
	view, err := reading{store: st, now: m.now, snapshots: newSnapshotCache()}.Task(ctx, string(m.id))
	if err != nil {
		return nil, err
	}
	events, err := st.TaskEvents(ctx, m.id)
	if err != nil {
		return nil, err
	}
	took := m.now().Sub(m.Start)
	if !view.CompletedAt.IsZero() {
		took = view.CompletedAt.Sub(m.Start)
	}
	return &Simulated{View: view, Took: took, Attempts: m.attempts, Events: events}, nil
}

// startPlugin has a new process of a plugin offer all handlers of it that the template names.
func (m *simulator) startPlugin(plugin string) {
	m.instances[plugin]++
	in := task.Instance{ID: m.instanceOf(plugin), Plugin: plugin, Version: "0.0.0", Capacity: simulationSlots}
	for _, ref := range m.tmpl.Handlers() {
		if ref.Plugin == plugin {
			in.Offers = append(in.Offers, task.Offer{
				Plugin: plugin, PluginVersion: in.Version, Handler: ref.Handler, Version: max(ref.Version, 1), Results: task.ResultsAll,
			})
		}
	}
	m.runner.InstanceReady(in)
}

func (m *simulator) instanceOf(plugin string) string {
	return fmt.Sprintf("%s#%d", plugin, m.instances[plugin])
}

// Dispatch implements runner.Plugins.
func (m *simulator) Dispatch(instance string, as []*task.Assignment) {
	for _, a := range as {
		now := m.now()
		m.attempts = append(m.attempts, SimulatedAttempt{Step: a.Step, Handler: a.Handler, Number: a.ID.Number, At: now.Sub(m.Start)})
		at := &simulatedAttempt{assignment: a, instance: instance, answer: m.Answer(a)}
		if !at.answer.Hangs {
			at.endsAt = now.Add(at.answer.After)
		}
		if a.HeartbeatTimeout > 0 && !at.answer.Silent {
			at.beatsAt = now.Add(a.HeartbeatTimeout / 2)
		}
		m.held = append(m.held, at)
		if at.answer.Checkpoint != nil {
			m.report(at, task.Report{Kind: task.ReportHeartbeat, Checkpoint: at.answer.Checkpoint})
		}
	}
}

// Join implements runner.Plugins: no events are delivered here.
func (*simulator) Join(string, bool) bool { return true }

// Leave implements runner.Plugins.
func (*simulator) Leave(string) {}

// Cancel implements runner.Plugins: an attempt that is asked to end does so at once.
func (m *simulator) Cancel(_ string, id task.AttemptID, reason string) {
	for _, at := range m.held {
		if at.assignment.ID == id {
			m.end(at, task.Report{Kind: task.ReportFailed, Failure: &task.Failure{
				Kind: task.KindCancelled, Source: task.SourcePlugin, Message: "cancelled: " + reason,
			}})
			return
		}
	}
}

func (m *simulator) report(at *simulatedAttempt, r task.Report) {
	r.ID, r.Instance = at.assignment.ID, at.instance
	m.runner.Reports([]task.Report{r})
}

// end reports the result of an attempt.
func (m *simulator) end(at *simulatedAttempt, r task.Report) {
	m.held = slices.DeleteFunc(m.held, func(other *simulatedAttempt) bool { return other == at })
	m.report(at, r)
}

// idle sets the clock to what happens next, and has it happen. The loop calls it when all
// that happened before is stored.
func (m *simulator) idle(next time.Time) {
	if !m.begun.Load() || m.operating.Load() || m.over {
		return
	}
	at, happens := next, func() {} // the runner's own timer fires by itself
	consider := func(when time.Time, f func()) {
		if !when.IsZero() && (at.IsZero() || when.Before(at)) {
			at, happens = when, f
		}
	}
	for _, held := range m.held {
		consider(held.endsAt, func() { m.answered(held) })
		consider(held.beatsAt, func() { m.beat(held) })
	}
	if len(m.operations) > 0 {
		consider(m.Start.Add(m.operations[0].At), m.operate)
	}
	switch {
	case at.IsZero():
		m.finish(nil)
	case at.Sub(m.Start) > m.Limit:
		m.finish(fmt.Errorf("simulation: %w: the task goes on for longer than %s", task.ErrInvalid, m.Limit))
	default:
		if at.After(m.now()) {
			m.clock.Store(at.UnixNano())
		}
		happens()
	}
}

func (m *simulator) finish(err error) {
	m.over = true
	m.done <- err
}

func (m *simulator) beat(held *simulatedAttempt) {
	if m.beats++; m.beats > simulationBeats {
		m.finish(fmt.Errorf("simulation: %w: step %s goes on for more than %d heartbeats", task.ErrInvalid, held.assignment.Step, simulationBeats))
		return
	}
	held.beatsAt = m.now().Add(held.assignment.HeartbeatTimeout / 2)
	m.report(held, task.Report{Kind: task.ReportHeartbeat})
}

// answered ends an attempt as its answer says.
func (m *simulator) answered(held *simulatedAttempt) {
	a := held.answer
	switch {
	case a.Crash:
		m.crash(held)
	case a.Failure != nil:
		m.end(held, task.Report{Kind: task.ReportFailed, Failure: a.Failure})
	default:
		output := a.Output
		if output == nil {
			output = []byte("null")
		}
		m.end(held, task.Report{Kind: task.ReportSucceeded, Output: output, Emits: a.Emits})
	}
}

// crash ends the process that holds an attempt and starts the next one.
func (m *simulator) crash(held *simulatedAttempt) {
	var sent []task.AttemptID
	m.held = slices.DeleteFunc(m.held, func(other *simulatedAttempt) bool {
		if other.instance != held.instance {
			return false
		}
		sent = append(sent, other.assignment.ID)
		return true
	})
	m.runner.InstanceGone(held.instance, task.LossCrashed, sent)
	m.startPlugin(held.assignment.Handler.Plugin)
}

// operate has an operator act. The loop is what carries it out, so that another goroutine waits for the answer.
func (m *simulator) operate() {
	op := m.operations[0]
	m.operations = m.operations[1:]
	op.Operation.Task = m.id
	var in engine.Input
	switch op.Kind {
	case "cancel":
		in = engine.Cancel{Op: op.Operation}
	case "pause":
		in = engine.Pause{Op: op.Operation}
	case "resume":
		in = engine.Resume{Op: op.Operation}
	case "retry":
		in = engine.Retry{Op: op.Operation}
	case "resolve":
		in = engine.ResolveByHand{Op: op.Operation}
	default:
		m.finish(fmt.Errorf("simulation: %w: unknown operation %q", task.ErrInvalid, op.Kind))
		return
	}
	m.operating.Store(true)
	go func() {
		err := m.runner.Operate(context.Background(), m.id, in)
		if err != nil {
			m.over = true
			m.done <- fmt.Errorf("simulation: %s at %s: %w", op.Kind, op.At, err)
		}
		m.operating.Store(false)
		m.runner.Alive(context.Background())
	}()
}
