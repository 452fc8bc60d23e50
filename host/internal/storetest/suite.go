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
		{"retention", retentionCases()},
		{"log", logCases()},
		{"delivery", deliveryCases()},
		{"life", lifeCases()},
	} {
		for _, c := range group.cases {
			t.Run(group.name+"/"+c.name, func(t *testing.T) { c.run(&fixture{T: t, open: open, dir: t.TempDir()}) })
		}
	}
}

type testCase struct {
	name string
	run  func(t *fixture)
}

// fixture is one test with the means to open its store.
type fixture struct {
	*testing.T
	open Opener
	dir  string
}

func (t *fixture) store() store.Store {
	t.Helper()
	return t.open(t.T, t.dir, false)
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
func MustCommit(tb testing.TB, s store.Store, sets ...*store.WriteSet) {
	tb.Helper()
	errs := make(chan error, len(sets))
	for _, ws := range sets {
		s.Submit(ws, func(_ store.Commit, err error) { errs <- err })
	}
	for range sets {
		if err := <-errs; err != nil {
			tb.Fatalf("commit: %v", err)
		}
	}
}

// Gather submits write sets so that they wait for the committer together: it is held in
// a callback meanwhile. It returns their errors in order.
func Gather(s store.Store, sets ...*store.WriteSet) []error {
	held, release := make(chan struct{}), make(chan struct{})
	s.Submit(&store.WriteSet{Events: []store.Event{Event("", 1, "test.held", Start())}}, func(store.Commit, error) {
		close(held)
		<-release
	})
	<-held
	ch := make(chan error, len(sets))
	for _, ws := range sets {
		s.Submit(ws, func(_ store.Commit, err error) { ch <- err })
	}
	close(release)
	errs := make([]error, 0, len(sets))
	for range sets {
		errs = append(errs, <-ch)
	}
	return errs
}

// SaveCheckpoint saves a checkpoint and waits for its outcome.
func SaveCheckpoint(s store.Store, cp *store.Checkpoint) error {
	ch := make(chan error, 1)
	s.SaveCheckpoint(cp, func(err error) { ch <- err })
	return <-ch
}

// SaveSpans saves spans and waits for their outcome.
func SaveSpans(s store.Store, spans *store.AttemptSpans) error {
	ch := make(chan error, 1)
	s.SaveSpans(spans, func(err error) { ch <- err })
	return <-ch
}

func mustLoad(tb testing.TB, s store.Store, id task.ID) *store.Aggregate {
	tb.Helper()
	a, err := s.Load(tb.Context(), id)
	if err != nil {
		tb.Fatalf("load: %v", err)
	}
	return a
}

// wantStored fails the test unless the store holds exactly what the flow made.
func wantStored(tb testing.TB, s store.Store, f *Flow) {
	tb.Helper()
	a := mustLoad(tb, s, f.Task.ID)
	if diff := cmp.Diff(&f.Task, a.Task, cmpopts.EquateEmpty()); diff != "" {
		tb.Errorf("stored task (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(string(f.Template), string(a.Template)); diff != "" {
		tb.Errorf("stored template (-want +got):\n%s", diff)
	}
}

func wantErr(tb testing.TB, what string, got, want error) {
	tb.Helper()
	if !errors.Is(got, want) {
		tb.Errorf("%s: got error %v, want %v", what, got, want)
	}
}
