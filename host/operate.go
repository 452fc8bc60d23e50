package host

import (
	"context"

	"github.com/tasker-engine/tasker/host/internal/engine"
	"github.com/tasker-engine/tasker/host/task"
)

// CancelTask implements [Service].
func (h *Host) CancelTask(ctx context.Context, id string, op task.Operation) error {
	return h.operate(ctx, id, engine.Cancel{Op: op})
}

// PauseTask implements [Service].
func (h *Host) PauseTask(ctx context.Context, id string, op task.Operation) error {
	return h.operate(ctx, id, engine.Pause{Op: op})
}

// ResumeTask implements [Service].
func (h *Host) ResumeTask(ctx context.Context, id string, op task.Operation) error {
	return h.operate(ctx, id, engine.Resume{Op: op})
}

// RetryTask implements [Service].
func (h *Host) RetryTask(ctx context.Context, id string, op task.Operation) error {
	return h.operate(ctx, id, engine.Retry{Op: op})
}

// ResolveTask implements [Service].
func (h *Host) ResolveTask(ctx context.Context, id string, op task.Operation) error {
	return h.operate(ctx, id, engine.ResolveByHand{Op: op})
}

func (h *Host) operate(ctx context.Context, idOrPrefix string, in engine.Input) error {
	id, err := h.store.Resolve(ctx, idOrPrefix)
	if err != nil {
		return err
	}
	return h.runner.Operate(ctx, id, in)
}

// WatchTask implements [Service].
func (h *Host) WatchTask(ctx context.Context, idOrPrefix string, fn func(*task.View) error) error {
	id, err := h.store.Resolve(ctx, idOrPrefix)
	if err != nil {
		return err
	}
	changes, stop := h.runner.Watch(id)
	defer stop()
	for {
		v, err := h.view(ctx, id)
		if err != nil {
			return err
		}
		if err := fn(v); err != nil {
			return err
		}
		if v.Status.Terminal() {
			return nil
		}
		select {
		case _, open := <-changes:
			if !open {
				return task.ErrStopping
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
