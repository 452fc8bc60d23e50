package boltstore

import (
	"bytes"
	"context"
	"fmt"
	"math"
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
	r, err := parseLogHead(key, value)
	if err != nil {
		return r, err
	}
	for b := value[prefixLen:]; len(b) > 0; {
		event, rest, err := nextEvent(r.seq, b)
		if err != nil {
			return r, err
		}
		r.events = append(r.events, event)
		b = rest
	}
	return r, nil
}

// parseLogHead is parseLog without the events.
func parseLogHead(key, value []byte) (logRecord, error) {
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
	if len(value) == prefixLen {
		return r, fmt.Errorf("%w: log/%d: it holds no event", store.ErrCorrupt, seq)
	}
	return r, nil
}

// nextEvent splits the first event off the encoding of a LogRecord whose sequence is
// seq.
func nextEvent(seq uint64, b []byte) (event, rest []byte, err error) {
	num, typ, n := protowire.ConsumeTag(b)
	if n < 0 || num != logEvents || typ != protowire.BytesType {
		return nil, nil, fmt.Errorf("%w: log/%d: not a LogRecord", store.ErrCorrupt, seq)
	}
	event, m := protowire.ConsumeBytes(b[n:])
	if m < 0 {
		return nil, nil, fmt.Errorf("%w: log/%d: %w", store.ErrCorrupt, seq, protowire.ParseError(m))
	}
	return event, b[n+m:], nil
}

// end is the sequence after the record's last event.
func (r *logRecord) end() uint64 { return r.seq + uint64(len(r.events)) }

// appendEntries appends the events of a log record with a sequence of at least from,
// until out has limit entries. The events are not copied: see ownEntries.
func appendEntries(out []store.LogEntry, key, value []byte, from uint64, limit int) ([]store.LogEntry, error) {
	r, err := parseLogHead(key, value)
	for b := value[min(len(value), prefixLen):]; err == nil && len(b) > 0 && len(out) < limit; r.seq++ {
		var event []byte
		if event, b, err = nextEvent(r.seq, b); err == nil && r.seq >= from {
			out = append(out, store.LogEntry{Seq: r.seq, Encoded: event})
		}
	}
	return out, err
}

// ownEntries moves the events out of the transaction, into one piece of memory.
func ownEntries(entries []store.LogEntry) {
	size := 0
	for i := range entries {
		size += len(entries[i].Encoded)
	}
	buf := make([]byte, 0, size)
	for i := range entries {
		start := len(buf)
		buf = append(buf, entries[i].Encoded...)
		entries[i].Encoded = buf[start:len(buf):len(buf)]
	}
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
	return s.EventsWithin(ctx, from, limit, math.MaxInt)
}

// EventsWithin is Events, but the entry with which the encoded size reaches so many bytes
// is the last.
func (s *Store) EventsWithin(ctx context.Context, from uint64, limit, size int) ([]store.LogEntry, error) {
	var out []store.LogEntry
	err := s.view(ctx, opEvents, func(t *txn) (err error) {
		if limit <= 0 {
			return nil
		}
		c := t.cursor(kindLog)
		if end, _ := c.Last(); end != nil {
			out = make([]store.LogEntry, 0, pageRoom(from, end, limit))
		}
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
		for within := true; within && key != nil && len(out) < limit; key, value = c.Next() {
			t.reads++
			before := len(out)
			if out, err = appendEntries(out, key, value, from, limit); err != nil {
				return err
			}
			for ; before < len(out) && within; before++ {
				size -= len(out[before].Encoded)
				within = size > 0
			}
			out = out[:before]
		}
		ownEntries(out)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("events from %d: %w", from, err)
	}
	return out, nil
}

// pageRoom is the number of entries to make room for when events are read from a
// sequence on and the log's last value has the key end. It may be wrong.
func pageRoom(from uint64, end []byte, limit int) int {
	const most, usualSet = 1024, 8 // entries; events of the last value
	last, _ := asSeq(end)
	return int(min(uint64(limit), last-min(from, last)+usualSet, most)) //nolint:gosec // at most 1024
}

// FirstSeq returns the sequence of the oldest event that the log still has, 0 for an
// empty log. It reads one record.
func (s *Store) FirstSeq(ctx context.Context) (uint64, error) {
	var first uint64
	err := s.view(ctx, opFirstSeq, func(t *txn) (err error) {
		first, err = firstSeq(t)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("first sequence: %w", err)
	}
	return first, nil
}

// firstSeq is the sequence of the oldest event in the log, 0 for an empty log.
func firstSeq(t *txn) (uint64, error) {
	t.reads++
	key, value := t.cursor(kindLog).First()
	if key == nil {
		return 0, nil
	}
	r, err := parseLogHead(key, value)
	return r.seq, err
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

// TaskEvents returns all events of a task in order, as far back as the log goes. It reads the records of the task
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
			for i, event := range r.events {
				out = append(out, store.LogEntry{Seq: r.seq + uint64(i), Encoded: event})
			}
		}
		ownEntries(out)
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
