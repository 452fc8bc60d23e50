package storetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

func retentionCases() []testCase {
	return []testCase{
		{"a sweep finds what is due by age, status and template, and when more will be", sweepAges},
		{"a sweep lets the newest so many stay", sweepLast},
		{"a task stays as long as its idempotency key", sweepKeys},
		{"a sweep hands over every due task once, in parts", sweepParts},
		{"a deleted task leaves nothing but its events", deleteAll},
		{"a task of many steps is deleted in parts, beside one that runs", deleteLarge},
		{"what has not ended, or does not exist, is not deleted", deleteNothing},
		{"a deletion and a decision on the same task exclude each other", deleteRaces},
		{"sizes count every finished task", sizes},
	}
}

func keepAll(string, string, task.Status) store.Keep { return store.Keep{} }

// swept returns what a sweep at a time finds, and when the next is due.
func swept(tb testing.TB, s store.Store, keep store.Keeper, now time.Time) (due []task.ID, next time.Time) {
	tb.Helper()
	next, err := s.Sweep(tb.Context(), keep, now, func(ids []store.Due) error {
		if len(ids) == 0 || len(ids) > store.MaxSweep {
			tb.Errorf("a sweep handed over %d tasks at once", len(ids))
		}
		for _, d := range ids {
			due = append(due, d.ID)
		}
		return nil
	})
	if err != nil {
		tb.Fatalf("sweep: %v", err)
	}
	slices.Sort(due)
	return due, next
}

// ended commits a finished task that was created at a time.
func ended(tb testing.TB, s store.Store, n uint64, at time.Time, how func(*Flow) *store.WriteSet, change ...func(*task.Spec)) *Flow {
	tb.Helper()
	fl := NewFlow(n, 1, append([]func(*task.Spec){func(sp *task.Spec) { sp.CreatedAt = at }}, change...)...)
	MustCommit(tb, s, fl.Create(0), how(fl))
	return fl
}

func succeed(f *Flow) *store.WriteSet { return f.Succeed(0) }
func fail(f *Flow) *store.WriteSet    { return f.Fail(0) }

func sweepAges(t *fixture) {
	s := t.store()
	day := 24 * time.Hour
	refund := func(sp *task.Spec) { sp.Template.Name = "refund" }
	old := ended(t, s, 1, Start(), succeed)
	recent := ended(t, s, 2, Start().Add(5*day), succeed)
	failed := ended(t, s, 3, Start(), fail)
	other := ended(t, s, 4, Start(), succeed, refund)
	running := NewFlow(5, 1)
	MustCommit(t, s, running.Create(0))
	late := NewFlow(6, 1) // created early, ended late
	MustCommit(t, s, late.Create(0))
	late.now = Start().Add(6 * day)
	MustCommit(t, s, late.Succeed(0))
	keep := func(_, template string, status task.Status) store.Keep {
		switch {
		case template == "refund":
			return store.Keep{}
		case status == task.Error:
			return store.Keep{For: 20 * day}
		default:
			return store.Keep{For: 3 * day}
		}
	}
	steps := []struct {
		at   time.Time
		want []*Flow
		next time.Time // not later than this, and not before at
	}{
		{Start(), nil, old.Task.CompletedAt.Add(3 * day)},
		{Start().Add(4 * day), []*Flow{old}, recent.Task.CompletedAt.Add(3 * day)},
		{recent.Task.CompletedAt.Add(3 * day), []*Flow{old, recent}, late.Task.CompletedAt.Add(3 * day)},
		{Start().Add(10 * day), []*Flow{old, recent, late}, failed.Task.CompletedAt.Add(20 * day)},
		{Start().Add(21 * day), []*Flow{old, recent, late, failed}, time.Time{}},
	}
	for _, st := range steps {
		due, next := swept(t, s, keep, st.at)
		var want []task.ID
		for _, fl := range st.want {
			want = append(want, fl.Task.ID)
		}
		slices.Sort(want)
		if diff := gocmp.Diff(want, due); diff != "" {
			t.Errorf("due at %s (-want +got):\n%s", st.at, diff)
		}
		if next.IsZero() != st.next.IsZero() || next.After(st.next) || !next.IsZero() && next.Before(st.at) {
			t.Errorf("next at %s: got %s, want not after %s", st.at, next, st.next)
		}
	}
	if due, next := swept(t, s, keepAll, Start().Add(1000*day)); len(due) > 0 || !next.IsZero() {
		t.Errorf("kept for ever: got %v due and more at %s, want nothing (%s)", due, next, other.Task.ID)
	}
}

func sweepLast(t *fixture) {
	s := t.store()
	var want []task.ID
	for i := range uint64(7) {
		fl := ended(t, s, i, Start().Add(time.Duration(i)*time.Second), succeed)
		if i < 4 {
			want = append(want, fl.Task.ID)
		}
	}
	ended(t, s, 100, Start(), fail)
	for _, last := range []int{3, 7, 10} {
		due, next := swept(t, s, func(string, string, task.Status) store.Keep { return store.Keep{Last: last} }, Start())
		if last >= 7 {
			want = nil
		}
		if diff := gocmp.Diff(want, due); diff != "" || !next.IsZero() {
			t.Errorf("keeping %d, next %s (-want +got):\n%s", last, next, diff)
		}
	}
}

func sweepKeys(t *fixture) {
	s := t.store()
	fl := ended(t, s, 1, Start(), succeed, func(sp *task.Spec) { sp.IdempotencyKey, sp.KeyTTL = "k", 48*time.Hour })
	keep := func(string, string, task.Status) store.Keep { return store.Keep{For: time.Hour, Last: 1} }
	if due, next := swept(t, s, keep, Start().Add(2*time.Hour)); len(due) > 0 || !next.Equal(Start().Add(48*time.Hour)) {
		t.Errorf("before the key has expired: got %v and more at %s, want nothing until then", due, next)
	}
	if due, _ := swept(t, s, keep, Start().Add(48*time.Hour)); len(due) != 1 || due[0] != fl.Task.ID {
		t.Errorf("once the key has expired: got %v, want the task", due)
	}
}

func sweepParts(t *fixture) {
	s := t.store()
	const n = 2*store.MaxSweep + 5
	var sets []*store.WriteSet
	for i := range uint64(n) {
		fl := NewFlow(i, 1)
		sets = append(sets, fl.Create(0), fl.Succeed(0))
	}
	MustCommit(t, s, sets...)
	due, _ := swept(t, s, func(string, string, task.Status) store.Keep { return store.Keep{For: time.Hour} }, Start().Add(2*time.Hour))
	if got := len(slices.Compact(due)); got != n {
		t.Errorf("due: got %d tasks, want %d", got, n)
	}
	boom := errors.New("boom")
	calls := 0
	_, err := s.Sweep(t.Context(), func(string, string, task.Status) store.Keep { return store.Keep{Last: 1} }, Start(), func([]store.Due) error {
		calls++
		return boom
	})
	if !errors.Is(err, boom) || calls != 1 {
		t.Errorf("a sweep that is given up: got error %v after %d calls, want its own after 1", err, calls)
	}
}

// mustDelete deletes tasks and requires so many to have gone.
func mustDelete(tb testing.TB, s store.Store, want uint64, ids ...task.ID) {
	tb.Helper()
	got, err := s.Delete(tb.Context(), ids)
	if err != nil || got.Tasks != want {
		tb.Fatalf("delete: got %+v, error %v; want %d tasks", got, err, want)
	}
}

func deleteAll(t *fixture) {
	s := t.store()
	named := func(sp *task.Spec) {
		sp.Tags, sp.CorrelationID, sp.CorrelationSet = []string{"a", "b"}, "c", true
		sp.IdempotencyKey, sp.KeyTTL = "k", time.Hour
	}
	fl := NewFlow(1, 2, named)
	MustCommit(t, s, fl.Create(0, 1))
	if err := SaveCheckpoint(s, fl.Checkpoint(1, "1")); err != nil {
		t.Fatal(err)
	}
	value, blob := Blob(task.ResultBlob(0), []byte(`"large"`))
	ws := fl.SucceedWith(0, value)
	ws.Blobs = []store.Blob{blob}
	MustCommit(t, s, ws, fl.Fail(1))
	bystander := ended(t, s, 2, Start(), succeed)
	events, err := s.TaskEvents(t.Context(), fl.Task.ID)
	if err != nil {
		t.Fatal(err)
	}
	mustDelete(t, s, 1, fl.Task.ID)
	mustDelete(t, s, 0, fl.Task.ID)
	_, loadErr := s.Load(t.Context(), fl.Task.ID)
	wantErr(t, "load", loadErr, task.ErrNotFound)
	_, blobErr := s.Blob(t.Context(), fl.Task.ID, blob.N)
	wantErr(t, "blob", blobErr, task.ErrNotFound)
	_, cpErr := s.Checkpoint(t.Context(), task.StepID{Task: fl.Task.ID, Ordinal: 1})
	wantErr(t, "checkpoint", cpErr, task.ErrNotFound)
	for _, f := range []store.Filter{
		{Tag: "a"}, {CorrelationID: "c"}, {Statuses: []task.Status{task.Error}}, {CorrelationID: string(fl.Task.ID)},
	} {
		if page, next, err := s.List(t.Context(), f, store.Page{}); len(page) > 0 || next != "" || err != nil {
			t.Errorf("list %+v: got %v, next %q, error %v; want nothing", f, page, next, err)
		}
	}
	counters, err := s.Counters(t.Context())
	if diff := gocmp.Diff(map[task.Status]uint64{task.Complete: 1}, counters); diff != "" || err != nil {
		t.Errorf("counters, error %v (-want +got):\n%s", err, diff)
	}
	left, err := s.Events(t.Context(), 0, 1000)
	if err != nil || len(left) < len(events) {
		t.Errorf("events: got %d, error %v; want at least the %d of the task that went", len(left), err, len(events))
	}
	wantStored(t, s, bystander)
	again := NewFlow(3, 1, named)
	MustCommit(t, s, again.Create(0)) // its key is free
}

func deleteLarge(t *fixture) {
	s := t.store()
	const steps = 3000
	large, running := NewFlow(1, steps), NewFlow(2, 50)
	all := make([]task.Ordinal, steps)
	for i := range all {
		all[i] = task.Ordinal(i)
	}
	MustCommit(t, s, large.Create(all...), large.Cancel(), running.Create(0))
	deleted := make(chan error, 1)
	var got store.Deleted
	go func() {
		var err error
		got, err = s.Delete(t.Context(), []task.ID{large.Task.ID})
		deleted <- err
	}()
	for o := range task.Ordinal(49) {
		MustCommit(t, s, running.Succeed(o, o+1))
	}
	if err := <-deleted; err != nil || got.Tasks != 1 || got.Records < steps {
		t.Fatalf("delete: got %+v, error %v; want 1 task of more than %d records", got, err, steps)
	}
	st, err := s.Stats(t.Context())
	if err != nil || st.Deleted != got {
		t.Errorf("stats: got %+v, error %v; want %+v deleted", st.Deleted, err, got)
	}
	wantStored(t, s, running)
}

func deleteNothing(t *fixture) {
	s := t.store()
	running, waiting := NewFlow(1, 1), NewFlow(2, 1)
	MustCommit(t, s, running.Create(0), waiting.Create())
	mustDelete(t, s, 0, running.Task.ID, waiting.Task.ID, ID(Start(), 99))
	wantStored(t, s, running)
	wantStored(t, s, waiting)
	_, err := s.Delete(t.Context(), []task.ID{"x"})
	wantErr(t, "delete what is no id", err, task.ErrBadID)
}

func deleteRaces(t *fixture) {
	s := t.store()
	gone, reopened := ended(t, s, 1, Start(), fail), ended(t, s, 2, Start(), fail)
	MustCommit(t, s, reopened.Reopen(0))
	mustDelete(t, s, 1, gone.Task.ID, reopened.Task.ID)
	wantStored(t, s, reopened)
	_, err := Commit(s, gone.Reopen(0))
	wantErr(t, "reopen what is gone", err, store.ErrConflict)
	wantErr(t, "checkpoint of what is gone", SaveCheckpoint(s, gone.Checkpoint(0, "1")), task.ErrNotFound)
}

func sizes(t *fixture) {
	s := t.store()
	for i := range uint64(5) {
		ended(t, s, i, Start(), succeed)
	}
	ended(t, s, 9, Start(), fail)
	MustCommit(t, s, NewFlow(10, 1).Create(0))
	got, err := s.Sizes(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range got.Finished {
		found = append(found, fmt.Sprintf("%s/%s %s %d of %d", f.Namespace, f.Template, f.Status, f.Sampled, f.Tasks))
		if f.Bytes <= 0 || !f.Oldest.Equal(Start().Truncate(time.Millisecond)) {
			t.Errorf("%s: got %d bytes since %s", f.Status, f.Bytes, f.Oldest)
		}
	}
	want := []string{"shop/order complete 2 of 5", "shop/order error 1 of 1"}
	if diff := gocmp.Diff(want, found); diff != "" || got.Unfinished != 1 {
		t.Errorf("finished, %d unfinished (-want +got):\n%s", got.Unfinished, diff)
	}
	if got.FileBytes <= 0 || got.Pages <= 0 || got.FreePages < 0 || got.FreePages > got.Pages || len(got.Buckets) == 0 {
		t.Errorf("pages: got %+v", got)
	}
}
