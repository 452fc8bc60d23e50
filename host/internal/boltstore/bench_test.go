package boltstore

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"
	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/storetest"
	"github.com/tasker-engine/tasker/host/task"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
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

// The log of BenchmarkEvents: write sets of two events, as a step that completes and
// starts the next one has, with payloads of a usual size.
const (
	benchEvents  = 200_000
	benchPage    = 512 // events read at once
	benchPayload = 400 // bytes
)

// BenchmarkEvents reads a prepared log from its beginning to its end in pages, as
// delivery does, and then walks the same file with a bare bbolt cursor that copies every
// value into one buffer. events/s is the store's throughput, floor/s that of the walk,
// x-floor how many times slower the store is.
func BenchmarkEvents(b *testing.B) {
	s, err := Open(filepath.Join(b.TempDir(), "tasker.db"), Options{})
	if err != nil {
		b.Fatal(err)
	}
	fillLog(b, s, benchEvents)
	events, size := 0, 0
	for b.Loop() {
		for from := uint64(1); ; {
			page, err := s.Events(b.Context(), from, benchPage)
			if err != nil {
				b.Fatal(err)
			}
			if len(page) == 0 {
				break
			}
			for i := range page {
				size += len(page[i].Encoded)
			}
			events += len(page)
			from = page[len(page)-1].Seq + 1
		}
	}
	took := b.Elapsed()
	if events != b.N*benchEvents {
		b.Fatalf("events read: got %d, want %d", events, b.N*benchEvents)
	}
	start := time.Now()
	for range b.N {
		walkLog(b, s)
	}
	floor := time.Since(start)
	b.ReportMetric(float64(events)/took.Seconds(), "events/s")
	b.ReportMetric(float64(size)/1e6/took.Seconds(), "MB/s")
	b.ReportMetric(float64(events)/floor.Seconds(), "floor/s")
	b.ReportMetric(took.Seconds()/floor.Seconds(), "x-floor")
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

// fillLog commits events, two to a write set.
func fillLog(b *testing.B, s *Store, n int) {
	b.Helper()
	encoded, err := proto.Marshal(&eventv1.Event{
		Id: "01HZX000000000000000000001/12", Type: "step.completed", At: storetest.Start().UnixNano(),
		Step: "charge", Namespace: "shop", Template: "order", Version: "1.0.0", CorrelationId: "order-1",
		Payload: make([]byte, benchPayload),
	})
	if err != nil {
		b.Fatal(err)
	}
	ws := &store.WriteSet{Events: []store.Event{{Type: "step.started", Encoded: encoded}, {Type: "step.completed", Encoded: encoded}}}
	var wg sync.WaitGroup
	for range n / len(ws.Events) {
		wg.Add(1)
		s.Submit(ws, func(_ store.Commit, err error) {
			if err != nil {
				b.Errorf("commit: %v", err)
			}
			wg.Done()
		})
	}
	wg.Wait()
}

// walkLog copies every value of the log into one buffer.
func walkLog(b *testing.B, s *Store) {
	b.Helper()
	err := s.db.View(func(tx *bolt.Tx) error {
		var buf []byte
		return tx.Bucket([]byte(kindLog.name())).ForEach(func(_, value []byte) error {
			buf = append(buf[:0], value...)
			return nil
		})
	})
	if err != nil {
		b.Fatal(err)
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
		PageSize: pageSize,
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
			bucket.FillPercent = kindLog.fillPercent()
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
