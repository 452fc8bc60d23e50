// Package measure measures on the path of a step: histograms of atomics, without attributes,
// allocations or locks. A nil histogram measures nothing, so who is not watched pays a
// comparison. What is measured is read, and named, by package telemetry.
package measure

import (
	"slices"
	"sync/atomic"
	"time"
)

// Histogram counts values by size. Its methods may be called from any goroutine, and on
// nil.
type Histogram struct {
	bounds []int64 // ascending, inclusive
	counts []atomic.Uint64
	sum    atomic.Int64
}

// New returns a histogram with the given bounds, ascending and inclusive: one bucket for
// each and one for what is greater than all.
func New(bounds ...int64) *Histogram {
	return &Histogram{bounds: bounds, counts: make([]atomic.Uint64, len(bounds)+1)}
}

// NewLatency returns a histogram of durations, in nanoseconds, from 100 us to 10 min.
func NewLatency() *Histogram {
	const us, ms, s = int64(time.Microsecond), int64(time.Millisecond), int64(time.Second)
	return New(
		100*us, 250*us, 500*us, ms, 5*ms/2, 5*ms, 10*ms, 25*ms, 50*ms, 100*ms, 250*ms, 500*ms,
		s, 5*s/2, 5*s, 10*s, 30*s, 60*s, 600*s,
	)
}

// NewSize returns a histogram of numbers, from 1 to 1024 by powers of two.
func NewSize() *Histogram {
	return New(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
}

// Observe counts a value.
func (h *Histogram) Observe(v int64) {
	if h == nil {
		return
	}
	i, _ := slices.BinarySearch(h.bounds, v)
	h.counts[i].Add(1)
	h.sum.Add(v)
}

// Since counts the time that has passed since a moment. On nil the clock is not read.
func (h *Histogram) Since(start time.Time) {
	if h != nil {
		h.Observe(int64(time.Since(start)))
	}
}

// Snapshot is what a histogram has counted.
type Snapshot struct {
	Bounds []int64
	Counts []uint64 // one more than bounds
	Count  uint64   // of all
	Sum    int64
}

// Snapshot returns what was counted so far, nothing for nil. What is counted meanwhile may
// be in a part of it.
func (h *Histogram) Snapshot() Snapshot {
	if h == nil {
		return Snapshot{}
	}
	s := Snapshot{Bounds: h.bounds, Counts: make([]uint64, len(h.counts)), Sum: h.sum.Load()}
	for i := range h.counts {
		s.Counts[i] = h.counts[i].Load()
		s.Count += s.Counts[i]
	}
	return s
}
