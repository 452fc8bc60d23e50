package boltstore

import (
	"bytes"
	"fmt"
	"time"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	storev1 "github.com/tasker-engine/tasker/proto/tasker/store/v1"
)

// keyClaim is a creation's wish to be the only task of its idempotency key. A key
// stands for its task until it has expired and the task has ended, whichever is later.
type keyClaim struct {
	key       []byte
	inputHash []byte
	now       time.Time
	value     []byte
}

// newKeyClaim returns nil for a task without an idempotency key.
func newKeyClaim(spec *task.Spec) (*keyClaim, error) {
	if spec.IdempotencyKey == "" {
		return nil, nil //nolint:nilnil // no key, no claim
	}
	if err := checkName("idempotency key", spec.IdempotencyKey); err != nil {
		return nil, err
	}
	hash, err := parseHash("input hash", spec.InputHash)
	if err != nil {
		return nil, err
	}
	value, err := appendRecord(nil, &storev1.KeyRecord{
		TaskId: string(spec.ID), InputHash: hash, ExpiresAt: nanos(spec.CreatedAt.Add(spec.KeyTTL)),
	})
	if err != nil {
		return nil, err
	}
	return &keyClaim{
		key:       idempotencyKey(spec.Template.Namespace, spec.Template.Name, spec.IdempotencyKey),
		inputHash: hash, now: spec.CreatedAt, value: value,
	}, nil
}

// check refuses the creation when the key stands for another task.
func (c *keyClaim) check(t *txn) error {
	known, err := readKey(t, c.key, c.now)
	if known == nil || err != nil {
		return err
	}
	if !bytes.Equal(known.GetInputHash(), c.inputHash) {
		return fmt.Errorf("task %s: %w", known.GetTaskId(), task.ErrKeyConflict)
	}
	return &store.DuplicateError{ID: task.ID(known.GetTaskId())}
}

func (c *keyClaim) apply(t *txn) error { return t.put(kindKeys, c.key, c.value) }

// readKey returns the record of a key, nil when it stands for no task at that time.
func readKey(t *txn, key []byte, now time.Time) (*storev1.KeyRecord, error) {
	value := t.get(kindKeys, key)
	if value == nil {
		return nil, nil //nolint:nilnil // documented
	}
	r := &storev1.KeyRecord{}
	if err := decode(value, r, fmt.Sprintf("keys/%q", key)); err != nil {
		return nil, err
	}
	if now.Before(fromNanos(r.GetExpiresAt())) {
		return r, nil
	}
	k, err := parseTaskKey(task.ID(r.GetTaskId()))
	if err != nil {
		return nil, fmt.Errorf("%w: keys/%q: %w", store.ErrCorrupt, key, err)
	}
	if t.get(kindLive, k[:]) != nil {
		return r, nil
	}
	return nil, nil //nolint:nilnil // documented
}
