package boltstore

import (
	"context"
	"fmt"
	"maps"

	"github.com/tasker-engine/tasker/host/task"
	storev1 "github.com/tasker-engine/tasker/proto/tasker/store/v1"
)

// counters are the numbers of tasks by status. The committer keeps them in memory and
// writes them in the transactions that change them.
type counters map[task.Status]uint64

func readCounters(t *txn) (counters, error) {
	c := make(counters, len(task.Statuses()))
	value := t.get(kindMeta, []byte(metaCounters))
	if value == nil {
		return c, nil
	}
	r := &storev1.CountersRecord{}
	if err := decode(value, r, "meta/counters"); err != nil {
		return nil, err
	}
	for status, n := range r.GetTasks() {
		c[task.Status(status)] = n
	}
	return c, nil
}

// move counts one task from a status to another; empty means that it is new.
func (c counters) move(from, to task.Status) {
	if from != "" && c[from] > 0 {
		c[from]--
	}
	c[to]++
}

// drop counts one task less.
func (c counters) drop(status task.Status) {
	if c[status] > 0 {
		c[status]--
	}
}

func (c counters) write(t *txn) error {
	r := &storev1.CountersRecord{Tasks: make(map[string]uint64, len(c))}
	for status, n := range c {
		if n > 0 {
			r.Tasks[string(status)] = n
		}
	}
	value, err := appendRecord(nil, r)
	if err != nil {
		return err
	}
	return t.put(kindMeta, []byte(metaCounters), value)
}

// tasks returns a copy for the caller, without the zeros.
func (c counters) tasks() map[task.Status]uint64 {
	out := maps.Clone(map[task.Status]uint64(c))
	maps.DeleteFunc(out, func(_ task.Status, n uint64) bool { return n == 0 })
	return out
}

// Counters returns the number of tasks by status: one read, whatever the number of
// tasks. Statuses that no task has are missing.
func (s *Store) Counters(ctx context.Context) (map[task.Status]uint64, error) {
	var out map[task.Status]uint64
	err := s.view(ctx, opCounters, func(t *txn) error {
		c, err := readCounters(t)
		out = c.tasks()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("counters: %w", err)
	}
	return out, nil
}
