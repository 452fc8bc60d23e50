package boltstore

import (
	"bytes"
	"errors"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/storetest"
	"github.com/tasker-engine/tasker/host/task"
)

// alter changes records behind the store's back.
func alter(t *testing.T, s *Store, fn func(tx *txn) error) {
	t.Helper()
	if err := s.db.Update(func(tx *bolt.Tx) error { return fn(&txn{tx: tx}) }); err != nil {
		t.Fatal(err)
	}
}

// TestLiveSkipsWhatCannotBeRead damages some of many tasks: the others are returned in
// order, the damaged ones with an error each.
func TestLiveSkipsWhatCannotBeRead(t *testing.T) {
	s, running, _ := openScenario(t)
	flows := make([]*storetest.Flow, 5)
	for i := range flows {
		flows[i] = storetest.NewFlow(uint64(100+i), 2)
		storetest.MustCommit(t, s, flows[i].Create(0))
	}
	damaged := map[task.ID]bool{flows[0].Task.ID: true, flows[2].Task.ID: true, flows[4].Task.ID: true, "": true}
	alter(t, s, func(tx *txn) error {
		var keys [5]taskKey
		for i, fl := range flows {
			keys[i], _ = parseTaskKey(fl.Task.ID)
		}
		step := keys[2].step(0)
		return errors.Join(
			tx.put(kindTasks, keys[0][:], []byte("no task record")),
			tx.put(kindSteps, step[:], []byte("no step record")),
			tx.del(kindSpecs, keys[4][:]),
			tx.mark(kindLive, []byte("\xffno key")),
		)
	})
	seen := make(map[task.ID]bool)
	last := task.ID("")
	err := s.Live(t.Context(), func(id task.ID, a *store.Aggregate, err error) error {
		if (err != nil) != damaged[id] || (a == nil) != damaged[id] {
			t.Errorf("task %q: aggregate %v, error %v", id, a, err)
		}
		if id != "" && id <= last {
			t.Errorf("task %q comes after %q", id, last)
		}
		seen[id], last = true, id
		return nil
	})
	if err != nil || len(seen) != len(flows)+2 || !seen[running.Task.ID] {
		t.Errorf("%d tasks seen, error %v; want all, and the entry that is no task", len(seen), err)
	}
}

// TestTaskEventsOfACutLog cuts the log: what is left of a task's events
// is returned. A hole in the log is damage as before.
func TestTaskEventsOfACutLog(t *testing.T) {
	s, err := Open(t.TempDir()+"/tasker.db", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	old, fl := storetest.NewFlow(1, 1), storetest.NewFlow(2, 3)
	storetest.MustCommit(t, s, old.Create(0), fl.Create(0), fl.Succeed(0, 1), fl.Succeed(1, 2), fl.Succeed(2))
	all, err := s.TaskEvents(t.Context(), fl.Task.ID)
	if err != nil {
		t.Fatal(err)
	}
	drop := func(n int) {
		alter(t, s, func(tx *txn) error {
			c := tx.cursor(kindLog)
			key, _ := c.First()
			for range n {
				key, _ = c.Next()
			}
			return tx.del(kindLog, key)
		})
	}
	if _, _, err := s.TrimLog(t.Context(), later(), 2); err != nil { // both creations
		t.Fatal(err)
	}
	got, err := s.TaskEvents(t.Context(), fl.Task.ID)
	if err != nil || len(got) == 0 || len(got) >= len(all) || got[len(got)-1].Seq != all[len(all)-1].Seq {
		t.Errorf("events of a cut log: %d of %d, error %v", len(got), len(all), err)
	}
	if got, err := s.TaskEvents(t.Context(), old.Task.ID); len(got) != 0 || err != nil {
		t.Errorf("events of a task whose log was cut: %d, error %v; want none", len(got), err)
	}
	drop(1)
	if _, err := s.TaskEvents(t.Context(), fl.Task.ID); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("events over a hole in the log: error %v, want %v", err, store.ErrCorrupt)
	}
}

// TestDeleteBesideABadKey: an idempotency key that cannot be read keeps no task from being
// deleted, and stays to be told of.
func TestDeleteBesideABadKey(t *testing.T) {
	s, err := Open(t.TempDir()+"/tasker.db", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	fl := storetest.NewFlow(1, 1, func(sp *task.Spec) { sp.IdempotencyKey, sp.KeyTTL = "k", time.Hour })
	storetest.MustCommit(t, s, fl.Create(0), fl.Succeed(0))
	var key []byte
	alter(t, s, func(tx *txn) error {
		key, _ = tx.cursor(kindKeys).First()
		key = bytes.Clone(key)
		return tx.put(kindKeys, key, []byte("damaged"))
	})
	if _, err := s.Delete(t.Context(), []task.ID{fl.Task.ID}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(t.Context(), fl.Task.ID); !errors.Is(err, task.ErrNotFound) {
		t.Errorf("the task: %v", err)
	}
	alter(t, s, func(tx *txn) error {
		if got := tx.get(kindKeys, key); string(got) != "damaged" {
			t.Errorf("the key's record is %q", got)
		}
		return nil
	})
}
