package delivery

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/internal/store"
)

// saveEvery is the time between two writes of cursors that have merely moved.
const saveEvery = time.Second

// saver writes the cursors that have changed: at most every second while they only move,
// at once when something happened that must not be forgotten. While nothing changes it
// sleeps.
type saver struct {
	store Store
	log   hclog.Logger

	mu     sync.Mutex
	dirty  map[*subscription]struct{}
	urgent bool
	wake   chan struct{}
}

func newSaver(s Store, log hclog.Logger) *saver {
	return &saver{store: s, log: log, dirty: make(map[*subscription]struct{}), wake: make(chan struct{}, 1)}
}

// note says that the cursor of a subscription has changed.
func (v *saver) note(s *subscription, urgent bool) {
	v.mu.Lock()
	first := len(v.dirty) == 0
	v.dirty[s] = struct{}{}
	hurry := urgent && !v.urgent
	v.urgent = v.urgent || urgent
	v.mu.Unlock()
	if first || hurry {
		nudge(v.wake)
	}
}

// run writes until ctx ends.
func (v *saver) run(ctx context.Context) {
	timer := time.NewTimer(saveEvery)
	timer.Stop()
	defer timer.Stop()
	armed := false
	for {
		select {
		case <-v.wake:
		case <-timer.C:
			armed = false
			v.save()
		case <-ctx.Done():
			return
		}
		pending, urgent := v.pending()
		if urgent {
			v.save()
			pending, _ = v.pending()
		}
		if pending && !armed {
			timer.Reset(saveEvery)
			armed = true
		}
	}
}

func (v *saver) pending() (pending, urgent bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.dirty) > 0, v.urgent
}

// collect takes the subscriptions whose cursors have changed and of which nothing is
// being written; the others stay.
func (v *saver) collect() []*subscription {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.urgent = false
	var ready []*subscription
	for s := range v.dirty {
		select {
		case s.writing <- struct{}{}:
			ready = append(ready, s)
			delete(v.dirty, s)
		default: // its end notes it again
		}
	}
	return ready
}

// save submits one write set with all cursors that have changed.
func (v *saver) save() {
	ready := v.collect()
	ws := &store.WriteSet{Delivery: &store.DeliverySet{}}
	settled := make([][]store.DeadLetterID, len(ready))
	for i, s := range ready {
		c, gone := s.takeDirty()
		settled[i] = gone
		if c != nil {
			ws.Delivery.Cursors = append(ws.Delivery.Cursors, c)
		}
		ws.Delivery.Settled = append(ws.Delivery.Settled, gone...)
	}
	if len(ws.Delivery.Cursors) == 0 && len(ws.Delivery.Settled) == 0 {
		for _, s := range ready {
			s.written()
		}
		return
	}
	v.store.Submit(ws, func(_ store.Commit, err error) {
		if err != nil {
			v.log.Error("cursors are not written; they are tried again", logkeys.Error, err)
		}
		for i, s := range ready {
			if err != nil {
				s.restoreDirty(settled[i])
			}
			s.written()
		}
	})
}

// flush writes what has changed and waits until nothing is being written any more.
// Errors: of ctx.
func (v *saver) flush(ctx context.Context, all []*subscription) error {
	for _, s := range all { // what is being written may leave something to write
		if err := s.acquire(ctx); err != nil {
			return err
		}
		s.written()
	}
	v.save()
	for _, s := range all {
		if err := s.acquire(ctx); err != nil {
			return err
		}
		s.written()
	}
	return nil
}

// nudge wakes the reader of a channel with room for one.
func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
