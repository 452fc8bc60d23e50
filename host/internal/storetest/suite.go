package storetest

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// Opener opens the store under test in a directory of its own; opened again after a
// close it must hold what was committed. The opener closes the store at the end of the
// test and fails the test when its invariants do not hold.
type Opener func(t *testing.T, dir string, readOnly bool) store.Store

// Run runs the suite.
func Run(t *testing.T, open Opener) {
	t.Helper()
	for _, group := range []struct {
		name  string
		cases []testCase
	}{
		{"writes", writeCases()},
		{"keys", keyCases()},
		{"reads", readCases()},
		{"lists", listCases()},
		{"life", lifeCases()},
	} {
		for _, c := range group.cases {
			t.Run(group.name+"/"+c.name, func(t *testing.T) { c.run(t, &fixture{t: t, open: open, dir: t.TempDir()}) })
		}
	}
}

type testCase struct {
	name string
	run  func(t *testing.T, f *fixture)
}

// fixture is one test's store.
type fixture struct {
	t    *testing.T
	open Opener
	dir  string
}

func (f *fixture) store() store.Store {
	f.t.Helper()
	return f.open(f.t, f.dir, false)
}

// Commit submits a write set and waits for its outcome.
func Commit(s store.Store, ws *store.WriteSet) (store.Commit, error) {
	type outcome struct {
		commit store.Commit
		err    error
	}
	ch := make(chan outcome, 1)
	s.Submit(ws, func(c store.Commit, err error) { ch <- outcome{c, err} })
	o := <-ch
	return o.commit, o.err
}

// MustCommit commits write sets in order and fails the test when one is refused. It
// waits for each only after all were submitted.
func MustCommit(t testing.TB, s store.Store, sets ...*store.WriteSet) {
	t.Helper()
	errs := make(chan error, len(sets))
	for _, ws := range sets {
		s.Submit(ws, func(_ store.Commit, err error) { errs <- err })
	}
	for range sets {
		if err := <-errs; err != nil {
			t.Fatalf("commit: %v", err)
		}
	}
}

// SaveCheckpoint saves a checkpoint and waits for its outcome.
func SaveCheckpoint(s store.Store, cp *store.Checkpoint) error {
	ch := make(chan error, 1)
	s.SaveCheckpoint(cp, func(err error) { ch <- err })
	return <-ch
}

func mustLoad(t *testing.T, s store.Store, id task.ID) *store.Aggregate {
	t.Helper()
	a, err := s.Load(t.Context(), id)
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	return a
}

// wantStored fails the test unless the store holds exactly what the flow made.
func wantStored(t *testing.T, s store.Store, f *Flow) {
	t.Helper()
	a := mustLoad(t, s, f.Task.ID)
	if diff := cmp.Diff(&f.Task, a.Task, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("stored task (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(string(f.Template), string(a.Template)); diff != "" {
		t.Errorf("stored template (-want +got):\n%s", diff)
	}
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got error %v, want %v", what, got, want)
	}
}
