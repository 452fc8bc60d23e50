package boltstore

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// spansJob is spans on their way to the committer.
type spansJob struct {
	task    taskKey
	key     [attemptLen]byte
	otlp    []byte
	value   []byte // from check to apply: what is stored and otlp; nil = dropped
	invalid error  // why it cannot be stored at all
	done    func(error)
}

// SaveSpans queues spans; see [store.SpanStore]. Errors: task.ErrTooLarge, store.ErrClosed,
// store.ErrReadOnly.
func (s *Store) SaveSpans(spans *store.AttemptSpans, done func(error)) {
	if s.readOnly {
		done(store.ErrReadOnly)
		return
	}
	j := &spansJob{otlp: spans.OTLP, done: done}
	if j.task, j.invalid = parseTaskKey(spans.Attempt.Task); j.invalid == nil {
		j.key = j.task.attempt(uint32(spans.Attempt.Ordinal), spans.Attempt.Number)
	}
	if err := s.queue.push(j); err != nil {
		done(err)
	}
}

func (j *spansJob) op() operation { return opSaveSpans }

func (j *spansJob) size() int { return len(j.otlp) }

func (j *spansJob) check(_ *committer, t *txn) error {
	j.value = nil
	if j.invalid != nil {
		return fmt.Errorf("spans: %w", j.invalid)
	}
	if len(j.otlp) == 0 || t.get(kindSpecs, j.task[:]) == nil {
		return nil
	}
	stored := t.get(kindSpans, j.key[:])
	if n := len(stored) + len(j.otlp); n > store.MaxSpans {
		return fmt.Errorf("spans of an attempt: %d bytes, at most %d are kept: %w", n, store.MaxSpans, task.ErrTooLarge)
	}
	j.value = slices.Concat(stored, j.otlp) // of two messages it is the message with the parts of both
	return nil
}

func (j *spansJob) apply(_ *committer, t *txn) error {
	if j.value == nil {
		return nil
	}
	return t.put(kindSpans, j.key[:], j.value)
}

func (j *spansJob) finish(err error) { j.done(err) }

// Spans returns the spans of a task; see [store.SpanStore]: one range read. Errors:
// store.ErrCorrupt.
func (s *Store) Spans(ctx context.Context, id task.ID) ([]store.AttemptSpans, error) {
	k, err := parseTaskKey(id)
	if err != nil {
		return nil, fmt.Errorf("spans: %w", err)
	}
	var out []store.AttemptSpans
	err = s.view(ctx, opSpans, func(t *txn) error {
		return t.each(kindSpans, k[:], func(key, value []byte) error {
			_, ordinal, number, ok := asAttemptKey(key)
			if !ok {
				return fmt.Errorf("%w: spans/%x", store.ErrCorrupt, key)
			}
			out = append(out, store.AttemptSpans{
				Attempt: task.AttemptID{Task: id, Ordinal: task.Ordinal(ordinal), Number: number}, OTLP: bytes.Clone(value),
			})
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("spans of task %s: %w", id, err)
	}
	return out, nil
}
