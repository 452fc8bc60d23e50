package supervisor

import "time"

// history decides when a plugin is started again after its process ended by itself.
type history struct {
	streak  int         // ends in a row, for the backoff
	crashes []time.Time // those that count towards quarantine
}

// ended notes that a process ended at a time, having been ready for a while (0 =
// never). useful says that it finished an attempt or acknowledged an event since it was
// ready: such a crash does not count towards quarantine. rnd in [0, 1) is the jitter. It returns the wait
// before the next start, or that there is none.
func (h *history) ended(at time.Time, ready time.Duration, useful bool, r Restart, rnd float64) (wait time.Duration, quarantined bool) {
	if ready >= r.Reset {
		h.streak = 0
	}
	limit := r.Base
	for range h.streak {
		if limit >= r.Cap {
			break
		}
		limit *= 2
	}
	h.streak++
	if !useful {
		h.crashes = append(h.crashes, at)
	}
	for len(h.crashes) > 0 && at.Sub(h.crashes[0]) > r.Window {
		h.crashes = h.crashes[1:]
	}
	return time.Duration(rnd * float64(min(limit, r.Cap))), len(h.crashes) >= r.MaxCrashes
}
