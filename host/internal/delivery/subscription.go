package delivery

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// subscription is one subscription of a host: its machine, and who serves it. It has a
// goroutine while an instance is there to be served and nobody holds it.
type subscription struct {
	d    *Delivery
	name string
	log  hclog.Logger

	wake    chan struct{} // something has changed
	writing chan struct{} // holds a value while a write of its cursor or dead letters is under way

	mu        sync.Mutex
	m         *machine
	declared  *Subscription // nil = by no plugin that is ready
	instances []connected   // that are ready, the newest last
	serving   bool
	resting   bool  // the last stream failed, the next one has to wait
	link      *link // the stream, nil = none
	noted     bool  // the saver knows that it is dirty
	buryAt    time.Time
	since     time.Time // when it could be served last
}

// connected is an instance that is ready, and what it declares.
type connected struct {
	id       string
	declared *Subscription
}

func newSubscription(d *Delivery, c store.Cursor) *subscription {
	return &subscription{
		d: d, name: c.Subscription, log: d.log.With(logkeys.Subscription, c.Subscription),
		wake: make(chan struct{}, 1), writing: make(chan struct{}, 1),
		m: newMachine(c, rand.Float64, d.now()),
	}
}

// connect says that an instance is ready.
func (s *subscription) connect(instance string, declared Subscription) {
	s.mu.Lock()
	s.dropLocked(instance)
	s.instances = append(s.instances, connected{id: instance, declared: &declared})
	s.declared = &declared
	s.mu.Unlock()
	s.engage()
}

// disconnect says that an instance is not to be served any more. When it is lost its
// stream is broken, whatever it says.
func (s *subscription) disconnect(instance string, lost bool) {
	s.mu.Lock()
	connected := s.dropLocked(instance)
	if l := s.link; lost && l != nil && l.instance == instance {
		if connected { // it was not told to drain before
			l.lost = true
		}
		l.cancel()
	}
	s.mu.Unlock()
	nudge(s.wake)
}

// dropLocked forgets an instance: what the newest of the others declares counts again. It
// reports whether it was there.
func (s *subscription) dropLocked(instance string) bool {
	i := slices.IndexFunc(s.instances, func(c connected) bool { return c.id == instance })
	if i < 0 {
		return false
	}
	s.instances = slices.Delete(s.instances, i, i+1)
	s.declared = nil
	if n := len(s.instances); n > 0 {
		s.declared = s.instances[n-1].declared
	}
	return true
}

// engage starts the goroutine when there is something to serve, and wakes it else.
func (s *subscription) engage() {
	s.mu.Lock()
	start := !s.serving && s.targetLocked() != "" && s.d.begin()
	if start {
		s.serving = true
		s.since = s.d.now()
	}
	s.mu.Unlock()
	if start {
		go s.serve(s.d.ctx)
	}
	nudge(s.wake)
}

// targetLocked returns the instance to serve, empty = none.
func (s *subscription) targetLocked() string {
	if s.m.cursor.Paused != nil || s.declared == nil || len(s.instances) == 0 || s.d.stopped() {
		return ""
	}
	return s.instances[len(s.instances)-1].id
}

// target returns the instance to serve. When there is none the goroutine has to end.
func (s *subscription) target(ctx context.Context) (string, Subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	instance := s.targetLocked()
	if instance == "" || ctx.Err() != nil {
		s.serving = false
		return "", Subscription{}
	}
	return instance, *s.declared
}

// serve serves one instance after the other. It ends when there is none.
func (s *subscription) serve(ctx context.Context) {
	defer s.d.end()
	for failures := uint32(0); ; {
		instance, declared := s.target(ctx)
		if instance == "" {
			return
		}
		useful, err := s.session(ctx, instance, &declared)
		if failures++; useful || err == nil {
			failures = 1
		}
		if err != nil {
			s.rest(ctx, instance, s.m.backoff(failures, 0), err)
		}
	}
}

// rest waits before an instance whose stream failed is served again: another one need
// not wait.
func (s *subscription) rest(ctx context.Context, instance string, wait time.Duration, cause error) {
	s.log.Debug("the stream ended", logkeys.Instance, instance, logkeys.Cause, cause)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		s.mu.Lock()
		same := s.targetLocked() == instance
		s.resting = same
		s.mu.Unlock()
		s.d.progressed()
		if !same {
			return // the process has ended, too, which others tell of
		}
		select {
		case <-s.wake:
		case <-timer.C:
			s.log.Warn("the stream to a subscriber ended; it is opened again", logkeys.Instance, instance, logkeys.Cause, cause)
			return
		case <-ctx.Done():
			return
		}
	}
}

// session serves an instance over one stream. It returns whether the stream was of use,
// and why it ended unless that was wanted.
func (s *subscription) session(ctx context.Context, instance string, declared *Subscription) (useful bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := s.place(ctx, declared); err != nil {
		return false, err
	}
	l, err := s.open(ctx, cancel, instance, declared)
	if err != nil {
		return false, err
	}
	how, err := l.pump(ctx)
	cancel()
	<-l.received
	s.close(l, how, err)
	if buryErr := s.buryAll(context.WithoutCancel(ctx)); buryErr != nil && err == nil {
		err = buryErr
	}
	return l.useful, err
}

// place gives a new subscription its place in the log.
func (s *subscription) place(ctx context.Context, declared *Subscription) error {
	s.mu.Lock()
	placed := s.m.placed
	s.mu.Unlock()
	if placed {
		return nil
	}
	next, err := s.d.startOf(ctx, declared.Start)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.m.placed {
		s.m.place(next-1, s.d.now())
		s.noteLocked()
	}
	return nil
}

// open opens a stream and makes it the subscription's.
func (s *subscription) open(ctx context.Context, cancel context.CancelFunc, instance string, declared *Subscription) (*link, error) {
	stream, err := s.d.opts.Streams.OpenStream(ctx, instance)
	if err != nil {
		return nil, err
	}
	l := newLink(s, instance, stream, cancel, declared)
	s.mu.Lock()
	s.m.configure(declared)
	s.link, s.resting = l, false
	s.mu.Unlock()
	go l.receive()
	return l, nil
}

// close follows the end of a stream.
func (s *subscription) close(l *link, how ending, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.link = nil
	switch {
	case l.lost:
		how = endingBroken
	case l.cut, !l.leaveBy.IsZero():
		how = endingOrderly
	}
	reason := "the stream was closed"
	if err != nil {
		reason = cut(err.Error())
	}
	s.m.ended(how, reason, s.d.now())
	s.noteLocked()
}

// cutLinkLocked ends the stream at once; what is in flight comes again, and counts nothing. The
// caller has acquired the writes.
func (s *subscription) cutLinkLocked() {
	if s.link == nil {
		return
	}
	s.m.ended(endingOrderly, "an operator moved the subscription", s.d.now())
	s.link.cut = true
	s.link.cancel()
	s.link = nil
}

// noteLocked tells the saver when the cursor has changed.
func (s *subscription) noteLocked() {
	if s.m.dirty && (!s.noted || s.m.urgent) {
		s.noted = true
		s.d.saver.note(s, s.m.urgent)
		s.m.urgent = false
	}
}

// takeDirty returns the cursor and the settled dead letters that are to be written, nil =
// none.
func (s *subscription) takeDirty() (*store.Cursor, []store.DeadLetterID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noted = false
	settled := s.m.settled
	s.m.settled = nil
	if !s.m.dirty || !s.m.placed {
		return nil, settled
	}
	s.m.dirty, s.m.urgent = false, false
	return s.m.snapshot(nil), settled
}

// restoreDirty takes back what was not written.
func (s *subscription) restoreDirty(settled []store.DeadLetterID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.m.settled = append(s.m.settled, settled...)
	s.m.dirty = true
}

// acquire waits until nothing of the subscription is being written, and keeps others from
// writing. Errors: of ctx.
func (s *subscription) acquire(ctx context.Context) error {
	select {
	case s.writing <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// written lets others write.
func (s *subscription) written() {
	<-s.writing
	s.mu.Lock()
	s.noteLocked()
	s.mu.Unlock()
	nudge(s.wake)
}

// buryAll writes the dead letters that are due, and waits for it.
func (s *subscription) buryAll(ctx context.Context) error {
	for {
		s.mu.Lock()
		due := len(s.m.burials) > 0
		s.mu.Unlock()
		if !due {
			return nil
		}
		if err := s.acquire(ctx); err != nil {
			return err
		}
		done := make(chan error, 1)
		if !s.bury(ctx, func(err error) { done <- err }) {
			return nil
		}
		if err := <-done; err != nil {
			return err
		}
	}
}

// tryBury writes the first dead letter that is due, unless something is being written.
func (s *subscription) tryBury(ctx context.Context) {
	select {
	case s.writing <- struct{}{}:
		s.bury(ctx, func(error) {})
	default: // its end wakes the subscription
	}
}

// bury writes the first dead letter that is due and calls done. The caller has acquired
// the writes; they are let go at the end. It reports whether there was one.
func (s *subscription) bury(ctx context.Context, done func(error)) bool {
	s.mu.Lock()
	if len(s.m.burials) == 0 {
		s.mu.Unlock()
		s.written()
		return false
	}
	b := s.m.burials[0]
	s.mu.Unlock()
	letter, fresh, err := s.letterOf(ctx, &b)
	finish := func(err error) {
		s.mu.Lock()
		if err == nil {
			s.m.buried(fresh, s.d.now())
			s.buryAt = time.Time{}
		} else {
			s.buryAt = s.d.now().Add(saveEvery)
			s.log.Error("a dead letter is not written; it is tried again", logkeys.Seq, b.seq, logkeys.Error, err)
		}
		s.mu.Unlock()
		s.written()
		done(err)
	}
	if err != nil || letter == nil { // letter nil: the log has lost it
		finish(err)
		return true
	}
	h, err := scanHeader(letter.Encoded)
	if err != nil {
		finish(err)
		return true
	}
	s.mu.Lock()
	ws := &store.WriteSet{Delivery: &store.DeliverySet{
		Cursors: []*store.Cursor{s.m.snapshot(&b)}, DeadLetters: []*store.DeadLetter{letter},
	}}
	s.mu.Unlock()
	s.log.Warn("an event is put aside: the subscriber cannot handle it",
		about(letter.Encoded).With(logkeys.Seq, b.seq, logkeys.Type, string(h.kind), logkeys.Deliveries, b.deliveries, logkeys.Reason, b.reason)...)
	if h.about() != "" { // else two subscribers that refuse what is told of each other never end
		s.d.opts.Store.Submit(ws, func(_ store.Commit, err error) { finish(err) })
		return true
	}
	s.d.opts.Publisher.SubscriberDeadLettered(task.DeadLetter{
		Subscription: s.name, Seq: b.seq, EventID: string(h.id), EventType: string(h.kind), Task: task.ID(h.task),
		Reason: b.reason, Deliveries: b.deliveries,
	}, letter.At, ws, finish)
	return true
}

// letterOf returns the dead letter of a burial, nil when the log has lost the event, and
// whether the store has none of that event yet.
func (s *subscription) letterOf(ctx context.Context, b *burial) (letter *store.DeadLetter, fresh bool, err error) {
	if b.letter != nil {
		letter := *b.letter
		letter.At = s.d.now()
		return &letter, false, nil
	}
	e, err := s.d.reader.entry(ctx, b.seq)
	if err != nil || e == nil {
		return nil, false, err
	}
	known, err := s.d.opts.Store.DeadLetters(ctx, s.name, b.seq-1, 1)
	if err != nil {
		return nil, false, err
	}
	return &store.DeadLetter{
		DeadLetterID: store.DeadLetterID{Subscription: s.name, Seq: b.seq},
		Encoded:      e.encoded, At: s.d.now(), Reason: b.reason, Deliveries: b.deliveries,
	}, len(known) == 0 || known[0].Seq != b.seq, nil
}

// errUnanswered is the error of a trial whose stream ended before the answer.
var errUnanswered = errors.New("the subscriber gave no answer")
