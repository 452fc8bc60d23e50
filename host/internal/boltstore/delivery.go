package boltstore

import (
	"bytes"
	"context"
	"fmt"
	"math"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	storev1 "github.com/tasker-engine/tasker/proto/tasker/store/v1"
)

// changesNothing reports whether a write set needs no transaction for d.
func changesNothing(d *store.DeliverySet) bool {
	return d == nil || len(d.Cursors) == 0 && len(d.DeadLetters) == 0 && len(d.Settled) == 0 && len(d.Forgotten) == 0 && len(d.Events) == 0
}

// encodeDelivery encodes what is removed before what is written: in that order it is
// applied.
func (j *setJob) encodeDelivery(d *store.DeliverySet) error {
	for _, name := range d.Forgotten {
		if err := checkKeyName("subscription", name); err != nil {
			return err
		}
		j.forgotten = append(j.forgotten, name)
	}
	for _, id := range d.Settled {
		if err := checkKeyName("subscription", id.Subscription); err != nil {
			return err
		}
		j.beginDeadLetter(id)
		j.spans[len(j.spans)-1].gone = true
		j.end()
	}
	for _, l := range d.DeadLetters {
		if err := j.encodeDeadLetter(l); err != nil {
			return fmt.Errorf("dead letter %d of %s: %w", l.Seq, l.Subscription, err)
		}
	}
	for _, c := range d.Cursors {
		if err := j.encodeCursor(c); err != nil {
			return fmt.Errorf("cursor of %s: %w", c.Subscription, err)
		}
	}
	for i := range d.Events {
		if err := j.encodeCustomEvent(&d.Events[i]); err != nil {
			return fmt.Errorf("custom event %s: %w", d.Events[i].Name, err)
		}
	}
	return nil
}

// checkKeyName is checkName for a text that is not optional.
func checkKeyName(what, s string) error {
	if s == "" {
		return fmt.Errorf("%s without a name: %w", what, task.ErrInvalid)
	}
	return checkName(what, s)
}

// beginDeadLetter is begin without making the key first.
func (j *setJob) beginDeadLetter(id store.DeadLetterID) {
	sp := span{kind: kindDeadLetters, key: len(j.buf)}
	j.buf = appendDeadLetterKey(j.buf, id.Subscription, id.Seq)
	sp.value = len(j.buf)
	j.spans = append(j.spans, sp)
}

func (j *setJob) encodeDeadLetter(l *store.DeadLetter) (err error) {
	if err := checkKeyName("subscription", l.Subscription); err != nil {
		return err
	}
	if len(l.Encoded) == 0 || l.Seq == 0 {
		return fmt.Errorf("%w: it has no event", task.ErrInvalid)
	}
	j.highest = max(j.highest, l.Seq)
	j.beginDeadLetter(l.DeadLetterID)
	if j.buf, err = appendRecord(j.buf, deadLetterToRecord(l)); err != nil {
		return err
	}
	j.end()
	return nil
}

func (j *setJob) encodeCursor(c *store.Cursor) (err error) {
	if err := checkKeyName("subscription", c.Subscription); err != nil {
		return err
	}
	if len(c.Failing) > store.MaxFailing {
		return fmt.Errorf("%w: %d events fail, at most %d are kept", task.ErrInvalid, len(c.Failing), store.MaxFailing)
	}
	last := c.Through
	for i := range c.Failing {
		if c.Failing[i].Seq <= last {
			return fmt.Errorf("%w: failing event %d is not beyond %d", task.ErrInvalid, c.Failing[i].Seq, last)
		}
		last = c.Failing[i].Seq
	}
	j.highest = max(j.highest, last, c.Careful)
	j.begin(kindCursors, []byte(c.Subscription))
	if j.buf, err = appendRecord(j.buf, cursorToRecord(c)); err != nil {
		return err
	}
	j.end()
	return nil
}

func (j *setJob) encodeCustomEvent(e *store.CustomEvent) (err error) {
	if err := checkKeyName("custom event", e.Name); err != nil {
		return err
	}
	j.begin(kindCustomEvents, []byte(e.Name))
	if j.buf, err = appendRecord(j.buf, customEventToRecord(e)); err != nil {
		return err
	}
	j.end()
	return nil
}

// checkDelivery refuses records that are ahead of the log: a cursor that is would never
// be given the events up to it.
func (j *setJob) checkDelivery(c *committer) error {
	if end := c.next + j.events; j.highest >= end {
		return fmt.Errorf("write set without a task: %w: it names event %d, the log ends at %d", task.ErrInvalid, j.highest, end-1)
	}
	return nil
}

// applyDelivery removes what goes, then writes.
func (j *setJob) applyDelivery(t *txn) error {
	for _, name := range j.forgotten {
		if err := forget(t, name); err != nil {
			return err
		}
	}
	for _, sp := range j.spans {
		var err error
		if key := j.buf[sp.key:sp.value]; sp.gone {
			err = t.del(sp.kind, key)
		} else {
			err = t.put(sp.kind, key, j.buf[sp.value:sp.end])
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// forget removes a subscription's cursor and dead letters.
func forget(t *txn, subscription string) error {
	var keys [][]byte
	err := t.each(kindDeadLetters, indexPrefix(subscription), func(key, _ []byte) error {
		keys = append(keys, bytes.Clone(key))
		return nil
	})
	if err != nil {
		return err
	}
	for _, key := range keys {
		if err := t.del(kindDeadLetters, key); err != nil {
			return err
		}
	}
	return t.del(kindCursors, []byte(subscription))
}

// Cursors returns the cursors of all subscriptions, by name: one read each. Errors:
// store.ErrCorrupt.
func (s *Store) Cursors(ctx context.Context) ([]store.Cursor, error) {
	var out []store.Cursor
	err := s.view(ctx, opCursors, func(t *txn) error {
		return t.each(kindCursors, nil, func(key, value []byte) error {
			r := &storev1.CursorRecord{}
			if err := decode(value, r, fmt.Sprintf("cursors/%q", key)); err != nil {
				return err
			}
			out = append(out, cursorFromRecord(string(key), r))
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("cursors: %w", err)
	}
	return out, nil
}

// DeadLetters returns up to limit dead letters of a subscription with a sequence
// greater than after, in order: one read each. Errors: store.ErrCorrupt.
func (s *Store) DeadLetters(ctx context.Context, subscription string, after uint64, limit int) ([]store.DeadLetter, error) {
	var out []store.DeadLetter
	err := s.view(ctx, opDeadLetters, func(t *txn) error {
		if after == math.MaxUint64 {
			return nil
		}
		prefix := indexPrefix(subscription)
		c := t.cursor(kindDeadLetters)
		for key, value := c.Seek(deadLetterKey(subscription, after+1)); len(out) < limit && bytes.HasPrefix(key, prefix); key, value = c.Next() {
			t.reads++
			l, err := readDeadLetter(key, value)
			if err != nil {
				return err
			}
			out = append(out, l)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("dead letters of %s: %w", subscription, err)
	}
	return out, nil
}

func readDeadLetter(key, value []byte) (store.DeadLetter, error) {
	place := fmt.Sprintf("dead_letters/%q", key)
	subscription, seq, ok := asDeadLetterKey(key)
	if !ok {
		return store.DeadLetter{}, fmt.Errorf("%w: %s: the key is no subscription and sequence", store.ErrCorrupt, place)
	}
	r := &storev1.DeadLetterRecord{}
	if err := decode(value, r, place); err != nil {
		return store.DeadLetter{}, err
	}
	return deadLetterFromRecord(store.DeadLetterID{Subscription: subscription, Seq: seq}, r), nil
}

// CustomEvents returns the custom events that were ever declared, by name: one read
// each. Errors: store.ErrCorrupt.
func (s *Store) CustomEvents(ctx context.Context) ([]store.CustomEvent, error) {
	var out []store.CustomEvent
	err := s.view(ctx, opCustomEvents, func(t *txn) error {
		return t.each(kindCustomEvents, nil, func(key, value []byte) error {
			r := &storev1.CustomEventRecord{}
			if err := decode(value, r, fmt.Sprintf("custom_events/%q", key)); err != nil {
				return err
			}
			out = append(out, customEventFromRecord(string(key), r))
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("custom events: %w", err)
	}
	return out, nil
}
