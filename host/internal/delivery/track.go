package delivery

import (
	"slices"
	"time"

	"github.com/tasker-engine/tasker/host/internal/store"
)

// recordState is how far one event is.
type recordState uint8

const (
	recordSent    recordState = iota // sent and not answered
	recordWaiting                    // to be sent, or sent again
	recordBurying                    // given up; becomes a dead letter
	recordDone
)

// record is one wanted event between what is done and what was not read yet.
type record struct {
	seq        uint64
	at         int64  // when the event was recorded
	lane       string // task, empty in the order of sequences
	deliveries uint32
	state      recordState
	batch      uint8    // while it is sent: in which batch
	told       bool     // it tells of a subscription
	through    *Binding // through which it goes
}

// hold keeps a lane from being sent.
type hold struct {
	until time.Time
	by    *outage // nil = for no other reason than time
}

// ends says when a hold ends, and whether that is known: not while an event tries.
func (h hold) ends() (until time.Time, known bool) {
	switch {
	case h.by == nil:
		return h.until, true
	case h.by.over:
		return time.Time{}, true
	default:
		return h.by.until, h.by.probe == 0
	}
}

// track is one pass over the log: the live one, or a replay. Events that are not wanted
// leave nothing behind but a higher next; a wanted one has a record until it and all
// before it are done.
type track struct {
	through uint64 // everything up to here is done
	next    uint64 // to be read
	to      uint64 // the last one to be read

	records []record // by sequence
	first   int      // of records, those before are done
	waiting int      // records that wait
	buried  int      // records that become dead letters
	again   uint64   // no record below waits in a lane that is free
	oldest  uint64   // no record below is sent

	held    map[string]hold // lanes that are not sent
	failing map[uint64]*store.Failing
	known   uint64 // events up to here had failed when the track was made
	careful uint64 // events up to here go alone
	sent    uint64 // the highest one that was
}

func newTrack(through, to uint64) *track {
	return &track{
		through: through, next: through + 1, to: to,
		held: make(map[string]hold), failing: make(map[uint64]*store.Failing),
	}
}

// open returns the records that are not all done.
func (t *track) open() []record { return t.records[t.first:] }

// index returns where the record of a sequence is in open, or the next one.
func (t *track) index(seq uint64) (int, bool) {
	return slices.BinarySearchFunc(t.open(), seq, func(r record, seq uint64) int {
		switch {
		case r.seq < seq:
			return -1
		case r.seq > seq:
			return 1
		}
		return 0
	})
}

// find returns the record of a sequence, nil when there is none.
func (t *track) find(seq uint64) *record {
	i, ok := t.index(seq)
	if !ok {
		return nil
	}
	return &t.open()[i]
}

// push adds the record of the event that was just read.
func (t *track) push(r record) {
	if t.first > 0 && len(t.records) == cap(t.records) && t.first >= len(t.records)/2 {
		t.records = t.records[:copy(t.records, t.records[t.first:])]
		t.first = 0
	}
	if len(t.open()) == 0 {
		t.again, t.oldest = r.seq, r.seq
	}
	if r.state == recordWaiting {
		t.waiting++
	}
	t.records = append(t.records, r)
}

// settle moves through over what is done.
func (t *track) settle() {
	for t.first < len(t.records) && t.records[t.first].state == recordDone {
		t.records[t.first].lane = ""
		t.first++
	}
	if t.first == len(t.records) {
		t.records, t.first = t.records[:0], 0
	}
	t.through = t.throughWithout(0)
	if t.careful > 0 && t.careful <= t.through {
		t.careful = 0
	}
}

// throughWithout returns what through is once the event of a sequence is done.
func (t *track) throughWithout(seq uint64) uint64 {
	for _, r := range t.open() {
		if r.state != recordDone && r.seq != seq {
			return r.seq - 1
		}
	}
	return t.next - 1
}

// sendAgain lets a record wait to be sent.
func (t *track) sendAgain(r *record) {
	r.state = recordWaiting
	t.waiting++
	t.again = min(t.again, r.seq)
}

// free returns the first record that waits in a lane that is not held, nil when there is
// none.
func (t *track) free() *record {
	if t.waiting == 0 {
		return nil
	}
	open := t.open()
	i, _ := t.index(t.again)
	for ; i < len(open); i++ {
		if r := &open[i]; r.state == recordWaiting && !t.isHeld(r.lane) {
			t.again = r.seq
			return r
		}
	}
	if len(open) > 0 {
		t.again = open[len(open)-1].seq + 1
	}
	return nil
}

// oldestSent returns the first record that is sent, nil when there is none.
func (t *track) oldestSent() *record {
	open := t.open()
	i, _ := t.index(t.oldest)
	for ; i < len(open); i++ {
		if open[i].state == recordSent {
			t.oldest = open[i].seq
			return &open[i]
		}
	}
	return nil
}

func (t *track) isHeld(lane string) bool {
	if len(t.held) == 0 {
		return false
	}
	_, ok := t.held[lane]
	return ok
}

// hold keeps a lane from being sent until a time.
func (t *track) hold(lane string, until time.Time) {
	if h := t.held[lane]; h.by != nil || h.until.Before(until) {
		t.held[lane] = hold{until: until}
	}
}

// release lets the lanes go whose time has come and returns when the next one's does,
// zero = none is held.
func (t *track) release(now time.Time) (next time.Time) {
	for lane, h := range t.held {
		until, known := h.ends()
		switch {
		case !known:
			continue
		case until.After(now):
			next = earlier(next, until)
			continue
		}
		delete(t.held, lane)
		t.again = t.through // whatever waits in the lane was passed over
	}
	return next
}

// mayRead reports whether more of the log may be read.
func (t *track) mayRead() bool {
	return t.next <= t.to && len(t.open()) < MaxAhead && len(t.held) < MaxHeld && (t.next <= t.known || len(t.failing) < store.MaxFailing)
}

// ended reports whether everything is done.
func (t *track) ended() bool { return t.next > t.to && len(t.open()) == 0 }

// fail returns the failures of an event, to be counted.
func (t *track) fail(seq uint64, reason string) *store.Failing {
	f := t.failing[seq]
	if f == nil {
		f = &store.Failing{Seq: seq}
		t.failing[seq] = f
	}
	f.Reason = reason
	return f
}

// finish says that the event of a record is done.
func (t *track) finish(r *record) {
	switch r.state {
	case recordWaiting:
		t.waiting--
	case recordBurying:
		t.buried--
	case recordSent, recordDone:
	}
	r.state = recordDone
	if len(t.failing) > 0 {
		delete(t.failing, r.seq)
	}
}

// cutTo skips what the log has lost: all before first. It returns the first sequence that
// is lost, 0 = none is.
func (t *track) cutTo(first uint64) (from uint64) {
	open := t.open()
	for i := range open {
		r := &open[i]
		if r.seq >= first {
			break
		}
		if r.state == recordWaiting {
			if from == 0 {
				from = r.seq
			}
			t.finish(r)
		}
	}
	for seq := range t.failing {
		if r := t.find(seq); seq < first && (r == nil || r.state == recordDone) {
			delete(t.failing, seq)
		}
	}
	if t.next < first {
		if from == 0 {
			from = t.next
		}
		t.next = first
	}
	t.settle()
	return from
}
