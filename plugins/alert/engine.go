package main

import (
	"maps"
	"slices"
	"time"
)

const (
	// keepEnded is for how long the end of an alert is told: whoever was away for longer has ended it by itself.
	keepEnded = 15 * time.Minute
	// endsAfter times ResendEvery is when an alert ends by itself if nothing more is heard of it.
	endsAfter = 4
	// catchUp is for how long after its start, and after an old event, the plugin takes itself to be behind the log.
	catchUp = time.Minute
)

// engine decides what alerts there are. It reads no clock.
type engine struct {
	rules   []*rule
	maxAge  time.Duration
	resend  time.Duration
	link    string
	host    string    // the id of the home that the events are of
	newest  time.Time // when the newest event was recorded
	changed bool      // since it was saved

	late   bool      // the last event was old when it came
	heard  time.Time // when the last event came, or the process started
	raised bool      // an alert began or ended since somebody asked
}

// start begins at a time: the groups that are known without events exist.
func (e *engine) start(now time.Time) {
	e.late, e.heard = true, now
	for _, r := range e.rules {
		labels, ok := r.expected()
		if !ok || !r.condition.passing() {
			continue
		}
		if s := r.group(labels, now); s.Since.IsZero() {
			s.Since = now
		}
	}
}

// observe takes an event that comes at a time. Each rule takes each event once, so that a new rule
// can be shown old ones.
func (e *engine) observe(o observation, now time.Time) {
	age := now.Sub(o.at)
	e.late, e.heard = age > e.maxAge, now
	if o.at.After(e.newest) {
		e.newest = o.at
	}
	for _, r := range e.rules {
		if o.seq <= r.through {
			continue
		}
		r.through, e.changed = o.seq, true
		if !r.takes(o) {
			continue
		}
		s := r.group(o.labels, o.at)
		if o.at.After(s.Heard) {
			s.Heard = o.at
		}
		r.condition.observe(s, o)
		e.evaluate(r, s, s.Heard, age <= e.maxAge)
	}
}

// would returns the names of the rules that would take an event.
func (e *engine) would(o observation) (names []string) {
	for _, r := range e.rules {
		if r.takes(o) {
			names = append(names, r.Name)
		}
	}
	return names
}

// tick lets time pass: alerts end, and what has not happened for too long is noticed, unless it may be that the
// plugin was not told of it yet.
func (e *engine) tick(now time.Time) {
	behind := e.late && now.Sub(e.heard) < catchUp
	for _, r := range e.rules {
		for key, s := range r.groups {
			if r.forget(s, now) && !s.lasts() {
				delete(r.groups, key)
				e.changed = true
				continue
			}
			e.evaluate(r, s, now, r.condition.passing() && !behind && !r.forget(s, now))
			if a := s.Alert; a != nil && !a.EndsAt.IsZero() && now.Sub(a.EndsAt) > keepEnded {
				s.Alert, e.changed = nil, true
			}
		}
	}
}

// evaluate raises or ends the alert of a group. Only what may is raised; anything may go on or end.
func (e *engine) evaluate(r *rule, s *series, at time.Time, may bool) {
	found, holds := r.condition.holds(s, at)
	holds = holds && !r.forget(s, at)
	a := s.Alert
	switch {
	case holds && s.lasts():
		a.Held, a.Value, a.Text = at, found.value, found.text
	case holds && may && !at.Before(s.CoolUntil):
		s.Alert = &alert{StartsAt: at, Held: at, Value: found.value, Text: found.text}
		e.raised, e.changed = true, true
	case !holds && s.lasts() && a.Told && !at.Before(a.Held.Add(r.KeepFiring.D())):
		a.EndsAt = at
		if at.Before(a.StartsAt) { // time had passed before the event came
			a.EndsAt = a.StartsAt
		}
		s.CoolUntil = a.EndsAt.Add(r.Cooldown.D())
		e.raised, e.changed = true, true
	}
}

// takeRaised reports whether an alert began or ended since it was last asked.
func (e *engine) takeRaised() bool {
	raised := e.raised
	e.raised = false
	return raised
}

// notices returns what is to be told at a time: alerts that last, and those that ended not long ago.
func (e *engine) notices(now time.Time) []notice {
	var all []notice
	for _, r := range e.rules {
		for _, key := range slices.Sorted(maps.Keys(r.groups)) {
			s := r.groups[key]
			if s.Alert == nil {
				continue
			}
			ends := s.Alert.EndsAt
			if s.lasts() {
				ends = now.Add(endsAfter * e.resend)
			}
			n := r.notice(s, ends)
			n.GeneratorURL = e.link
			all = append(all, n)
		}
	}
	return all
}

// told notes that an Alertmanager has accepted alerts: from now on they may end.
func (e *engine) told(all []notice) {
	for _, n := range all {
		if !n.of.Told {
			n.of.Told, e.changed = true, true
		}
	}
}

// hostStarted notices that the log is another one: a restored backup gets a new host id, and numbers new events like
// those that were recorded after the backup. What windows hold stays.
func (e *engine) hostStarted(id string, seq uint64, at time.Time) {
	if id == e.host || at.Before(e.newest) {
		return
	}
	if e.host != "" {
		for _, r := range e.rules {
			r.through = min(r.through, seq)
		}
	}
	e.host, e.newest, e.changed = id, at, true
}
