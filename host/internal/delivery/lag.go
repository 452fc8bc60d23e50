package delivery

import (
	"context"
	"time"

	"github.com/tasker-engine/tasker/host/internal/logkeys"
)

// lagLocked returns for how long a subscription is behind when that is to be told of now,
// and when to look again. It counts while the subscription can be served: an event that
// waited for its plugin is not late before the plugin has had its time. ahead is when the
// first event was recorded that waits for a replay, zero = none is known.
func (s *subscription) lagLocked(now, ahead time.Time) (tell time.Duration, next time.Time) {
	oldest := earlier(s.m.late(), ahead)
	if oldest.IsZero() {
		s.m.lagging = false
		return 0, time.Time{}
	}
	if oldest.Before(s.since) {
		oldest = s.since
	}
	behind, limit := now.Sub(oldest), s.d.opts.LagAfter
	switch {
	case s.m.lagging:
		s.m.lagging = behind >= limit/2
		return 0, time.Time{}
	case behind < limit:
		return 0, oldest.Add(limit)
	}
	s.m.lagging = true
	return behind, time.Time{}
}

// ahead is the first event behind the live pass that is wanted, as far as it was looked
// for: while a replay runs, nothing else knows what waits for its end.
type ahead struct {
	next uint64 // to be looked at
	seq  uint64 // the event, 0 = none is known
	at   time.Time
}

// since returns when the event was recorded, zero = none is known. live is what the live
// pass reads next.
func (a *ahead) since(live uint64) time.Time {
	a.next = max(a.next, live)
	if a.seq < live {
		a.seq, a.at = 0, time.Time{}
	}
	return a.at
}

// scout looks for the first event that waits for a replay to end. What cannot be read is
// told of when it is to be sent.
func (l *link) scout(ctx context.Context) {
	a := &l.ahead
	found, err := l.s.d.reader.read(ctx, a.next)
	if err != nil {
		return
	}
	a.next = max(a.next, found.cut)
	entries := found.entries[:min(len(found.entries), MaxBatchEvents)]
	verdicts, err := l.router.route(ctx, entries, nil)
	if err != nil {
		return
	}
	for i, e := range entries {
		if verdicts[i].wanted && e.about == "" {
			a.seq, a.at = e.seq, time.Unix(0, e.at)
			return
		}
		a.next = e.seq + 1
	}
}

// PassOver says that a subscription wants none of the events from one sequence to another,
// both included: so it is not behind with them while its plugin has no process. It does
// nothing to a subscription that is paused, that is being served, or that has anything to
// do before them.
func (d *Delivery) PassOver(name string, from, through uint64) {
	s, err := d.find(name)
	if err != nil {
		return // it was forgotten meanwhile
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.m.live
	switch {
	case s.m.cursor.Paused != nil, len(s.instances) > 0, s.link != nil, !s.m.placed:
	case len(t.open()) > 0, len(t.failing) > 0, t.next < from, t.next > through:
	default:
		t.next = through + 1
		t.settle()
		s.m.changed(false)
		s.noteLocked()
	}
}

// tellLag records that the subscription lags.
func (s *subscription) tellLag(ctx context.Context, behind time.Duration) {
	last, err := s.d.opts.Store.LastSeq(ctx)
	if err != nil {
		return // ends, or its log cannot be read, which is told of elsewhere
	}
	s.mu.Lock()
	events := last - min(last, s.m.live.through)
	s.mu.Unlock()
	s.log.Warn("the subscriber lags", logkeys.Events, events, logkeys.Behind, behind.String())
	s.d.opts.Publisher.SubscriberLagging(s.name, events, behind, s.d.now())
}

// age returns how long ago the oldest event was recorded that a subscription has not done
// with, 0 = there is none.
func (s *subscription) age(ctx context.Context, through uint64, now time.Time) (time.Duration, error) {
	s.mu.Lock()
	oldest := s.m.behind()
	s.mu.Unlock()
	if oldest.IsZero() {
		found, err := s.d.reader.read(ctx, through+1)
		if err != nil || len(found.entries) == 0 {
			return 0, err
		}
		oldest = time.Unix(0, found.entries[0].at)
	}
	return max(now.Sub(oldest), 0), nil
}
