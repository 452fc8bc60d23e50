package runner

import (
	"context"

	"github.com/tasker-engine/tasker/host/internal/engine"
	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// boot loads every unfinished task. Attempts that an earlier host had started are lost:
// at open, every earlier epoch is over.
func (r *Runner) boot(ctx context.Context) error {
	return r.opts.Store.Live(ctx, func(id task.ID, stored *store.Aggregate, err error) error { //nolint:contextcheck // what is begun is finished after ctx has ended
		var agg *engine.Aggregate
		if err == nil {
			agg, err = r.templates.restore(stored)
		}
		if err != nil {
			r.log.Error("task cannot be loaded and is left as it is", logkeys.Task, id, logkeys.Error, err)
			r.broken.Add(1)
			return nil // one broken task must not keep the others from running
		}
		e := r.newEntry(agg)
		r.tasks[agg.Task.ID] = e
		for i := range agg.Task.Steps {
			s := &agg.Task.Steps[i]
			if s.Attempt != nil && s.Attempt.Status == task.AttemptRunning {
				id := task.AttemptID{Task: agg.Task.ID, Ordinal: s.Ordinal, Number: s.Attempt.Number}
				r.add(e, input{in: engine.Lost{ID: id, Cause: task.LossHostDied}})
			}
		}
		r.decideAll()
		r.adopt(e) // behind the lost ones, which were started before
		return nil
	})
}

// adopt arms the timers of a loaded task and queues its claimable steps.
func (r *Runner) adopt(e *entry) {
	now := r.now(e)
	plugins := make(map[string]bool)
	for i := range e.agg.Task.Steps {
		o := e.agg.Task.Steps[i].Ordinal
		r.arm(e, o, now)
		if e.agg.Claimable(o, now) {
			r.enqueue(e, o)
			plugins[handlerOf(e, o).Plugin] = true
		}
	}
	r.armDeadline(e)
	for p := range plugins {
		r.admit(p)
	}
}
