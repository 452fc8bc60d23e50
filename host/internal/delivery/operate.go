package delivery

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// Limits of what operators ask for.
const (
	maxReplays  = 16 // of one subscription
	letterPage  = 64 // dead letters that are read at once
	startOfTime = 1  // the first sequence of a log
)

// List returns all subscriptions by name. Errors: of the store.
func (d *Delivery) List(ctx context.Context) ([]Status, error) {
	last, err := d.opts.Store.LastSeq(ctx)
	if err != nil {
		return nil, err
	}
	var out []Status
	for _, s := range d.all() {
		st, err := s.status(ctx, last)
		if err != nil {
			return nil, err
		}
		out = append(out, st)
	}
	slices.SortFunc(out, func(a, b Status) int { return strings.Compare(a.Cursor.Subscription, b.Cursor.Subscription) })
	return out, nil
}

func (s *subscription) status(ctx context.Context, last uint64) (Status, error) {
	host, _ := s.d.bindings.ofHost(s.name)
	st := Status{LastSeq: last}
	for _, b := range host {
		st.Bindings = append(st.Bindings, *b)
	}
	now := s.d.now()
	s.mu.Lock()
	if s.declared != nil {
		declared := *s.declared
		st.Declared = &declared
	}
	st.Cursor = *s.m.snapshot(nil)
	if s.link != nil {
		st.Instance = s.link.instance
		st.Unavailable = s.m.outagesNow()
	}
	st.Behind = last - min(last, st.Cursor.Through)
	st.Unacked, st.Dead = s.m.unanswered, s.m.dead
	st.State = s.stateLocked(st.Behind, now)
	placed := s.m.placed
	s.mu.Unlock()
	if st.Behind == 0 || !placed {
		st.Behind = 0
		return st, nil
	}
	var err error
	st.BehindFor, err = s.age(ctx, st.Cursor.Through, now)
	return st, err
}

// stateLocked says how the subscription is doing.
func (s *subscription) stateLocked(behind uint64, now time.Time) State {
	switch {
	case s.m.cursor.Paused != nil:
		return StatePaused
	case len(s.instances) == 0:
		return StateAbsent
	case s.m.retrying(now), s.resting:
		return StateRetrying
	case behind > 0 || s.m.unanswered > 0 || s.link == nil:
		return StateDelivering
	default:
		return StateCurrent
	}
}

// retrying reports whether an event waits to be delivered again.
func (m *machine) retrying(now time.Time) bool {
	if len(m.outages) > 0 {
		return true
	}
	for _, f := range m.live.failing {
		if f.RetryAt.After(now) {
			return true
		}
	}
	return false
}

// Pause holds a subscription until it is resumed, over restarts. Error: task.ErrTransition
// when it is paused, with since when, by whom and why: that stands. Errors of this and the
// methods below: task.ErrNotFound for an unknown subscription, of the store and of ctx.
func (d *Delivery) Pause(ctx context.Context, name string, op task.Operation) error {
	return d.operate(ctx, name, func(s *subscription, _ *store.DeliverySet) error {
		if p := s.m.cursor.Paused; p != nil {
			return fmt.Errorf("subscription %s is paused since %s, by %q, for %q: %w",
				name, p.At.Format(time.RFC3339), p.By, p.Reason, task.ErrTransition)
		}
		s.m.cursor.Paused = &store.Pause{At: d.now(), By: op.By, Reason: op.Reason}
		return nil
	})
}

// Resume lets a paused subscription go on, and one whose events wait for something that is
// not there try at once. Error: task.ErrTransition when it is neither.
func (d *Delivery) Resume(ctx context.Context, name string) error {
	return d.operate(ctx, name, func(s *subscription, _ *store.DeliverySet) error {
		if s.m.cursor.Paused == nil && len(s.m.outages) == 0 {
			return fmt.Errorf("subscription %s is not paused: %w", name, task.ErrTransition)
		}
		s.m.cursor.Paused = nil
		s.m.heal()
		return nil
	})
}

// Rewind moves the cursor to just before a position, back or forward, and forgets
// failures. It returns the sequence that is delivered next. What the subscriber holds at
// this moment may be delivered twice. Error: task.ErrInvalid for a place beyond the log.
func (d *Delivery) Rewind(ctx context.Context, name string, to Position) (uint64, error) {
	if _, err := d.find(name); err != nil {
		return 0, err
	}
	next, err := d.resolve(ctx, to)
	if err != nil {
		return 0, err
	}
	return next, d.operate(ctx, name, func(s *subscription, _ *store.DeliverySet) error {
		s.cutLinkLocked()
		s.m.rewind(next - 1)
		if !s.m.placed {
			s.m.place(next-1, d.now())
		}
		return nil
	})
}

// resolve returns the sequence of a position. A sequence before the log's begin stands:
// the gap is told of like any other.
func (d *Delivery) resolve(ctx context.Context, p Position) (uint64, error) {
	if !p.At.IsZero() {
		return d.opts.Store.SeqAt(ctx, p.At)
	}
	last, err := d.opts.Store.LastSeq(ctx)
	if err != nil {
		return 0, err
	}
	first, err := d.opts.Store.FirstSeq(ctx)
	if err != nil {
		return 0, err
	}
	if p.Seq > last+1 {
		return 0, fmt.Errorf("sequence %d: %w: the log ends with %d", p.Seq, task.ErrInvalid, last)
	}
	return max(p.Seq, first, startOfTime), nil
}

// Replay delivers a part of the log once more, before what is new, which waits meanwhile:
// from a position to another, of some types, none = all that the subscription wants. to
// zero is the end of the log now. Error: task.ErrInvalid for a part that is empty, and for too many replays.
func (d *Delivery) Replay(ctx context.Context, name string, from, to Position, types []string) error {
	if _, err := d.find(name); err != nil {
		return err
	}
	next, err := d.resolve(ctx, from)
	if err != nil {
		return err
	}
	last, err := d.opts.Store.LastSeq(ctx)
	if err != nil {
		return err
	}
	end := last
	switch {
	case !to.At.IsZero(): // what was recorded at that very time included
		if end, err = d.opts.Store.SeqAt(ctx, to.At.Add(time.Nanosecond)); err != nil {
			return err
		}
		end--
	case to.Seq > 0:
		end = min(to.Seq, last)
	}
	if next > end {
		return fmt.Errorf("replay from %d to %d: %w: there is no event in between", next, end, task.ErrInvalid)
	}
	return d.operate(ctx, name, func(s *subscription, _ *store.DeliverySet) error {
		c := &s.m.cursor
		if len(c.Replays) >= maxReplays {
			return fmt.Errorf("subscription %s has %d replays to go: %w", name, maxReplays, task.ErrInvalid)
		}
		c.Replays = append(slices.Clone(c.Replays), store.Replay{Next: next, To: end, Types: slices.Clone(types)})
		if s.m.replay == nil {
			s.m.startReplay()
		}
		return nil
	})
}

// Forget removes the cursor and the dead letters of a subscription. Error:
// task.ErrTransition for one that a plugin declares now.
func (d *Delivery) Forget(ctx context.Context, name string) error {
	return d.operate(ctx, name, func(s *subscription, ds *store.DeliverySet) error {
		if s.declared != nil || s.serving {
			return fmt.Errorf("subscription %s is declared by a plugin that is ready: %w", name, task.ErrTransition)
		}
		ds.Forgotten = []string{name}
		return nil
	})
}

// operate changes a subscription, writes its cursor and whatever else change adds, and
// waits until that is durable.
func (d *Delivery) operate(ctx context.Context, name string, change func(*subscription, *store.DeliverySet) error) error {
	s, err := d.find(name)
	if err != nil {
		return err
	}
	if err := s.acquire(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	declared := s.declared
	s.mu.Unlock()
	if declared != nil { // one that is new has no cursor to change yet
		if err := s.place(ctx, declared); err != nil {
			s.written()
			return err
		}
	}
	return s.apply(ctx, change)
}

// apply is operate for a subscription whose writes are acquired; it lets them go.
func (s *subscription) apply(ctx context.Context, change func(*subscription, *store.DeliverySet) error) error {
	ds := &store.DeliverySet{}
	s.mu.Lock()
	err := change(s, ds)
	if err == nil && len(ds.Forgotten) == 0 && s.m.placed {
		ds.Cursors = []*store.Cursor{s.m.snapshot(nil)}
		s.m.dirty, s.m.urgent = false, false
	}
	s.mu.Unlock()
	if err != nil {
		s.written()
		return err
	}
	if len(ds.Forgotten) > 0 {
		s.d.remove(s)
	}
	done := make(chan error, 1)
	s.d.opts.Store.Submit(&store.WriteSet{Delivery: ds}, func(_ store.Commit, err error) {
		if err != nil {
			s.restoreDirty(nil)
		}
		s.written()
		done <- err
	})
	s.engage()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// RetryDead delivers dead letters again: those of the sequences, or all when there are
// none. It returns how many.
func (d *Delivery) RetryDead(ctx context.Context, name string, seqs []uint64) (int, error) {
	n, err := d.letters(ctx, name, seqs, func(_ *subscription, ds *store.DeliverySet, found []store.DeadLetter) {
		for i := range found {
			found[i].Retry = true
			ds.DeadLetters = append(ds.DeadLetters, &found[i])
		}
	})
	if s, missing := d.find(name); missing == nil && n > 0 {
		s.mu.Lock()
		s.m.retryLetters() // they are in the store by now, or will be when it is opened again
		s.mu.Unlock()
		s.engage()
	}
	return n, err
}

// DiscardDead removes dead letters: those of the sequences, or all when there are none.
// It returns how many.
func (d *Delivery) DiscardDead(ctx context.Context, name string, seqs []uint64) (int, error) {
	return d.letters(ctx, name, seqs, func(s *subscription, ds *store.DeliverySet, found []store.DeadLetter) {
		for i := range found {
			ds.Settled = append(ds.Settled, found[i].DeadLetterID)
			s.m.drop(found[i].Seq)
		}
		s.m.dead -= len(found)
	})
}

// letters applies a change to dead letters, page by page.
func (d *Delivery) letters(
	ctx context.Context, name string, seqs []uint64,
	change func(*subscription, *store.DeliverySet, []store.DeadLetter),
) (count int, err error) {
	s, err := d.find(name)
	if err != nil {
		return 0, err
	}
	for after := uint64(0); ; {
		if err := s.acquire(ctx); err != nil {
			return count, err
		}
		page, err := d.opts.Store.DeadLetters(ctx, name, after, letterPage)
		if err != nil || len(page) == 0 {
			s.written()
			return count, err
		}
		last := len(page) < letterPage
		after = page[len(page)-1].Seq
		err = s.apply(ctx, func(s *subscription, ds *store.DeliverySet) error {
			page = slices.DeleteFunc(page, func(l store.DeadLetter) bool {
				return len(seqs) > 0 && !slices.Contains(seqs, l.Seq) || slices.Contains(s.m.settled, l.DeadLetterID)
			})
			change(s, ds, page)
			count += len(page)
			return nil
		})
		if err != nil || last {
			return count, err
		}
	}
}

// drop takes a letter that is discarded out of what is retried.
func (m *machine) drop(seq uint64) {
	m.letters = slices.DeleteFunc(m.letters, func(l *solo) bool { return l.letter.Seq == seq })
	m.burials = slices.DeleteFunc(m.burials, func(b burial) bool { return b.letter != nil && b.seq == seq })
	if m.solo != nil && m.solo.letter != nil && m.solo.letter.Seq == seq {
		m.solo.dropped = true
	}
}

// loadLetters reads the next dead letters that are to be retried. No write is under way
// meanwhile: what is settled is known, or gone from the store.
func (s *subscription) loadLetters(ctx context.Context) error {
	if err := s.acquire(ctx); err != nil {
		return err
	}
	defer s.written()
	s.mu.Lock()
	after := s.m.lettersAfter
	s.mu.Unlock()
	page, err := s.d.opts.Store.DeadLetters(ctx, s.name, after, letterPage)
	if err != nil {
		return err
	}
	next := uint64(0) // the end
	if len(page) == letterPage {
		next = page[letterPage-1].Seq
	}
	var found []*solo
	for i := range page {
		l := &page[i]
		if !l.Retry {
			continue
		}
		e, err := newEntry(l.Seq, l.Encoded)
		if err != nil {
			s.log.Error("a dead letter cannot be read", logkeys.Seq, l.Seq, logkeys.Error, err)
			continue
		}
		found = append(found, &solo{entry: e, letter: l})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.m.addLetters(found, after, next)
	return nil
}

// retryLetters says that the store has letters that are to be retried.
func (m *machine) retryLetters() { m.moreLetters, m.lettersAfter = true, 0 }

// addLetters adds letters that are to be retried, but for those that it knows. They were
// read from after on; what follows begins after next, 0 = nothing does.
func (m *machine) addLetters(found []*solo, after, next uint64) {
	if m.lettersAfter == after { // else it begins anew
		m.moreLetters, m.lettersAfter = next > 0, next
	}
	for _, l := range found {
		seq := l.letter.Seq
		known := m.solo != nil && m.solo.letter != nil && m.solo.letter.Seq == seq ||
			slices.ContainsFunc(m.letters, func(o *solo) bool { return o.letter.Seq == seq }) ||
			slices.ContainsFunc(m.settled, func(id store.DeadLetterID) bool { return id.Seq == seq }) ||
			slices.ContainsFunc(m.burials, func(b burial) bool { return b.letter != nil && b.seq == seq })
		if !known {
			m.letters = append(m.letters, l)
		}
	}
}

// Try delivers one encoded event outside of the log and of the cursor, and waits for the
// answer; timeout zero = the subscription's. Errors: task.ErrTransition when its plugin is
// not ready or the subscription is paused, and when the stream ends before the answer;
// task.ErrInvalid for what is no event; of ctx.
func (d *Delivery) Try(ctx context.Context, name string, encoded []byte, timeout time.Duration) (Outcome, error) {
	s, err := d.find(name)
	if err != nil {
		return Outcome{}, err
	}
	e, err := newEntry(d.nextTrial(), encoded)
	if err != nil {
		return Outcome{}, fmt.Errorf("%w: %w", task.ErrInvalid, err)
	}
	type answer struct {
		outcome Outcome
		err     error
	}
	answered := make(chan answer, 1)
	trial := &solo{entry: e, answer: func(o Outcome, err error) { answered <- answer{o, err} }}
	s.mu.Lock()
	if s.targetLocked() == "" {
		s.mu.Unlock()
		return Outcome{}, fmt.Errorf("subscription %s is not being served: %w", name, task.ErrTransition)
	}
	if timeout <= 0 {
		timeout = s.declared.Timeout
	}
	s.m.trials = append(s.m.trials, trial)
	s.mu.Unlock()
	nudge(s.wake)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	select {
	case a := <-answered:
		return a.outcome, a.err
	case <-ctx.Done():
		s.mu.Lock()
		s.m.trials = slices.DeleteFunc(s.m.trials, func(t *solo) bool { return t == trial })
		s.mu.Unlock()
		return Outcome{}, fmt.Errorf("subscription %s: no answer: %w", name, ctx.Err())
	}
}

// Route reports whether an encoded event would go to a subscription that is declared now,
// and through which binding, nil = as it is declared. Errors: task.ErrTransition when it
// is not declared, task.ErrInvalid for what is no event.
func (d *Delivery) Route(ctx context.Context, name string, encoded []byte) (through *Binding, wanted bool, err error) {
	s, err := d.find(name)
	if err != nil {
		return nil, false, err
	}
	s.mu.Lock()
	declared := s.declared
	s.mu.Unlock()
	if declared == nil {
		return nil, false, fmt.Errorf("the plugin of subscription %s is not ready: %w", name, task.ErrTransition)
	}
	e, err := newEntry(0, encoded)
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", task.ErrInvalid, err)
	}
	verdicts, err := newRouter(d.bindings, declared, s.log).route(ctx, []*entry{e}, nil)
	if err != nil {
		return nil, false, err
	}
	return verdicts[0].through, verdicts[0].wanted, nil
}

// skip follows a cut of the log, and tells of the gap.
func (s *subscription) skip(ctx context.Context, p phase, first uint64) {
	if s.acquire(ctx) != nil {
		return
	}
	now := s.d.now()
	s.mu.Lock()
	from, through := s.m.skip(p, first, now)
	if from == 0 {
		s.mu.Unlock()
		s.written()
		return
	}
	ws := &store.WriteSet{Delivery: &store.DeliverySet{Cursors: []*store.Cursor{s.m.snapshot(nil)}}}
	s.mu.Unlock()
	s.log.Warn("events were cut from the log before they could be delivered", logkeys.From, from, logkeys.Through, through)
	s.d.opts.Publisher.SubscriberGap(s.name, from, through, now, ws, func(err error) {
		if err != nil {
			s.log.Error("a gap is not recorded", logkeys.From, from, logkeys.Through, through, logkeys.Error, err)
			s.restoreDirty(nil)
		}
		s.written()
	})
}

// startOf returns the sequence that a new subscription begins with.
func (d *Delivery) startOf(ctx context.Context, start Start) (uint64, error) {
	switch {
	case !start.At.IsZero():
		return d.opts.Store.SeqAt(ctx, start.At)
	case start.Beginning:
		first, err := d.opts.Store.FirstSeq(ctx)
		return max(first, startOfTime), err
	default:
		return d.openedAt + 1, nil
	}
}
