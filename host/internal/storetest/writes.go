package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

func writeCases() []testCase {
	return []testCase{
		{"a whole life is stored", wholeLife},
		{"failed, reopened, cancelled and resolved tasks are stored", otherLives},
		{"a set on an old revision conflicts and changes nothing", conflict},
		{"sets behind a conflict conflict too", conflictChain},
		{"a second creation of a task conflicts", createTwice},
		{"of many writers on one revision one wins", raceOnRevision},
		{"one refusal fails no neighbour", refusalAlone},
		{"malformed sets are refused", malformed},
		{"callbacks come in the order of submission", callbackOrder},
		{"values over the limit are refused", tooLarge},
		{"a checkpoint lives until its step ends", checkpoints},
		{"a checkpoint without data keeps the data", progressOnly},
		{"a checkpoint outlives the error of its task", checkpointAfterError},
		{"a late checkpoint is dropped", lateCheckpoints},
		{"spans of attempts are kept", spans},
		{"crash reports are capped per plugin", crashes},
		{"text that is no UTF-8 is kept readable", invalidText},
	}
}

func wholeLife(t *fixture) {
	s := t.store()
	fl := NewFlow(1, 3, func(sp *task.Spec) {
		sp.Tags, sp.Priority, sp.Initiator, sp.Reason = []string{"a", "b"}, -3, "me", "because"
		sp.CorrelationID, sp.CorrelationSet, sp.SourceSystem = "corr-1", true, "erp"
		sp.Bypass, sp.Deadline = []task.StepName{"ship"}, Start().Add(time.Hour)
		sp.IdempotencyKey, sp.KeyTTL = "k1", time.Hour
	})
	for _, next := range []func() *store.WriteSet{
		func() *store.WriteSet { return fl.Create(0) },
		func() *store.WriteSet { return fl.Succeed(0, 1, 2) },
		func() *store.WriteSet { return fl.Succeed(2) },
		func() *store.WriteSet { return fl.Succeed(1) },
	} {
		MustCommit(t, s, next())
		wantStored(t, s, fl)
	}
	if fl.Task.Status != task.Complete {
		t.Fatalf("the flow ended %s, want complete", fl.Task.Status)
	}
}

func otherLives(t *fixture) {
	s := t.store()
	failed, cancelled := NewFlow(1, 2), NewFlow(2, 2)
	MustCommit(t, s, failed.Create(0), failed.Fail(0))
	wantStored(t, s, failed)
	MustCommit(t, s, failed.Reopen(0), failed.Claim(0))
	wantStored(t, s, failed)
	MustCommit(t, s, failed.Fail(0), failed.Resolve())
	wantStored(t, s, failed)
	MustCommit(t, s, cancelled.Create(1), cancelled.Cancel())
	wantStored(t, s, cancelled)
	got, err := s.Counters(t.Context())
	want := map[task.Status]uint64{task.ResolvedManually: 1, task.Cancelled: 1}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("counters (-want +got), error %v:\n%s", err, diff)
	}
}

func conflict(t *fixture) {
	s := t.store()
	fl := NewFlow(1, 2)
	MustCommit(t, s, fl.Create())
	stale := fl.Clone()
	MustCommit(t, s, fl.Claim(0))
	_, err := Commit(s, stale.Claim(1))
	wantErr(t, "set on revision 1", err, store.ErrConflict)
	wantStored(t, s, fl)
	MustCommit(t, s, fl.Claim(1))
	wantStored(t, s, fl)
	future := fl.Clone()
	future.Task.Revision += 5
	_, err = Commit(s, future.Succeed(0))
	wantErr(t, "set on a revision that does not exist yet", err, store.ErrConflict)
	_, err = Commit(s, NewFlow(77, 1).after(4).Claim(0))
	wantErr(t, "set of an unknown task", err, store.ErrConflict)
}

// after pretends that so many write sets were committed.
func (f *Flow) after(revision uint64) *Flow {
	f.Task.Revision, f.Task.Seq = revision, revision
	return f
}

func conflictChain(t *fixture) {
	s := t.store()
	fl := NewFlow(1, 3)
	MustCommit(t, s, fl.Create())
	other := fl.Clone()
	got := Gather(s, fl.Claim(0), other.Claim(1), other.Claim(2))
	if got[0] != nil {
		t.Errorf("the first set: got error %v, want none", got[0])
	}
	wantErr(t, "the second set", got[1], store.ErrConflict)
	// The third expects revision 2, which exists, but was decided on the second set's.
	wantErr(t, "the third set", got[2], store.ErrConflict)
	wantStored(t, s, fl)
	MustCommit(t, s, fl.Claim(1))
	wantStored(t, s, fl)
}

func createTwice(t *fixture) {
	s := t.store()
	fl := NewFlow(1, 1)
	MustCommit(t, s, fl.Create())
	_, err := Commit(s, NewFlow(1, 1).Create())
	wantErr(t, "second creation", err, store.ErrConflict)
	wantStored(t, s, fl)
}

func raceOnRevision(t *fixture) {
	const writers = 20
	s := t.store()
	fl := NewFlow(1, writers)
	MustCommit(t, s, fl.Create())
	errs := make(chan error, writers)
	var wg sync.WaitGroup
	for i := range writers {
		mine := fl.Clone()
		ws := mine.Claim(task.Ordinal(i))
		wg.Go(func() {
			_, err := Commit(s, ws)
			errs <- err
		})
	}
	wg.Wait()
	won := 0
	for range writers {
		if err := <-errs; err == nil {
			won++
		} else {
			wantErr(t, "a loser", err, store.ErrConflict)
		}
	}
	if won != 1 {
		t.Errorf("winners: got %d, want 1", won)
	}
}

func refusalAlone(t *fixture) {
	s := t.store()
	a, b := NewFlow(1, 1), NewFlow(2, 1)
	bad := NewFlow(3, 1).after(9)
	got := Gather(s, a.Create(), bad.Claim(0), b.Create(), a.Claim(0))
	for i, want := range []error{nil, store.ErrConflict, nil, nil} {
		if !errors.Is(got[i], want) {
			t.Errorf("set %d: got error %v, want %v", i, got[i], want)
		}
	}
	wantStored(t, s, a)
	wantStored(t, s, b)
}

func malformed(t *fixture) {
	s := t.store()
	existing := NewFlow(1, 1)
	MustCommit(t, s, existing.Create())
	create := func(change func(*store.WriteSet)) *store.WriteSet {
		ws := NewFlow(2, 1).Create()
		change(ws)
		return ws
	}
	tests := []struct {
		name string
		ws   *store.WriteSet
		want error
	}{
		{"empty", &store.WriteSet{}, task.ErrInvalid},
		{"no task but steps", &store.WriteSet{Steps: []*task.Step{{}}, Events: []store.Event{Event("", 1, "x", Start())}}, task.ErrInvalid},
		{"id that is none", create(func(ws *store.WriteSet) { ws.TaskID, ws.Create.Spec.ID = "x", "x" }), task.ErrBadID},
		{"creation of another task", create(func(ws *store.WriteSet) { ws.Create.Spec.ID = ID(Start(), 9) }), task.ErrInvalid},
		{"creation without the task", create(func(ws *store.WriteSet) { ws.Task = nil }), task.ErrInvalid},
		{"revision that does not follow", create(func(ws *store.WriteSet) { ws.Revision = 3 }), task.ErrInvalid},
		{"template hash that is none", create(func(ws *store.WriteSet) { ws.Create.Spec.Template.Hash = "abc" }), task.ErrInvalid},
		{"template with another hash", create(func(ws *store.WriteSet) { ws.Create.Template = []byte("other") }), task.ErrInvalid},
		{"tag with a NUL", create(func(ws *store.WriteSet) { ws.Create.Spec.Tags = []string{"a\x00b"} }), task.ErrInvalid},
		{"tag that is too long", create(func(ws *store.WriteSet) { ws.Create.Spec.Tags = []string{strings.Repeat("x", 40_000)} }), task.ErrInvalid},
		{"nothing changes", &store.WriteSet{TaskID: existing.Task.ID, Expected: 1, Revision: 2, Events: []store.Event{Event(existing.Task.ID, 2, "x", Start())}}, task.ErrInvalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Commit(s, tt.ws)
			wantErr(t, "commit", err, tt.want)
		})
	}
	wantStored(t, s, existing)
}

func callbackOrder(t *fixture) {
	s := t.store()
	const n = 300
	flow := NewFlow(1, n)
	var mu sync.Mutex
	var order []int
	var seqs []uint64
	var wg sync.WaitGroup
	submit := func(i int, ws *store.WriteSet) {
		wg.Add(1)
		s.Submit(ws, func(c store.Commit, err error) {
			defer wg.Done()
			mu.Lock()
			defer mu.Unlock()
			order = append(order, i)
			seqs = append(seqs, c.FirstSeq)
			if refused := i == n/2; (err != nil) != refused {
				t.Errorf("set %d: got error %v", i, err)
			}
		})
	}
	submit(0, flow.Create())
	for i := 1; i < n; i++ {
		if i == n/2 {
			submit(i, NewFlow(2, 1).after(1).Claim(0)) // there is no such task
			continue
		}
		submit(i, flow.Claim(task.Ordinal(i)))
	}
	wg.Wait()
	if !slices.IsSorted(order) || len(order) != n {
		t.Errorf("callbacks came in the order %v", order)
	}
	seqs = slices.DeleteFunc(seqs, func(q uint64) bool { return q == 0 })
	if !slices.IsSorted(seqs) || len(slices.Compact(seqs)) != n-1 {
		t.Errorf("log sequences: got %v, want %d rising ones", seqs, n-1)
	}
}

func tooLarge(t *fixture) {
	s := t.store()
	fl := NewFlow(1, 1)
	MustCommit(t, s, fl.Create(0))
	before := fl.Clone()
	value, blob := Blob(task.ResultBlob(0), make([]byte, task.MaxValue+1))
	ws := before.Clone().SucceedWith(0, value)
	ws.Blobs = []store.Blob{blob}
	_, err := Commit(s, ws)
	wantErr(t, "blob over the limit", err, task.ErrTooLarge)
	inline := before.Clone().SucceedWith(0, task.Value{Inline: make([]byte, task.MaxValue+1)})
	_, err = Commit(s, inline)
	wantErr(t, "record over the limit", err, task.ErrTooLarge)
	cp := fl.Checkpoint(0, strings.Repeat("x", task.MaxCheckpoint+1))
	wantErr(t, "checkpoint over the limit", SaveCheckpoint(s, cp), task.ErrTooLarge)
	wantStored(t, s, before)
}

func checkpoints(t *fixture) {
	s := t.store()
	fl := NewFlow(1, 3)
	MustCommit(t, s, fl.Create(0, 2))
	first, second, other := fl.Checkpoint(0, `{"n":1}`), fl.Checkpoint(0, `{"n":2}`), fl.Checkpoint(2, `{"n":3}`)
	for _, cp := range []*store.Checkpoint{first, second, other} {
		if err := SaveCheckpoint(s, cp); err != nil {
			t.Fatalf("save: %v", err)
		}
	}
	want := map[task.Ordinal]store.Checkpoint{0: *second, 2: *other}
	got, err := s.Checkpoints(t.Context(), fl.Task.ID)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("checkpoints (-want +got), error %v:\n%s", err, diff)
	}
	if a := mustLoad(t, s, fl.Task.ID); a.Task.Revision != fl.Task.Revision || !a.Task.Steps[0].HasCheckpoint || a.Task.Steps[1].HasCheckpoint {
		t.Errorf("after checkpoints: got revision %d, steps %+v; want revision %d, step 0 with a checkpoint, 1 without",
			a.Task.Revision, a.Task.Steps, fl.Task.Revision)
	}
	MustCommit(t, s, fl.Succeed(0, 1))
	delete(want, 0)
	got, err = s.Checkpoints(t.Context(), fl.Task.ID)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("checkpoints after the step ended (-want +got), error %v:\n%s", err, diff)
	}
	MustCommit(t, s, fl.Cancel())
	got, err = s.Checkpoints(t.Context(), fl.Task.ID)
	if len(got) != 0 || err != nil {
		t.Errorf("checkpoints after the task ended: got %v, error %v; want none", got, err)
	}
}

// wantCheckpoints compares the checkpoints of a task.
func wantCheckpoints(t *fixture, s store.Store, what string, id task.ID, want ...*store.Checkpoint) {
	t.Helper()
	byStep := make(map[task.Ordinal]store.Checkpoint)
	for _, cp := range want {
		byStep[cp.Step.Ordinal] = *cp
	}
	got, err := s.Checkpoints(t.Context(), id)
	if diff := cmp.Diff(byStep, got, cmpopts.EquateEmpty()); err != nil || diff != "" {
		t.Errorf("checkpoints %s (-want +got), error %v:\n%s", what, err, diff)
	}
}

func progressOnly(t *fixture) {
	s := t.store()
	fl := NewFlow(1, 2)
	MustCommit(t, s, fl.Create(0, 1))
	bare := fl.Checkpoint(1, "")
	bare.Data = nil
	full, progress := fl.Checkpoint(0, `{"n":1}`), fl.Checkpoint(0, "")
	progress.Data, progress.Progress, progress.Note = nil, 0, ""
	for _, cp := range []*store.Checkpoint{bare, full, progress} {
		if err := SaveCheckpoint(s, cp); err != nil {
			t.Fatalf("save: %v", err)
		}
	}
	kept := *progress
	kept.Data = full.Data
	wantCheckpoints(t, s, "after progress", fl.Task.ID, &kept, bare)
	mustClose(t, s)
	s = t.store()
	if err := SaveCheckpoint(s, progress); err != nil {
		t.Fatalf("save: %v", err)
	}
	wantCheckpoints(t, s, "after reopening and progress", fl.Task.ID, &kept, bare)
}

func checkpointAfterError(t *fixture) {
	s := t.store()
	fl := NewFlow(1, 2)
	MustCommit(t, s, fl.Create(0))
	cp := fl.Checkpoint(0, `{"n":1}`)
	if err := SaveCheckpoint(s, cp); err != nil {
		t.Fatalf("save: %v", err)
	}
	MustCommit(t, s, fl.Fail(0))
	wantCheckpoints(t, s, "of a failed task", fl.Task.ID, cp)
	mustClose(t, s)
	s = t.store()
	if a := mustLoad(t, s, fl.Task.ID); !a.Task.Steps[0].HasCheckpoint {
		t.Error("the failed step is loaded without its checkpoint")
	}
	MustCommit(t, s, fl.Reopen(0), fl.Claim(0))
	wantCheckpoints(t, s, "of the next attempt", fl.Task.ID, cp)
	MustCommit(t, s, fl.Succeed(0))
	wantCheckpoints(t, s, "of a step that succeeded", fl.Task.ID)

	other := NewFlow(2, 1)
	MustCommit(t, s, other.Create(0))
	if err := SaveCheckpoint(s, other.Checkpoint(0, "1")); err != nil {
		t.Fatalf("save: %v", err)
	}
	MustCommit(t, s, other.Fail(0), other.Resolve())
	wantCheckpoints(t, s, "of a task resolved by hand", other.Task.ID)
}

func lateCheckpoints(t *fixture) {
	s := t.store()
	fl := NewFlow(1, 3)
	MustCommit(t, s, fl.Create(0, 2))
	late, early := fl.Checkpoint(0, "1"), fl.Checkpoint(1, "1")
	MustCommit(t, s, fl.Succeed(0))
	old := fl.Checkpoint(2, "1")
	old.Attempt = 7
	for name, cp := range map[string]*store.Checkpoint{"step ended": late, "never claimed": early, "other attempt": old} {
		if err := SaveCheckpoint(s, cp); err != nil {
			t.Errorf("%s: got error %v, want none", name, err)
		}
	}
	if got, err := s.Checkpoints(t.Context(), fl.Task.ID); len(got) != 0 || err != nil {
		t.Errorf("checkpoints: got %v, error %v; want none", got, err)
	}
	unknown := NewFlow(5, 1).Checkpoint(0, "1")
	wantErr(t, "checkpoint of an unknown task", SaveCheckpoint(s, unknown), task.ErrNotFound)
}

func crashes(t *fixture) {
	s := t.store()
	save := func(plugin string, n int, at time.Time) store.Crash {
		c := store.Crash{
			Plugin: plugin, Version: "1.0.0", Instance: fmt.Sprintf("%s#%d", plugin, n), At: at, Phase: "ready",
			Cause: "exit status 2", ExitCode: 2, Stderr: []string{"panic: boom"}, Panic: "boom", Attempts: []string{"a/0/1"},
		}
		if err := s.SaveCrash(t.Context(), &c); err != nil {
			t.Fatalf("save crash %d: %v", n, err)
		}
		return c
	}
	var want []store.Crash
	for i := range store.MaxCrashes + 5 {
		want = append(want, save("noisy", i, Start().Add(time.Duration(i)*time.Second)))
	}
	other := save("noisy2", 0, Start())
	want = want[5:]
	slices.Reverse(want)
	got, err := s.Crashes(t.Context(), "noisy")
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("crash reports (-want +got), error %v:\n%s", err, diff)
	}
	got, err = s.Crashes(t.Context(), "")
	if diff := cmp.Diff(append(want, other), got); err != nil || diff != "" {
		t.Errorf("all crash reports (-want +got), error %v:\n%s", err, diff)
	}
	save("noisy2", 1, Start())
	if got, err = s.Crashes(t.Context(), "noisy2"); len(got) != 2 || err != nil {
		t.Errorf("two crashes at one instant: got %d reports, error %v", len(got), err)
	}
}

func invalidText(t *fixture) {
	s := t.store()
	fl := NewFlow(1, 1)
	MustCommit(t, s, fl.Create(0))
	ws := fl.Fail(0)
	ws.Steps[0].Failure.Message = "caf\xe9"
	ws.Steps[0].Failure.Stack = []string{"a\xff"}
	MustCommit(t, s, ws)
	got := mustLoad(t, s, fl.Task.ID).Task.Steps[0].Failure
	if got.Message != "caf\uFFFD" || got.Stack[0] != "a\uFFFD" {
		t.Errorf("message %q, stack %q: want U+FFFD in place of what is no UTF-8", got.Message, got.Stack)
	}
	if err := s.SaveCrash(t.Context(), &store.Crash{Plugin: "p", At: Start(), Stderr: []string{"\xfe"}}); err != nil {
		t.Errorf("crash report with raw bytes: %v", err)
	}
}
