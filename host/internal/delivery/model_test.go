package delivery

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tasker-engine/tasker/host/internal/store"
)

// model drives a machine like a host would, with a plugin that answers at random, and
// holds it to its promises.
type model struct {
	m     *machine
	frame frame
	now   time.Time
	bytes []byte // of all events

	log       []*entry
	wanted    map[uint64]bool
	first     uint64 // of the log
	processed map[uint64]int
	given     map[uint64]bool // dead-lettered, cut or rewound over
	order     Order
	window    int

	inFlight  []flight // of the plugin, in the order of arrival
	stopped   map[string]bool
	delivered map[uint64]uint32 // the last delivery's number
	handled   map[string]uint64 // per lane: the last event that the plugin handled
	through   uint64
	refused   map[uint64]int
	letters   map[uint64]*store.DeadLetter
	phase     phase
	replayed  map[uint64]int
	bindings  [3]*Binding         // of events in turn
	sentBy    map[uint64]*Binding // the last time
	away      map[*Binding]*modelOutage
	blamed    map[uint64]bool // something other than an outage kept it from being done
}

// modelOutage is what the machine must know of an outage.
type modelOutage struct {
	tries int
	until time.Time
	probe uint64
}

type flight struct {
	seq  uint64
	lane string
}

func newModel(t *rapid.T) *model {
	m := &model{
		now: time.Unix(1_000_000, 0), bytes: make([]byte, 2<<20), wanted: make(map[uint64]bool), first: 1, processed: make(map[uint64]int),
		given: make(map[uint64]bool), stopped: make(map[string]bool), delivered: make(map[uint64]uint32),
		handled: make(map[string]uint64), refused: make(map[uint64]int),
		letters: make(map[uint64]*store.DeadLetter), replayed: make(map[uint64]int),
		bindings: [3]*Binding{nil, {Source: "a"}, {Source: "b"}}, away: make(map[*Binding]*modelOutage), sentBy: make(map[uint64]*Binding), blamed: make(map[uint64]bool),
		order: Order(rapid.IntRange(0, 1).Draw(t, "order")), window: rapid.IntRange(1, 4).Draw(t, "window"),
	}
	m.m = newMachine(store.Cursor{Subscription: "p/s", CreatedAt: m.now}, func() float64 { return 0.5 }, m.now)
	m.m.configure(m.spec())
	return m
}

func (m *model) spec() *Subscription {
	return &Subscription{Order: m.order, Window: m.window, MaxAttempts: 3, Timeout: time.Minute}
}

// grow adds events to the log.
func (m *model) grow(t *rapid.T) {
	for range rapid.IntRange(1, 8).Draw(t, "events") {
		seq := uint64(len(m.log)) + 1
		size := rapid.SampledFrom([]int{10, 10, 300 << 10, 700 << 10, 2 << 20}).Draw(t, "size")
		e := &entry{seq: seq, encoded: m.bytes[:size], kind: "step.started", at: m.now.UnixNano()}
		e.task = fmt.Sprintf("task%d", rapid.IntRange(0, 3).Draw(t, "task"))
		m.log = append(m.log, e)
		m.wanted[seq] = rapid.IntRange(0, 4).Draw(t, "wanted") > 0
	}
}

func (m *model) lane(e *entry) string {
	if m.order == OrderGlobal {
		return ""
	}
	return e.task
}

// pump does what the machine wants until it waits.
func (m *model) pump(t *rapid.T) {
	for range 10_000 {
		w := m.m.want(m.now, &m.frame)
		if w.wish != wishRead && len(m.frame.items) > 0 {
			m.send(t)
			continue
		}
		switch w.wish {
		case wishWait:
			m.bury(t)
			return
		case wishControl:
			for _, lane := range m.m.restarts {
				delete(m.stopped, lane)
				m.drop(lane)
			}
			m.m.restarts = nil
		case wishLetters:
			m.loadLetters(t)
		case wishSolo:
			if s := m.m.nextSolo(m.now); s != nil {
				m.m.takeSolo(s, m.binding(s.entry.seq), &m.frame, m.now)
			}
		case wishRead:
			if !m.read(t, w) {
				if len(m.frame.items) > 0 {
					m.send(t)
				}
				m.bury(t)
				return
			}
		}
	}
	t.Fatal("the machine wants something for ever")
}

func (m *model) binding(seq uint64) *Binding { return m.bindings[seq%3] }

func (m *model) laneOf(f flight) string {
	if m.order == OrderGlobal {
		return ""
	}
	return f.lane
}

// read gives the machine a part of the log; it reports false at its end.
func (m *model) read(t *rapid.T, w want) bool {
	if w.seq < m.first {
		from, through := m.m.skip(w.phase, m.first, m.now)
		clear(m.away)
		for seq := from; seq <= through && from > 0; seq++ {
			m.given[seq] = true
		}
		return true
	}
	if w.seq > uint64(len(m.log)) {
		return false
	}
	entries := m.log[w.seq-1 : min(int(w.seq-1)+rapid.IntRange(1, 6).Draw(t, "page"), len(m.log))]
	var verdicts []verdict
	for _, e := range entries {
		verdicts = append(verdicts, verdict{wanted: m.wanted[e.seq], through: m.binding(e.seq)})
	}
	m.m.take(w, entries, verdicts, &m.frame, m.now)
	if m.frame.full {
		m.send(t)
	}
	return true
}

// send hands the frame to the plugin and looks at what is in it.
func (m *model) send(t *rapid.T) {
	if len(m.inFlight) > 0 && m.phase != m.m.phase {
		t.Fatalf("phase %d begins while %d events of phase %d are in flight", m.m.phase, len(m.inFlight), m.phase)
	}
	m.phase = m.m.phase
	if m.frame.bytes > MaxBatchBytes && len(m.frame.items) > 1 {
		t.Fatalf("%d events of %d bytes are in one batch", len(m.frame.items), m.frame.bytes)
	}
	for _, it := range m.frame.items {
		seq := it.entry.seq
		if m.phase == phaseLive && it.delivery <= m.delivered[seq] {
			t.Fatalf("event %d comes as delivery %d after %d", seq, it.delivery, m.delivered[seq])
		}
		if m.phase == phaseLive {
			m.delivered[seq] = it.delivery
		}
		if tr := m.m.track(m.phase); tr != nil && seq <= tr.careful && (len(m.frame.items) > 1 || len(m.inFlight) > 0) {
			t.Fatalf("event %d is sent beside others, though events up to %d go alone", seq, tr.careful)
		}
		m.sentBy[seq] = it.through
		if o := m.away[it.through]; o != nil {
			if o.probe != 0 || m.now.Before(o.until) {
				t.Fatalf("event %d is sent at %s, but its binding is out of reach until %s, and event %d tries", seq, m.now, o.until, o.probe)
			}
			o.probe = seq
		}
		if !m.stopped[m.lane(it.entry)] { // else the plugin drops it
			m.inFlight = append(m.inFlight, flight{seq: seq, lane: it.entry.task})
		}
	}
	m.frame.reset()
	if got := m.m.inFlight(); got > m.window {
		t.Fatalf("%d batches are in flight, the window is %d", got, m.window)
	}
}

// bury writes dead letters.
func (m *model) bury(t *rapid.T) {
	for len(m.m.burials) > 0 {
		b := m.m.burials[0]
		if !m.blamed[b.seq] {
			t.Fatalf("event %d is put aside (%s), and nothing went wrong with it", b.seq, b.reason)
		}
		_, known := m.letters[b.seq]
		l := &store.DeadLetter{DeadLetterID: store.DeadLetterID{Subscription: "p/s", Seq: b.seq}, Encoded: m.log[b.seq-1].encoded}
		m.letters[b.seq] = l
		m.given[b.seq] = true
		m.m.buried(!known, m.now)
	}
}

func (m *model) loadLetters(t *rapid.T) {
	after, next := m.m.lettersAfter, uint64(0)
	limit := rapid.IntRange(1, 3).Draw(t, "letters")
	var found []*solo
	for _, seq := range slices.Sorted(maps.Keys(m.letters)) {
		if seq <= after {
			continue
		}
		if limit--; limit < 0 {
			break
		}
		if l := m.letters[seq]; l.Retry {
			found = append(found, &solo{entry: m.log[seq-1], letter: l})
		}
		if limit == 0 {
			next = seq
		}
	}
	m.m.addLetters(found, after, next)
}

// heads returns the first event in flight of each lane: those that a plugin may answer.
func (m *model) heads() []flight {
	var out []flight
	seen := make(map[string]bool)
	for _, f := range m.inFlight {
		if lane := m.laneOf(f); !seen[lane] {
			seen[lane] = true
			out = append(out, f)
		}
	}
	return out
}

// drop lets the plugin forget what it holds of a lane.
func (m *model) drop(lane string) {
	m.inFlight = slices.DeleteFunc(m.inFlight, func(f flight) bool {
		if m.laneOf(f) != lane {
			return false
		}
		if o := m.away[m.sentBy[f.seq]]; o != nil && o.probe == f.seq {
			o.probe = 0
		}
		return true
	})
}

// answered notes an answer other than that something is not there.
func (m *model) answered(seq uint64) {
	if o := m.away[m.sentBy[seq]]; o != nil && o.probe == seq {
		delete(m.away, m.sentBy[seq])
	}
}

// unavailable answers that what an event needs is not there.
func (m *model) unavailable(t *rapid.T, f flight) {
	after := rapid.SampledFrom([]time.Duration{0, 0, 5 * time.Second}).Draw(t, "after")
	if !m.m.unavailable(f.seq, after, "away", m.now) {
		t.Fatalf("event %d is in flight, but the machine does not know", f.seq)
	}
	b := m.sentBy[f.seq]
	o := m.away[b]
	if o == nil {
		o = &modelOutage{probe: f.seq}
		m.away[b] = o
	}
	wait := after
	if o.probe == f.seq {
		o.until = m.now
		if wait == 0 {
			wait = min(backoffBase<<min(o.tries, 10), backoffCap)
		}
		o.tries++
	}
	if until := m.now.Add(wait); until.After(o.until) {
		o.until = until
	}
	m.drop(m.laneOf(f))
	m.stopped[m.laneOf(f)] = true
}

func (m *model) done(seq uint64) {
	m.inFlight = slices.DeleteFunc(m.inFlight, func(f flight) bool { return f.seq == seq })
}

// handle notes that the plugin has handled an event, in its order.
func (m *model) handle(t *rapid.T, f flight) {
	if m.phase == phaseLive {
		lane := m.laneOf(f)
		if last := m.handled[lane]; f.seq < last && m.processed[f.seq] == 0 && !m.given[f.seq] {
			t.Fatalf("event %d is first handled after %d of the same lane", f.seq, last)
		}
		m.handled[lane] = max(m.handled[lane], f.seq)
	}
	m.processed[f.seq]++
	m.answered(f.seq)
	m.done(f.seq)
}

func (m *model) check(t *rapid.T) {
	c := m.m.snapshot(nil)
	if c.Through < m.through {
		t.Fatalf("the cursor goes back from %d to %d", m.through, c.Through)
	}
	m.through = c.Through
	for seq := uint64(1); seq <= c.Through && seq <= uint64(len(m.log)); seq++ {
		if m.wanted[seq] && m.processed[seq] == 0 && !m.given[seq] {
			t.Fatalf("the cursor is at %d, but event %d was not answered", c.Through, seq)
		}
	}
	if len(c.Failing) > 0 && c.Failing[0].Seq <= c.Through {
		t.Fatalf("event %d fails before the cursor at %d", c.Failing[0].Seq, c.Through)
	}
	for seq := range m.m.live.failing {
		if seq <= m.m.live.through {
			t.Fatalf("the failures of %d are kept, the track is through %d", seq, m.m.live.through)
		}
	}
	unanswered := 0
	for _, n := range m.m.batches {
		unanswered += n
	}
	if m.m.solo == nil && unanswered != m.m.unanswered {
		t.Fatalf("batches have %d unanswered events, the machine %d", unanswered, m.m.unanswered)
	}
	waiting := 0
	for _, r := range m.m.live.open() {
		if r.state == recordWaiting {
			waiting++
		}
	}
	if waiting != m.m.live.waiting {
		t.Fatalf("%d records wait, the track counts %d", waiting, m.m.live.waiting)
	}
}

func (m *model) end(how ending) {
	if how != endingOrderly {
		for _, f := range m.inFlight {
			m.blamed[f.seq] = true
		}
	}
	m.m.ended(how, "it ended", m.now)
	for _, o := range m.away {
		o.probe = 0
	}
	m.frame.reset()
	m.inFlight, m.stopped = nil, make(map[string]bool)
}

func (m *model) actions() map[string]func(*rapid.T) {
	pick := func(t *rapid.T) flight {
		heads := m.heads()
		if len(heads) == 0 {
			t.Skip("nothing is in flight")
		}
		return heads[rapid.IntRange(0, len(heads)-1).Draw(t, "head")]
	}
	return map[string]func(*rapid.T){
		"":     func(t *rapid.T) { m.pump(t); m.check(t) },
		"grow": m.grow,
		"ack": func(t *rapid.T) {
			f := pick(t)
			m.handle(t, f)
			if m.order == OrderGlobal && rapid.Bool().Draw(t, "through") {
				m.m.ack(f.seq, nil, m.now)
			} else {
				m.m.ack(0, []uint64{f.seq}, m.now)
			}
		},
		"ack many": func(t *rapid.T) {
			var seqs []uint64
			for len(m.inFlight) > 0 {
				f := m.heads()[0]
				m.handle(t, f)
				seqs = append(seqs, f.seq)
			}
			m.m.ack(0, seqs, m.now)
		},
		"retry": func(t *rapid.T) {
			f := pick(t)
			m.blamed[f.seq] = true
			if m.m.retry(f.seq, 0, "again", m.now) {
				m.refused[f.seq]++
			}
			m.answered(f.seq)
			m.stopped[m.laneOf(f)] = true
			m.drop(m.laneOf(f))
		},
		"unavailable": func(t *rapid.T) { m.unavailable(t, pick(t)) },
		"reject": func(t *rapid.T) {
			f := pick(t)
			m.done(f.seq)
			m.answered(f.seq)
			m.blamed[f.seq] = true
			m.m.reject(f.seq, "never", m.now)
		},
		"answer to nothing": func(t *rapid.T) {
			seq := rapid.Uint64Range(1, 60).Draw(t, "seq")
			if slices.ContainsFunc(m.inFlight, func(f flight) bool { return f.seq == seq }) {
				t.Skip("it is in flight")
			}
			m.m.ack(0, []uint64{seq}, m.now)
			m.m.retry(seq, 0, "what", m.now)
			m.m.unavailable(seq, 0, "what", m.now)
			m.m.reject(seq, "what", m.now)
		},
		"break": func(*rapid.T) { m.end(endingBroken) },
		"stall": func(*rapid.T) { m.end(endingStalled) },
		"end":   func(*rapid.T) { m.end(endingOrderly); m.m.configure(m.spec()); clear(m.away) },
		"rebind": func(*rapid.T) {
			m.m.heal()
			clear(m.away)
			for i := range m.bindings[1:] {
				m.bindings[i+1] = &Binding{Source: "new"}
			}
		},
		"time": func(t *rapid.T) {
			m.now = m.now.Add(time.Duration(rapid.IntRange(1, 90).Draw(t, "seconds")) * time.Second)
		},
		"crash":  m.crash,
		"rewind": m.rewind,
		"replay": m.replay,
		"cut": func(t *rapid.T) {
			if n := uint64(len(m.log)); n > m.first {
				m.first = rapid.Uint64Range(m.first, n).Draw(t, "first")
			}
		},
		"retry letters": func(*rapid.T) {
			for _, l := range m.letters {
				l.Retry = true
			}
			m.m.retryLetters()
		},
	}
}

// crash lets the host end without a word: it begins again with the cursor that it wrote.
func (m *model) crash(*rapid.T) {
	c := *m.m.snapshot(nil)
	letters := m.m.moreLetters || len(m.m.letters) > 0
	m.m = newMachine(c, m.m.jitter, m.now)
	clear(m.away)
	m.m.configure(m.spec())
	m.m.moreLetters = letters
	m.frame.reset()
	m.inFlight, m.stopped = nil, make(map[string]bool)
	for seq := range m.delivered {
		delete(m.delivered, seq) // but for its failures, the numbers begin again
	}
}

func (m *model) rewind(t *rapid.T) {
	to := rapid.Uint64Range(m.first-1, max(uint64(len(m.log)), m.first-1)).Draw(t, "through")
	m.end(endingOrderly)
	m.m.rewind(to)
	clear(m.away)
	for seq := m.through + 1; seq <= to; seq++ {
		m.given[seq] = true
	}
	m.through = to
	for seq := range m.delivered {
		delete(m.delivered, seq)
	}
	for lane := range m.handled {
		delete(m.handled, lane)
	}
}

func (m *model) replay(t *rapid.T) {
	if len(m.log) == 0 || len(m.m.cursor.Replays) > 2 {
		t.Skip("nothing to replay")
	}
	from := rapid.Uint64Range(1, uint64(len(m.log))).Draw(t, "from")
	m.m.cursor.Replays = append(slices.Clone(m.m.cursor.Replays), store.Replay{Next: from, To: uint64(len(m.log))})
	if m.m.replay == nil {
		m.m.startReplay()
	}
}

// TestMachineKeepsItsPromises lets random things happen to a subscription, then lets the
// plugin be good: everything that was wanted was handled, dead-lettered or cut.
func TestMachineKeepsItsPromises(t *testing.T) {
	for range 10 { // a hundred checks each, unless told otherwise
		rapid.Check(t, checkMachine)
	}
}

func checkMachine(t *rapid.T) {
	m := newModel(t)
	t.Repeat(m.actions())
	for range 2_000 {
		m.pump(t)
		m.check(t)
		if len(m.inFlight) == 0 {
			m.now = m.now.Add(2 * time.Minute)
		}
		for len(m.inFlight) > 0 {
			f := m.heads()[0]
			m.handle(t, f)
			m.m.ack(0, []uint64{f.seq}, m.now)
		}
		if m.m.snapshot(nil).Through == uint64(len(m.log)) && m.m.replay == nil && len(m.m.letters) == 0 && !m.m.moreLetters {
			break
		}
	}
	m.pump(t)
	if got := m.m.snapshot(nil); got.Through != uint64(len(m.log)) || len(got.Failing) > 0 || got.Careful > 0 || len(got.Replays) > 0 {
		t.Fatalf("in the end the cursor is %+v, the log has %d events; the live track is %+v, phase %d, %d unanswered, alone %t, burials %v",
			got, len(m.log), *m.m.live, m.m.phase, m.m.unanswered, m.m.alone, m.m.burials)
	}
	if m.m.unanswered != 0 || len(m.m.letters) > 0 {
		t.Fatalf("in the end %d events are unanswered, %d letters wait", m.m.unanswered, len(m.m.letters))
	}
}
