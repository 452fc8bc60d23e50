package delivery

import (
	"math"
	"slices"
	"time"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// machine is the state of one subscription: what it was sent, what it answered, what is
// to be sent next. It does nothing by itself: it reads no log and no clock and starts no
// goroutine. Its owner asks it for the next thing to do (want), hands it what was read
// (take) and what came back (ack, retry, reject, ended).
type machine struct {
	order       Order
	window      int
	maxAttempts uint32
	timeout     time.Duration
	jitter      func() float64 // 0 to 1

	cursor store.Cursor // Through, Failing and Careful lie in live
	placed bool         // the cursor has a place in the log
	live   *track
	replay *track // of the first of the cursor's replays, nil = none

	phase   phase
	solo    *solo // what is in flight in the phases of one event at a time
	trials  []*solo
	letters []*solo
	// moreLetters: the store may have letters to retry that are not in letters.
	moreLetters  bool
	lettersAfter uint64 // those up to here were looked at
	dead         int    // dead letters in the store

	batches    [MaxWindow]int // unanswered events of each batch
	unanswered int
	alone      bool     // what is unanswered must stay alone
	restarts   []string // lanes that the plugin is to be told of
	burials    []burial
	gap        uint64 // the log has lost what is up to here, which the plugin may not know; 0 = nothing
	gapIn      int    // the batch in flight that tells of it, -1 = none

	outages map[*Binding]*outage // by the binding of the events that wait

	pulse   pulse
	lagging bool // it was told that it lags
	dirty   bool // the cursor has changed
	urgent  bool // it has changed in a way that must not be lost
	settled []store.DeadLetterID
}

// phase is what is being delivered. Phases do not mix: nothing is in flight when one
// follows another.
type phase uint8

// The phases, the most urgent last.
const (
	phaseLive phase = iota
	phaseReplay
	phaseLetter
	phaseTrial
)

// solo is an event that goes alone and is in no track: a trial or a retried dead letter.
type solo struct {
	entry    *entry
	letter   *store.DeadLetter // nil = a trial
	failures uint32            // of the letter, since it is retried
	kills    uint32
	retryAt  time.Time
	answer   func(Outcome, error) // of the trial
	sentAt   time.Time
	through  *Binding
	dropped  bool // the letter was discarded meanwhile
}

// burial is an event that is to become a dead letter.
type burial struct {
	phase      phase
	seq        uint64
	deliveries uint32
	reason     string
	letter     *store.DeadLetter // of the phase of letters
}

// item is one event of a frame.
type item struct {
	entry    *entry
	delivery uint32
	through  *Binding // nil = the declared subscription
}

// frame is a batch that is being put together. It is used again and again.
type frame struct {
	items []item
	bytes int
	full  bool
	batch uint8
	gap   uint64
}

func (f *frame) reset() {
	clear(f.items)
	f.items, f.bytes, f.gap, f.full = f.items[:0], 0, 0, false
}

// fits reports whether an event may join the frame. One that may not makes it full.
func (f *frame) fits(e *entry) bool {
	if len(f.items) > 0 && f.bytes+len(e.encoded) > MaxBatchBytes {
		f.full = true
	}
	return !f.full
}

// add adds an event, which fits.
func (f *frame) add(it item) {
	f.items = append(f.items, it)
	f.bytes += len(it.entry.encoded)
	f.full = len(f.items) >= MaxBatchEvents || f.bytes >= MaxBatchBytes
}

// verdict says whether an event is wanted, and through which binding.
type verdict struct {
	wanted  bool
	through *Binding
}

// wish is what a machine wants next.
type wish uint8

const (
	wishWait    wish = iota // an answer, or a time
	wishControl             // send the restarts
	wishLetters             // read dead letters that are to be retried
	wishSolo                // send the solo event
	wishRead                // read the log from seq on
)

type want struct {
	wish  wish
	phase phase
	seq   uint64    // wishRead
	again bool      // wishRead: of records, not from next on
	alone bool      // wishRead, wishSolo: the event must have the process to itself
	until time.Time // when there is something to do at the latest; zero = never
}

// newMachine makes the machine of a cursor; one without CreatedAt is not placed yet. A
// retry further ahead than any can be was noted by a clock that was wrong: it comes soon.
func newMachine(c store.Cursor, jitter func() float64, now time.Time) *machine {
	m := &machine{cursor: c, jitter: jitter, placed: !c.CreatedAt.IsZero(), outages: make(map[*Binding]*outage), gapIn: -1}
	m.live = newTrack(c.Through, math.MaxUint64)
	m.live.careful = c.Careful
	for i := range c.Failing {
		f := c.Failing[i]
		if f.RetryAt.After(now.Add(maxAfter)) {
			f.RetryAt = now.Add(backoffCap)
		}
		m.live.failing[f.Seq] = &f
		m.live.known = max(m.live.known, f.Seq)
	}
	m.cursor.Failing = nil
	m.startReplay()
	return m
}

// configure applies what a plugin declares. Nothing is in flight, and what another process
// of the plugin found out of reach is tried anew.
func (m *machine) configure(s *Subscription) {
	m.heal()
	if m.order != s.Order {
		m.order = s.Order
		m.live = m.live.restarted()
		if m.replay != nil {
			m.replay = m.replay.restarted()
		}
	}
	m.window = s.Window
	m.maxAttempts = uint32(s.MaxAttempts) //nolint:gosec // checked with the declaration
	m.timeout = s.Timeout
}

// restarted returns a track that begins again after what is done.
func (t *track) restarted() *track {
	n := newTrack(t.through, t.to)
	n.failing, n.careful, n.known = t.failing, t.careful, t.next
	return n
}

// place puts a new subscription into the log.
func (m *machine) place(through uint64, now time.Time) {
	m.live = newTrack(through, math.MaxUint64)
	m.cursor.CreatedAt = now
	m.placed = true
	m.changed(true)
}

// startReplay makes the track of the first replay.
func (m *machine) startReplay() {
	m.replay = nil
	if len(m.cursor.Replays) > 0 {
		r := m.cursor.Replays[0]
		m.replay = newTrack(r.Next-1, r.To)
	}
}

// snapshot returns the cursor as it is to be stored once the event of a burial is done,
// nil = as it is.
func (m *machine) snapshot(b *burial) *store.Cursor {
	c := m.cursor
	var live, replay uint64
	if b != nil && b.phase == phaseLive {
		live = b.seq
	}
	if b != nil && b.phase == phaseReplay {
		replay = b.seq
	}
	c.Through, c.Careful = m.live.throughWithout(live), m.live.careful
	if c.Careful <= c.Through {
		c.Careful = 0
	}
	c.Replays = slices.Clone(c.Replays)
	if m.replay != nil {
		c.Replays[0].Next = m.replay.throughWithout(replay) + 1
		if c.Replays[0].Next > c.Replays[0].To {
			c.Replays = c.Replays[1:]
		}
	}
	for seq, f := range m.live.failing {
		if seq != live && seq > c.Through {
			c.Failing = append(c.Failing, *f)
		}
	}
	slices.SortFunc(c.Failing, func(a, b store.Failing) int {
		if a.Seq < b.Seq {
			return -1
		}
		return 1
	})
	c.Failing = c.Failing[:min(len(c.Failing), store.MaxFailing)]
	return &c
}

// changed notes that the cursor has to be written.
func (m *machine) changed(urgent bool) {
	m.dirty = true
	m.urgent = m.urgent || urgent
}

// track returns the track of a phase, nil for phases of one event at a time.
func (m *machine) track(p phase) *track {
	switch p {
	case phaseReplay:
		return m.replay
	case phaseLive:
		return m.live
	default:
		return nil
	}
}

// want says what to do next. A frame that is open may go on being filled.
func (m *machine) want(now time.Time, f *frame) want {
	if len(m.restarts) > 0 {
		return want{wish: wishControl}
	}
	if m.moreLetters && len(m.letters) == 0 {
		return want{wish: wishLetters}
	}
	next, until := m.choose(now)
	wait := want{wish: wishWait, until: until}
	if next != m.phase {
		if m.unanswered > 0 {
			return wait
		}
		m.phase = next
	}
	if t := m.track(next); t != nil {
		return m.wantOf(t, f, wait)
	}
	if m.unanswered > 0 {
		return wait
	}
	w := want{wish: wishSolo, phase: next}
	if s := m.nextSolo(now); s != nil {
		w.alone = suspect(s.kills)
	}
	return w
}

// choose returns the phase to be in now, and when that may change by itself.
func (m *machine) choose(now time.Time) (phase, time.Time) {
	until := m.live.release(now)
	if m.replay != nil {
		until = earlier(until, m.replay.release(now))
	}
	if m.phase == phaseLetter && m.solo != nil {
		return phaseLetter, until
	}
	if len(m.trials) > 0 || m.phase == phaseTrial && m.solo != nil {
		return phaseTrial, until
	}
	for _, l := range m.letters {
		if !l.retryAt.After(now) {
			return phaseLetter, until
		}
		until = earlier(until, l.retryAt)
	}
	if m.replay != nil && (m.phase == phaseReplay && m.unanswered > 0 || m.sendable(m.replay)) {
		return phaseReplay, until
	}
	return phaseLive, until
}

// earlier returns the earlier of two times; zero is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// sendable reports whether a track has, or may have, something to send.
func (m *machine) sendable(t *track) bool {
	return t.free() != nil || t.mayRead() && !m.stopped(t)
}

// stopped reports whether a lane that is held holds everything.
func (m *machine) stopped(t *track) bool { return m.order == OrderGlobal && len(t.held) > 0 }

// wantOf says what to do next in a track.
func (m *machine) wantOf(t *track, f *frame, wait want) want {
	w := want{wish: wishRead, phase: m.phase}
	if r := t.free(); r != nil {
		w.seq, w.again = r.seq, true
	} else if t.mayRead() && !m.stopped(t) {
		w.seq = t.next
	} else {
		return wait
	}
	open := len(f.items) > 0
	switch {
	case m.alone, m.unanswered > 0 && w.seq <= t.careful:
		return wait
	case len(m.burials) >= MaxBatchEvents:
		return wait
	case !open && m.freeBatch() < 0:
		return wait
	}
	w.until, w.alone = wait.until, t.suspects(w.seq)
	return w
}

// inFlight returns how many batches have unanswered events.
func (m *machine) inFlight() (n int) {
	for _, unanswered := range m.batches[:m.window] {
		if unanswered > 0 {
			n++
		}
	}
	return n
}

// freeBatch returns the number of a batch that may be sent, -1 = the window is full.
func (m *machine) freeBatch() int { return slices.Index(m.batches[:m.window], 0) }

// take puts what is wanted of some events into a frame. The events follow each other in
// the log without a hole, from the sequence on that the machine wanted; verdicts has one
// for each. What has changed since it was wanted leaves them where they are.
func (m *machine) take(w want, entries []*entry, verdicts []verdict, f *frame, now time.Time) {
	if got := m.want(now, f); got.wish != w.wish || got.phase != w.phase || got.seq != w.seq || got.again != w.again || got.alone != w.alone {
		return
	}
	t := m.track(w.phase)
	if w.again {
		m.takeAgain(t, w.alone, entries, verdicts, f, now)
	} else {
		m.takeNew(t, w.alone, entries, verdicts, f, now)
	}
	t.settle()
	m.endReplay()
	m.changed(false)
	m.pulse.look(m, now)
}

// takeAgain takes events that have a record and wait.
func (m *machine) takeAgain(t *track, alone bool, entries []*entry, verdicts []verdict, f *frame, now time.Time) {
	for i := 0; ; {
		r := t.free()
		if r == nil {
			return
		}
		for i < len(entries) && entries[i].seq < r.seq {
			i++
		}
		switch {
		case i == len(entries):
			return
		case entries[i].seq > r.seq, !verdicts[i].wanted:
			t.finish(r) // the log has lost it, or the bindings have changed
			continue
		case !f.fits(entries[i]) || m.lonely(t, r.seq, alone):
			return
		}
		through := verdicts[i].through
		if o := m.outages[r.through]; o != nil && r.through != through {
			m.endOutage(o) // the bindings have changed
		}
		if m.spent(t, r) {
			continue
		}
		if o := m.blocked(through, now); o != nil {
			t.held[r.lane] = hold{by: o}
			continue
		}
		t.waiting--
		m.put(t, r, entries[i], through, f, now)
		if m.alone {
			return
		}
	}
}

// lonely reports whether an event must not join what is in flight. alone says that what is
// taken has the process to itself.
func (m *machine) lonely(t *track, seq uint64, alone bool) bool {
	return m.alone || m.unanswered > 0 && seq <= t.careful || !alone && t.suspects(seq)
}

// takeNew takes events that were not read before.
func (m *machine) takeNew(t *track, alone bool, entries []*entry, verdicts []verdict, f *frame, now time.Time) {
	var types []string
	if m.phase == phaseReplay {
		types = m.cursor.Replays[0].Types
	}
	for i, e := range entries {
		switch {
		case e.seq > t.to:
			t.next = t.to + 1
			return
		case !verdicts[i].wanted || len(types) > 0 && !matches(types, e.kind):
			t.next = e.seq + 1
			delete(t.failing, e.seq) // it was wanted once
			continue
		case !t.mayRead(), !f.fits(e), m.lonely(t, e.seq, alone):
			return
		}
		t.next = e.seq + 1
		t.push(record{
			seq: e.seq, at: e.at, lane: m.lane(e), state: recordDone, through: verdicts[i].through, told: e.about != "",
		})
		r := &t.records[len(t.records)-1]
		t.oldest = min(t.oldest, r.seq)
		m.takeRecord(t, r, e, verdicts[i].through, f, now)
		if m.alone || !t.mayRead() || m.stopped(t) {
			return
		}
	}
}

// takeRecord takes the event of a new record, unless its failures or its lane are in the
// way.
func (m *machine) takeRecord(t *track, r *record, e *entry, through *Binding, f *frame, now time.Time) {
	if len(t.failing) > 0 {
		if failed := t.failing[r.seq]; failed != nil {
			r.deliveries = failed.Failures + failed.Kills
			if m.spent(t, r) {
				return
			}
			if failed.RetryAt.After(now) {
				t.hold(r.lane, failed.RetryAt)
			}
		}
	}
	if o := m.blocked(through, now); o != nil && !t.isHeld(r.lane) {
		t.held[r.lane] = hold{by: o}
	}
	if t.isHeld(r.lane) {
		t.sendAgain(r)
		return
	}
	m.put(t, r, e, through, f, now)
}

// spent reports whether an event has failed too often to be sent again: then it becomes a
// dead letter.
func (m *machine) spent(t *track, r *record) bool {
	f := t.failing[r.seq]
	switch {
	case f == nil:
		return false
	case f.Failures >= m.maxAttempts:
		m.bury(t, r, f.Reason)
	case f.Kills >= MaxKills:
		m.bury(t, r, reasonKills)
	default:
		return false
	}
	return true
}

// put puts an event into a frame.
func (m *machine) put(t *track, r *record, e *entry, through *Binding, f *frame, now time.Time) {
	if len(f.items) == 0 {
		f.batch = uint8(max(m.freeBatch(), 0)) //nolint:gosec // below MaxWindow
		if m.gap > 0 && m.gapIn < 0 {
			f.gap, m.gapIn = m.gap, int(f.batch)
		}
	}
	r.deliveries++
	r.state, r.batch, r.through = recordSent, f.batch, through
	m.probes(r.seq, through)
	t.oldest = min(t.oldest, r.seq)
	m.batches[f.batch]++
	m.unanswered++
	t.sent = max(t.sent, r.seq)
	m.alone = r.seq <= t.careful || t.suspects(r.seq)
	f.add(item{entry: e, delivery: r.deliveries, through: through})
	if m.unanswered == 1 {
		m.pulse.begin(now)
	}
}

// lane returns the lane of an event.
func (m *machine) lane(e *entry) string {
	if m.order == OrderGlobal {
		return ""
	}
	return e.task
}

// nextSolo returns the event that is to be sent alone now, nil when there is none any
// more.
func (m *machine) nextSolo(now time.Time) *solo {
	switch {
	case m.solo != nil || m.unanswered > 0:
		return nil
	case m.phase == phaseTrial && len(m.trials) > 0:
		return m.trials[0]
	case m.phase == phaseLetter:
		for _, l := range m.letters {
			if !l.retryAt.After(now) {
				return l
			}
		}
	}
	return nil
}

// takeSolo puts an event into a frame, alone.
func (m *machine) takeSolo(s *solo, through *Binding, f *frame, now time.Time) {
	if m.nextSolo(now) != s {
		return
	}
	deliveries := uint32(1)
	if s.letter != nil {
		if o := m.blocked(through, now); o != nil {
			s.retryAt = o.until
			return
		}
		m.probes(s.entry.seq, through)
		s.letter.Deliveries++
		deliveries = s.letter.Deliveries
		m.letters = slices.DeleteFunc(m.letters, func(l *solo) bool { return l == s })
	} else {
		m.trials = m.trials[1:]
	}
	m.solo, m.unanswered = s, 1
	s.sentAt, s.through = now, through
	f.add(item{entry: s.entry, delivery: deliveries, through: through})
	m.pulse.begin(now)
	m.pulse.look(m, now)
}

// endReplay goes on to the next replay when one is done.
func (m *machine) endReplay() {
	for m.replay != nil && m.replay.ended() {
		m.cursor.Replays = slices.Clone(m.cursor.Replays[1:])
		m.startReplay()
		m.changed(true)
	}
}

func matches(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return event.Match(p, name) })
}
