package boltstore

import (
	"bytes"
	"context"
	"fmt"

	"github.com/tasker-engine/tasker/host/task"
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
