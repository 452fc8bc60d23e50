// Package killpoint names the instants of a step's path at which the death of the host
// is most telling, for the tests that kill it there. A host that was opened with a
// context that carries no [Key] has none of this on its path.
package killpoint

import (
	"context"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// Point is an instant on the path of a step.
type Point string

// The points, in the order in which a step passes them.
const (
	BeforeCommit   Point = "before_commit"   // decided, not yet handed to the committer
	AfterCommit    Point = "after_commit"    // durable, and nobody knows
	BeforeDispatch Point = "before_dispatch" // claimed, and the plugin does not know
	AfterDispatch  Point = "after_dispatch"  // attempts run
)

// Key is the key of a context value, a func([Point]) that is called at each point.
type Key struct{}

// Store returns s, with its points when the context has the [Key].
func Store(ctx context.Context, s store.Store) store.Store {
	if reach, ok := ctx.Value(Key{}).(func(Point)); ok {
		return &pointedStore{Store: s, reach: reach}
	}
	return s
}

type pointedStore struct {
	store.Store

	reach func(Point)
}

// Submit implements [store.Store].
func (s *pointedStore) Submit(ws *store.WriteSet, done func(store.Commit, error)) {
	s.reach(BeforeCommit)
	s.Store.Submit(ws, func(c store.Commit, err error) {
		s.reach(AfterCommit)
		done(c, err)
	})
}

// Plugins sends work to plugin instances, as the runner wants it.
type Plugins interface {
	Dispatch(instance string, as []*task.Assignment)
	Cancel(instance string, id task.AttemptID, reason string)
	Join(instance string, alone bool) bool
	Leave(instance string)
}

// Dispatcher returns p, with its points when the context has the [Key].
func Dispatcher(ctx context.Context, p Plugins) Plugins {
	if reach, ok := ctx.Value(Key{}).(func(Point)); ok {
		return &pointedPlugins{Plugins: p, reach: reach}
	}
	return p
}

type pointedPlugins struct {
	Plugins

	reach func(Point)
}

// Dispatch implements [Plugins].
func (p *pointedPlugins) Dispatch(instance string, as []*task.Assignment) {
	p.reach(BeforeDispatch)
	p.Plugins.Dispatch(instance, as)
	p.reach(AfterDispatch)
}
