package host

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host/internal/api"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// eventLog is the store with a bell: who reads the log is woken by every commit that
// added events to it.
type eventLog struct {
	store.Store

	bell  *bell  // rings at each commit with events
	grown func() // is called at each of them; set before the first
}

func newEventLog(s store.Store) *eventLog { return &eventLog{Store: s, bell: newBell(), grown: func() {}} }

// Submit implements [store.Store].
func (l *eventLog) Submit(ws *store.WriteSet, done func(store.Commit, error)) {
	l.Store.Submit(ws, func(c store.Commit, err error) {
		if err == nil && c.FirstSeq > 0 {
			l.bell.ring()
			l.grown()
		}
		done(c, err)
	})
}

// eventsPage is how many events are read from the log at once.
const eventsPage = 512

// Events implements [Service].
func (h *Host) Events(ctx context.Context, q api.EventQuery, fn func(store.LogEntry) error) error {
	match, err := h.matcher(ctx, q)
	if err != nil {
		return err
	}
	rung := h.journal.bell.next()
	next, err := h.past(ctx, q, match, fn)
	if err != nil || !q.Follow {
		return err
	}
	for {
		select {
		case <-rung:
		case <-ctx.Done():
			return nil
		}
		rung = h.journal.bell.next()
		if next, err = h.scan(ctx, next, match, fn); err != nil {
			return err
		}
	}
}

// Events implements [Service]; there is nothing to follow without a host.
func (r *Reader) Events(ctx context.Context, q api.EventQuery, fn func(store.LogEntry) error) error {
	if q.Follow {
		return r.noHost()
	}
	match, err := r.matcher(ctx, q)
	if err != nil {
		return err
	}
	_, err = r.past(ctx, q, match, fn)
	return err
}

// matcher returns the predicate of a query.
func (r reading) matcher(ctx context.Context, q api.EventQuery) (func(*eventv1.Event) bool, error) {
	prefix, wildcard := strings.CutSuffix(q.Type, "*")
	if strings.Contains(prefix, "*") {
		return nil, fmt.Errorf("event type %q: a wildcard stands at the end: %w", q.Type, task.ErrInvalid)
	}
	var id task.ID
	if q.Task != "" {
		var err error
		if id, err = r.store.Resolve(ctx, q.Task); err != nil {
			return nil, err
		}
	}
	return func(e *eventv1.Event) bool {
		switch {
		case id != "" && e.GetTaskId() != string(id):
			return false
		case wildcard:
			return strings.HasPrefix(e.GetType(), prefix)
		default:
			return q.Type == "" || e.GetType() == q.Type
		}
	}, nil
}

// past calls fn for what the log holds now and returns the sequence to go on from.
func (r reading) past(
	ctx context.Context, q api.EventQuery, match func(*eventv1.Event) bool, fn func(store.LogEntry) error,
) (next uint64, err error) {
	if q.Last > 0 {
		return r.last(ctx, q.Last, match, fn)
	}
	if q.Task == "" {
		return r.scan(ctx, q.From, match, fn)
	}
	id, err := r.store.Resolve(ctx, q.Task)
	if err != nil {
		return 0, err
	}
	entries, err := r.store.TaskEvents(ctx, id)
	if err != nil {
		return 0, err
	}
	next = q.From
	for _, e := range entries {
		if e.Seq < q.From {
			continue
		}
		if err := deliver(e, match, fn); err != nil {
			return 0, err
		}
		next = e.Seq + 1
	}
	return next, nil
}

// scan calls fn for the matching events from a sequence to the end of the log.
func (r reading) scan(
	ctx context.Context, from uint64, match func(*eventv1.Event) bool, fn func(store.LogEntry) error,
) (next uint64, err error) {
	for next = from; ; {
		page, err := r.store.Events(ctx, next, eventsPage)
		if err != nil {
			return 0, err
		}
		for _, e := range page {
			if err := deliver(e, match, fn); err != nil {
				return 0, err
			}
			next = e.Seq + 1
		}
		if len(page) < eventsPage {
			return next, nil
		}
	}
}

// last calls fn for the last n matching events: it reads windows of the log, the newest
// first and each twice as large, until it has found enough.
func (r reading) last(
	ctx context.Context, n int, match func(*eventv1.Event) bool, fn func(store.LogEntry) error,
) (next uint64, err error) {
	end, err := r.store.LastSeq(ctx)
	if err != nil {
		return 0, err
	}
	var found []store.LogEntry
	for window, to := uint64(eventsPage), end+1; to > 0 && len(found) < n; window *= 2 {
		from := to - min(window, to)
		var part []store.LogEntry
		collect := func(e store.LogEntry) error {
			if e.Seq < to {
				part = append(part, e)
			}
			return nil
		}
		if _, err := r.scan(ctx, from, match, collect); err != nil {
			return 0, err
		}
		found = append(part, found...)
		to = from
	}
	for _, e := range found[max(len(found)-n, 0):] {
		if err := fn(e); err != nil {
			return 0, err
		}
	}
	return end + 1, nil
}

func deliver(e store.LogEntry, match func(*eventv1.Event) bool, fn func(store.LogEntry) error) error {
	var envelope eventv1.Event
	if err := proto.Unmarshal(e.Encoded, &envelope); err != nil {
		return fmt.Errorf("event %d: %w: %w", e.Seq, store.ErrCorrupt, err)
	}
	if !match(&envelope) {
		return nil
	}
	return fn(e)
}
