package boltstore

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/storetest"
	"github.com/tasker-engine/tasker/host/task"
)

// benchSteps is the shape of the benchmarks: linear tasks of 5 steps, 6 write sets each.
const benchSteps = 5

// prepared is the write sets of one linear task, made before the clock runs.
func prepared(n uint64) []*store.WriteSet {
	fl := storetest.NewFlow(n, benchSteps)
	sets := []*store.WriteSet{fl.Create(0)}
	for o := range task.Ordinal(benchSteps - 1) {
		sets = append(sets, fl.Succeed(o, o+1))
	}
	return append(sets, fl.Succeed(benchSteps-1))
}

// BenchmarkCommit commits linear tasks with so many write sets in flight, one per task,
// and then puts the same number of records of the same size in transactions of the same
// size into a bare bbolt file. steps/s is the store's throughput, floor/s what the bare
// file would allow, x-floor how many times slower the store is.
func BenchmarkCommit(b *testing.B) {
	for _, inFlight := range []int{1, 64, 1024} {
		b.Run(fmt.Sprintf("in-flight=%d", inFlight), func(b *testing.B) {
			benchCommit(b, inFlight)
		})
	}
}

func benchCommit(b *testing.B, inFlight int) {
	b.Helper()
	s, err := Open(filepath.Join(b.TempDir(), "tasker.db"), Options{})
	if err != nil {
		b.Fatal(err)
	}
	tasks := max(b.N/benchSteps, inFlight)
	all := make([][]*store.WriteSet, tasks)
	for i := range all {
		all[i] = prepared(uint64(i))
	}
	b.ResetTimer()
	start := time.Now()
	driveAll(b, s, all, inFlight)
	took := time.Since(start)
	b.StopTimer()
	stats, err := s.Stats(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	var bytes, keys int
	for _, k := range stats.Buckets {
		bytes, keys = bytes+int(k.Bytes), keys+k.Keys
	}
	puts := stats.Operations["submit"].Puts
	perCommit := max(1, int(puts/stats.Commits))
	floor := benchFloor(b, int(stats.Commits), perCommit, bytes/keys)
	steps := float64(tasks * benchSteps)
	b.ReportMetric(steps/took.Seconds(), "steps/s")
	b.ReportMetric(steps/floor.Seconds(), "floor/s")
	b.ReportMetric(took.Seconds()/floor.Seconds(), "x-floor")
	b.ReportMetric(float64(perCommit), "puts/commit")
	b.ReportMetric(float64(puts)/steps, "puts/step")
}

// BenchmarkLoad reads a finished task of so many steps; ns/step should not grow.
func BenchmarkLoad(b *testing.B) {
	for _, steps := range []int{20, 2000} {
		b.Run(fmt.Sprintf("steps=%d", steps), func(b *testing.B) {
			s, err := Open(filepath.Join(b.TempDir(), "tasker.db"), Options{})
			if err != nil {
				b.Fatal(err)
			}
			fl := storetest.NewFlow(1, steps)
			sets := []*store.WriteSet{fl.Create(0)}
			for o := range task.Ordinal(steps - 1) {
				sets = append(sets, fl.Succeed(o, o+1))
			}
			storetest.MustCommit(b, s, sets...)
			for b.Loop() {
				if _, err := s.Load(b.Context(), fl.Task.ID); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*steps), "ns/step")
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// driveAll keeps inFlight tasks going, each with one write set in flight.
func driveAll(b *testing.B, s *Store, all [][]*store.WriteSet, inFlight int) {
	b.Helper()
	var wg sync.WaitGroup
	wg.Add(len(all))
	next := make(chan []*store.WriteSet, len(all))
	for _, sets := range all {
		next <- sets
	}
	close(next)
	var step func(sets []*store.WriteSet)
	begin := func() {
		if sets, ok := <-next; ok {
			step(sets)
		}
	}
	// The callback submits the next set, as a runner does after a handler that takes no
	// time at all.
	step = func(sets []*store.WriteSet) {
		s.Submit(sets[0], func(_ store.Commit, err error) {
			if err != nil {
				b.Errorf("commit: %v", err)
			}
			if len(sets) > 1 {
				step(sets[1:])
				return
			}
			wg.Done()
			begin()
		})
	}
	for range inFlight {
		begin()
	}
	wg.Wait()
}

// benchFloor puts records into one bucket of a bare bbolt file, in key order.
func benchFloor(b *testing.B, commits, putsPerCommit, size int) time.Duration {
	b.Helper()
	db, err := bolt.Open(filepath.Join(b.TempDir(), "floor.db"), 0o600, &bolt.Options{
		FreelistType: bolt.FreelistMapType, NoFreelistSync: true, InitialMmapSize: initialMapSize(), NoStatistics: true,
	})
	if err != nil {
		b.Fatal(err)
	}
	if err := db.Update(func(tx *bolt.Tx) error { _, err := tx.CreateBucket([]byte("b")); return err }); err != nil {
		b.Fatal(err)
	}
	value := make([]byte, size)
	start := time.Now()
	seq := uint64(0)
	for range commits {
		err := db.Update(func(tx *bolt.Tx) error {
			bucket := tx.Bucket([]byte("b"))
			bucket.FillPercent = fillPercent
			for range putsPerCommit {
				seq++
				key := seqKey(seq)
				if err := bucket.Put(key[:], value); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	took := time.Since(start)
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
	return took
}
