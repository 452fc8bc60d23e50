package delivery

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// How a trial was answered.
const (
	VerdictAcked    = "acked"
	VerdictRetry    = "retry"
	VerdictRejected = "rejected"
)

// Waits between deliveries of one event.
const (
	backoffBase = time.Second
	backoffCap  = time.Minute
	maxAfter    = 24 * time.Hour // that a plugin may ask for
)

// maxReason is how many bytes of a plugin's reason are kept.
const maxReason = 1 << 10

const reasonKills = "the process ended 3 times while it held this event"

// ending is how a stream ended.
type ending uint8

const (
	endingOrderly ending = iota // wanted by the host or by the plugin: it counts nothing
	endingBroken                // the process died, or broke the stream
	endingStalled               // an event was not answered in time
)

// heard notes a sign of life.
func (m *machine) heard() { m.pulse.heard() }

// ack notes that events are done: those up to through that are sent, and those of seqs.
func (m *machine) ack(through uint64, seqs []uint64, now time.Time) {
	if m.solo != nil {
		if seq := m.solo.entry.seq; through >= seq || slices.Contains(seqs, seq) {
			m.soloDone(now)
		}
		return
	}
	t := m.track(m.phase)
	if t == nil || m.unanswered == 0 {
		return
	}
	before := m.unanswered
	open := t.open()
	for i := 0; i < len(open) && open[i].seq <= through; i++ {
		if open[i].state == recordSent {
			m.taken(&open[i])
			m.answered(&open[i])
			t.finish(&open[i])
		}
	}
	for _, seq := range seqs {
		if r := t.find(seq); r != nil && r.state == recordSent {
			m.taken(r)
			m.answered(r)
			t.finish(r)
		}
	}
	if done := before - m.unanswered; done > 0 {
		m.cursor.Delivered += uint64(done)
		m.cursor.AckedAt = now
		m.progressed(t, now)
	}
}

// progressed follows a change of what is answered.
func (m *machine) progressed(t *track, now time.Time) {
	t.settle()
	m.endReplay()
	m.changed(false)
	m.pulse.look(m, now)
}

// taken notes that an event had an answer of its own: its batch is known to the plugin.
func (m *machine) taken(r *record) {
	m.proved(r.seq, r.through)
	m.gapKnown(r)
}

// gapKnown notes that the plugin knows of the gap that the batch of an event told of.
func (m *machine) gapKnown(r *record) {
	if m.gapIn == int(r.batch) {
		m.gap, m.gapIn = 0, -1
	}
}

// answered takes a sent record out of what is in flight.
func (m *machine) answered(r *record) {
	m.unproved(r.seq, r.through)
	m.batches[r.batch]--
	m.unanswered--
	if m.unanswered == 0 {
		m.alone = false
	}
}

// retry notes that an event is wanted again, and with it its lane: not before after when
// that is positive. It reports whether the event was in flight.
func (m *machine) retry(seq uint64, after time.Duration, reason string, now time.Time) bool {
	reason = cut(reason)
	if m.solo != nil {
		if m.solo.entry.seq != seq {
			return false
		}
		m.restarts = append(m.restarts, m.lane(m.solo.entry))
		m.proved(m.solo.entry.seq, m.solo.through)
		m.soloFailed(after, reason, now)
		return true
	}
	t, r := m.inFlightRecord(seq)
	if r == nil {
		return false
	}
	lane := r.lane
	m.taken(r)
	m.restarts = append(m.restarts, lane)
	m.forget(t, &lane)
	m.failed(t, t.find(seq), after, reason, now)
	m.progressed(t, now)
	m.urgent = true
	return true
}

// forget lets everything that is in flight, or of one lane, wait to be sent again.
func (m *machine) forget(t *track, lane *string) {
	open := t.open()
	i, _ := t.index(t.oldest)
	for ; i < len(open) && m.unanswered > 0; i++ {
		if r := &open[i]; r.state == recordSent && (lane == nil || r.lane == *lane) {
			if m.gapIn == int(r.batch) {
				m.gapIn = -1 // it is told of again
			}
			m.answered(r)
			t.sendAgain(r)
		}
	}
}

// failed counts a failure of an event that waits. The lane goes on when the backoff has
// passed, or at once when this was the last attempt.
func (m *machine) failed(t *track, r *record, after time.Duration, reason string, now time.Time) {
	f := t.fail(r.seq, reason)
	f.Failures++
	if m.spent(t, r) {
		return
	}
	f.RetryAt = now.Add(m.backoff(f.Failures, after))
	t.hold(r.lane, f.RetryAt)
}

// backoff returns how long an event waits after some failures, or what was asked for.
func (m *machine) backoff(failures uint32, after time.Duration) time.Duration {
	if after > 0 {
		return min(after, maxAfter)
	}
	wait := backoffCap
	if failures < 8 {
		wait = min(backoffCap, backoffBase<<(failures-1))
	}
	return wait + time.Duration((m.jitter()*2-1)*float64(wait)/10)
}

// reject notes that an event can never be handled.
func (m *machine) reject(seq uint64, reason string, now time.Time) {
	reason = cut(reason)
	if m.solo != nil {
		if m.solo.entry.seq == seq {
			m.soloRejected(reason, now)
		}
		return
	}
	if t, r := m.inFlightRecord(seq); r != nil {
		m.taken(r)
		m.answered(r)
		m.bury(t, r, reason)
		m.progressed(t, now)
	}
}

// inFlightRecord returns the record of an event that is sent, nil when it is not.
func (m *machine) inFlightRecord(seq uint64) (*track, *record) {
	t := m.track(m.phase)
	if t == nil {
		return nil, nil
	}
	if r := t.find(seq); r != nil && r.state == recordSent {
		return t, r
	}
	return nil, nil
}

// bury lets an event become a dead letter: it is done when that is written.
func (m *machine) bury(t *track, r *record, reason string) {
	if r.state == recordWaiting {
		t.waiting--
	}
	p := phaseLive
	if t == m.replay {
		p = phaseReplay
	}
	r.state = recordBurying
	t.buried++
	m.burials = append(m.burials, burial{phase: p, seq: r.seq, deliveries: r.deliveries, reason: reason})
}

// buried notes that the first burial was written, fresh when there was no dead letter of
// that event before.
func (m *machine) buried(fresh bool, now time.Time) {
	b := m.burials[0]
	m.burials = m.burials[1:]
	if fresh {
		m.dead++
	}
	if t := m.track(b.phase); t != nil {
		if r := t.find(b.seq); r != nil && r.state == recordBurying {
			t.finish(r)
		}
		m.progressed(t, now)
	}
}

// soloDone ends the event that went alone: it was acknowledged.
func (m *machine) soloDone(now time.Time) {
	m.soloProved()
	s := m.endSolo()
	if s.letter == nil {
		s.answer(s.outcome(VerdictAcked, "", now), nil)
		return
	}
	m.cursor.Delivered++
	m.cursor.AckedAt = now
	if !s.dropped {
		m.settled = append(m.settled, s.letter.DeadLetterID)
		m.dead--
	}
	m.changed(true)
}

func (m *machine) soloRejected(reason string, now time.Time) {
	m.soloProved()
	s := m.endSolo()
	if s.letter == nil {
		s.answer(s.outcome(VerdictRejected, reason, now), nil)
		return
	}
	m.buryLetter(s, reason)
}

// soloFailed follows a retry: a trial has its answer, a letter waits.
func (m *machine) soloFailed(after time.Duration, reason string, now time.Time) {
	s := m.endSolo()
	if s.letter == nil {
		s.answer(s.outcome(VerdictRetry, reason, now), nil)
		return
	}
	s.failures++
	if s.failures >= m.maxAttempts {
		m.buryLetter(s, reason)
		return
	}
	s.retryAt = now.Add(m.backoff(s.failures, after))
	m.letters = append(m.letters, s)
}

// buryLetter puts a letter back that failed again, unless it was discarded.
func (m *machine) buryLetter(s *solo, reason string) {
	if s.dropped {
		return
	}
	s.letter.Retry, s.letter.Reason = false, reason
	m.burials = append(m.burials, burial{
		phase: phaseLetter, seq: s.letter.Seq, deliveries: s.letter.Deliveries, reason: reason, letter: s.letter,
	})
}

// endSolo takes the event that went alone out of what is in flight.
func (m *machine) endSolo() *solo {
	s := m.solo
	m.unproved(s.entry.seq, s.through)
	m.solo, m.unanswered = nil, 0
	m.pulse.rest()
	return s
}

func (s *solo) outcome(verdict, reason string, now time.Time) Outcome {
	o := Outcome{Verdict: verdict, Reason: reason, Took: now.Sub(s.sentAt)}
	if s.through != nil {
		o.Binding = s.through.Source
	}
	return o
}

// ended follows the end of the stream: what is in flight will come again. err is why, for
// a trial.
func (m *machine) ended(how ending, reason string, now time.Time) {
	m.restarts = nil
	if m.solo != nil {
		m.soloEnded(how, reason, now)
	}
	if t := m.track(m.phase); t != nil && m.unanswered > 0 {
		m.tracked(t, how, reason, now)
		t.settle()
		m.changed(how != endingOrderly)
	}
	m.alone = false
	m.pulse.rest()
}

// tracked counts the end of a stream against what was in flight.
func (m *machine) tracked(t *track, how ending, reason string, now time.Time) {
	head, alone := t.oldestSent(), m.unanswered == 1
	m.forget(t, nil)
	switch how {
	case endingOrderly:
	case endingBroken:
		t.careful = max(t.careful, t.sent)
		if !alone {
			break
		}
		f := t.fail(head.seq, reason)
		f.Kills++
		m.spent(t, head)
	case endingStalled:
		m.failed(t, head, 0, reason, now)
	}
}

func (m *machine) soloEnded(how ending, reason string, now time.Time) {
	if m.solo.letter == nil {
		s := m.endSolo()
		s.answer(Outcome{}, fmt.Errorf("%w: %s", errUnanswered, reason))
		return
	}
	switch how {
	case endingOrderly:
		s := m.endSolo()
		m.letters = append(m.letters, s)
	case endingBroken:
		s := m.endSolo()
		if s.kills++; s.kills >= MaxKills {
			m.buryLetter(s, reasonKills)
			return
		}
		m.letters = append(m.letters, s)
	case endingStalled:
		m.soloFailed(0, reason, now)
	}
}

// suspect reports whether the next end of a process fails an event for good: then it has
// the process to itself.
func suspect(kills uint32) bool { return kills+1 >= MaxKills }

// suspects reports whether an event of a track is suspected of ending processes.
func (t *track) suspects(seq uint64) bool {
	f := t.failing[seq]
	return f != nil && suspect(f.Kills)
}

// rewind moves the live pass to just after a sequence and forgets what failed. Nothing is
// in flight, and no burial is being written.
func (m *machine) rewind(through uint64) {
	m.live = newTrack(through, math.MaxUint64)
	m.heal()
	m.burials = slices.DeleteFunc(m.burials, func(b burial) bool { return b.phase == phaseLive })
	m.gap, m.gapIn = 0, -1
	m.changed(true)
}

// skip follows a cut of the log: it begins with first. It returns what the live pass has
// lost, zeros when nothing.
func (m *machine) skip(p phase, first uint64, now time.Time) (from, through uint64) {
	t := m.track(p)
	if t == nil {
		return 0, 0
	}
	from = t.cutTo(first)
	m.heal() // what was to try may be lost
	m.progressed(t, now)
	if p != phaseLive || from == 0 {
		return 0, 0
	}
	m.gap, m.gapIn = first-1, -1
	return from, first - 1
}

// cut shortens a plugin's reason.
func cut(reason string) string {
	if len(reason) <= maxReason {
		return strings.ToValidUTF8(reason, "?")
	}
	return strings.ToValidUTF8(reason[:maxReason], "") + "..."
}

// late returns when the oldest event was recorded that is not done, zero = none is known.
// Events that tell of subscriptions do not count: else two that are slow with what is told
// of each other never end.
func (m *machine) late() time.Time {
	for _, r := range m.live.open() {
		if r.state != recordDone && !r.told {
			return time.Unix(0, r.at)
		}
	}
	return time.Time{}
}

// behind returns when the oldest event was recorded that is not done, zero = none is known.
func (m *machine) behind() time.Time {
	if open := m.live.open(); len(open) > 0 {
		return time.Unix(0, open[0].at)
	}
	return time.Time{}
}
