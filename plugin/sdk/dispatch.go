package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// maxQueuedLogs bounds the log lines that wait for a slow host; further ones are counted and dropped.
const maxQueuedLogs = 4096

// dispatcher holds the attempts of the process. Its lock is also taken by the ticks of Watch, so that a
// dispatcher that hangs falls silent.
type dispatcher struct {
	decl    *declaration
	log     hclog.Logger
	tracing *tracing
	min     atomic.Int32 // lowest level of log lines that the host wants

	mu       sync.Mutex
	attempts map[string]*attempt // by id; those that have not queued their result
	open     *workStream         // the stream in use
	state    pluginv1.State
	troubles map[*binding]string // what is wrong with their configs
	dataDir  string
	idle     chan struct{}              // closed while there are no attempts
	watchers map[chan struct{}]struct{} // told when the state changes, and when the first attempt starts
}

func newDispatcher(decl *declaration, log hclog.Logger) *dispatcher {
	d := &dispatcher{
		decl: decl, log: log, tracing: newTracing(decl.plugin), state: pluginv1.State_STATE_READY,
		attempts: make(map[string]*attempt), idle: make(chan struct{}), watchers: make(map[chan struct{}]struct{}),
		troubles: make(map[*binding]string),
	}
	close(d.idle)
	d.min.Store(int32(hclog.Info))
	return d
}

func (d *dispatcher) level() hclog.Level { return hclog.Level(d.min.Load()) }

// Work serves the stream of attempts. It implements pluginv1.StepServiceServer through Server.
func (d *dispatcher) work(stream grpc.BidiStreamingServer[pluginv1.WorkRequest, pluginv1.WorkResponse]) error {
	ctx, stop := context.WithCancel(stream.Context())
	defer stop()
	w := &workStream{d: d, wake: make(chan struct{}, 1), flushed: make(chan struct{}), workers: workers{wake: make(chan struct{}), done: ctx.Done()}}
	if !d.claim(w) {
		return status.Error(codes.AlreadyExists, "a work stream is open: there is one per process")
	}
	go w.sendFrames(ctx, stream)

	err := w.receive(stream)
	if err == nil { // the host sends no more; what runs may end
		err = w.rest(ctx)
	}
	w.end()
	stop()
	<-w.flushed
	return err
}

// claim makes w the stream in use, unless there is one.
func (d *dispatcher) claim(w *workStream) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open != nil {
		return false
	}
	d.open = w
	return true
}

// begin registers an attempt. False = one of that id runs already.
func (d *dispatcher) begin(a *attempt) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	id := a.wire.GetAttemptId()
	if _, ok := d.attempts[id]; ok {
		return false
	}
	if len(d.attempts) == 0 {
		d.idle = make(chan struct{})
		d.tell()
	}
	d.attempts[id] = a
	return true
}

// done forgets an attempt. The lock is held.
func (d *dispatcher) done(a *attempt) {
	delete(d.attempts, a.wire.GetAttemptId())
	if len(d.attempts) == 0 {
		close(d.idle)
	}
}

// tell wakes the watchers. The lock is held.
func (d *dispatcher) tell() {
	for w := range d.watchers {
		wake(w)
	}
}

// drain changes the state for good.
func (d *dispatcher) drain() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state = pluginv1.State_STATE_DRAINING
	d.tell()
}

// status returns the state, why it is so, and the number of attempts.
func (d *dispatcher) status() (state pluginv1.State, why string, attempts int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.state != pluginv1.State_STATE_READY || len(d.troubles) == 0 {
		return d.state, "", len(d.attempts)
	}
	all := slices.Compact(slices.Sorted(maps.Values(d.troubles)))
	return pluginv1.State_STATE_DEGRADED, cut(strings.Join(all, "; "), maxMessage), len(d.attempts)
}

// report notes what is wrong with a binding's config, nil = nothing.
func (d *dispatcher) report(b *binding, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case b.gone:
		return
	case err == nil:
		delete(d.troubles, b)
	default:
		d.troubles[b] = fmt.Sprintf("subscriber %s: %s", b.sub.name, textOf(err))
	}
	d.tell()
}

// forgive forgets what is wrong with a binding that is no more.
func (d *dispatcher) forgive(b *binding) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b.gone = true
	if _, ok := d.troubles[b]; ok {
		delete(d.troubles, b)
		d.tell()
	}
}

func (d *dispatcher) setDataDir(dir string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dataDir = dir
}

// checking returns the context of a check, which belongs to no attempt and no event.
func (d *dispatcher) checking(ctx context.Context) context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	return context.WithValue(context.WithValue(ctx, loggerKey{}, d.log), dataDirKey{}, d.dataDir)
}

// untilIdle waits until no attempt is left and returns how many there still were when ctx ended.
func (d *dispatcher) untilIdle(ctx context.Context) int {
	for {
		d.mu.Lock()
		n, idle := len(d.attempts), d.idle
		d.mu.Unlock()
		if n == 0 {
			return 0
		}
		select {
		case <-idle:
		case <-ctx.Done():
			_, _, n = d.status()
			return n
		}
	}
}

// cancelAll cancels every attempt.
func (d *dispatcher) cancelAll(reason string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range d.attempts {
		a.cancel(&CancelError{Reason: reason})
	}
}

// wake leaves a token in a channel of capacity one.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// workStream is one Work stream: what waits to be sent on it. Its fields are guarded by the dispatcher's lock.
type workStream struct {
	d       *dispatcher
	wake    chan struct{}  // there is something to send
	flushed chan struct{}  // closed when the sender has ended
	running sync.WaitGroup // attempts that have not queued their result
	workers workers

	queue   []*queued
	logs    int  // log lines in the queue
	dropped int  // log lines dropped since the last one that was taken
	ended   bool // nothing is queued any more
	closing bool // the sender ends when the queue is empty
}

// queued is an update with its size on the wire.
type queued struct {
	update *pluginv1.Update
	size   int
	isLog  bool
}

// receive takes frames until the host sends no more, which is no error.
func (w *workStream) receive(stream grpc.BidiStreamingServer[pluginv1.WorkRequest, pluginv1.WorkResponse]) error {
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, at := range req.GetAttempts() {
			w.start(at)
		}
		for _, c := range req.GetCancels() {
			if a := w.attempt(c.GetAttemptId()); a != nil {
				a.cancel(&CancelError{Reason: c.GetReason()})
			}
		}
		for _, c := range req.GetChunks() {
			if a := w.attempt(c.GetAttemptId()); a != nil {
				a.chunk(c)
			}
		}
	}
}

// attempt returns a running attempt of this stream, nil when there is none of that id.
func (w *workStream) attempt(id string) *attempt {
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	if a := w.d.attempts[id]; a != nil && a.work == w {
		return a
	}
	return nil
}

// start runs an attempt, in a goroutine that it has to itself.
func (w *workStream) start(at *pluginv1.Attempt) {
	s := w.d.decl.find(at.GetHandler(), int(at.GetHandlerVersion()))
	if s == nil {
		w.refuse(at)
		return
	}
	a := &attempt{wire: at, work: w, spec: s}
	a.ctx, a.cancel = context.WithCancelCause(context.Background())
	release := func() {}
	if t := at.GetTimeout(); t != nil {
		a.ctx, release = context.WithTimeoutCause(a.ctx, t.AsDuration(), &CancelError{Reason: ReasonTimeout})
	}
	if !w.d.begin(a) {
		w.d.log.Warn("attempt is running already, ignoring it", "attempt", at.GetAttemptId())
		release()
		a.cancel(nil)
		return
	}
	a.release = release
	w.running.Add(1)
	w.workers.add(a)
}

// refuse answers an attempt at something that the plugin does not have.
func (w *workStream) refuse(at *pluginv1.Attempt) {
	what := fmt.Sprintf("handler %q", at.GetHandler())
	if w.d.decl.find(at.GetHandler(), 0) != nil {
		what = fmt.Sprintf("version %d of handler %q", at.GetHandlerVersion(), at.GetHandler())
	}
	err := fmt.Errorf("plugin %s %s has no %s; it has %s", w.d.decl.plugin.Name, w.d.decl.plugin.Version, what, w.d.decl.offered())
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	w.push(at.GetAttemptId(), &pluginv1.Update{Kind: &pluginv1.Update_Result{Result: &pluginv1.Result{
		Outcome: &pluginv1.Result_Error{Error: failure(context.Background(), Permanent(WithCode(err, CodeUnknownHandler)))},
	}}})
}

// send queues an update of an attempt that is not over. Log lines beyond the limit are dropped.
func (w *workStream) send(a *attempt, u *pluginv1.Update) {
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	if a.over || w.ended {
		return
	}
	_, isLog := u.GetKind().(*pluginv1.Update_Log)
	if isLog && w.logs >= maxQueuedLogs {
		w.dropped++
		return
	}
	if isLog && w.dropped > 0 {
		w.push(a.wire.GetAttemptId(), &pluginv1.Update{Kind: &pluginv1.Update_Log{Log: &pluginv1.Log{
			Level: hclog.Warn.String(), Message: fmt.Sprintf("%d log lines of this process were dropped: the host did not keep up", w.dropped),
		}}})
		w.dropped = 0
	}
	w.push(a.wire.GetAttemptId(), u).isLog = isLog
	if isLog {
		w.logs++
	}
}

// beat queues a heartbeat, merged into one that still waits.
func (w *workStream) beat(a *attempt, h *pluginv1.Heartbeat) {
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	if a.over || w.ended {
		return
	}
	if a.beat == nil {
		a.beat = w.push(a.wire.GetAttemptId(), &pluginv1.Update{Kind: &pluginv1.Update_Heartbeat{Heartbeat: h}})
		return
	}
	if len(h.GetCheckpoint()) == 0 {
		h.Checkpoint = a.beat.update.GetHeartbeat().GetCheckpoint()
	}
	a.beat.update.Kind = &pluginv1.Update_Heartbeat{Heartbeat: h}
	a.beat.size = proto.Size(a.beat.update)
}

// finish queues the result of an attempt and forgets it.
func (w *workStream) finish(a *attempt, r *pluginv1.Result) {
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	a.over = true
	if e := &a.end; !w.ended {
		e.kind.Result, e.update.Kind = r, &e.kind
		w.add(&e.queued, a.wire.GetAttemptId(), &e.update)
	}
	w.d.done(a)
	w.running.Done()
}

// push queues an update. The lock is held.
func (w *workStream) push(id string, u *pluginv1.Update) *queued {
	q := &queued{}
	w.add(q, id, u)
	return q
}

// add queues an update in a place that the caller has for it. The lock is held.
func (w *workStream) add(q *queued, id string, u *pluginv1.Update) {
	u.AttemptId = id
	q.update, q.size = u, proto.Size(u)
	w.queue = append(w.queue, q)
	wake(w.wake)
}

// sendFrames sends what is queued, as much of it in a frame as fits, until the stream ends.
func (w *workStream) sendFrames(ctx context.Context, stream grpc.BidiStreamingServer[pluginv1.WorkRequest, pluginv1.WorkResponse]) {
	defer close(w.flushed)
	for {
		frame, last := w.frame()
		if len(frame) > 0 {
			if err := stream.Send(&pluginv1.WorkResponse{Updates: frame}); err != nil {
				w.end()
				return
			}
			continue
		}
		if last {
			return
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return
		}
	}
}

// frame takes the next frame from the queue. Last = nothing will be queued any more.
func (w *workStream) frame() (updates []*pluginv1.Update, last bool) {
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	n, size := 0, 0
	if most := min(len(w.queue), pluginv1.MaxFrameItems); most > 0 {
		updates = make([]*pluginv1.Update, 0, most)
	}
	for n < len(w.queue) && n < pluginv1.MaxFrameItems {
		q := w.queue[n]
		if n > 0 && size+q.size > pluginv1.MaxFrameBytes {
			break
		}
		size += q.size
		n++
		updates = append(updates, q.update)
		if q.isLog {
			w.logs--
		}
		if q.update.GetHeartbeat() != nil {
			w.sent(q)
		}
	}
	clear(w.queue[:n])
	w.queue = w.queue[n:]
	return updates, w.closing && len(w.queue) == 0
}

// sent lets no later heartbeat be merged into one that is on its way. The lock is held.
func (w *workStream) sent(q *queued) {
	if a := w.d.attempts[q.update.GetAttemptId()]; a != nil && a.beat == q {
		a.beat = nil
	}
}

// rest lets the attempts end and sends what is queued.
func (w *workStream) rest(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		w.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	w.d.mu.Lock()
	w.closing = true
	w.d.mu.Unlock()
	wake(w.wake)
	select {
	case <-w.flushed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// end stops taking updates, cancels what still runs and lets another stream be opened.
func (w *workStream) end() {
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	w.ended, w.queue = true, nil
	for _, a := range w.d.attempts {
		if a.work == w {
			a.cancel(&CancelError{Reason: ReasonHostGone})
		}
	}
	if w.d.open == w {
		w.d.open = nil
	}
}
