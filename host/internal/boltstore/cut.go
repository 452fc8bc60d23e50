package boltstore

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tasker-engine/tasker/host/internal/store"
)

// trimChunk is the number of log values removed in one transaction, so that cutting a
// long log delays no commit by much.
const trimChunk = 512

// eventAt is the field of the event envelope that says when it was recorded.
const eventAt protowire.Number = 3

// recordedAt reads the time of an encoded event in nanoseconds and nothing else of it.
func recordedAt(encoded []byte) (int64, error) {
	for b := encoded; len(b) > 0; {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return 0, protowire.ParseError(n)
		}
		b = b[n:]
		if num == eventAt && typ == protowire.VarintType {
			at, n := protowire.ConsumeVarint(b)
			if n < 0 {
				return 0, protowire.ParseError(n)
			}
			return int64(at), nil //nolint:gosec // a varint of an int64 is its two's complement
		}
		if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
			return 0, protowire.ParseError(n)
		}
		b = b[n:]
	}
	return 0, nil
}

// logTime reads when the first event of a log value was recorded.
func logTime(key, value []byte) (int64, error) {
	r, err := parseLogHead(key, value)
	if err != nil {
		return 0, err
	}
	event, _, err := nextEvent(r.seq, value[prefixLen:])
	if err != nil {
		return 0, err
	}
	at, err := recordedAt(event)
	if err != nil {
		return 0, fmt.Errorf("%w: log/%d: %w", store.ErrCorrupt, r.seq, err)
	}
	return at, nil
}

// SeqAt returns the sequence of the first event recorded at a time or later, the next
// sequence to be given when there is none. It reads as many records as the number of
// sequences has binary digits, and four more.
func (s *Store) SeqAt(ctx context.Context, at time.Time) (uint64, error) {
	var seq uint64
	err := s.view(ctx, opSeqAt, func(t *txn) (err error) {
		seq, err = searchLog(t, nanos(at))
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("sequence at %s: %w", at.UTC().Format(time.RFC3339Nano), err)
	}
	return seq, nil
}

// searchLog halves the range of sequences until it knows the first log value that is
// not older, and looks into the one before: its later events may not be older either.
func searchLog(t *txn, at int64) (uint64, error) {
	first, err := firstSeq(t)
	if err != nil {
		return 0, err
	}
	next, err := nextSeq(t)
	if first == 0 || err != nil {
		return next, err
	}
	c := t.cursor(kindLog)
	for lo, hi := first, next; ; {
		middle := seqKey(lo + (hi-lo)/2)
		key, value := c.Seek(middle[:])
		t.reads++
		if lo >= hi {
			return searchBefore(t, key, next, at)
		}
		seq, ok := asSeq(key)
		if !ok || seq >= hi { // no value begins in the upper half
			hi = lo + (hi-lo)/2
			continue
		}
		recorded, err := logTime(key, value)
		if err != nil {
			return 0, err
		}
		if recorded < at {
			lo = seq + 1
		} else {
			hi = lo + (hi-lo)/2
		}
	}
}

// searchBefore returns the first event recorded at a time or later of the log value
// before the one at key, else that of key, else next.
func searchBefore(t *txn, key []byte, next uint64, at int64) (uint64, error) {
	c := t.cursor(kindLog)
	var before, value []byte
	if key == nil {
		before, value = c.Last()
	} else {
		next, _ = asSeq(key)
		c.Seek(key)
		before, value = c.Prev()
	}
	if before == nil {
		return next, nil
	}
	t.reads++
	r, err := parseLog(before, value)
	if err != nil {
		return 0, err
	}
	for i, event := range r.events {
		recorded, err := recordedAt(event)
		if err != nil {
			return 0, fmt.Errorf("%w: log/%d: %w", store.ErrCorrupt, r.seq, err)
		}
		if recorded >= at {
			return r.seq + uint64(i), nil
		}
	}
	return next, nil
}

// trimJob is one transaction's worth of a cut on its way to the committer.
type trimJob struct {
	before int64 // nanoseconds
	limit  int   // values

	keys   [][seqLen]byte // what goes, from check to apply
	events int            // how many events those are
	more   bool           // more could go
	done   chan error     // holds one
}

// TrimLog removes the oldest log values, at most limit of them, as long as they were
// recorded before a time; the last value stays. It returns how many events went, also
// beside an error, and whether more could go. Each transaction removes trimChunk values
// at most; when there is nothing to remove there is none. Errors: store.ErrCorrupt,
// store.ErrClosed, store.ErrReadOnly.
func (s *Store) TrimLog(ctx context.Context, before time.Time, limit int) (removed int, more bool, err error) {
	if s.readOnly {
		return 0, false, store.ErrReadOnly
	}
	look := &trimJob{before: nanos(before)}
	if err := s.view(ctx, opTrimLog, look.plan); err != nil {
		return 0, false, fmt.Errorf("trim the log: %w", err)
	}
	for more = look.more; more && limit > 0; {
		j := &trimJob{before: look.before, limit: min(limit, trimChunk), done: make(chan error, 1)}
		if err := s.queue.push(j); err != nil {
			return removed, more, err
		}
		select {
		case err = <-j.done:
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			return removed, more, fmt.Errorf("trim the log: %w", err)
		}
		removed, more, limit = removed+j.events, j.more, limit-len(j.keys)
	}
	return removed, more, nil
}

// plan finds what goes.
func (j *trimJob) plan(t *txn) error {
	c := t.cursor(kindLog)
	last, _ := c.Last()
	for key, value := c.First(); key != nil && !bytes.Equal(key, last); key, value = c.Next() {
		t.reads++
		at, err := logTime(key, value)
		if err != nil {
			return err
		}
		if at >= j.before {
			return nil
		}
		if len(j.keys) == j.limit {
			j.more = true
			return nil
		}
		r, err := parseLog(key, value)
		if err != nil {
			return err
		}
		j.keys = append(j.keys, [seqLen]byte(key))
		j.events += len(r.events)
	}
	return nil
}

func (j *trimJob) op() operation { return opTrimLog }

func (j *trimJob) size() int { return j.limit * seqLen }

// check plans: what cannot be read fails the cut and nobody's write set.
func (j *trimJob) check(_ *committer, t *txn) error { return j.plan(t) }

func (j *trimJob) apply(_ *committer, t *txn) error {
	for i := range j.keys {
		if err := t.del(kindLog, j.keys[i][:]); err != nil {
			return err
		}
	}
	return nil
}

func (j *trimJob) finish(err error) { j.done <- err }
