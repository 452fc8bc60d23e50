package boltstore

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	storev1 "github.com/tasker-engine/tasker/proto/tasker/store/v1"
)

// liveChunk is the number of tasks that Live reads in one transaction, so that no
// transaction stays open while a caller works.
const liveChunk = 256

// Load returns a task with all its steps. It reads the spec, the task, the template
// and the steps that have been touched. Errors: task.ErrNotFound, store.ErrCorrupt.
func (s *Store) Load(ctx context.Context, id task.ID) (*store.Aggregate, error) {
	k, err := parseTaskKey(id)
	if err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	var a *store.Aggregate
	err = s.view(ctx, opLoad, func(t *txn) error {
		a, err = readAggregate(t, k, nil)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("load task %s: %w", id, err)
	}
	return a, nil
}

// liveTask is one unfinished task, or why it cannot be read.
type liveTask struct {
	id  task.ID
	agg *store.Aggregate
	err error
}

// Live calls fn for every unfinished task, oldest first; see [store.Store]. fn is called
// outside any transaction; a task that ends while Live is on its way to it is left out.
func (s *Store) Live(ctx context.Context, fn func(task.ID, *store.Aggregate, error) error) error {
	templates := make(map[string][]byte)
	var chunk []liveTask
	for after := []byte(nil); ; {
		chunk = chunk[:0]
		err := s.view(ctx, opLive, func(t *txn) error {
			chunk, after = readLive(t, chunk, after, templates)
			return nil
		})
		if err != nil {
			return fmt.Errorf("live tasks: %w", err)
		}
		for _, l := range chunk {
			if err := fn(l.id, l.agg, l.err); err != nil {
				return err
			}
		}
		if len(chunk) < liveChunk {
			return nil
		}
	}
}

// readLive appends the unfinished tasks behind the key after to chunk until it is full,
// and returns it with the key of the last.
func readLive(t *txn, chunk []liveTask, after []byte, templates map[string][]byte) (full []liveTask, last []byte) {
	c := t.cursor(kindLive)
	key, _ := c.Seek(after)
	if after != nil && bytes.Equal(key, after) {
		key, _ = c.Next()
	}
	for ; key != nil && len(chunk) < liveChunk; key, _ = c.Next() {
		t.reads++
		after = bytes.Clone(key)
		var l liveTask
		if k, ok := asTaskKey(key); !ok {
			l.err = fmt.Errorf("%w: live/%x", store.ErrCorrupt, key)
		} else {
			l.id = k.id()
			if l.agg, l.err = readAggregate(t, k, templates); l.err != nil {
				l.err = fmt.Errorf("task %s: %w", l.id, l.err)
			}
		}
		chunk = append(chunk, l)
	}
	return chunk, after
}

// readAggregate reads a whole task. Snapshots already in templates are shared and new
// ones added; nil reads the snapshot afresh.
func readAggregate(t *txn, k taskKey, templates map[string][]byte) (*store.Aggregate, error) {
	spec, err := readSpec(t, k)
	if err != nil {
		return nil, err
	}
	record, _, err := readTask(t, k)
	if err != nil {
		return nil, err
	}
	out := &task.Task{Spec: specFromRecord(k.id(), spec), Steps: make([]task.Step, spec.GetSteps())}
	applyTaskRecord(out, record)
	for i := range out.Steps {
		out.Steps[i].Ordinal, out.Steps[i].Status = task.Ordinal(i), task.StepPending
	}
	step := &storev1.StepRecord{}
	err = t.each(kindSteps, k[:], func(key, value []byte) error {
		_, n, ok := asStepKey(key)
		if !ok || n >= spec.GetSteps() {
			return fmt.Errorf("%w: steps/%x: the task has %d steps", store.ErrCorrupt, key, spec.GetSteps())
		}
		step.Reset()
		if _, err := decodePrefixed(value, step, fmt.Sprintf("step %d", n)); err != nil {
			return err
		}
		applyStepRecord(&out.Steps[n], step)
		out.UpdatedAt = latest(out.UpdatedAt, &out.Steps[n])
		out.Revision = max(out.Revision, step.GetRevision())
		out.Seq = max(out.Seq, step.GetTaskSeq())
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := markCheckpoints(t, k, out); err != nil {
		return nil, err
	}
	snapshot, err := readTemplate(t, spec.GetTemplateHash(), templates)
	if err != nil {
		return nil, err
	}
	return &store.Aggregate{Task: out, Template: snapshot}, nil
}

// latest returns the later of at and the step's last transition: a step's transition
// does not rewrite the task's record, so the task's UpdatedAt is derived.
func latest(at time.Time, s *task.Step) time.Time {
	times := [...]time.Time{s.StartedAt, s.CompletedAt, s.ReadyAt, {}, {}, {}}
	if s.Attempt != nil {
		times[3], times[4] = s.Attempt.StartedAt, s.Attempt.EndedAt
	}
	if s.Late != nil {
		times[5] = s.Late.At
	}
	for _, t := range times {
		if t.After(at) {
			at = t
		}
	}
	return at
}

// markCheckpoints sets HasCheckpoint of the steps that have one.
func markCheckpoints(t *txn, k taskKey, out *task.Task) error {
	if !keepsCheckpoints(out.Status) {
		return nil
	}
	return t.each(kindCheckpoints, k[:], func(key, _ []byte) error {
		if _, n, ok := asStepKey(key); ok && int(n) < len(out.Steps) {
			out.Steps[n].HasCheckpoint = true
		}
		return nil
	})
}

func readTemplate(t *txn, hash []byte, known map[string][]byte) ([]byte, error) {
	if snapshot, ok := known[string(hash)]; ok {
		return snapshot, nil
	}
	value := t.get(kindTemplates, hash)
	if value == nil {
		return nil, fmt.Errorf("%w: template snapshot %x is missing", store.ErrCorrupt, hash)
	}
	snapshot := bytes.Clone(value)
	if known != nil {
		known[string(hash)] = snapshot
	}
	return snapshot, nil
}

// readSpec returns task.ErrNotFound when there is no such task.
func readSpec(t *txn, k taskKey) (*storev1.SpecRecord, error) {
	value := t.get(kindSpecs, k[:])
	if value == nil {
		return nil, task.ErrNotFound
	}
	r := &storev1.SpecRecord{}
	return r, decode(value, r, "specs/"+string(k.id()))
}

// readTask returns a task's record and the sequence in front of it.
func readTask(t *txn, k taskKey) (*storev1.TaskRecord, uint64, error) {
	value := t.get(kindTasks, k[:])
	if value == nil {
		return nil, 0, fmt.Errorf("%w: tasks/%s is missing", store.ErrCorrupt, k.id())
	}
	r := &storev1.TaskRecord{}
	seq, err := decodePrefixed(value, r, "tasks/"+string(k.id()))
	return r, seq, err
}

// readHead returns what the committer must know of a task; nil when there is none.
func readHead(t *txn, k taskKey) (*head, error) {
	value := t.get(kindTasks, k[:])
	if value == nil {
		return nil, nil //nolint:nilnil // documented
	}
	r := &storev1.TaskRecord{}
	seq, err := decodePrefixed(value, r, "tasks/"+string(k.id()))
	if err != nil {
		return nil, err
	}
	h := &head{revision: r.GetRevision(), lastLog: seq, status: task.Status(r.GetStatus())}
	step := &storev1.StepRecord{}
	err = t.each(kindSteps, k[:], func(key, value []byte) error {
		step.Reset()
		seq, err := decodePrefixed(value, step, fmt.Sprintf("steps/%x", key))
		if err != nil {
			return err
		}
		h.revision = max(h.revision, step.GetRevision())
		h.lastLog = max(h.lastLog, seq)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return h, t.each(kindCheckpoints, k[:], func(key, _ []byte) error {
		if _, n, ok := asStepKey(key); ok {
			h.addCheckpoint(task.Ordinal(n))
		}
		return nil
	})
}

func (h *head) addCheckpoint(o task.Ordinal) {
	if h.checkpoints == nil {
		h.checkpoints = make(map[task.Ordinal]struct{})
	}
	h.checkpoints[o] = struct{}{}
}
