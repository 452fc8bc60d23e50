package supervisor

import (
	"fmt"
	"time"

	"github.com/tasker-engine/tasker/host/task"
)

// suspects remembers which steps were in flight when processes of a plugin crashed, so that
// an input that ends processes does not put the whole plugin into quarantine.
type suspects struct {
	seen     map[task.StepID]sighting
	culprits map[task.StepID]time.Time // they were alone when a process crashed
}

// sighting is how often a step was in flight at a crash.
type sighting struct {
	last    time.Time
	crashes int
}

// charge notes the attempts that a crash cost, and says which step is to blame instead of
// the plugin, empty = none: one that was in flight at an earlier crash, too, or that was
// alone, as long as it is the only one of the window. A plugin that several steps take down,
// each by itself, is to blame itself. The host runs a suspect alone, see
// [task.Assignment].Suspect.
func (s *suspects) charge(at time.Time, lost []task.AttemptID, alone bool, window time.Duration) (blamed string) {
	s.forget(at.Add(-window))
	if s.seen == nil {
		s.seen, s.culprits = make(map[task.StepID]sighting), make(map[task.StepID]time.Time)
	}
	repeated := 0
	for _, id := range lost {
		step := id.Step()
		was := s.seen[step]
		s.seen[step] = sighting{last: at, crashes: was.crashes + 1}
		if was.crashes > 0 {
			repeated++
			blamed = fmt.Sprintf("attempt %s was in flight, as at %s before", id, times(was.crashes))
		}
	}
	switch {
	case alone && len(lost) == 1:
		s.culprits[lost[0].Step()] = at
		if len(s.culprits) > 1 {
			return ""
		}
		return fmt.Sprintf("attempt %s ran alone", lost[0])
	case repeated > 1:
		return fmt.Sprintf("%d attempts were in flight that were so at a crash before", repeated)
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

// heldSuspect reports whether the instance held an attempt alone when it ended.
func (in *instance) heldSuspect() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, h := range in.attempts {
		if h.suspect {
			return true
		}
	}
	return false
}

// forget drops what was last seen before a time.
func (s *suspects) forget(before time.Time) {
	for step, was := range s.seen {
		if was.last.Before(before) {
			delete(s.seen, step)
		}
	}
	for step, at := range s.culprits {
		if at.Before(before) {
			delete(s.culprits, step)
		}
	}
}
