package shop

import (
	"hash/fnv"
	"math/rand/v2"
	"sync"
)

// A trouble is a way in which a request is answered badly.
type trouble string

const (
	none        trouble = "answered"    // properly
	limited     trouble = "limited"     // 429 with Retry-After, nothing done
	unavailable trouble = "unavailable" // 503, nothing done
	slow        trouble = "slow"        // done, answered properly but late
	lost        trouble = "lost"        // done, answered with 502, as by a proxy that lost the answer
	garbled     trouble = "garbled"     // done, answered with 200 and a body cut short
)

// inARow is how often one route misbehaves before it answers properly.
const inARow = 2

// troubles decides what goes wrong. The n-th request of a route meets the same trouble in every run with the
// same seed, whatever the other routes do.
type troubles struct {
	seed  uint64
	share float64 // of the requests that meet trouble, 0 to 1

	mu     sync.Mutex
	routes map[string]*routeTroubles
}

type routeTroubles struct {
	rand *rand.Rand
	row  int // how many in a row went wrong
}

func (t *troubles) next(route string) trouble {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.routes[route]
	if r == nil {
		h := fnv.New64a()
		_, _ = h.Write([]byte(route))                                      // a hash never fails
		r = &routeTroubles{rand: rand.New(rand.NewPCG(t.seed, h.Sum64()))} //nolint:gosec // must be predictable
		t.routes[route] = r
	}
	wrong := r.rand.Float64() < t.share
	kinds := []trouble{limited, unavailable, slow, lost, garbled}
	kind := kinds[r.rand.IntN(len(kinds))] // drawn in any case, so that the share shifts no later draw
	if !wrong || r.row == inARow {
		r.row = 0
		return none
	}
	r.row++
	return kind
}
