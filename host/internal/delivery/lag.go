package delivery

import (
	"context"
	"time"
)

// lagLocked returns for how long a subscription is behind when that is to be told of now,
// and when to look again. It counts while the subscription can be served: an event that
// waited for its plugin is not late before the plugin has had its time.
func (s *subscription) lagLocked(now time.Time) (tell time.Duration, next time.Time) {
	oldest := s.m.late()
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

// tellLag records that the subscription lags.
func (s *subscription) tellLag(ctx context.Context, behind time.Duration) {
	last, err := s.d.opts.Store.LastSeq(ctx)
	if err != nil {
		return // ends, or its log cannot be read, which is told of elsewhere
	}
	s.mu.Lock()
	events := last - min(last, s.m.live.through)
	s.mu.Unlock()
	s.log.Warn("the subscriber lags", "events", events, "behind", behind.String())
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
