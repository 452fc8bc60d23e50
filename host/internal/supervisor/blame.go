package supervisor

import (
	"fmt"
	"time"

	"github.com/tasker-engine/tasker/host/task"
)

// suspects remembers what was in flight when processes of a plugin crashed, so that an
// input that ends processes does not put the whole plugin into quarantine.
type suspects struct {
	seen     map[string]sighting  // by input
	culprits map[string]time.Time // inputs that were alone when a process crashed
}

// sighting is how often an input was in flight at a crash.
type sighting struct {
	last    time.Time
	crashes int
}

// input is a step or an event that was in flight at a crash.
type input struct {
	key   string // the same at each crash
	what  string // for people: "attempt 01J.../1/2", "event 17 of main"
	alone bool   // nothing else was in flight
}

// charge notes what was in flight at a crash, and says which input is to blame instead of
// the plugin, empty = none: one that was in flight at an earlier crash, too, or that was
// alone, as long as it is the only one of the window. A plugin that several inputs take
// down, each by itself, is to blame itself.
func (s *suspects) charge(at time.Time, held []input, window time.Duration) (blamed string) {
	s.forget(at.Add(-window))
	if s.seen == nil {
		s.seen, s.culprits = make(map[string]sighting), make(map[string]time.Time)
	}
	repeated := 0
	for _, in := range held {
		was := s.seen[in.key]
		s.seen[in.key] = sighting{last: at, crashes: was.crashes + 1}
		if was.crashes > 0 {
			repeated++
			blamed = fmt.Sprintf("%s was in flight, as at %s before", in.what, times(was.crashes))
		}
	}
	switch {
	case len(held) == 1 && held[0].alone:
		s.culprits[held[0].key] = at
		if len(s.culprits) > 1 {
			return ""
		}
		return held[0].what + " ran alone"
	case repeated > 1:
		return fmt.Sprintf("%d inputs were in flight that were so at a crash before", repeated)
	default:
		return blamed
	}
}

func times(crashes int) string {
	if crashes == 1 {
		return "a crash"
	}
	return fmt.Sprintf("%d crashes", crashes)
}

// held returns what was in flight when the instance ended: the attempts that were lost with
// it, and the events of which it had one of a subscription.
func (in *instance) held(lost []task.AttemptID) (held []input) {
	in.mu.Lock()
	for _, id := range lost {
		h := in.attempts[id.String()]
		held = append(held, input{key: fmt.Sprint(id.Step()), what: "attempt " + id.String(), alone: h != nil && h.suspect})
	}
	in.mu.Unlock()
	for _, event := range in.company.Ended() {
		held = append(held, input{key: event.What, what: event.What, alone: event.Alone})
	}
	return held
}

// forget drops what was last seen before a time.
func (s *suspects) forget(before time.Time) {
	for key, was := range s.seen {
		if was.last.Before(before) {
			delete(s.seen, key)
		}
	}
	for key, at := range s.culprits {
		if at.Before(before) {
			delete(s.culprits, key)
		}
	}
}
