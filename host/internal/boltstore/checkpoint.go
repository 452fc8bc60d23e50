package boltstore

import (
	"context"
	"fmt"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	storev1 "github.com/tasker-engine/tasker/proto/tasker/store/v1"
)

// checkpointJob is a checkpoint on its way to the committer.
type checkpointJob struct {
	task    taskKey
	ordinal task.Ordinal
	attempt uint32
	value   []byte
	keeps   bool  // it has no data: that of the stored one stays
	err     error // why it could not be encoded
	dropped bool  // its attempt is over
	done    func(error)
}

// SaveCheckpoint queues a checkpoint; see [store.Store]. It is dropped without an
// error when its step has ended or a later attempt has begun. Errors: task.ErrNotFound
// for a task that does not exist, task.ErrTooLarge, store.ErrClosed, store.ErrReadOnly.
func (s *Store) SaveCheckpoint(cp *store.Checkpoint, done func(error)) {
	if s.readOnly {
		done(store.ErrReadOnly)
		return
	}
	j := &checkpointJob{ordinal: cp.Step.Ordinal, attempt: cp.Attempt, done: done}
	if j.err = j.encode(cp); j.err != nil {
		j.err = fmt.Errorf("checkpoint of step %s: %w", cp.Step, j.err)
	}
	if err := s.queue.push(j); err != nil {
		done(err)
	}
}

func (j *checkpointJob) encode(cp *store.Checkpoint) (err error) {
	if len(cp.Data) > task.MaxCheckpoint {
		return fmt.Errorf("%d bytes, at most %d are allowed: %w", len(cp.Data), task.MaxCheckpoint, task.ErrTooLarge)
	}
	if j.task, err = parseTaskKey(cp.Step.Task); err != nil {
		return err
	}
	j.keeps = len(cp.Data) == 0
	j.value, err = appendRecord(nil, checkpointToRecord(cp))
	return err
}

// keep takes over the data of the stored checkpoint, if there is one.
func (j *checkpointJob) keep(t *txn, key []byte) error {
	value := t.get(kindCheckpoints, key)
	if value == nil {
		return nil
	}
	r := &storev1.CheckpointRecord{}
	if err := decode(value, r, fmt.Sprintf("checkpoints/%x", key)); err != nil {
		return err
	}
	var err error // the fields of an encoded record may come in any order
	j.value, err = appendRecord(j.value, &storev1.CheckpointRecord{Checkpoint: r.GetCheckpoint()})
	return err
}

func (j *checkpointJob) op() operation { return opSaveCheckpoint }

func (j *checkpointJob) size() int { return len(j.value) }

func (j *checkpointJob) check(c *committer, t *txn) error {
	if j.err != nil {
		return j.err
	}
	h, err := c.head(t, j.task)
	if err != nil {
		return err
	}
	if h == nil {
		return fmt.Errorf("checkpoint of task %s: %w", j.task.id(), task.ErrNotFound)
	}
	if h.status.Terminal() {
		j.dropped = true
		return nil
	}
	key := j.task.step(uint32(j.ordinal))
	value := t.get(kindSteps, key[:])
	if value == nil { // never claimed: nobody can have written it
		j.dropped = true
		return nil
	}
	r := &storev1.StepRecord{}
	if _, err := decodePrefixed(value, r, fmt.Sprintf("steps/%x", key)); err != nil {
		return err
	}
	j.dropped = task.StepStatus(r.GetStatus()).Terminal() || r.GetAttempt().GetNumber() != j.attempt
	if j.dropped || !j.keeps {
		return nil
	}
	return j.keep(t, key[:])
}

func (j *checkpointJob) apply(c *committer, t *txn) error {
	if j.dropped {
		return nil
	}
	key := j.task.step(uint32(j.ordinal))
	if err := t.put(kindCheckpoints, key[:], j.value); err != nil {
		return err
	}
	c.heads[j.task].addCheckpoint(j.ordinal) // unfinished, so check has remembered it
	return nil
}

func (j *checkpointJob) finish(err error) { j.done(err) }

// Checkpoint returns the checkpoint of a step: one read. Errors: task.ErrNotFound,
// store.ErrCorrupt.
func (s *Store) Checkpoint(ctx context.Context, id task.StepID) (store.Checkpoint, error) {
	k, err := parseTaskKey(id.Task)
	if err != nil {
		return store.Checkpoint{}, fmt.Errorf("checkpoint: %w", err)
	}
	r := &storev1.CheckpointRecord{}
	err = s.view(ctx, opCheckpoint, func(t *txn) error {
		key := k.step(uint32(id.Ordinal))
		value := t.get(kindCheckpoints, key[:])
		if value == nil {
			return task.ErrNotFound
		}
		return decode(value, r, fmt.Sprintf("checkpoints/%x", key))
	})
	if err != nil {
		return store.Checkpoint{}, fmt.Errorf("checkpoint of step %s: %w", id, err)
	}
	return checkpointFromRecord(id, r), nil
}

// Checkpoints returns the checkpoints of a task by ordinal; none for a task that does
// not exist.
func (s *Store) Checkpoints(ctx context.Context, id task.ID) (map[task.Ordinal]store.Checkpoint, error) {
	k, err := parseTaskKey(id)
	if err != nil {
		return nil, fmt.Errorf("checkpoints: %w", err)
	}
	out := make(map[task.Ordinal]store.Checkpoint)
	err = s.view(ctx, opCheckpoints, func(t *txn) error {
		return t.each(kindCheckpoints, k[:], func(key, value []byte) error {
			_, n, ok := asStepKey(key)
			if !ok {
				return fmt.Errorf("%w: checkpoints/%x", store.ErrCorrupt, key)
			}
			r := &storev1.CheckpointRecord{}
			if err := decode(value, r, fmt.Sprintf("checkpoints/%x", key)); err != nil {
				return err
			}
			o := task.Ordinal(n)
			out[o] = checkpointFromRecord(task.StepID{Task: id, Ordinal: o}, r)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("checkpoints of task %s: %w", id, err)
	}
	return out, nil
}
