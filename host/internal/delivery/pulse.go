package delivery

import "time"

// Signs of life.
const (
	pingEvery = 5 * time.Second  // while events are unanswered
	hangAfter = 15 * time.Second // without any frame after a ping

	// minPatience is the least time for the answer to an event. A plugin answers up to five
	// seconds after the timeout when what it runs does not stop at once.
	minPatience = 10 * time.Second
)

// patience is how long an answer may take: the timeout of the event, and as long again for
// the answer.
func patience(timeout time.Duration) time.Duration { return max(2*timeout, minPatience) }

// pulse watches whether a subscriber that holds events is alive and answers.
type pulse struct {
	lastPing time.Time // or the begin of what is in flight
	asked    time.Time // the first ping since the last sign of life; zero = none
	oldest   uint64    // the first event that is in flight
	since    time.Time // when it became the first
}

// begin says that something is in flight again.
func (p *pulse) begin(now time.Time) {
	p.lastPing, p.asked = now, time.Time{}
	p.oldest, p.since = 0, now
}

// rest says that nothing is in flight.
func (p *pulse) rest() { *p = pulse{} }

func (p *pulse) heard() { p.asked = time.Time{} }

// look finds the first event that is in flight. A subscriber that is free takes the oldest
// event it holds, whatever its lane: the first one is at work, or has just been.
func (p *pulse) look(m *machine, now time.Time) {
	if m.unanswered == 0 {
		p.rest()
		return
	}
	var seq uint64
	if m.solo != nil {
		seq = m.solo.entry.seq
	} else if r := m.track(m.phase).oldestSent(); r != nil {
		seq = r.seq
	}
	if seq != p.oldest {
		p.oldest, p.since = seq, now
	}
}

// duty is what time asks for.
type duty struct {
	ping    bool
	hung    bool
	stalled bool
	until   time.Time // of the next look, zero = never
}

// duty says what is to be done now.
func (p *pulse) duty(timeout time.Duration, now time.Time) duty {
	if p.since.IsZero() {
		return duty{}
	}
	d := duty{
		hung:    !p.asked.IsZero() && now.Sub(p.asked) >= hangAfter,
		stalled: now.Sub(p.since) >= patience(timeout),
		ping:    now.Sub(p.lastPing) >= pingEvery,
	}
	if d.ping {
		p.lastPing = now
		if p.asked.IsZero() {
			p.asked = now
		}
	}
	d.until = earlier(p.since.Add(patience(timeout)), p.lastPing.Add(pingEvery))
	if !p.asked.IsZero() {
		d.until = earlier(d.until, p.asked.Add(hangAfter))
	}
	return d
}
