package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/tasker-engine/tasker/host/internal/logkeys"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

const (
	// handoverGrace is how long a stream that is no longer wanted waits for the answers
	// to what it holds.
	handoverGrace = 5 * time.Second
	// readRetry is the time between two readings of a log that cannot be read.
	readRetry = time.Second
	// maxFetches is how many documents a plugin may have asked for and not got. The SDK
	// asks for far fewer at once.
	maxFetches = 1 << 12
)

// link is one stream to an instance. Two goroutines use it: the subscription's sends and
// decides, the other one receives.
type link struct {
	s        *subscription
	instance string
	stream   Stream
	cancel   context.CancelFunc
	router   *router

	received chan struct{} // closed when the receiver has ended
	err      error         // why; read after received is closed
	frame    frame
	verdicts []verdict

	ids        map[*Binding]uint32 // as told on this stream
	told       []*pluginv1.Binding
	generation uint64 // of the bindings that were told
	seen       uint64 // the generation of bindings that the machine and the frame work with
	lastID     uint32
	nonce      uint64
	ahead      ahead

	guard *time.Timer // runs while a frame is being sent
	timer *time.Timer // of the sender's waits
	born  time.Time
	heard atomic.Int64 // the last frame came, or the last was begun to be sent: nanoseconds since born

	// Guarded by the subscription's lock.
	lost    bool // the process is gone
	cut     bool // ended on purpose, at once
	useful  bool // something was answered
	leaveBy time.Time
	wishes  bool                   // an event waits for its turn to be alone in the process
	fetches []*pluginv1.EventFetch // that have no answer yet
	idle    bool                   // it has nothing to do
}

func newLink(s *subscription, instance string, stream Stream, cancel context.CancelFunc, declared *Subscription) *link {
	return &link{
		s: s, instance: instance, stream: stream, cancel: cancel, router: newRouter(s.d.bindings, declared, s.log),
		received: make(chan struct{}), ids: make(map[*Binding]uint32), born: time.Now(),
	}
}

// step is what the pump has to do.
type step struct {
	want  want
	duty  duty
	leave bool // wait for answers only
	gone  bool // leave now
	scout bool // find what waits for a replay to end
	flush bool // the frame goes before anything else
	bury  bool
	lag   time.Duration // tell of it; 0 = do not
	until time.Time
}

// pump sends until the stream ends or is no longer wanted. It returns how it ended, and
// why when that was not wanted.
func (l *link) pump(ctx context.Context) (ending, error) {
	l.guard = time.AfterFunc(hangAfter, l.stuck)
	l.guard.Stop()
	defer l.guard.Stop()
	l.timer = time.NewTimer(hangAfter)
	defer l.timer.Stop()
	if err := l.open(); err != nil {
		return l.broken(ctx, err)
	}
	for {
		if is, how, err := l.over(ctx); is {
			return how, err
		}
		st := l.step()
		switch {
		case st.duty.hung:
			l.fail(fmt.Sprintf("no answer to a ping for %s", hangAfter))
			return endingBroken, errHangs
		case st.duty.stalled:
			return endingStalled, fmt.Errorf("no answer within %s", 2*l.router.sub.Timeout)
		case st.gone:
			_ = l.stream.CloseSend() // the plugin may have left, too
			return endingOrderly, nil
		}
		if err := l.act(ctx, &st); err != nil {
			return l.broken(ctx, err)
		}
	}
}

// over reports whether the stream has ended, and how.
func (l *link) over(ctx context.Context) (is bool, how ending, err error) {
	if over(ctx) {
		return true, endingOrderly, nil // or what the subscription knows
	}
	select {
	case <-l.received:
		how, err = l.broken(ctx, nil)
		return true, how, err
	default:
		return false, endingOrderly, nil
	}
}

// broken returns how a stream ended that cannot be used any more. Where the sender only
// knows that it did, the receiver knows why.
func (l *link) broken(ctx context.Context, err error) (ending, error) {
	if err != nil && !errors.Is(err, io.EOF) && ctx.Err() == nil {
		return endingBroken, err
	}
	select {
	case <-l.received:
	case <-ctx.Done():
	}
	switch {
	case over(ctx):
		return endingOrderly, nil
	case errors.Is(l.err, io.EOF):
		return endingOrderly, errLeft
	}
	return endingBroken, l.err
}

var (
	errHangs = errors.New("the plugin hangs")
	errLeft  = errors.New("the plugin closed it")
)

func over(ctx context.Context) bool { return ctx.Err() != nil }

// step asks the machine.
func (l *link) step() step {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.d.now()
	if generation := l.router.refresh(); generation != l.seen {
		if len(l.frame.items) > 0 {
			return step{flush: true} // a frame is of one generation
		}
		l.seen = generation
		s.m.heal() // other bindings may need other things
	}
	st := step{leave: s.targetLocked() != l.instance}
	switch {
	case !st.leave:
		l.leaveBy = time.Time{} // it may have been to leave for a while
	case l.leaveBy.IsZero():
		l.leaveBy = now.Add(handoverGrace)
	}
	st.gone = l.cut || l.lost || st.leave && (s.m.unanswered == 0 || !now.Before(l.leaveBy))
	st.duty = s.m.pulse.duty(s.m.timeout, now)
	st.until = st.duty.until
	if st.leave {
		st.until = earlier(st.until, l.leaveBy)
		return st
	}
	st.want = s.m.want(now, &l.frame)
	if l.wishes && !st.want.alone {
		l.leaveLocked() // what waited for its turn is not to be sent any more
	}
	st.bury = len(s.m.burials) > 0 && !now.Before(s.buryAt)
	if len(s.m.burials) > 0 && !st.bury {
		st.until = earlier(st.until, s.buryAt)
	}
	var next time.Time
	st.lag, next = s.lagLocked(now, l.ahead.since(s.m.live.next))
	st.scout = s.m.phase == phaseReplay && l.ahead.seq == 0
	st.until = earlier(earlier(st.until, st.want.until), next)
	return st
}

// act does what a step says. Errors: of the stream.
func (l *link) act(ctx context.Context, st *step) error {
	s := l.s
	if st.flush {
		return l.flush()
	}
	if st.lag > 0 {
		s.tellLag(ctx, st.lag)
	}
	if st.duty.ping {
		l.nonce++
		if err := l.send(&pluginv1.DeliverRequest{Kind: &pluginv1.DeliverRequest_Ping{Ping: &pluginv1.Ping{Nonce: l.nonce}}}); err != nil {
			return err
		}
	}
	if st.bury {
		s.tryBury(ctx)
	}
	if st.scout {
		l.scout(ctx)
	}
	if err := l.answerFetches(ctx); err != nil {
		return err
	}
	if st.want.wish == wishRead && !st.leave {
		return l.deliver(ctx, st)
	}
	if err := l.flush(); err != nil {
		return err
	}
	switch {
	case st.leave:
	case st.want.wish == wishControl:
		return l.restart()
	case st.want.wish == wishLetters:
		if err := s.loadLetters(ctx); err != nil && ctx.Err() == nil {
			return l.trouble(ctx, err)
		}
		return nil
	case st.want.wish == wishSolo:
		return l.deliverSolo(ctx, st)
	}
	l.wait(ctx, st.until, nil)
	return nil
}

// deliver reads the log where the machine wants it and sends what is wanted of it.
func (l *link) deliver(ctx context.Context, st *step) error {
	s := l.s
	w := st.want
	begun := time.Now()
	found, err := s.d.reader.read(ctx, w.seq)
	if err != nil {
		return l.trouble(ctx, err)
	}
	if found.cut > w.seq {
		s.skip(ctx, w.phase, found.cut)
		return nil
	}
	if len(found.entries) == 0 {
		if !l.mayHold() {
			if err := l.flush(); err != nil {
				return err
			}
		}
		l.caughtUp(ctx, found.rings, st.until)
		return nil
	}
	entries := found.entries[:min(len(found.entries), MaxBatchEvents)]
	if l.verdicts, err = l.router.route(ctx, entries, l.verdicts[:0]); err != nil {
		return l.trouble(ctx, err)
	}
	if l.router.generation != l.seen {
		return nil // bindings have changed meanwhile
	}
	s.mu.Lock()
	joined := l.joinLocked(w.alone)
	if joined {
		s.m.take(w, entries, l.verdicts, &l.frame, s.d.now())
		l.leaveLocked()
		s.noteLocked()
	}
	full := l.frame.full
	s.mu.Unlock()
	switch {
	case !joined:
		return l.turnedAway(ctx, st)
	case !full:
		return nil
	}
	err = l.flush()
	l.makeRoom(ctx, time.Since(begun))
	return err
}

// joinLocked asks whether events may be sent to the process, or whether one may have it to
// itself. The subscription is locked, so that nothing is answered in between.
func (l *link) joinLocked(alone bool) bool {
	joined := l.stream.Join(alone)
	l.wishes = alone && !joined
	return joined
}

// leaveLocked leaves the process to others when nothing is unanswered. The subscription is
// locked.
func (l *link) leaveLocked() {
	if l.s.m.unanswered == 0 {
		l.stream.Leave()
		l.wishes = false
	}
}

// turnedAway waits for room in the process, with what is already in its frame sent.
func (l *link) turnedAway(ctx context.Context, st *step) error {
	err := l.flush()
	if err == nil {
		l.wait(ctx, st.until, nil)
	}
	return err
}

// makeRoom rests after a full batch, which says that there is more of the log to send, for
// what goes on meanwhile.
func (l *link) makeRoom(ctx context.Context, worked time.Duration) {
	d := l.s.d
	rest := d.spacing.rest(worked, d.reader.bell.count(), time.Now())
	if rest == 0 || d.draining.Load() {
		return
	}
	d.spacing.begin()
	defer d.spacing.end()
	l.timer.Reset(rest)
	defer l.timer.Stop()
	select {
	case <-l.timer.C:
	case <-l.received:
	case <-ctx.Done():
	}
}

// mayHold reports whether a batch that is not full can wait for the next answer: then
// the subscriber has enough to do, and more of the log is there by then. In the order of
// tasks it cannot, for its events may be of tasks that wait for nothing.
func (l *link) mayHold() bool {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(l.frame.items) > 0 && s.m.order == OrderGlobal && s.m.inFlight() > 2
}

// caughtUp waits for the log to grow.
func (l *link) caughtUp(ctx context.Context, rings uint64, until time.Time) {
	rung := l.s.d.reader.bell.listen(rings)
	l.setIdle(true)
	l.wait(ctx, until, rung)
	l.setIdle(false)
}

func (l *link) setIdle(idle bool) {
	l.s.mu.Lock()
	l.idle = idle
	l.s.mu.Unlock()
	if idle {
		l.s.d.progressed()
	}
}

// wait waits until something changes, at most until a time; zero = for ever.
func (l *link) wait(ctx context.Context, until time.Time, rung <-chan struct{}) {
	var due <-chan time.Time
	if !until.IsZero() {
		l.timer.Reset(max(until.Sub(l.s.d.now()), 0))
		due = l.timer.C
		defer l.timer.Stop()
	}
	select {
	case <-l.s.wake:
	case <-rung:
	case <-due:
	case <-l.received:
	case <-ctx.Done():
	}
}

// trouble tells of what cannot be read, and waits.
func (l *link) trouble(ctx context.Context, err error) error {
	if over(ctx) {
		return nil
	}
	l.s.log.Error("events cannot be read; they are tried again", logkeys.Error, err)
	l.timer.Reset(readRetry)
	select {
	case <-l.timer.C:
	case <-l.received:
	case <-ctx.Done():
	}
	return nil
}

// deliverSolo sends the event that goes alone.
func (l *link) deliverSolo(ctx context.Context, st *step) error {
	s := l.s
	s.mu.Lock()
	now := s.d.now()
	next := s.m.nextSolo(now)
	s.mu.Unlock()
	if next == nil {
		return nil
	}
	verdicts, err := l.router.route(ctx, []*entry{next.entry}, nil)
	if err != nil {
		return l.trouble(ctx, err)
	}
	if l.router.generation != l.seen {
		return nil // bindings have changed meanwhile
	}
	s.mu.Lock()
	joined := l.joinLocked(st.want.alone)
	if joined {
		s.m.takeSolo(next, verdicts[0].through, &l.frame, now)
		l.leaveLocked()
	}
	s.mu.Unlock()
	if !joined {
		return l.turnedAway(ctx, st)
	}
	return l.flush()
}

// receive reads answers until the stream ends.
func (l *link) receive() {
	defer close(l.received)
	for {
		frame, err := l.stream.Recv()
		if err != nil {
			l.err = err
			return
		}
		l.alive()
		if err := l.answer(frame); err != nil {
			l.err = err
			return
		}
	}
}

// answer applies one frame of the plugin. Error: it is not one that the protocol allows.
func (l *link) answer(frame *pluginv1.DeliverResponse) error {
	s := l.s
	defer nudge(s.wake)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.link != l {
		return nil // the stream was cut
	}
	now := s.d.now()
	m := s.m
	away := len(m.outages)
	m.heard()
	switch k := frame.GetKind().(type) {
	case *pluginv1.DeliverResponse_Ack:
		l.useful = true
		m.ack(k.Ack.GetThrough(), k.Ack.GetSeqs(), now)
	case *pluginv1.DeliverResponse_Retry:
		l.useful = true
		l.retry(k.Retry, now)
	case *pluginv1.DeliverResponse_Reject:
		l.useful = true
		m.reject(k.Reject.GetSeq(), k.Reject.GetReason(), now)
	case *pluginv1.DeliverResponse_Fetch:
		if len(l.fetches) >= maxFetches {
			return fmt.Errorf("more than %d documents are asked for at once", maxFetches)
		}
		l.fetches = append(l.fetches, k.Fetch)
	case *pluginv1.DeliverResponse_Spans:
		if traces := s.d.opts.Traces; traces != nil {
			traces.Put(k.Spans.GetOtlp())
		}
	default: // pongs are signs of life; log lines are for others
	}
	if away > 0 && len(m.outages) == 0 {
		s.log.Info("what the subscriber needs is there again")
	}
	if !l.wishes {
		l.leaveLocked()
	}
	s.noteLocked()
	s.d.progressed()
	return nil
}

// retry applies a Retry. The subscription is locked.
func (l *link) retry(r *pluginv1.Retry, now time.Time) {
	m := l.s.m
	if !r.GetUnavailable() {
		m.retry(r.GetSeq(), r.GetAfter().AsDuration(), r.GetReason(), now)
		return
	}
	before := len(m.outages)
	m.unavailable(r.GetSeq(), r.GetAfter().AsDuration(), r.GetReason(), now)
	if len(m.outages) > before {
		l.s.log.Warn("what the subscriber needs is not there; its events wait", logkeys.Reason, cut(r.GetReason()))
	}
}
