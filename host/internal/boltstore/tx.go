package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/tasker-engine/tasker/host/internal/store"
)

// fillPercent is how full pages of a kind are made when one is split: half of it is left
// for inserts, where some will come.
func (k kind) fillPercent() float64 {
	switch {
	case k == kindLog: // each key is behind all others, and no value changes
		return 1
	case k.appendOnly(): // keys of one millisecond come in any order; tasks grow a little
		return 0.9
	default:
		return bolt.DefaultFillPercent
	}
}

// txn is a transaction that opens buckets once and counts what it touches. Slices that
// it returns are valid until it ends and must not be changed.
type txn struct {
	tx      *bolt.Tx
	buckets [kinds]*bolt.Bucket

	reads uint64 // records read, found or not
	puts  uint64 // records written or deleted
	// ranges is how many cursors were opened: what walks records opens one.
	ranges uint64
}

func (t *txn) bucket(k kind) *bolt.Bucket {
	if t.buckets[k] == nil {
		b := t.tx.Bucket([]byte(k.name()))
		b.FillPercent = k.fillPercent()
		t.buckets[k] = b
	}
	return t.buckets[k]
}

// get returns nil when there is no such record.
func (t *txn) get(k kind, key []byte) []byte {
	t.reads++
	return t.bucket(k).Get(key)
}

// put stores value, which must not change before the transaction ends.
func (t *txn) put(k kind, key, value []byte) error {
	t.puts++
	if err := t.bucket(k).Put(key, value); err != nil {
		return fmt.Errorf("write to bucket %s: %w", k.name(), err)
	}
	return nil
}

// mark stores an entry without a value.
func (t *txn) mark(k kind, key []byte) error { return t.put(k, key, []byte{}) }

func (t *txn) del(k kind, key []byte) error {
	t.puts++
	if err := t.bucket(k).Delete(key); err != nil {
		return fmt.Errorf("delete from bucket %s: %w", k.name(), err)
	}
	return nil
}

func (t *txn) cursor(k kind) *bolt.Cursor {
	t.ranges++
	return t.bucket(k).Cursor()
}

// each calls fn for all records whose keys start with prefix, in key order.
func (t *txn) each(k kind, prefix []byte, fn func(key, value []byte) error) error {
	c := t.cursor(k)
	for key, value := c.Seek(prefix); key != nil && bytes.HasPrefix(key, prefix); key, value = c.Next() {
		t.reads++
		if err := fn(key, value); err != nil {
			return err
		}
	}
	return nil
}

// view runs fn in a read transaction and counts it as a call of op. It fails with
// ErrClosed on a closed store.
func (s *Store) view(ctx context.Context, op operation, fn func(t *txn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t := &txn{}
	start := time.Now()
	err := s.db.View(func(tx *bolt.Tx) error {
		t.tx = tx
		return fn(t)
	})
	s.ops[op].add(1, t.reads, t.puts, t.ranges)
	s.timed(op, start, t)
	return closedError(err)
}

// closedError says in the port's words that the store is closed.
func closedError(err error) error {
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return store.ErrClosed
	}
	return err
}
