package delivery

import (
	"slices"
	"time"
)

// outage says that what the subscriber needs for the events of one binding is not there.
// Those events wait and fail not; when the wait is over one of them tries. Events of other
// bindings go on, unless they follow in a lane.
type outage struct {
	through *Binding // nil = the declared subscription
	since   time.Time
	until   time.Time // no event tries before
	tries   uint32    // in a row, that ended so
	reason  string
	probe   uint64 // the event that tries now, 0 = none
	over    bool
}

// Outage is what a subscriber waits for, as operators see it.
type Outage struct {
	Since   time.Time
	Reason  string
	NextTry time.Time // not after now: an event is on its way
	Tries   int
	Binding string // source of the binding whose events wait, empty = declared
}

// blocked returns the outage for which an event has to wait, nil = it may be sent.
func (m *machine) blocked(through *Binding, now time.Time) *outage {
	if o := m.outages[through]; o != nil && (o.probe != 0 || o.until.After(now)) {
		return o
	}
	return nil
}

// probes says that an event is being sent: during an outage it is the one that tries.
func (m *machine) probes(seq uint64, through *Binding) {
	if o := m.outages[through]; o != nil {
		o.probe = seq
	}
}

// unproved says that an event is in flight no more, without an answer that says
// whether an outage is over.
func (m *machine) unproved(seq uint64, through *Binding) {
	if o := m.outages[through]; o != nil && o.probe == seq {
		o.probe = 0
	}
}

// proved says that an event had another answer than that something is not there. When it
// was the one that tried, the outage is over.
func (m *machine) proved(seq uint64, through *Binding) {
	if o := m.outages[through]; o != nil && o.probe == seq {
		m.endOutage(o)
	}
}

// soloProved is proved for the event that goes alone. A trial proves it, too.
func (m *machine) soloProved() {
	if o := m.outages[m.solo.through]; o != nil && (m.solo.letter == nil || o.probe == m.solo.entry.seq) {
		m.endOutage(o)
	}
}

// endOutage lets whatever waits for an outage go on.
func (m *machine) endOutage(o *outage) {
	o.over = true
	delete(m.outages, o.through)
}

// heal ends all outages: something has changed that may mend them.
func (m *machine) heal() {
	for _, o := range m.outages {
		m.endOutage(o)
	}
}

// unavailable notes that what an event needs is not there, and that it is wanted again
// with its lane: not before after when that is positive. It counts no failure. It reports
// whether the event was in flight.
func (m *machine) unavailable(seq uint64, after time.Duration, reason string, now time.Time) bool {
	reason = cut(reason)
	if m.solo != nil {
		if m.solo.entry.seq != seq {
			return false
		}
		m.restarts = append(m.restarts, m.lane(m.solo.entry))
		m.soloUnavailable(after, reason, now)
		return true
	}
	t, r := m.inFlightRecord(seq)
	if r == nil {
		return false
	}
	lane := r.lane
	o := m.outageOf(seq, r.through, after, reason, now)
	m.gapKnown(r)
	m.restarts = append(m.restarts, lane)
	m.forget(t, &lane)
	t.held[lane] = hold{by: o}
	m.progressed(t, now)
	return true
}

// outageOf returns the outage that an answer is about. Its wait grows with each event that
// tries in vain; what was in flight when it began says nothing new.
func (m *machine) outageOf(seq uint64, through *Binding, after time.Duration, reason string, now time.Time) *outage {
	o := m.outages[through]
	if o == nil {
		o = &outage{through: through, since: now, probe: seq}
		m.outages[through] = o
	}
	o.reason = reason
	switch {
	case o.probe == seq:
		o.probe = 0
		o.tries++
		o.until = now.Add(m.backoff(o.tries, after))
	case after > 0:
		if until := now.Add(min(after, maxAfter)); until.After(o.until) {
			o.until = until
		}
	}
	return o
}

// soloUnavailable follows such an answer of the event that went alone. A trial says
// nothing about others: it is an operator who waits.
func (m *machine) soloUnavailable(after time.Duration, reason string, now time.Time) {
	if m.solo.letter == nil {
		m.soloFailed(after, reason, now)
		return
	}
	o := m.outageOf(m.solo.entry.seq, m.solo.through, after, reason, now)
	s := m.endSolo()
	s.retryAt = o.until
	m.letters = append(m.letters, s)
}

// outagesNow returns the outages, the oldest first.
func (m *machine) outagesNow() []Outage {
	var out []Outage
	for _, o := range m.outages {
		is := Outage{Since: o.since, Reason: o.reason, NextTry: o.until, Tries: int(o.tries)}
		if o.through != nil {
			is.Binding = o.through.Source
		}
		out = append(out, is)
	}
	slices.SortFunc(out, func(a, b Outage) int { return a.Since.Compare(b.Since) })
	return out
}
