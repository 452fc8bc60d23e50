package runner

import (
	"context"

	"github.com/tasker-engine/tasker/host/task"
)

// Need is who needs a handler: how many unfinished tasks, and the first of them.
type Need struct {
	Tasks int
	First task.ID
}

// Needs returns which handlers of a plugin the unfinished tasks still need, in the versions
// that their templates name or that their first attempts had; 0 = any version.
func (r *Runner) Needs(ctx context.Context, plugin string) (map[task.HandlerRef]Need, error) {
	needs := make(map[task.HandlerRef]Need)
	err := r.call(ctx, func(reply func(error)) {
		for id, e := range r.tasks {
			if e.agg.Task.Status.Terminal() {
				continue
			}
			for ref := range r.needsOf(e, plugin) {
				n := needs[ref]
				if n.Tasks++; n.First == "" || id < n.First {
					n.First = id
				}
				needs[ref] = n
			}
		}
		reply(nil)
	})
	if err != nil {
		return nil, err
	}
	return needs, nil
}

// needsOf returns which handlers of a plugin the steps of a task need that have not ended.
func (r *Runner) needsOf(e *entry, plugin string) map[task.HandlerRef]bool {
	refs := make(map[task.HandlerRef]bool)
	for i := range e.agg.Template.Steps {
		o := task.Ordinal(i)
		if e.agg.Template.Steps[i].Handler.Plugin != plugin || e.agg.Step(o).Status.Terminal() {
			continue
		}
		refs[handlerOf(e, o)] = true
	}
	return refs
}
