package boltstore

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/storetest"
)

// later is after everything that flows record.
func later() time.Time { return storetest.Start().Add(time.Hour) }

// TestTrimBudget asserts what a cut costs: one deletion per value, one transaction per
// chunk of values, and none when there is nothing to remove.
func TestTrimBudget(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "tasker.db"))
	const values = 2*trimChunk + 10
	sets := make([]*store.WriteSet, values)
	for i := range sets {
		sets[i] = storetest.Events(1, storetest.Start())
	}
	storetest.MustCommit(t, s, sets...)
	m := &meter{t: t, s: s}
	m.spent("trim_log")
	commits := s.commits.Load()
	for _, c := range []struct {
		name        string
		before      time.Time
		limit       int
		commits     uint64
		reads, puts uint64 // at most, exactly
	}{
		{"nothing is older", storetest.Start(), values, 0, 1, 0},
		{"no values wanted", later(), 0, 0, 1, 0},
		{"a few values", later(), 5, 1, 5 + 2, 5},
		{"more than two chunks", later(), values, 3, values + 3 + 1, values - 5 - 1},
		{"the last value only", later(), values, 0, 0, 0},
	} {
		if _, _, err := s.TrimLog(t.Context(), c.before, c.limit); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		now := s.commits.Load()
		if reads, puts := m.spent("trim_log"); now-commits != c.commits || reads > c.reads || puts != c.puts {
			t.Errorf("%s: %d transactions, %d reads, %d puts; the budget is %d, %d, %d", c.name, now-commits, reads, puts, c.commits, c.reads, c.puts)
		}
		commits = now
	}
}

// TestTrimOfADamagedLog has the cut fail at a value that cannot be read, and nobody's
// write set with it.
func TestTrimOfADamagedLog(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "tasker.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	storetest.MustCommit(t, s, storetest.Events(1, storetest.Start()), storetest.Events(1, storetest.Start()), storetest.Events(1, storetest.Start()))
	key := seqKey(2)
	for _, value := range [][]byte{
		[]byte("short"), make([]byte, prefixLen), []byte("no record of events"),
		append(make([]byte, prefixLen), 0x0a, 2, 0x18, 0xff), // the time is cut off
		append(make([]byte, prefixLen), 0x0a, 1, 0xff),       // no event
		append(make([]byte, prefixLen), 0x0a, 2, 0x0a, 5),    // its id is cut off
	} {
		alter(t, s, func(tx *txn) error { return tx.put(kindLog, key[:], value) })
		if removed, _, err := s.TrimLog(t.Context(), later(), 10); removed != 0 || !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("trim over %q: got %d removed, error %v; want corrupt", value, removed, err)
		}
		if _, err := s.SeqAt(t.Context(), later()); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("search over %q: got error %v, want corrupt", value, err)
		}
	}
	cut := &trimJob{before: nanos(later()), limit: 10, done: make(chan error, 1)}
	set := make(chan error, 1)
	s.Submit(storetest.Events(1, storetest.Start()), func(store.Commit, error) { // the committer waits, so the next two go together
		if err := s.queue.push(cut); err != nil {
			t.Errorf("push: %v", err)
		}
		s.Submit(storetest.NewFlow(1, 1).Create(), func(_ store.Commit, err error) { set <- err })
	})
	if err := <-set; err != nil {
		t.Errorf("a write set beside a cut that fails: %v", err)
	}
	if err := <-cut.done; !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("cut beside a write set: got error %v, want corrupt", err)
	}
}

// TestBucketsMissing opens a file that is a store but for one bucket.
func TestBucketsMissing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tasker.db")
	s := mustOpen(t, path)
	alter(t, s, func(tx *txn) error { return tx.tx.DeleteBucket([]byte(kindCursors.name())) })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, readOnly := range []bool{false, true} {
		_, err := Open(path, Options{ReadOnly: readOnly})
		errorSays(t, "open", err, store.ErrCorrupt, "bucket cursors is missing", "restore")
	}
}
