package delivery

import (
	"sync"
	"time"
)

// How subscriptions that are behind make room for what goes on meanwhile.
const (
	// busyFor is how long the log is taken to be growing after it last grew.
	busyFor = 250 * time.Millisecond
	// restShare is how much longer than it worked a subscription rests after a full batch,
	// while the log grows: all that are behind take a tenth of a processor.
	restShare = 9
	// maxRest bounds one rest. Work that took that long waited for the subscriber.
	maxRest = 20 * time.Millisecond
)

// spacing spaces out the batches of subscriptions that are behind as long as the log grows,
// so that who catches up with an hour takes no processor from the steps of now.
type spacing struct {
	mu      sync.Mutex
	rings   uint64    // of the log's bell
	grown   time.Time // when rings were last seen to be others, on the monotonic clock
	resting int       // subscriptions
}

// rest returns how long to rest after a full batch that took so long, 0 = not at all.
// Who rests says so with begin and end.
func (s *spacing) rest(worked time.Duration, rings uint64, now time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if rings != s.rings {
		s.rings, s.grown = rings, now
	}
	if s.grown.IsZero() || now.Sub(s.grown) > busyFor {
		return 0
	}
	return min(worked*time.Duration(restShare*(1+s.resting)), maxRest)
}

func (s *spacing) begin() { s.change(1) }
func (s *spacing) end()   { s.change(-1) }

func (s *spacing) change(by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.resting += by
}
