package storetest

import (
	"fmt"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

func logCases() []testCase {
	return []testCase{
		{"events stay valid and do not touch each other", ownedEvents},
		{"events are found by their time", seqAt},
		{"the log is cut by time and by number", trimLog},
		{"a long log is cut in parts", trimLong},
		{"the last value of the log stays", trimKeepsLast},
		{"a task's events are left of a cut log", trimChains},
		{"a cut task goes on", trimThenGoOn},
		{"the log is cut beside readers and writers", trimConcurrent},
		{"a random log agrees with a model", randomLog},
		{"random subscriptions agree with a model", randomSubscriptions},
	}
}

// at is so many seconds after Start.
func at(seconds int) time.Time { return Start().Add(time.Duration(seconds) * time.Second) }

func wantSeqAt(t *fixture, s store.Store, when time.Time, want uint64) {
	t.Helper()
	got, err := s.SeqAt(t.Context(), when)
	if got != want || err != nil {
		t.Errorf("sequence at %s: got %d, error %v; want %d", when.Format(time.RFC3339), got, err, want)
	}
}

// wantEnds fails the test unless the log reaches from first to last.
func wantEnds(t *fixture, s store.Store, first, last uint64) {
	t.Helper()
	gotFirst, err1 := s.FirstSeq(t.Context())
	gotLast, err2 := s.LastSeq(t.Context())
	if gotFirst != first || gotLast != last || err1 != nil || err2 != nil {
		t.Errorf("the log: got %d to %d, errors %v, %v; want %d to %d", gotFirst, gotLast, err1, err2, first, last)
	}
}

func mustTrim(t *fixture, s store.Store, before time.Time, limit, wantRemoved int, wantMore bool) {
	t.Helper()
	removed, more, err := s.TrimLog(t.Context(), before, limit)
	if removed != wantRemoved || more != wantMore || err != nil {
		t.Errorf("trim before %s, at most %d: got %d events, more %t, error %v; want %d, %t",
			before.Format(time.RFC3339), limit, removed, more, err, wantRemoved, wantMore)
	}
}

func ownedEvents(t *fixture) {
	s := t.store()
	fl := NewFlow(1, 3)
	MustCommit(t, s, fl.Create(0, 1, 2), Events(3, at(0)))
	page, err := s.Events(t.Context(), 0, 100)
	if err != nil {
		t.Fatalf("events: %v", err)
	}
	own, err := s.TaskEvents(t.Context(), fl.Task.ID)
	if err != nil {
		t.Fatalf("events of a task: %v", err)
	}
	read := func() []string { return append(decodeIDs(t, page), decodeIDs(t, own)...) }
	want := read()
	for i := range page {
		_ = append(page[i].Encoded, 0xff) //nolint:gocritic // must not reach the next one
	}
	MustCommit(t, s, Events(50, at(1)), fl.Succeed(0))
	if _, _, err := s.TrimLog(t.Context(), at(100), 2); err != nil {
		t.Errorf("trim: %v", err)
	}
	mustClose(t, s)
	if diff := cmp.Diff(want, read()); diff != "" {
		t.Errorf("events after a cut and a close (-want +got):\n%s", diff)
	}
}

func seqAt(t *fixture) {
	s := t.store()
	wantSeqAt(t, s, at(0), 1)
	wantSeqAt(t, s, time.Time{}, 1)
	mixed := Events(1, at(20)) // one write set may hold events of different times
	mixed.Events = append(mixed.Events, Event("", 2, "x", at(25)), Event("", 3, "x", at(30)))
	MustCommit(t, s, Events(2, at(10)), mixed, Events(1, at(40)), Events(3, at(40)), Events(1, at(50)))
	for seconds, want := range map[int]uint64{
		0: 1, 10: 1, 11: 3, 20: 3, 21: 4, 25: 4, 26: 5, 30: 5, 31: 6, 40: 6, 41: 10, 50: 10, 51: 11, 1e6: 11,
	} {
		wantSeqAt(t, s, at(seconds), want)
	}
	wantSeqAt(t, s, time.Time{}, 1)
	wantSeqAt(t, s, time.Date(9000, 1, 1, 0, 0, 0, 0, time.UTC), 11)
	mustTrim(t, s, at(21), 10, 5, false)
	wantSeqAt(t, s, at(0), 6)
	wantSeqAt(t, s, at(41), 10)

	MustCommit(t, s, Events(1, at(5)), Events(1, at(60))) // the clock was set back
	wantSeqAt(t, s, at(45), 10)
	wantSeqAt(t, s, at(55), 12)
}

func trimLog(t *fixture) {
	s := t.store()
	mustTrim(t, s, at(100), 10, 0, false)
	wantEnds(t, s, 0, 0)
	MustCommit(t, s, Events(2, at(0)), Events(1, at(1)), Events(3, at(2)), Events(1, at(3)), Events(1, at(4)))
	wantEnds(t, s, 1, 8)
	mustTrim(t, s, at(0), 10, 0, false) // nothing is older
	mustTrim(t, s, at(100), 0, 0, true)
	mustTrim(t, s, at(100), -1, 0, true)
	wantEnds(t, s, 1, 8)
	mustTrim(t, s, at(2), 1, 2, true)
	wantEnds(t, s, 3, 8)
	mustTrim(t, s, at(2), 1, 1, false) // the next one is as old as the limit
	wantEnds(t, s, 4, 8)
	mustTrim(t, s, at(4), 5, 4, false)
	wantEnds(t, s, 8, 8)
	mustClose(t, s)
	s = t.store()
	wantEnds(t, s, 8, 8)
	got, err := s.Events(t.Context(), 0, 10)
	if len(got) != 1 || got[0].Seq != 8 || err != nil {
		t.Errorf("events of a cut log: got %v, error %v; want event 8", got, err)
	}
}

func trimLong(t *fixture) {
	const values = 1500 // more than one transaction's worth
	s := t.store()
	sets := make([]*store.WriteSet, values)
	for i := range sets {
		sets[i] = Events(2, at(i))
	}
	MustCommit(t, s, sets...)
	mustTrim(t, s, at(values), 1200, 2400, true)
	wantEnds(t, s, 2401, 2*values)
	mustTrim(t, s, at(values), 1200, 2*299, false)
	wantEnds(t, s, 2*values-1, 2*values)
}

func trimKeepsLast(t *fixture) {
	s := t.store()
	MustCommit(t, s, Events(3, at(0)))
	mustTrim(t, s, at(100), 10, 0, false)
	wantEnds(t, s, 1, 3)
	fl := NewFlow(1, 1)
	MustCommit(t, s, fl.Create())
	mustTrim(t, s, at(100), 10, 3, false)
	wantEnds(t, s, 4, 4)
	mustClose(t, s)
	s = t.store()
	c, err := Commit(s, Events(1, at(1)))
	if c.FirstSeq != 5 || err != nil {
		t.Errorf("the sequence after a cut and reopening: got %d, error %v; want 5", c.FirstSeq, err)
	}
}

// wantTail fails the test unless the events that are left of the task are its last n.
func wantTail(t *fixture, s store.Store, fl *Flow, n uint64) {
	t.Helper()
	want := make([]string, 0, n)
	for seq := fl.Task.Seq - n + 1; seq <= fl.Task.Seq; seq++ {
		want = append(want, fmt.Sprintf("%s/%d", fl.Task.ID, seq))
	}
	got, err := s.TaskEvents(t.Context(), fl.Task.ID)
	if diff := cmp.Diff(want, decodeIDs(t, got)); err != nil || diff != "" {
		t.Errorf("events left of task %s (-want +got), error %v:\n%s", fl.Task.ID, err, diff)
	}
}

// trimChains cuts the log value by value under three tasks.
func trimChains(t *fixture) {
	s := t.store()
	a, b, c := NewFlow(1, 2), NewFlow(2, 1), NewFlow(3, 1)
	left := map[*Flow]uint64{}
	var values []func() // what each cut takes
	add := func(fl *Flow, ws *store.WriteSet) {
		MustCommit(t, s, ws)
		n := uint64(len(ws.Events))
		left[fl] += n
		values = append(values, func() { left[fl] -= n })
	}
	add(a, a.Create(0))
	add(b, b.Create(0))
	add(a, a.Succeed(0, 1))
	add(b, b.Succeed(0)) // ends
	add(c, c.Create())
	add(a, a.Succeed(1))
	for i, cut := range values[:len(values)-1] {
		if _, _, err := s.TrimLog(t.Context(), at(100), 1); err != nil {
			t.Fatalf("cut %d: %v", i, err)
		}
		cut()
		for fl, n := range left {
			wantTail(t, s, fl, n)
			wantStored(t, s, fl)
		}
	}
	mustClose(t, s)
	s = t.store()
	for fl, n := range left {
		wantTail(t, s, fl, n)
	}
}

// trimThenGoOn cuts all events of tasks that are not done.
func trimThenGoOn(t *fixture) {
	s := t.store()
	known, read := NewFlow(1, 2), NewFlow(2, 2)
	MustCommit(t, s, known.Create(0), read.Create(0), Events(1, at(0)))
	mustTrim(t, s, at(100), 10, 6, false)
	wantTail(t, s, known, 0)
	ws := known.Succeed(0, 1)
	MustCommit(t, s, ws)
	wantTail(t, s, known, uint64(len(ws.Events)))
	mustClose(t, s)
	s = t.store() // what the writer remembers of tasks is read again
	second, third := read.Succeed(0, 1), read.Succeed(1)
	MustCommit(t, s, second, third)
	wantTail(t, s, read, uint64(len(second.Events)+len(third.Events)))
	mustTrim(t, s, at(100), 3, 1+2+2, false)
	wantTail(t, s, known, 0)
	wantTail(t, s, read, uint64(len(third.Events)))
	MustCommit(t, s, known.Succeed(1))
	wantTail(t, s, known, 2)
	for _, fl := range []*Flow{known, read} {
		wantStored(t, s, fl)
	}
}

func trimConcurrent(t *fixture) {
	const tasks, steps = 4, 20
	s := t.store()
	bells := newBells(2)
	var writers, others sync.WaitGroup
	flows := make([]*Flow, tasks)
	for i := range flows {
		flows[i] = NewFlow(uint64(i), steps)
		writers.Go(func() { claimAll(t, s, flows[i], bells) })
	}
	others.Go(func() {
		for range bells[0] {
			if _, _, err := s.TrimLog(t.Context(), at(100), 3); err != nil {
				t.Errorf("trim: %v", err)
			}
		}
	})
	others.Go(func() {
		for range bells[1] {
			page, err := s.Events(t.Context(), 0, 64)
			for i := 1; i < len(page); i++ {
				if page[i].Seq != page[i-1].Seq+1 {
					t.Errorf("event %d follows %d", page[i].Seq, page[i-1].Seq)
				}
			}
			if _, seqErr := s.SeqAt(t.Context(), at(0)); err != nil || seqErr != nil {
				t.Errorf("read: %v, %v", err, seqErr)
			}
		}
	})
	writers.Wait()
	bells.close()
	others.Wait()
	for _, fl := range flows {
		wantStored(t, s, fl)
		if _, err := s.TaskEvents(t.Context(), fl.Task.ID); err != nil {
			t.Errorf("events of task %s: %v", fl.Task.ID, err)
		}
	}
}

// bells wake goroutines that work beside writers.
type bells []chan struct{}

func newBells(n int) bells {
	b := make(bells, n)
	for i := range b {
		b[i] = make(chan struct{}, 1)
	}
	return b
}

func (b bells) ring() {
	for _, bell := range b {
		select {
		case bell <- struct{}{}:
		default:
		}
	}
}

func (b bells) close() {
	for _, bell := range b {
		close(bell)
	}
}

// claimAll creates a task and claims its steps one by one, ringing after each commit.
func claimAll(t *fixture, s store.Store, fl *Flow, b bells) {
	t.Helper()
	ws := fl.Create()
	for i := 0; ; i++ {
		if _, err := Commit(s, ws); err != nil {
			t.Errorf("task %s: %v", fl.Task.ID, err)
			return
		}
		b.ring()
		if i == len(fl.Task.Steps) {
			return
		}
		ws = fl.Claim(task.Ordinal(i))
	}
}
