package main

import (
	"math"
	"slices"
	"time"
)

// slots is into how many parts a window is divided: it moves by one part at a time, and its size does not depend on
// how much happens.
const slots = 60

// slot counts what happened within one part of a window.
type slot struct {
	Number int64 `json:"n"`             // since 1970, in parts
	All    int   `json:"all,omitempty"` // what counts
	Bad    int   `json:"bad,omitempty"` // of it, what is bad
}

// window counts what happened within a time, by the times of events.
type window []slot

// part is the length of a slot of a window.
func part(size time.Duration) time.Duration { return max(size/slots, time.Millisecond) }

// add counts something and forgets what is older than the window before it. Events may come a little out of order.
func (w *window) add(size time.Duration, at time.Time, bad bool) {
	number := at.UnixNano() / int64(part(size))
	i, found := slices.BinarySearchFunc(*w, number, func(s slot, n int64) int { return int(s.Number - n) })
	if !found {
		*w = slices.Insert(*w, i, slot{Number: number})
	}
	(*w)[i].All++
	if bad {
		(*w)[i].Bad++
	}
	newest := (*w)[len(*w)-1].Number
	*w = slices.DeleteFunc(*w, func(s slot) bool { return s.Number <= newest-slots })
}

// count returns what happened within the window that ends at a time.
func (w *window) count(size time.Duration, at time.Time) (all, bad int) {
	last := at.UnixNano() / int64(part(size))
	for _, s := range *w {
		if s.Number > last-slots && s.Number <= last {
			all, bad = all+s.All, bad+s.Bad
		}
	}
	return all, bad
}

// samples are the last durations of something, in seconds.
type samples struct {
	last   []float64 // by age, from next on once they are as many as wanted
	next   int
	sorted []float64
}

// add adds a sample in place of the oldest, once there are as many as wanted.
func (s *samples) add(limit int, v float64) {
	if len(s.last) < limit {
		s.last = append(s.last, v)
	} else {
		i, _ := slices.BinarySearch(s.sorted, s.last[s.next])
		s.sorted = slices.Delete(s.sorted, i, i+1)
		s.last[s.next] = v
		s.next = (s.next + 1) % limit
	}
	i, _ := slices.BinarySearch(s.sorted, v)
	s.sorted = slices.Insert(s.sorted, i, v)
}

// percentile returns the smallest sample that at least p percent of the samples do not exceed. There must be some.
func (s *samples) percentile(p float64) float64 {
	rank := int(math.Ceil(p / 100 * float64(len(s.sorted))))
	return s.sorted[min(max(rank, 1), len(s.sorted))-1]
}

// values returns the samples from the oldest to the newest.
func (s *samples) values() []float64 { return slices.Concat(s.last[s.next:], s.last[:s.next]) }
