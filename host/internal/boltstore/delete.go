package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	storev1 "github.com/tasker-engine/tasker/proto/tasker/store/v1"
)

// Deleting shares the committer with the tasks that run. A transaction removes as many
// records as the others write on average, at least deleteRecords. As long as no more was
// removed than written meanwhile the next one follows at once, so that removing keeps up
// with creating; the rest is paid for with a pause, of deletePause times as long as the
// transaction took when nothing was written at all.
const (
	deleteRecords    = 256  // removed in one transaction at least
	maxDeleteRecords = 4096 // and at most
	deletePause      = 4
)

// Delete removes finished tasks; see [store.Retention].
func (s *Store) Delete(ctx context.Context, ids []task.ID) (total store.Deleted, err error) {
	if s.readOnly {
		return total, store.ErrReadOnly
	}
	rest := make([]taskKey, len(ids))
	for i, id := range ids {
		if rest[i], err = parseTaskKey(id); err != nil {
			return total, fmt.Errorf("delete: %w", err)
		}
	}
	for err == nil && len(rest) > 0 {
		limit, began := s.deletions.limit(s), time.Now()
		before := s.ops[opSubmit].puts.Load()
		j := &deleteJob{s: s, keys: rest, limit: limit, done: make(chan error, 1)}
		if err := s.queue.push(j); err != nil {
			return total, err
		}
		select {
		case err = <-j.done:
		case <-ctx.Done():
			return total, ctx.Err()
		}
		err = errors.Join(err, j.unreadable)
		if !j.durable {
			break
		}
		rest = rest[j.finished:]
		total.Tasks += j.tasks
		total.Records += uint64(len(j.gone))
		wrote, removed := s.ops[opSubmit].puts.Load()-before, uint64(len(j.gone))
		if len(j.gone) >= limit && wrote < removed {
			share := float64(removed-wrote) / float64(removed)
			err = errors.Join(err, pause(ctx, time.Duration(deletePause*share*float64(time.Since(began)))))
		}
	}
	if err != nil {
		return total, fmt.Errorf("delete tasks: %w", err)
	}
	return total, nil
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// deletions measures how much the tasks that run write.
type deletions struct {
	mu            sync.Mutex
	puts, commits uint64 // at the last look
}

// limit is how many records may be removed in the next transaction: as many as write
// sets have put into each on average since the last look.
func (d *deletions) limit(s *Store) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	puts, commits := s.ops[opSubmit].puts.Load(), s.commits.Load()
	per := (puts - d.puts) / max(1, commits-d.commits)
	d.puts, d.commits = puts, commits
	return int(min(max(per, deleteRecords), maxDeleteRecords))
}

// deleteJob is one transaction's worth of a deletion on its way to the committer.
type deleteJob struct {
	s     *Store
	keys  []taskKey
	limit int // records

	// From check to apply.
	gone       []indexEntry // the records to remove
	statuses   []task.Status
	marked     *taskKey // the task of which records are left
	finished   int      // so many of keys are done with
	tasks      uint64
	unreadable error
	durable    bool
	done       chan error // holds one
}

func (j *deleteJob) op() operation { return opDelete }

func (j *deleteJob) size() int { return j.limit * stepLen }

// check plans what goes. A task that cannot be read stays, and nobody else's commit
// suffers.
func (j *deleteJob) check(_ *committer, t *txn) error {
	j.gone, j.statuses, j.marked, j.finished, j.tasks, j.unreadable = j.gone[:0], j.statuses[:0], nil, 0, 0, nil
	for _, k := range j.keys {
		if len(j.gone) >= j.limit {
			return nil
		}
		whole, err := j.plan(t, k)
		switch {
		case err != nil:
			j.unreadable = errors.Join(j.unreadable, fmt.Errorf("task %s: %w", k.id(), err))
		case !whole:
			j.marked = &k
			return nil
		}
		j.finished++
	}
	return nil
}

// plan adds a task's records until the limit and reports whether those are all. What
// makes it a task goes first; a mark keeps the rest findable.
func (j *deleteJob) plan(t *txn, k taskKey) (whole bool, err error) {
	marked := t.get(kindGone, k[:]) != nil
	if !marked {
		if planned, err := j.planHead(t, k); !planned || err != nil {
			return true, err
		}
	}
	for _, kd := range []kind{kindSteps, kindBlobs, kindCheckpoints, kindSpans} {
		c := t.cursor(kd)
		for key, _ := c.Seek(k[:]); key != nil && bytes.HasPrefix(key, k[:]); key, _ = c.Next() {
			t.reads++
			if len(j.gone) >= j.limit {
				return false, nil
			}
			j.remove(kd, bytes.Clone(key))
		}
	}
	if marked {
		j.remove(kindGone, k[:])
	}
	j.tasks++
	return true, nil
}

// planHead adds the records that make a task one; none when it does not exist or has
// not ended.
func (j *deleteJob) planHead(t *txn, k taskKey) (planned bool, err error) {
	spec, err := readSpec(t, k)
	if errors.Is(err, task.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	record, _, err := readTask(t, k)
	if err != nil {
		return false, err
	}
	status := task.Status(record.GetStatus())
	if !status.Terminal() {
		return false, nil
	}
	if owned := ownedKey(t, k, spec); owned != nil {
		j.remove(kindKeys, owned)
	}
	j.remove(kindSpecs, k[:])
	j.remove(kindTasks, k[:])
	j.remove(kindByState, indexKey(stateName(templateName(spec.GetNamespace(), spec.GetTemplate()), status), k))
	for _, tag := range spec.GetTags() {
		j.remove(kindByTag, indexKey(tag, k))
	}
	if spec.GetCorrelationSet() {
		j.remove(kindByCorrelation, indexKey(specFromRecord(k.id(), spec).CorrelationID, k))
	}
	j.statuses = append(j.statuses, status)
	return true, nil
}

// ownedKey is the idempotency key that stands for a task; nil when it has none, or when
// a later task took it over. A record that cannot be read stays: it must not keep others
// from being deleted, and the check of the store tells of it.
func ownedKey(t *txn, k taskKey, spec *storev1.SpecRecord) []byte {
	if spec.GetIdempotencyKey() == "" {
		return nil
	}
	key := idempotencyKey(spec.GetNamespace(), spec.GetTemplate(), spec.GetIdempotencyKey())
	value := t.get(kindKeys, key)
	r := &storev1.KeyRecord{}
	if value == nil || decode(value, r, fmt.Sprintf("keys/%q", key)) != nil || r.GetTaskId() != string(k.id()) {
		return nil
	}
	return key
}

func (j *deleteJob) remove(kd kind, key []byte) { j.gone = append(j.gone, indexEntry{kd, key}) }

func (j *deleteJob) apply(c *committer, t *txn) error {
	for _, e := range j.gone {
		if err := t.del(e.kind, e.key); err != nil {
			return err
		}
	}
	for _, status := range j.statuses {
		c.counters.drop(status)
		c.counted = true
	}
	if j.marked == nil {
		return nil
	}
	return t.mark(kindGone, j.marked[:])
}

func (j *deleteJob) finish(err error) {
	if j.durable = err == nil; j.durable {
		j.s.deletedTasks.Add(j.tasks)
		j.s.deletedRecords.Add(uint64(len(j.gone)))
	}
	j.done <- err
}
