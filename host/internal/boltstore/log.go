package boltstore

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// logRecord is one value of the log: the events of one write set.
type logRecord struct {
	seq    uint64   // of the first event
	prev   uint64   // the task's log value before, 0 = none
	events [][]byte // within the value, valid as long as it is
}

// parseLog reads a key and a value of the log without copying the events.
func parseLog(key, value []byte) (logRecord, error) {
	var r logRecord
	seq, ok := asSeq(key)
	if !ok || len(key) != seqLen {
		return r, fmt.Errorf("%w: log/%x: the key is no sequence", store.ErrCorrupt, key)
	}
	prev, ok := asSeq(value)
	if !ok {
		return r, fmt.Errorf("%w: log/%d: %d bytes, too short", store.ErrCorrupt, seq, len(value))
	}
	r.seq, r.prev = seq, prev
	for b := value[prefixLen:]; len(b) > 0; {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 || num != logEvents || typ != protowire.BytesType {
			return r, fmt.Errorf("%w: log/%d: not a LogRecord", store.ErrCorrupt, seq)
		}
		event, m := protowire.ConsumeBytes(b[n:])
		if m < 0 {
			return r, fmt.Errorf("%w: log/%d: %w", store.ErrCorrupt, seq, protowire.ParseError(m))
		}
		r.events = append(r.events, event)
		b = b[n+m:]
	}
	if len(r.events) == 0 {
		return r, fmt.Errorf("%w: log/%d: it holds no event", store.ErrCorrupt, seq)
	}
	return r, nil
}

// end is the sequence after the record's last event.
func (r *logRecord) end() uint64 { return r.seq + uint64(len(r.events)) }

// appendEntries appends the record's events with a sequence of at least from.
func (r *logRecord) appendEntries(out []store.LogEntry, from uint64) []store.LogEntry {
	seq := r.seq
	for _, encoded := range r.events {
		if seq >= from {
			out = append(out, store.LogEntry{Seq: seq, Encoded: bytes.Clone(encoded)})
		}
		seq++
	}
	return out
}

// nextSeq is the sequence that the next event gets, from 1.
func nextSeq(t *txn) (uint64, error) {
	t.reads++
	key, value := t.cursor(kindLog).Last()
	if key == nil {
		return 1, nil
	}
	r, err := parseLog(key, value)
	if err != nil {
		return 0, err
	}
	return r.end(), nil
}

// Events returns up to limit log entries with a sequence of at least from, in order.
// It reads one record more than it returns events from.
func (s *Store) Events(ctx context.Context, from uint64, limit int) ([]store.LogEntry, error) {
	limit = max(limit, 0)
	var out []store.LogEntry
	err := s.view(ctx, opEvents, func(t *txn) error {
		c := t.cursor(kindLog)
		start := seqKey(from)
		key, value := c.Seek(start[:])
		switch { // from may lie within the record before
		case key == nil:
			key, value = c.Last()
		case !bytes.Equal(key, start[:]):
			if key, value = c.Prev(); key == nil {
				key, value = c.First()
			}
		}
		for ; key != nil && len(out) < limit; key, value = c.Next() {
			t.reads++
			r, err := parseLog(key, value)
			if err != nil {
				return err
			}
			out = r.appendEntries(out, from)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("events from %d: %w", from, err)
	}
	return out[:min(len(out), limit)], nil
}

// LastSeq returns the sequence of the newest event, 0 for an empty log. It reads one
// record.
func (s *Store) LastSeq(ctx context.Context) (uint64, error) {
	var next uint64
	err := s.view(ctx, opLastSeq, func(t *txn) (err error) {
		next, err = nextSeq(t)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("last sequence: %w", err)
	}
	return next - 1, nil
}

// TaskEvents returns all events of a task in order. It reads the records of the task
// and one log value per write set that published something. Errors: task.ErrNotFound,
// store.ErrCorrupt.
func (s *Store) TaskEvents(ctx context.Context, id task.ID) ([]store.LogEntry, error) {
	k, err := parseTaskKey(id)
	if err != nil {
		return nil, fmt.Errorf("events of a task: %w", err)
	}
	var out []store.LogEntry
	err = s.view(ctx, opTaskEvents, func(t *txn) error {
		last, err := lastLog(t, k)
		if err != nil {
			return err
		}
		records, err := walkChain(t, last)
		for _, r := range slices.Backward(records) {
			out = r.appendEntries(out, 0)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("events of task %s: %w", id, err)
	}
	return out, nil
}

// lastLog is the sequence of a task's last log value: the largest in front of its
// records.
func lastLog(t *txn, k taskKey) (uint64, error) {
	value := t.get(kindTasks, k[:])
	if value == nil {
		return 0, task.ErrNotFound
	}
	last, ok := asSeq(value)
	if !ok {
		return 0, fmt.Errorf("%w: tasks/%s: too short", store.ErrCorrupt, k.id())
	}
	return last, t.each(kindSteps, k[:], func(key, value []byte) error {
		seq, ok := asSeq(value)
		if !ok {
			return fmt.Errorf("%w: steps/%x: too short", store.ErrCorrupt, key)
		}
		last = max(last, seq)
		return nil
	})
}

// walkChain returns a task's log records from the last to the first, or to the oldest
// that the log still has.
func walkChain(t *txn, last uint64) ([]logRecord, error) {
	var out []logRecord
	for seq := last; seq != 0; {
		key := seqKey(seq)
		value := t.get(kindLog, key[:])
		if value == nil {
			if oldest, _ := t.cursor(kindLog).First(); oldest != nil && bytes.Compare(key[:], oldest) < 0 {
				break // the log was cut here: what is left is whole
			}
			return nil, fmt.Errorf("%w: log/%d is missing", store.ErrCorrupt, seq)
		}
		r, err := parseLog(key[:], value)
		if err != nil {
			return nil, err
		}
		if r.prev >= seq {
			return nil, fmt.Errorf("%w: log/%d follows %d", store.ErrCorrupt, seq, r.prev)
		}
		out = append(out, r)
		seq = r.prev
	}
	return out, nil
}
