package boltstore

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/storetest"
	"github.com/tasker-engine/tasker/host/task"
)

// tasksOr returns TASKER_TASKS, or n when it is not set.
func tasksOr(b *testing.B, n int) int {
	b.Helper()
	text := os.Getenv("TASKER_TASKS")
	if text == "" {
		return n
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

// BenchmarkStepBesideDeletion commits steps one after another, in turns alone and beside a
// deletion of finished tasks, and reports the 99th percentiles of both and their ratio,
// which is the price of retention for an otherwise idle host.
func BenchmarkStepBesideDeletion(b *testing.B) {
	s, err := Open(filepath.Join(b.TempDir(), "tasker.db"), Options{})
	if err != nil {
		b.Fatal(err)
	}
	n := tasksOr(b, 40_000)
	fillMixed(b, s, n)
	var due []task.ID
	for i := range n {
		due = append(due, storetest.ID(storetest.Start().Add(time.Duration(i)*time.Millisecond/4), uint64(i)))
	}
	const turn, steps = 100, 1000
	var alone, beside []time.Duration
	created := uint64(0)
	commit := func(into *[]time.Duration) {
		fl := storetest.NewFlow(1_000_000_000+created, steps)
		created++
		storetest.MustCommit(b, s, fl.Create(0))
		for o := range task.Ordinal(turn) {
			ws := fl.Succeed(o, o+1)
			began := time.Now()
			storetest.MustCommit(b, s, ws)
			*into = append(*into, time.Since(began))
		}
	}
	for b.Loop() {
		commit(&alone)
		ctx, stop := context.WithCancel(b.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for len(due) > 0 && ctx.Err() == nil {
				part := min(len(due), store.MaxSweep)
				if _, err := s.Delete(ctx, due[:part]); err != nil && ctx.Err() == nil {
					b.Errorf("delete: %v", err)
				}
				due = due[part:]
			}
		}()
		commit(&beside)
		stop()
		<-ended
	}
	if len(due) == 0 {
		b.Log("all tasks were deleted before the end: set TASKER_TASKS to more")
	}
	at99 := func(all []time.Duration) float64 {
		slices.Sort(all)
		return float64(all[len(all)*99/100])
	}
	b.ReportMetric(at99(alone)/1e6, "p99-alone-ms")
	b.ReportMetric(at99(beside)/1e6, "p99-beside-ms")
	b.ReportMetric(at99(beside)/at99(alone), "x-p99")
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkBoot reads TASKER_TASKS unfinished tasks of three steps, 10,000 unless set, as
// a host does at its start, and reports the heap that keeping them takes.
func BenchmarkBoot(b *testing.B) {
	s, err := Open(filepath.Join(b.TempDir(), "tasker.db"), Options{})
	if err != nil {
		b.Fatal(err)
	}
	n := tasksOr(b, 10_000)
	var sets []*store.WriteSet
	for i := range n {
		sets = append(sets, storetest.NewFlow(uint64(i), 3).Create(0))
		if len(sets) == 2000 || i+1 == n {
			storetest.MustCommit(b, s, sets...)
			sets = nil
		}
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	var kept []*store.Aggregate
	before := heap()
	for b.Loop() {
		kept = kept[:0]
		err := s.Live(b.Context(), func(_ task.ID, a *store.Aggregate, err error) error {
			kept = append(kept, a)
			return err
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(heap()-before)/float64(len(kept)), "bytes/task")
	b.ReportMetric(b.Elapsed().Seconds()/float64(b.N), "s/boot")
	runtime.KeepAlive(kept)
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}
