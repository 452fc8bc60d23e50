package boltstore

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/storetest"
)

// TestCommitterForgets holds that the committer remembers unfinished tasks and failures
// that were not told yet, and nothing else: its memory does not grow with the tasks that
// a host has run.
func TestCommitterForgets(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "tasker.db"))
	c, err := newCommitter(s) // the store's own has nothing to do
	if err != nil {
		t.Fatal(err)
	}
	commit := func(sets ...*store.WriteSet) (failed int) {
		var batch []job
		for _, ws := range sets {
			j := &setJob{pool: &s.sets, done: func(store.Commit, error) {}}
			j.err = j.encode(ws)
			batch = append(batch, j)
		}
		for i, err := range c.commit(batch, nil) {
			if err != nil {
				failed++
				c.telling(batch[i])
			}
		}
		return failed
	}
	for i := range uint64(10) {
		fl := storetest.NewFlow(i, 1)
		sets := []*store.WriteSet{fl.Create(0)}
		if i%2 == 0 {
			sets = append(sets, fl.Succeed(0))
		}
		commit(sets...)
	}
	if len(c.heads) != 5 {
		t.Errorf("tasks remembered: got %d, want the 5 unfinished", len(c.heads))
	}
	if failed := commit(storetest.NewFlow(0, 1).Create()); failed != 1 {
		t.Errorf("a second creation of a finished task: got %d failures, want 1", failed)
	}
	if len(c.heads) != 5 || len(c.refused) != 1 {
		t.Errorf("after a failure: got %d tasks and %d failures remembered, want 5 and 1", len(c.heads), len(c.refused))
	}
	commit(storetest.NewFlow(20, 1).Create())
	if len(c.refused) != 0 {
		t.Errorf("failures remembered after they were told: got %d, want none", len(c.refused))
	}
}

// TestBatches holds the limits of one transaction.
func TestBatches(t *testing.T) {
	q := newQueue()
	push := func(n, size int) {
		for range n {
			if err := q.push(&crashJob{value: make([]byte, size)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	push(MaxBatchSets+10, 1)
	push(3, MaxBatchBytes/2)
	push(2, 2*MaxBatchBytes)
	q.close()
	var got []int
	for batch := q.take(nil); len(batch) > 0; batch = q.take(batch) {
		got = append(got, len(batch))
	}
	want := []int{MaxBatchSets, 10 + 1, 2, 1, 1} // by number, by bytes, by bytes, alone, alone
	if !slices.Equal(got, want) {
		t.Errorf("batches: got %v, want %v", got, want)
	}
	if err := q.push(&crashJob{}); err == nil {
		t.Error("push after close: got no error")
	}
}
