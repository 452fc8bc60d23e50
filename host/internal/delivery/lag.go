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
