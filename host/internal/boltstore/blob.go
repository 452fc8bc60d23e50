package boltstore

import (
	"bytes"
	"context"
	"fmt"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	storev1 "github.com/tasker-engine/tasker/proto/tasker/store/v1"
)

// Blob returns a large value of a task. Errors: task.ErrNotFound.
func (s *Store) Blob(ctx context.Context, id task.ID, n uint32) ([]byte, error) {
	k, err := parseTaskKey(id)
	if err != nil {
		return nil, fmt.Errorf("blob: %w", err)
	}
	var out []byte
	err = s.view(ctx, opBlob, func(t *txn) error {
		key := k.step(n)
		value := t.get(kindBlobs, key[:])
		if value == nil {
			return task.ErrNotFound
		}
		out = bytes.Clone(value)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("%s of task %s: %w", blobName(n), id, err)
	}
	return out, nil
}

// Value returns a task's input, or a step's results or own input, by blob number, wherever they lie.
// It reads one record and, for a large value, its blob. Errors: task.ErrNotFound,
// store.ErrCorrupt.
func (s *Store) Value(ctx context.Context, id task.ID, n uint32) ([]byte, error) {
	k, err := parseTaskKey(id)
	if err != nil {
		return nil, fmt.Errorf("value: %w", err)
	}
	var out []byte
	err = s.view(ctx, opValue, func(t *txn) error {
		v, err := readValue(t, k, n)
		if ref := v.GetBlob(); err == nil && ref != nil {
			key := k.step(ref.GetN())
			if out = bytes.Clone(t.get(kindBlobs, key[:])); out == nil {
				return fmt.Errorf("%w: blobs/%x is missing", store.ErrCorrupt, key)
			}
			return nil
		}
		out = bytes.Clone(v.GetInline())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s of task %s: %w", blobName(n), id, err)
	}
	return out, nil
}

// readValue reads the record that holds a value or its reference.
func readValue(t *txn, k taskKey, n uint32) (*storev1.Value, error) {
	if n == task.InputBlob {
		spec, err := readSpec(t, k)
		return spec.GetInput(), err
	}
	o, input, _ := task.BlobStep(n)
	key := k.step(uint32(o))
	value := t.get(kindSteps, key[:])
	if value == nil {
		return nil, task.ErrNotFound
	}
	r := &storev1.StepRecord{}
	_, err := decodePrefixed(value, r, fmt.Sprintf("steps/%x", key))
	if input {
		return r.GetAttempt().GetInput(), err
	}
	return r.GetResults(), err
}
