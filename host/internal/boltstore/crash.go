package boltstore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tasker-engine/tasker/host/internal/store"
	storev1 "github.com/tasker-engine/tasker/proto/tasker/store/v1"
)

// crashJob is a crash report on its way to the committer.
type crashJob struct {
	plugin string
	at     time.Time
	value  []byte
	done   chan error // holds one
}

// SaveCrash stores a crash report and returns when it is durable; the oldest reports
// beyond store.MaxCrashes of the plugin go. When ctx ends first the report may still
// be stored. Errors: task.ErrInvalid for a plugin name that cannot be a key,
// store.ErrClosed, store.ErrReadOnly.
func (s *Store) SaveCrash(ctx context.Context, c *store.Crash) error {
	if s.readOnly {
		return store.ErrReadOnly
	}
	if err := checkName("plugin name", c.Plugin); err != nil {
		return fmt.Errorf("crash report: %w", err)
	}
	value, err := appendRecord(nil, crashToRecord(c))
	if err != nil {
		return fmt.Errorf("crash report: %w", err)
	}
	j := &crashJob{plugin: c.Plugin, at: c.At, value: value, done: make(chan error, 1)}
	if err := s.queue.push(j); err != nil {
		return err
	}
	select {
	case err := <-j.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("crash report of %s: %w", c.Plugin, ctx.Err())
	}
}

func (j *crashJob) op() operation { return opSaveCrash }

func (j *crashJob) size() int { return len(j.value) }

func (j *crashJob) check(*committer, *txn) error { return nil }

func (j *crashJob) apply(_ *committer, t *txn) error {
	var keys [][]byte
	err := t.each(kindCrashes, crashPrefix(j.plugin), func(key, _ []byte) error {
		keys = append(keys, slices.Clone(key))
		return nil
	})
	if err != nil {
		return err
	}
	key := crashKey(j.plugin, j.at)
	for t.get(kindCrashes, key) != nil { // two crashes at one instant
		j.at = j.at.Add(1)
		key = crashKey(j.plugin, j.at)
	}
	if err := t.put(kindCrashes, key, j.value); err != nil {
		return err
	}
	for len(keys) >= store.MaxCrashes {
		if err := t.del(kindCrashes, keys[0]); err != nil {
			return err
		}
		keys = keys[1:]
	}
	return nil
}

func (j *crashJob) finish(err error) { j.done <- err }

// crashPrefix is what the keys of a plugin's reports start with; empty for all plugins.
func crashPrefix(plugin string) []byte {
	if plugin == "" {
		return nil
	}
	return append([]byte(plugin), 0)
}

// Crashes returns the crash reports of a plugin, newest first; of all plugins when the
// name is empty.
func (s *Store) Crashes(ctx context.Context, plugin string) ([]store.Crash, error) {
	var out []store.Crash
	err := s.view(ctx, opCrashes, func(t *txn) error {
		return t.each(kindCrashes, crashPrefix(plugin), func(key, value []byte) error {
			r := &storev1.CrashRecord{}
			if err := decode(value, r, fmt.Sprintf("crashes/%q", key)); err != nil {
				return err
			}
			out = append(out, crashFromRecord(r))
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("crash reports: %w", err)
	}
	slices.SortStableFunc(out, func(a, b store.Crash) int { return b.At.Compare(a.At) })
	return out, nil
}
