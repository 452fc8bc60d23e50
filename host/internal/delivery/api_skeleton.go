package delivery

import (
	"context"
	"errors"
	"time"

	"github.com/tasker-engine/tasker/host/task"
)

var errSkeleton = errors.New("not there yet")

// Delivery carries events to subscribers.
type Delivery struct{ opts Options }

// New reads the cursors: what is recorded from now on counts as new for subscriptions
// that start now.
func New(_ context.Context, opts Options) (*Delivery, error) { return &Delivery{opts: opts}, nil }

// Run delivers until ctx ends.
func (d *Delivery) Run(ctx context.Context) error { <-ctx.Done(); return nil }

// Drain lets subscriptions catch up, for DrainTimeout at most, stops and writes the
// cursors. Errors: of the last write.
func (d *Delivery) Drain(context.Context) error { return nil }

// Wake says that the log has grown. Call it after every commit with events.
func (d *Delivery) Wake() {}

// Connect says that an instance of a plugin is ready and what the plugin subscribes to.
func (d *Delivery) Connect(instance string, subs []Subscription) {}

// Disconnect says that an instance is to get no more events: it drains. It does not wait.
func (d *Delivery) Disconnect(instance string) {}

// Lost says that the process of an instance ended; after Disconnect it changes nothing.
func (d *Delivery) Lost(instance string) {}

// Rebind says that bindings may have changed: those of templates are asked for again,
// those of the host become these.
func (d *Delivery) Rebind(host []Binding) {}

// List returns all subscriptions by name.
func (d *Delivery) List(context.Context) ([]Status, error) { return nil, nil }

// Pause holds a subscription. Errors of this and the methods below: task.ErrNotFound.
func (d *Delivery) Pause(ctx context.Context, name string, op task.Operation) error {
	return errSkeleton
}

// Resume lets a paused subscription go on. Error: task.ErrTransition.
func (d *Delivery) Resume(ctx context.Context, name string) error { return errSkeleton }

// Rewind moves the cursor to just before a position and returns the next sequence.
func (d *Delivery) Rewind(ctx context.Context, name string, to Position) (uint64, error) {
	return 0, errSkeleton
}

// Replay delivers a part of the log once more; to zero = the end of the log now.
// Error: task.ErrInvalid.
func (d *Delivery) Replay(ctx context.Context, name string, from, to Position, types []string) error {
	return errSkeleton
}

// Forget removes the cursor and the dead letters. Error: task.ErrTransition for a
// subscription that is declared.
func (d *Delivery) Forget(ctx context.Context, name string) error { return errSkeleton }

// RetryDead delivers dead letters again; none = all. It returns how many.
func (d *Delivery) RetryDead(ctx context.Context, name string, seqs []uint64) (int, error) {
	return 0, errSkeleton
}

// DiscardDead removes dead letters; none = all. It returns how many.
func (d *Delivery) DiscardDead(ctx context.Context, name string, seqs []uint64) (int, error) {
	return 0, errSkeleton
}

// Try delivers one encoded event outside of the log and waits for the answer; timeout
// zero = the subscription's. Errors: task.ErrTransition when the plugin is not ready, of ctx.
func (d *Delivery) Try(ctx context.Context, name string, encoded []byte, timeout time.Duration) (Outcome, error) {
	return Outcome{}, errSkeleton
}

// Route says whether an encoded event would go to a declared subscription, and through
// which binding: nil = the declared subscription itself.
func (d *Delivery) Route(ctx context.Context, name string, encoded []byte) (through *Binding, wanted bool, err error) {
	return nil, false, errSkeleton
}
