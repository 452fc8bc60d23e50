package host

import "sync"

// bell wakes those who wait for its next ring. A ring that nobody waits for costs little.
type bell struct {
	mu   sync.Mutex
	rung chan struct{} // closed by the next ring; nil when nobody asked for it
}

func newBell() *bell { return &bell{} }

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rung != nil {
		close(b.rung)
		b.rung = nil
	}
}

// next returns a channel that is closed by the next ring. Take it before looking at what
// the ring tells of, so that no ring is missed.
func (b *bell) next() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rung == nil {
		b.rung = make(chan struct{})
	}
	return b.rung
}
