// Package pace spaces garbage collections. By Go's default the heap may double before it
// is collected, and a host has a small one: with 20 MiB that live on and a hundred times
// as much allocated in a minute it would collect several times a second, at a sixth of
// its CPU. Memory that nobody else asked for is cheaper: as much as is allocated in
// [Apart], but at most [Room], may gather before the next collection. A heap that is
// larger, and one of a host with little to do, is collected as ever.
package pace

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"time"
)

const (
	// Apart is how long collections should be apart.
	Apart = time.Second
	// Room is how many bytes may gather between two collections, unless Go's default allows
	// more.
	Room = 64 << 20
)

// usual is Go's default: how much may gather, in percent of what lives on.
const usual = 100

// Collections spaces them from now on, unless GOGC or GOMEMLIMIT says how to collect.
func Collections() {
	if os.Getenv("GOGC") != "" || os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	p := &pacer{at: time.Now(), percent: usual, set: func(percent int) { debug.SetGCPercent(percent) }}
	p.watch()
}

// pacer looks at the heap after each collection.
type pacer struct {
	set func(percent int)

	mu        sync.Mutex // the runtime calls from goroutines of its own
	at        time.Time  // of the collection before
	allocated uint64     // bytes, until then
	percent   int        // as set
}

// watch has collected called after the next collection: that one finds the object that
// nobody has.
func (p *pacer) watch() {
	runtime.AddCleanup(&struct{ *pacer }{p}, (*pacer).collected, p)
}

func (p *pacer) collected() {
	heap := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"},
	}
	metrics.Read(heap)
	p.mu.Lock()
	defer p.mu.Unlock()
	now, allocated := time.Now(), heap[0].Value.Uint64()
	live := heap[1].Value.Uint64() + heap[2].Value.Uint64() + heap[3].Value.Uint64() // the percentage is of all three
	percent := spaced(live, allocated-p.allocated, now.Sub(p.at))
	p.at, p.allocated = now, allocated
	const step = 10 // setting it stops everything for a moment, so small changes are left alone
	if change := percent - p.percent; max(change, -change)*step > p.percent {
		p.percent = percent
		p.set(percent)
	}
	p.watch()
}

// spaced returns how much may gather, in percent of the bytes that live on, when so many
// were allocated in a time.
func spaced(live, allocated uint64, in time.Duration) int {
	if live == 0 || in <= 0 {
		return usual
	}
	room := min(float64(allocated)/in.Seconds()*Apart.Seconds(), Room)
	return max(int(room*100/float64(live)), usual)
}
