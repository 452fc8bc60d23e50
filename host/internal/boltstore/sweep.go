package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

const (
	// sweepReads is how many records a sweep reads in one transaction.
	sweepReads = 4096
	// maxSweepErrors is how many unreadable tasks a sweep names.
	maxSweepErrors = 10
)

// sweep is one call of Sweep.
type sweep struct {
	keep store.Keeper
	now  time.Time
	pos  []byte // where in by_state to go on; nil = its end was reached
	due  []store.Due
	next time.Time
	errs []error

	// Of the template and status at hand.
	group string // what their keys begin with
	kept  store.Keep
	of    store.Due // without an id
	cut   *taskKey  // the newest task of which there are enough newer ones; nil = none
}

// Sweep looks once through the finished tasks for those that are due; see
// [store.Retention]. It reads the tasks that were created long enough ago to be due, and
// one entry of the index for each template and status beside; for Keep.Last it counts so
// many entries of the index.
func (s *Store) Sweep(ctx context.Context, keep store.Keeper, now time.Time, fn func([]store.Due) error) (next time.Time, err error) {
	w := &sweep{keep: keep, now: now, pos: []byte{}}
	if err := s.view(ctx, opSweep, w.halfGone); err != nil {
		return time.Time{}, fmt.Errorf("sweep: %w", err)
	}
	for {
		if len(w.due) > 0 {
			if err := fn(w.due); err != nil {
				return w.next, err
			}
			w.due = nil // fn may keep it
		}
		if w.pos == nil {
			break
		}
		if err := s.view(ctx, opSweep, w.scan); err != nil {
			return w.next, fmt.Errorf("sweep: %w", err)
		}
	}
	if len(w.errs) > 0 {
		return w.next, fmt.Errorf("sweep: %w", errors.Join(w.errs...))
	}
	return w.next, nil
}

// halfGone takes up tasks of which a deletion that was interrupted has left something.
func (w *sweep) halfGone(t *txn) error {
	c := t.cursor(kindGone)
	for key, _ := c.First(); key != nil && len(w.due) < store.MaxSweep; key, _ = c.Next() {
		t.reads++
		if k, ok := asTaskKey(key); ok {
			w.due = append(w.due, store.Due{ID: k.id()})
		}
	}
	return nil
}

func (w *sweep) scan(t *txn) error {
	limit := t.reads + sweepReads
	c := t.cursor(kindByState)
	key, _ := c.Seek(w.pos)
	for key != nil {
		if w.pos = bytes.Clone(key); t.reads >= limit || len(w.due) == store.MaxSweep {
			return nil
		}
		t.reads++
		template, status, k, ok := asStateKey(key)
		if !ok {
			w.fail(fmt.Errorf("%w: by_state/%q", store.ErrCorrupt, key))
			key, _ = c.Next()
			continue
		}
		if group := string(key[:len(key)-taskLen]); group != w.group {
			w.enter(t, group, template, status)
		}
		if due, last := w.look(t, k); last {
			key, _ = c.Seek(append([]byte(w.group), bytes.Repeat([]byte{0xff}, taskLen+1)...))
			continue
		} else if due {
			d := w.of
			d.ID = k.id()
			w.due = append(w.due, d)
		}
		key, _ = c.Next()
	}
	w.pos = nil
	return nil
}

// enter begins a template and status.
func (w *sweep) enter(t *txn, group, template string, status task.Status) {
	namespace, name, _ := strings.Cut(template, "/")
	w.of = store.Due{Namespace: namespace, Template: name, Status: status}
	w.group, w.cut, w.kept = group, nil, w.keep(namespace, name, status)
	if w.kept.Last <= 0 {
		return
	}
	u := &source{order: order{desc: true}, kind: kindByState, prefix: []byte(group)}
	never := func() bool { return false }
	at := taskKey(bytes.Repeat([]byte{0xff}, taskLen))
	for n := 0; u.seek(t, at, never); n++ {
		if n == w.kept.Last {
			w.cut = &u.head
			return
		}
		at = u.order.behind(u.head)
	}
}

// look says whether a task is due, and whether no later one of its template and status
// can be.
func (w *sweep) look(t *txn, k taskKey) (due, last bool) {
	counted := w.cut != nil && bytes.Compare(k[:], w.cut[:]) <= 0
	if !counted {
		if w.kept.For <= 0 {
			return false, true
		}
		if earliest := ulid.Time(ulid.ULID(k).Time()).Add(w.kept.For); earliest.After(w.now) {
			w.wake(earliest) // it cannot have ended before it was created
			return false, true
		}
	}
	at, err := w.dueAt(t, k, counted)
	if err != nil {
		w.fail(err)
		return false, false
	}
	if at.After(w.now) {
		w.wake(at)
		return false, false
	}
	return true, false
}

// dueAt is when a task is let go: when its age or number says so, but not before its
// idempotency key has expired.
func (w *sweep) dueAt(t *txn, k taskKey, counted bool) (time.Time, error) {
	record, _, err := readTask(t, k)
	if err != nil {
		return time.Time{}, err
	}
	spec, err := readSpec(t, k)
	if err != nil {
		return time.Time{}, fmt.Errorf("task %s: %w", k.id(), err)
	}
	at := fromNanos(record.GetCompletedAt()).Add(w.kept.For)
	if counted {
		at = time.Time{}
	}
	if spec.GetIdempotencyKey() != "" {
		if expires := fromNanos(spec.GetCreatedAt()).Add(time.Duration(spec.GetKeyTtl())); expires.After(at) {
			at = expires
		}
	}
	return at, nil
}

// wake notes that a task will be due then.
func (w *sweep) wake(at time.Time) {
	if w.next.IsZero() || at.Before(w.next) {
		w.next = at
	}
}

func (w *sweep) fail(err error) {
	if len(w.errs) < maxSweepErrors {
		w.errs = append(w.errs, err)
	}
}
