package storetest

import (
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// randomLives drives tasks through random transitions, with conflicts, checkpoints and
// reopening in between, and compares what is stored with the flow after each.
func randomLives(t *fixture) {
	s := t.store()
	var tasks uint64
	rapid.Check(t, func(r *rapid.T) {
		tasks++
		fl := NewFlow(tasks, rapid.IntRange(1, 4).Draw(r, "steps"))
		MustCommit(t, s, fl.Create())
		for range rapid.IntRange(1, 12).Draw(r, "transitions") {
			stale := fl.Clone()
			ws := randomTransition(r, fl)
			if ws == nil {
				break
			}
			MustCommit(t, s, ws)
			wantStored(t, s, fl)
			if rapid.IntRange(0, 4).Draw(r, "conflict") == 0 {
				if again := randomTransition(r, stale); again != nil {
					_, err := Commit(s, again)
					wantErr(t, "a set on the revision before", err, store.ErrConflict)
					wantStored(t, s, fl)
				}
			}
			saveRandomCheckpoint(t, r, s, fl)
			if rapid.IntRange(0, 30).Draw(r, "reopen") == 0 {
				mustClose(t, s)
				s = t.store()
			}
		}
		wantChain(t, s, fl)
	})
}

// saveRandomCheckpoint saves one for a running step, now and then.
func saveRandomCheckpoint(t *fixture, r *rapid.T, s store.Store, fl *Flow) {
	t.Helper()
	running := stepsIn(fl, task.StepInProgress)
	if len(running) == 0 || rapid.IntRange(0, 2).Draw(r, "checkpoint") != 0 {
		return
	}
	o := rapid.SampledFrom(running).Draw(r, "checkpointed")
	if err := SaveCheckpoint(s, fl.Checkpoint(o, "1")); err != nil {
		t.Fatalf("checkpoint: %v", err)
	}
	fl.Task.Steps[o].HasCheckpoint = true
}

// wantChain fails the test unless the task's events are all there, in order.
func wantChain(t *fixture, s store.Store, fl *Flow) {
	t.Helper()
	entries, err := s.TaskEvents(t.Context(), fl.Task.ID)
	if err != nil || uint64(len(entries)) != fl.Task.Seq {
		t.Errorf("events of task %s: got %d, error %v; want %d", fl.Task.ID, len(entries), err, fl.Task.Seq)
	}
	for i := 1; i < len(entries); i++ {
		if entries[i].Seq <= entries[i-1].Seq {
			t.Errorf("event %d has sequence %d after %d", i, entries[i].Seq, entries[i-1].Seq)
		}
	}
}

func stepsIn(fl *Flow, status task.StepStatus) []task.Ordinal {
	var out []task.Ordinal
	for i := range fl.Task.Steps {
		if fl.Task.Steps[i].Status == status {
			out = append(out, fl.Task.Steps[i].Ordinal)
		}
	}
	return out
}

// randomTransition makes one that the task's status allows, nil when there is none.
func randomTransition(r *rapid.T, fl *Flow) *store.WriteSet {
	pending, running := stepsIn(fl, task.StepPending), stepsIn(fl, task.StepInProgress)
	failed := stepsIn(fl, task.StepError)
	var moves []func() *store.WriteSet
	if fl.Task.Status == task.Error {
		moves = append(moves, fl.Resolve)
		if len(failed) > 0 {
			moves = append(moves, func() *store.WriteSet { return fl.Reopen(rapid.SampledFrom(failed).Draw(r, "reopened")) })
		}
	}
	if !fl.Task.Status.Terminal() {
		moves = append(moves, fl.Cancel)
		if len(pending) > 0 {
			moves = append(moves, func() *store.WriteSet { return fl.Claim(rapid.SampledFrom(pending).Draw(r, "claimed")) })
		}
		if len(running) > 0 {
			o := rapid.SampledFrom(running).Draw(r, "ended")
			next := slices.Clone(pending[:min(len(pending), rapid.IntRange(0, 2).Draw(r, "next"))])
			moves = append(moves, func() *store.WriteSet { return fl.Succeed(o, next...) })
			if len(running) == 1 { // a task does not end while a step runs
				moves = append(moves, func() *store.WriteSet { return fl.Fail(o) })
			}
		}
	}
	if len(moves) == 0 {
		return nil
	}
	return rapid.SampledFrom(moves).Draw(r, "transition")()
}

// logModel is the log as a list: what randomLog compares a store with.
type logModel struct {
	values [][]time.Time // when the events of each value were recorded
	first  uint64        // sequence of the first event
	now    time.Time
}

func (m *logModel) next() uint64 {
	next := m.first
	for _, v := range m.values {
		next += uint64(len(v))
	}
	return next
}

func (m *logModel) seqAt(when time.Time) uint64 {
	seq := m.first
	for _, v := range m.values {
		for _, recorded := range v {
			if !recorded.Before(when) {
				return seq
			}
			seq++
		}
	}
	return seq
}

func (m *logModel) trim(before time.Time, limit int) (removed int, more bool) {
	for len(m.values) > 1 && m.values[0][0].Before(before) {
		if limit == 0 {
			return removed, true
		}
		n := len(m.values[0])
		m.first, m.values, removed, limit = m.first+uint64(n), m.values[1:], removed+n, limit-1
	}
	return removed, false
}

// randomLog appends, cuts, searches and reopens.
func randomLog(t *fixture) {
	s := t.store()
	m := &logModel{first: 1, now: Start()}
	rapid.Check(t, func(r *rapid.T) {
		for range rapid.IntRange(1, 8).Draw(r, "sets") {
			ws, recorded := &store.WriteSet{}, []time.Time(nil)
			for i := range rapid.IntRange(1, 4).Draw(r, "events") {
				m.now = m.now.Add(time.Duration(rapid.IntRange(0, 3).Draw(r, "pause")) * time.Second)
				ws.Events = append(ws.Events, Event("", uint64(i), "x", m.now))
				recorded = append(recorded, m.now)
			}
			c, err := Commit(s, ws)
			if want := m.next(); c.FirstSeq != want || err != nil {
				t.Fatalf("commit: got sequence %d, error %v; want %d", c.FirstSeq, err, want)
			}
			m.values = append(m.values, recorded)
		}
		when := func(what string) time.Time {
			oldest := m.values[0][0]
			return oldest.Add(time.Duration(rapid.Int64Range(-1, int64(m.now.Sub(oldest)/time.Second)+2).Draw(r, what)) * time.Second)
		}
		before, limit := when("cut"), rapid.IntRange(0, 6).Draw(r, "limit")
		removed, more := m.trim(before, limit)
		mustTrim(t, s, before, limit, removed, more)
		wantEnds(t, s, m.first, m.next()-1)
		for range 4 {
			searched := when("searched")
			wantSeqAt(t, s, searched, m.seqAt(searched))
		}
		all, err := s.Events(t.Context(), 0, 1<<20)
		if uint64(len(all)) != m.next()-m.first || err != nil || all[0].Seq != m.first {
			t.Fatalf("events: got %d, error %v; want %d from %d", len(all), err, m.next()-m.first, m.first)
		}
		if rapid.IntRange(0, 20).Draw(r, "reopen") == 0 {
			mustClose(t, s)
			s = t.store()
		}
	})
}

// subscriptionModel is what randomSubscriptions compares a store with.
type subscriptionModel struct {
	cursors map[string]store.Cursor
	dead    map[store.DeadLetterID]store.DeadLetter
}

// apply is what a store does with a set.
func (m *subscriptionModel) apply(d *store.DeliverySet) {
	for _, name := range d.Forgotten {
		delete(m.cursors, name)
		for id := range m.dead {
			if id.Subscription == name {
				delete(m.dead, id)
			}
		}
	}
	for _, id := range d.Settled {
		delete(m.dead, id)
	}
	for _, l := range d.DeadLetters {
		m.dead[l.DeadLetterID] = *l
	}
	for _, c := range d.Cursors {
		m.cursors[c.Subscription] = *c
	}
}

// randomSubscriptions changes subscriptions and compares after each change.
func randomSubscriptions(t *fixture) {
	const events = 50
	s := t.store()
	MustCommit(t, s, Events(events, Start()))
	m := &subscriptionModel{make(map[string]store.Cursor), make(map[store.DeadLetterID]store.DeadLetter)}
	names := []string{"a/x", "a/xy", "a/y", "b/x"}
	rapid.Check(t, func(r *rapid.T) {
		name := rapid.SampledFrom(names)
		seq := rapid.Uint64Range(1, events-2)
		d := store.DeliverySet{}
		for range rapid.IntRange(1, 4).Draw(r, "changes") {
			switch n := name.Draw(r, "subscription"); rapid.IntRange(0, 4).Draw(r, "change") {
			case 0:
				d.Cursors = append(d.Cursors, Cursor(n, seq.Draw(r, "through")))
			case 1:
				d.Cursors = append(d.Cursors, &store.Cursor{Subscription: n, Through: seq.Draw(r, "through")})
			case 2:
				d.DeadLetters = append(d.DeadLetters, DeadLetter(n, seq.Draw(r, "dead")))
			case 3:
				d.Settled = append(d.Settled, store.DeadLetterID{Subscription: n, Seq: seq.Draw(r, "settled")})
			case 4:
				d.Forgotten = append(d.Forgotten, n)
			}
		}
		MustCommit(t, s, Delivery(d))
		m.apply(&d)
		var cursors []*store.Cursor
		for _, n := range names {
			if c, ok := m.cursors[n]; ok {
				cursors = append(cursors, &c)
			}
			var dead []store.DeadLetter
			for id, l := range m.dead {
				if id.Subscription == n {
					dead = append(dead, l)
				}
			}
			slices.SortFunc(dead, func(a, b store.DeadLetter) int { return int(a.Seq) - int(b.Seq) }) //nolint:gosec // at most events
			got, err := s.DeadLetters(t.Context(), n, 0, events)
			if diff := cmp.Diff(dead, got, cmpopts.EquateEmpty()); diff != "" || err != nil {
				t.Errorf("dead letters of %s (-want +got), error %v:\n%s", n, err, diff)
			}
		}
		wantCursors(t, s, "after a change", cursors...)
		if rapid.IntRange(0, 20).Draw(r, "reopen") == 0 {
			mustClose(t, s)
			s = t.store()
		}
	})
}
