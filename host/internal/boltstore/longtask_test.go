package boltstore

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/storetest"
	"github.com/tasker-engine/tasker/host/task"
)

// TestLongTask: a task of 10,000 steps, with 1,000 attempts at one of them and thousands
// of checkpoints, takes what its steps take: retries and checkpoints replace what was
// there, and only the log grows, which is cut. The committer keeps one small head of it.
func TestLongTask(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "tasker.db"))
	const steps, retries, checkpoints = 10_000, 1_000, 3
	fl := storetest.NewFlow(1, steps)
	k, err := parseTaskKey(fl.Task.ID)
	if err != nil {
		t.Fatal(err)
	}
	taken := func() (n int64) {
		t.Helper()
		err := s.view(t.Context(), opSizes, func(tx *txn) error {
			n = taskBytes(tx, nil, k)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	sets := []*store.WriteSet{fl.Create(0)}
	for o := range task.Ordinal(steps - 1) {
		sets = append(sets, fl.Succeed(o, o+1))
	}
	storetest.MustCommit(t, s, sets...)
	const last = task.Ordinal(steps - 1)
	retry := func(n int) {
		t.Helper()
		var wg sync.WaitGroup
		told := func(err error) {
			if err != nil {
				t.Error(err)
			}
			wg.Done()
		}
		for range n { // all are on their way at once and are committed in order
			for i := range checkpoints {
				wg.Add(1)
				s.SaveCheckpoint(fl.Checkpoint(last, fmt.Sprint(100_000+i)), told)
			}
			wg.Add(1)
			s.Submit(fl.Claim(last), func(_ store.Commit, err error) { told(err) })
		}
		wg.Wait()
	}
	retry(10)
	early := taken()
	retry(retries - 10)
	if late := taken(); late > early+early/100 {
		t.Errorf("bytes of the task: got %d after %d attempts, %d after 10", late, retries, early)
	}
	if per := early / steps; per > 200 {
		t.Errorf("bytes per step: got %d, want at most 200", per)
	}
	storetest.MustCommit(t, s, fl.Succeed(last))
	a, err := s.Load(t.Context(), fl.Task.ID)
	if err != nil || a.Task.Status != task.Complete || a.Task.Steps[last].Attempts != retries+1 {
		t.Errorf("load: error %v, want a complete task with %d attempts of its last step", err, retries+1)
	}
	t.Logf("%d bytes, %d per step", early, early/steps)
}
