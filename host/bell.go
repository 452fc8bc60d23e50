package host

import "sync"

// bell wakes those who wait for its next ring.
type bell struct {
	mu   sync.Mutex
	rung chan struct{} // closed and replaced by each ring
}

func newBell() *bell { return &bell{rung: make(chan struct{})} }

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.rung)
	b.rung = make(chan struct{})
}

// next returns a channel that is closed by the next ring. Take it before looking at what
// the ring tells of, so that no ring is missed.
func (b *bell) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rung
}
