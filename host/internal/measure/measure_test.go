package measure_test

import (
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/internal/measure"
)

func TestHistogram(t *testing.T) {
	h := measure.New(1, 10)
	for _, v := range []int64{0, 1, 2, 10, 11} {
		h.Observe(v)
	}
	want := measure.Snapshot{Bounds: []int64{1, 10}, Counts: []uint64{2, 2, 1}, Count: 5, Sum: 24}
	if diff := cmp.Diff(h.Snapshot(), want); diff != "" {
		t.Errorf("Snapshot() (-got +want):\n%s", diff)
	}
}

func TestNilMeasuresNothing(t *testing.T) {
	var h *measure.Histogram
	h.Observe(1)
	h.Since(time.Now())
	if diff := cmp.Diff(h.Snapshot(), measure.Snapshot{}); diff != "" {
		t.Errorf("Snapshot() of nil (-got +want):\n%s", diff)
	}
}

func TestConcurrently(t *testing.T) {
	const goroutines, each = 8, 1000
	h := measure.NewLatency()
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for i := range each {
				h.Observe(int64(i) * int64(time.Millisecond))
				_ = h.Snapshot()
			}
		})
	}
	wg.Wait()
	if got := h.Snapshot().Count; got != goroutines*each {
		t.Errorf("Count = %d, want %d", got, goroutines*each)
	}
}

// TestObserveAllocatesNothing: it is called for every attempt.
func TestObserveAllocatesNothing(t *testing.T) {
	h := measure.NewLatency()
	if n := testing.AllocsPerRun(100, func() { h.Since(time.Time{}) }); n != 0 {
		t.Errorf("Since() allocates %v times, want 0", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	for name, h := range map[string]*measure.Histogram{"on": measure.NewLatency(), "off": nil} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				h.Observe(int64(3 * time.Millisecond))
			}
		})
	}
}
