package supervisor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tasker-engine/tasker/host/internal/company"
	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/task"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// Short waits of an instance's life.
const (
	// exitGrace is how long after a broken stream the process may take to exit, so that
	// the exit names the cause.
	exitGrace = 2 * time.Second
	// streamGrace is how long after an exit the work stream may take to hand over what
	// had arrived before.
	streamGrace = 2 * time.Second
	// dumpGrace is how long a hung process has to write its goroutines.
	dumpGrace = 2 * time.Second
	// resultGrace is how long the last results may take after a plugin gave up on others.
	resultGrace = time.Second
)

// instance is one process that is ready: its streams and the attempts it holds.
type instance struct {
	id       string
	opts     Options
	launch   *launch
	manifest *Manifest
	onState  func(state task.PluginState, cause string)

	// ctx is the life of the streams; it ends after the process or with its stop.
	ctx    context.Context //nolint:containedctx // it is the instance's life, not a call's
	cancel context.CancelFunc
	wg     sync.WaitGroup

	work   grpc.BidiStreamingClient[pluginv1.WorkRequest, pluginv1.WorkResponse]
	status grpc.ServerStreamingClient[pluginv1.WatchResponse]

	outbox  outbox
	fetches chan fetchRequest
	chunks  chan *pluginv1.Chunk

	broken   chan error    // a stream ended
	received chan struct{} // closed when the work stream was read to its end
	watched  chan struct{} // closed when the status stream was
	changed  chan struct{} // status, leaks or the busy state changed
	idle     chan struct{} // the last attempt that is not leaked ended, or a Deliver stream did
	failed   chan string   // capacity 1: why the process is taken for hung, by another part
	excess   chan string   // capacity 1: it has more memory than it may
	room     chan struct{} // capacity 1: who found no room in it may ask again
	stop     *drainSignal  // the host wants everything drained
	leave    *farewell     // the plugin is replaced
	trial    *trial        // nil = it has nothing to prove

	company *company.Company // who has something in flight in it

	meters map[string]*handlerMeter // by handler; nil = nothing is measured

	born      time.Time
	lastSeen  atomic.Int64 // the last tick of Watch, or when work began after idleness: nanoseconds since born
	completed atomic.Uint64
	finished  *atomic.Uint64 // completed, of all processes of the plugin
	frames    atomic.Uint64  // of events, sent
	acked     atomic.Bool    // it acknowledged an event

	mu       sync.Mutex
	attempts map[string]*held
	leaked   int
	streams  int // open Deliver streams
	draining bool
	// abandoned says that the process is being stopped: what succeeds now still counts;
	// what fails, fails because of the stop and is lost instead.
	abandoned bool
	reported  *pluginv1.Status // the latest
	told      int              // the capacity that the sink knows
}

// held is an attempt that the instance holds.
type held struct {
	id      task.AttemptID
	key     string // the id as it is on the wire
	handler string
	refs    []string    // what it may fetch
	timer   *time.Timer // runs after a cancel
	sent    bool        // it may have reached the process
	sampled bool        // its trace is recorded
	leaked  bool
	suspect bool // it holds the instance alone

	step        task.StepName
	correlation string
	traceparent string // of the task

	meter   *handlerMeter // nil = not measured
	sentAt  time.Time
	counted bool // its outcome
}

// keys returns what log lines say of the attempt.
func (h *held) keys() logkeys.About {
	about := logkeys.AboutTask(string(h.id.Task), h.correlation, h.traceparent)
	about.Step, about.Attempt = string(h.step), h.key
	return about
}

// drainSignal tells every instance, also one that is just getting ready, to drain.
type drainSignal struct {
	once  sync.Once
	begun chan struct{}
	ctx   context.Context //nolint:containedctx // how long the drain may take; set before begun is closed
}

func (d *drainSignal) begin(ctx context.Context) {
	d.once.Do(func() { d.ctx = ctx; close(d.begun) })
}

// whyHostStops is why everything is stopped at the end.
const whyHostStops = "the host stops"

// farewell says that a plugin is to end for good while the host goes on.
type farewell struct {
	once sync.Once
	said chan struct{}
	why  string // for people; set before said is closed
}

func (f *farewell) say(why string) {
	f.once.Do(func() { f.why = why; close(f.said) })
}

// cause returns why it ends: for the host, unless it was told before.
func (f *farewell) cause() string {
	select {
	case <-f.said:
		return f.why
	default:
		return whyHostStops
	}
}

// ending is how the life of an instance ended.
type ending struct {
	cause   task.LossCause
	why     string // for people
	crashed bool   // by itself or for a hang, not on purpose
	again   bool   // stopped on purpose, to be started again at once
	idle    bool   // stopped because there is nothing to do
}

func newInstance(l *launch, m *Manifest, stop *drainSignal, leave *farewell, onState func(task.PluginState, string)) *instance {
	ctx, cancel := context.WithCancel(context.Background())
	room := make(chan struct{}, 1)
	return &instance{
		room: room, company: company.New(func() { notify(room) }),
		id: l.instance, opts: l.opts, launch: l, manifest: m, stop: stop, leave: leave, onState: onState,
		ctx: ctx, cancel: cancel, born: time.Now(),
		outbox:   outbox{wake: make(chan struct{}, 1)},
		fetches:  make(chan fetchRequest, maxFetches),
		chunks:   make(chan *pluginv1.Chunk, 2),
		broken:   make(chan error, 2),
		received: make(chan struct{}),
		watched:  make(chan struct{}),
		changed:  make(chan struct{}, 1),
		idle:     make(chan struct{}, 1),
		failed:   make(chan string, 1),
		excess:   make(chan string, 1),
		attempts: make(map[string]*held),
	}
}

// open opens both streams and waits for the first status. The goroutines start with run.
func (in *instance) open() error {
	in.launch.phase = phaseWatch
	var err error
	if in.status, err = in.launch.services.plugin.Watch(in.ctx, &pluginv1.WatchRequest{}); err != nil {
		return in.launch.domainError(err)
	}
	first, err := in.status.Recv()
	if err != nil {
		return in.launch.domainError(err)
	}
	in.reported = first.GetStatus()
	in.sawLife()
	if in.work, err = in.launch.services.step.Work(in.ctx); err != nil {
		return in.launch.domainError(err)
	}
	in.told = in.capacityLocked()
	return nil
}

// run starts the goroutines of the streams.
func (in *instance) run() {
	in.launch.phase = phaseReady
	in.wg.Go(in.send)
	in.wg.Go(in.receive)
	in.wg.Go(in.watch)
	in.wg.Go(in.fetch)
	in.watchLimits()
	notify(in.changed) // the first status may say more than ready
}

// supervise watches over a ready instance until its process is gone.
func (in *instance) supervise(ctx context.Context) ending {
	hang := time.NewTimer(in.opts.HangTimeout)
	hang.Stop()
	defer hang.Stop()
	idle := in.newIdleness()
	defer idle.stop()
	armed, suspected := false, false
	for {
		select {
		case <-in.launch.process.exited:
			return in.crash("")
		case err := <-in.broken:
			return in.crash(fmt.Sprintf("a stream broke: %v", err))
		case <-in.changed:
			if why := in.applyChanges(); why != "" {
				return in.drain(ctx, why, true)
			}
			if !armed && in.load() > 0 {
				hang.Reset(in.opts.HangTimeout)
				armed = true
			}
		case <-hang.C:
			left := in.silenceLeft()
			if left <= 0 && suspected {
				return in.hung(fmt.Sprintf("no sign of life for %s while %d attempts ran", in.opts.HangTimeout, in.load()))
			}
			// Ticks may wait unread when the host itself was stopped for a while: look twice.
			if suspected = left <= 0; suspected {
				left = in.opts.HangTimeout / 5
			}
			if armed = in.load() > 0; armed {
				hang.Reset(left)
			}
		case <-in.room:
			in.opts.Sink.InstanceRoom(in.id)
		case <-idle.tick:
			if idle.look(in) && !in.trial.pending() && in.company.Close() { // who is on trial may have little to do
				return in.rest(ctx, idle.after)
			}
		case why := <-in.excess:
			return in.tooLarge(ctx, why)
		case why := <-in.failed:
			return in.hung(why)
		case <-in.stop.begun:
			return in.drain(ctx, whyHostStops, false)
		case <-in.leave.said:
			return in.drain(ctx, in.leave.why, false)
		case <-ctx.Done():
			if in.stopIntake() {
				in.opts.Sink.InstanceDraining(in.id)
			}
			in.abandon()
			in.launch.stop(in.opts.StopGrace)
			return ending{cause: task.LossDrained, why: "stopped with the host"}
		}
	}
}

// applyChanges tells what has changed since the last time. It returns why the instance
// must be started again, empty = it goes on.
func (in *instance) applyChanges() (restart string) {
	in.mu.Lock()
	capacity := in.capacityLocked()
	tell := capacity != in.told
	in.told = capacity
	clogged := in.cloggedLocked(capacity)
	in.mu.Unlock()
	if tell {
		in.opts.Sink.InstanceCapacity(in.id, capacity)
	}
	status := in.latest()
	message := cut(status.GetMessage(), maxNote)
	switch status.GetState() {
	case pluginv1.State_STATE_DRAINING:
		return in.ownWish()
	case pluginv1.State_STATE_DEGRADED:
		in.onState(task.PluginDegraded, message)
	default:
		in.onState(task.PluginReady, message)
	}
	if clogged {
		return "cancelled attempts that do not end hold half of its slots, or all of a handler's"
	}
	return ""
}

// cloggedLocked reports whether leaked attempts take too much: half of the slots, or
// every one of a handler.
func (in *instance) cloggedLocked(capacity int) bool {
	if in.leaked == 0 || in.leaked*2 >= capacity {
		return in.leaked > 0
	}
	leaks := make(map[string]int)
	for _, h := range in.attempts {
		if h.leaked {
			leaks[h.handler]++
		}
	}
	return slices.ContainsFunc(in.manifest.Handlers, func(h Handler) bool {
		return h.MaxConcurrency > 0 && leaks[h.Name] >= h.MaxConcurrency
	})
}

// latest returns the last status.
func (in *instance) latest() *pluginv1.Status {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.reported
}

// ownWish returns why a plugin that announced its end wants it.
func (in *instance) ownWish() string {
	return strings.TrimSuffix("by itself: "+cut(in.latest().GetMessage(), maxNote), ": ")
}

// declaredCapacity returns how many attempts the plugin holds at once by its manifest.
func (in *instance) declaredCapacity() int {
	if in.manifest.MaxConcurrency > 0 {
		return in.manifest.MaxConcurrency
	}
	return in.opts.DefaultCapacity
}

// capacityLocked returns how many attempts it holds at once now. Leaked ones take their
// slots until they end: who fills the slots counts them, so nobody else does.
func (in *instance) capacityLocked() int {
	capacity := in.declaredCapacity()
	if c := in.reported.GetCapacity(); c > 0 {
		capacity = min(capacity, int(c))
	}
	return capacity
}

// silenceLeft returns how much longer the process may be silent.
func (in *instance) silenceLeft() time.Duration {
	if in.load() == 0 {
		return in.opts.HangTimeout
	}
	return in.opts.HangTimeout - (time.Since(in.born) - time.Duration(in.lastSeen.Load()))
}

// sawLife notes a sign of life, on the monotonic clock: the other one may jump.
func (in *instance) sawLife() { in.lastSeen.Store(int64(time.Since(in.born))) }

// crash ends an instance whose process ended or broke its streams.
func (in *instance) crash(broken string) ending {
	why := broken
	if in.launch.waitExit(exitGrace) {
		if in.leftOrderly() {
			return ending{cause: task.LossDrained, why: in.ownWish(), again: true}
		}
		why = in.launch.process.exit().String()
		if in.launch.process.exit().killed() {
			why += " (by somebody else, or out of memory)"
		}
	} else {
		in.launch.process.kill()
		in.launch.waitExit(killLimit)
	}
	return ending{cause: task.LossCrashed, why: in.crashCause(why), crashed: true}
}

// leftOrderly reports whether a process that ended had announced it and ended well.
func (in *instance) leftOrderly() bool {
	awaitClosed(in.watched, streamGrace)
	return in.latest().GetState() == pluginv1.State_STATE_DRAINING && in.launch.process.exit() == exit{}
}

// hung ends a process that does not do what it owes any more; its goroutines are kept in
// the crash report where it still writes them.
func (in *instance) hung(why string) ending {
	in.launch.process.dump()
	if !in.launch.waitExit(dumpGrace) {
		in.launch.process.kill()
		in.launch.waitExit(killLimit)
	}
	return ending{cause: task.LossHung, crashed: true, why: "hung: " + why}
}

// useful reports whether the instance finished an attempt or acknowledged an event.
func (in *instance) useful() bool { return in.completed.Load() > 0 || in.acked.Load() }

// drain lets the attempts end and stops the process. The end of life cuts it short, as
// the host does when it stops and loses patience.
func (in *instance) drain(life context.Context, why string, again bool) ending {
	limit := in.opts.DrainTimeout
	if in.stopIntake() {
		in.opts.Sink.InstanceDraining(in.id)
	}
	in.onState(task.PluginDraining, why)
	ctx, cancel := context.WithTimeout(life, limit)
	defer cancel()
	grace := in.opts.StopGrace
	if impatient := in.awaitIdle(ctx, in.askToDrain(ctx, limit)); impatient || life.Err() != nil {
		grace /= 8
	}
	if in.launch.waitExit(0) && in.launch.process.exit() != (exit{}) {
		return in.crash("") // before it was told to
	}
	in.abandon()
	in.launch.stop(grace)
	return ending{cause: task.LossDrained, why: why, again: again}
}

// askToDrain calls Drain and closes the channel when the plugin gives up on attempts.
func (in *instance) askToDrain(ctx context.Context, limit time.Duration) <-chan struct{} {
	gaveUp := make(chan struct{})
	in.wg.Go(func() {
		// A plugin that cannot drain is simply waited for: its results are what counts.
		resp, err := in.launch.services.plugin.Drain(ctx, &pluginv1.DrainRequest{Deadline: durationpb.New(limit)})
		if err == nil && resp.GetUnfinished() > 0 {
			close(gaveUp)
		}
	})
	return gaveUp
}

// awaitIdle waits until no attempt runs that may still end and nobody delivers events
// any more: to the end of ctx, or a short while longer than the plugin itself does. It reports whether the host, which
// stops, does not want to wait any longer.
func (in *instance) awaitIdle(ctx context.Context, gaveUp <-chan struct{}) (impatient bool) {
	late := time.NewTimer(resultGrace)
	late.Stop()
	defer late.Stop()
	var hostLimit <-chan struct{}
	for stopping := in.stop.begun; in.busy(); {
		select {
		case <-in.idle:
		case <-stopping:
			stopping, hostLimit = nil, in.stop.ctx.Done()
		case <-hostLimit:
			return true
		case <-gaveUp:
			gaveUp = nil
			late.Reset(resultGrace)
		case <-late.C:
			return false
		case <-in.launch.process.exited:
			return false
		case <-ctx.Done():
			return false
		}
	}
	return false
}

// stopIntake takes nothing more and keeps what waits from being sent; it reports
// whether it was open.
func (in *instance) stopIntake() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	was := !in.draining
	in.draining = true
	return was
}

// abandon cancels what still runs, so that handlers can tidy up.
func (in *instance) abandon() {
	in.mu.Lock()
	in.draining, in.abandoned = true, true
	var cancels []order
	for key := range in.attempts {
		cancels = append(cancels, order{cancel: &pluginv1.Cancel{AttemptId: key, Reason: cancelStopping}})
	}
	in.mu.Unlock()
	in.outbox.put(cancels...)
}

// cancelStopping is the reason of the cancels of a stop.
const cancelStopping = "host_stopping"

// close ends the streams after the process is gone. What arrived before is handed
// over first. It returns the attempts that were sent and never ended, in their order.
func (in *instance) close() []task.AttemptID {
	in.stopIntake()
	in.outbox.close()
	awaitClosed(in.received, streamGrace)
	in.cancel()
	in.wg.Wait()
	in.mu.Lock()
	defer in.mu.Unlock()
	var lost []task.AttemptID
	for _, h := range in.attempts {
		if h.timer != nil {
			h.timer.Stop()
		}
		if h.sent {
			lost = append(lost, h.id)
			h.count(outcomeLost)
		}
	}
	slices.SortFunc(lost, func(a, b task.AttemptID) int { return strings.Compare(a.String(), b.String()) })
	return lost
}

// load returns the number of attempts that it holds and that may still end.
func (in *instance) load() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.attempts) - in.leaked
}

// busy reports whether it holds attempts that may still end, or gets events.
func (in *instance) busy() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return len(in.attempts) > in.leaked || in.streams > 0
}

// addStream counts the open Deliver streams.
func (in *instance) addStream(n int) {
	in.mu.Lock()
	in.streams += n
	in.mu.Unlock()
	notify(in.idle)
}

// awaitClosed waits until a channel is closed, for d at most.
func awaitClosed(ch <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ch:
	case <-timer.C:
	}
}

// inFlight returns how many attempts of a handler it holds.
func (in *instance) inFlight(handler string) (n int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, h := range in.attempts {
		if h.handler == handler {
			n++
		}
	}
	return n
}

// notify wakes whoever waits on a channel of capacity one.
func notify(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// usage returns the capacity, the attempts held and how many of these are leaked.
func (in *instance) usage() (capacity, inFlight, leaked int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.told, len(in.attempts), in.leaked
}
