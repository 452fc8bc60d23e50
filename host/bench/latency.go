package bench

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// The range and precision of histograms.
const (
	longest = int64(time.Hour)
	digits  = 3
)

// newHistogram returns a histogram of nanoseconds.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, longest, digits) }

// record notes a duration; one out of range counts as the nearest within.
func record(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(min(max(int64(d), 0), longest)) // cannot fail within the range
}

// Latency is what a histogram says, in nanoseconds.
type Latency struct {
	Count int64 `json:"count"`
	Min   int64 `json:"min_ns"`
	Mean  int64 `json:"mean_ns"`
	P50   int64 `json:"p50_ns"`
	P90   int64 `json:"p90_ns"`
	P99   int64 `json:"p99_ns"`
	P999  int64 `json:"p999_ns"`
	Max   int64 `json:"max_ns"`
	// Percentiles is the whole histogram: so many values are at most so long.
	Percentiles []Percentile `json:"percentiles,omitempty"`
}

// Percentile is one point of a distribution.
type Percentile struct {
	Percentile float64 `json:"percentile"` // 0 to 100
	Ns         int64   `json:"ns"`
	Count      int64   `json:"count"` // values up to it
}

// latency reads a histogram.
func latency(h *hdrhistogram.Histogram) Latency {
	const p50, p90, p99, p999 = 50, 90, 99, 99.9
	l := Latency{
		Count: h.TotalCount(), Min: h.Min(), Mean: int64(h.Mean()), Max: h.Max(),
		P50: h.ValueAtPercentile(p50), P90: h.ValueAtPercentile(p90), P99: h.ValueAtPercentile(p99), P999: h.ValueAtPercentile(p999),
	}
	if l.Count > 0 {
		for _, b := range h.CumulativeDistribution() {
			l.Percentiles = append(l.Percentiles, Percentile{b.Quantile, b.ValueAt, b.Count})
		}
	}
	return l
}
