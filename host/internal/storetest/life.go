package storetest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

func lifeCases() []testCase {
	return []testCase{
		{"what was committed is there after reopening", reopen},
		{"the identity stays and the epoch rises", identity},
		{"sequences go on after reopening", seqAfterReopen},
		{"close commits what was submitted", closeDrains},
		{"a closed store refuses everything", closed},
		{"a store open for reading refuses writes", readOnly},
		{"a cancelled context ends reading", cancelled},
		{"readers and writers run at once", concurrent},
		{"random lives agree with a model", randomLives},
	}
}

func mustClose(tb testing.TB, s store.Store) {
	tb.Helper()
	if err := s.Close(); err != nil {
		tb.Fatalf("close: %v", err)
	}
}

func reopen(t *fixture) {
	s := t.store()
	a, b := NewFlow(1, 3, withKey("1", 0, Start())), NewFlow(2, 1)
	MustCommit(t, s, a.Create(0), b.Create(0), a.Succeed(0, 1), b.Fail(0))
	if err := SaveCheckpoint(s, a.Checkpoint(1, `{"n":1}`)); err != nil {
		t.Fatalf("checkpoint: %v", err)
	}
	a.Task.Steps[1].HasCheckpoint = true
	mustClose(t, s)
	s = t.store()
	wantStored(t, s, a)
	wantStored(t, s, b)
	stale := a.Clone()
	MustCommit(t, s, a.Succeed(1, 2))
	a.Task.Steps[1].HasCheckpoint = true // as it was when the step ended
	wantStored(t, s, a)
	_, err := Commit(s, stale.Claim(2))
	wantErr(t, "old revision after reopening", err, store.ErrConflict)
	MustCommit(t, s, b.Reopen(0), b.Claim(0))
	wantStored(t, s, b)
	if got, err := s.Checkpoints(t.Context(), a.Task.ID); len(got) != 0 || err != nil {
		t.Errorf("checkpoints of an ended step after reopening: got %v, error %v", got, err)
	}
	var live []task.ID
	err = s.Live(t.Context(), func(id task.ID, _ *store.Aggregate, err error) error {
		live = append(live, id)
		return err
	})
	if diff := cmp.Diff([]task.ID{a.Task.ID, b.Task.ID}, live); err != nil || diff != "" {
		t.Errorf("live tasks (-want +got), error %v:\n%s", err, diff)
	}
}

func identity(t *fixture) {
	s := t.store()
	host, epoch := s.Identity()
	if _, err := task.ParseID(host); err != nil || epoch == 0 {
		t.Errorf("identity: got %q, epoch %d; want a ULID and an epoch from 1", host, epoch)
	}
	mustClose(t, s)
	s = t.store()
	again, next := s.Identity()
	if again != host || next != epoch+1 {
		t.Errorf("after reopening: got %q, epoch %d; want %q, %d", again, next, host, epoch+1)
	}
	mustClose(t, s)
	s = t.open(t.T, t.dir, true)
	if again, same := s.Identity(); again != host || same != next {
		t.Errorf("open for reading: got %q, epoch %d; want %q, %d", again, same, host, next)
	}
}

func seqAfterReopen(t *fixture) {
	s := t.store()
	a := NewFlow(1, 2)
	first, err := Commit(s, a.Create(0, 1))
	if err != nil {
		t.Fatalf("commit: %v", err)
	}
	last := first.FirstSeq + a.Task.Seq - 1
	mustClose(t, s)
	s = t.store()
	next, err := Commit(s, a.Succeed(0))
	if err != nil || next.FirstSeq <= last {
		t.Errorf("sequence after reopening: got %d, error %v; want more than %d", next.FirstSeq, err, last)
	}
	if got, err := s.TaskEvents(t.Context(), a.Task.ID); err != nil || uint64(len(got)) != a.Task.Seq {
		t.Errorf("events across reopening: got %d, error %v; want %d", len(got), err, a.Task.Seq)
	}
}

func closeDrains(t *fixture) {
	s := t.store()
	fl := NewFlow(1, 200)
	sets := []*store.WriteSet{fl.Create()}
	for i := range task.Ordinal(200) {
		sets = append(sets, fl.Claim(i))
	}
	var wg sync.WaitGroup
	for i, ws := range sets {
		wg.Add(1)
		s.Submit(ws, func(_ store.Commit, err error) {
			defer wg.Done()
			if err != nil {
				t.Errorf("set %d: %v", i, err)
			}
		})
	}
	mustClose(t, s)
	wg.Wait()
	wantStored(t, t.store(), fl)
}

func closed(t *fixture) {
	s := t.store()
	fl := NewFlow(1, 1)
	MustCommit(t, s, fl.Create(0))
	mustClose(t, s)
	if err := s.Close(); err != nil {
		t.Errorf("second close: %v", err)
	}
	_, err := Commit(s, fl.Succeed(0))
	wantErr(t, "submit", err, store.ErrClosed)
	wantErr(t, "save checkpoint", SaveCheckpoint(s, fl.Checkpoint(0, "1")), store.ErrClosed)
	wantErr(t, "save spans", SaveSpans(s, fl.Spans(0, "x")), store.ErrClosed)
	wantErr(t, "save crash", s.SaveCrash(t.Context(), &store.Crash{Plugin: "p", At: Start()}), store.ErrClosed)
	_, _, err = s.TrimLog(t.Context(), Start().Add(time.Hour), 1)
	wantErr(t, "trim the log", err, store.ErrClosed)
	_, err = s.Delete(t.Context(), []task.ID{fl.Task.ID})
	wantErr(t, "delete", err, store.ErrClosed)
	for name, read := range reads(t.Context(), s, fl.Task.ID) {
		wantErr(t, name, read(), store.ErrClosed)
	}
}

// reads are all reading operations.
func reads(ctx context.Context, s store.Store, id task.ID) map[string]func() error {
	return map[string]func() error{
		"load":    func() error { _, err := s.Load(ctx, id); return err },
		"live":    func() error { return s.Live(ctx, func(task.ID, *store.Aggregate, error) error { return nil }) },
		"list":    func() error { _, _, err := s.List(ctx, store.Filter{}, store.Page{}); return err },
		"resolve": func() error { _, err := s.Resolve(ctx, string(id)); return err },
		"blob":    func() error { _, err := s.Blob(ctx, id, 0); return ignore(err, task.ErrNotFound) },
		"value":   func() error { _, err := s.Value(ctx, id, 0); return err },
		"checkpoint": func() error {
			_, err := s.Checkpoint(ctx, task.StepID{Task: id})
			return ignore(err, task.ErrNotFound)
		},
		"checkpoints":   func() error { _, err := s.Checkpoints(ctx, id); return err },
		"spans":         func() error { _, err := s.Spans(ctx, id); return err },
		"events":        func() error { _, err := s.Events(ctx, 0, 1); return err },
		"first seq":     func() error { _, err := s.FirstSeq(ctx); return err },
		"last seq":      func() error { _, err := s.LastSeq(ctx); return err },
		"seq at":        func() error { _, err := s.SeqAt(ctx, Start()); return err },
		"task events":   func() error { _, err := s.TaskEvents(ctx, id); return err },
		"crashes":       func() error { _, err := s.Crashes(ctx, ""); return err },
		"cursors":       func() error { _, err := s.Cursors(ctx); return err },
		"dead letters":  func() error { _, err := s.DeadLetters(ctx, "a/x", 0, 1); return err },
		"custom events": func() error { _, err := s.CustomEvents(ctx); return err },
		"counters":      func() error { _, err := s.Counters(ctx); return err },
		"stats":         func() error { _, err := s.Stats(ctx); return err },
		"sizes":         func() error { _, err := s.Sizes(ctx, 1); return err },
		"sweep": func() error {
			_, err := s.Sweep(ctx, keepAll, Start(), func([]store.Due) error { return nil })
			return err
		},
	}
}

func ignore(err, ignored error) error {
	if errors.Is(err, ignored) {
		return nil
	}
	return err
}

func readOnly(t *fixture) {
	s := t.store()
	fl := NewFlow(1, 1)
	MustCommit(t, s, fl.Create(0))
	mustClose(t, s)
	s = t.open(t.T, t.dir, true)
	other := t.open(t.T, t.dir, true) // readers share
	wantStored(t, other, fl)
	for name, read := range reads(t.Context(), s, fl.Task.ID) {
		if err := read(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := Commit(s, fl.Clone().Succeed(0))
	wantErr(t, "submit", err, store.ErrReadOnly)
	wantErr(t, "save checkpoint", SaveCheckpoint(s, fl.Checkpoint(0, "1")), store.ErrReadOnly)
	wantErr(t, "save spans", SaveSpans(s, fl.Spans(0, "x")), store.ErrReadOnly)
	_, err = s.Delete(t.Context(), []task.ID{fl.Task.ID})
	wantErr(t, "delete", err, store.ErrReadOnly)
	wantErr(t, "save crash", s.SaveCrash(t.Context(), &store.Crash{Plugin: "p", At: Start()}), store.ErrReadOnly)
	_, _, err = s.TrimLog(t.Context(), Start().Add(time.Hour), 1)
	wantErr(t, "trim the log", err, store.ErrReadOnly)
}

func cancelled(t *fixture) {
	s := t.store()
	fl := NewFlow(1, 1)
	MustCommit(t, s, fl.Create(0))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, read := range reads(ctx, s, fl.Task.ID) {
		wantErr(t, name, read(), context.Canceled)
	}
	_, _, err := s.TrimLog(ctx, Start().Add(time.Hour), 1)
	wantErr(t, "trim the log", err, context.Canceled)
}

func concurrent(t *fixture) {
	const tasks, steps = 8, 20
	s := t.store()
	var wg sync.WaitGroup
	for i := range uint64(tasks) {
		wg.Go(func() {
			fl := NewFlow(i, steps)
			sets := []*store.WriteSet{fl.Create(0)}
			for o := range task.Ordinal(steps - 1) {
				sets = append(sets, fl.Succeed(o, o+1))
			}
			for _, ws := range append(sets, fl.Succeed(steps-1)) {
				if _, err := Commit(s, ws); err != nil {
					t.Errorf("task %d: %v", i, err)
					return
				}
			}
		})
		wg.Go(func() {
			for name, read := range reads(t.Context(), s, ID(Start(), i)) {
				if err := ignore(read(), task.ErrNotFound); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
	wg.Wait()
	got, err := s.Counters(t.Context())
	if diff := cmp.Diff(map[task.Status]uint64{task.Complete: tasks}, got); err != nil || diff != "" {
		t.Errorf("counters (-want +got), error %v:\n%s", err, diff)
	}
}
