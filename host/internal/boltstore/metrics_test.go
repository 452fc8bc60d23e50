package boltstore_test

import (
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host/internal/boltstore"
	"github.com/tasker-engine/tasker/host/internal/store"
)

func TestMetrics(t *testing.T) {
	var mu sync.Mutex
	slow := make(map[string]int)
	s, err := boltstore.Open(filepath.Join(t.TempDir(), "tasker.db"), boltstore.Options{
		Metered: true, SlowAfter: time.Nanosecond, // so that everything is slow
		OnSlow: func(op boltstore.Slow) {
			mu.Lock()
			defer mu.Unlock()
			slow[op.Operation]++
			if op.Took <= 0 {
				t.Errorf("slow operation %s took %s, want more than 0", op.Operation, op.Took)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := s.SaveCrash(t.Context(), &store.Crash{Plugin: "p", Instance: "p#1", At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Crashes(t.Context(), "p"); err != nil {
		t.Fatal(err)
	}
	m, err := s.Metrics()
	if err != nil {
		t.Fatal(err)
	}
	if m.Commits == 0 || m.CommitTime.Count == 0 || m.BatchSize.Count == 0 || m.FileBytes == 0 {
		t.Errorf("Metrics() = %+v, want commits, their time and size, and the file's size", m)
	}
	if op := m.Operations["crashes"]; op.Calls != 1 || op.Reads == 0 || op.Slow != 1 {
		t.Errorf("operation crashes = %+v, want 1 call, which read and was slow", op)
	}
	if op := m.Operations["save_crash"]; op.Calls != 1 || op.Puts == 0 {
		t.Errorf("operation save_crash = %+v, want 1 call, which wrote", op)
	}
	mu.Lock()
	defer mu.Unlock()
	if slow["crashes"] != 1 || slow["commit"] == 0 {
		t.Errorf("told of %v, want 1 crashes and the commit", slow)
	}
}

func TestNotMetered(t *testing.T) {
	s, err := boltstore.Open(filepath.Join(t.TempDir(), "tasker.db"), boltstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := s.SaveCrash(t.Context(), &store.Crash{Plugin: "p", Instance: "p#1", At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	m, err := s.Metrics()
	if err != nil {
		t.Fatal(err)
	}
	if m.CommitTime.Count != 0 || m.BatchSize.Count != 0 || m.Operations["save_crash"].Slow != 0 {
		t.Errorf("Metrics() = %+v, want nothing measured", m)
	}
}
