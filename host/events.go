package host

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host/internal/api"
	"github.com/tasker-engine/tasker/host/internal/expr"
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

	idle    *bell // rings when nothing is open and somebody waits for it
	mu      sync.Mutex
	open    int // write sets that have not ended
	awaited bool
}

func newEventLog(s store.Store) *eventLog {
	return &eventLog{Store: s, bell: newBell(), grown: func() {}, idle: newBell()}
}

// Submit implements [store.Store].
func (l *eventLog) Submit(ws *store.WriteSet, done func(store.Commit, error)) {
	l.begin()
	l.Store.Submit(ws, func(c store.Commit, err error) {
		if err == nil && c.FirstSeq > 0 {
			l.bell.ring()
			l.grown()
		}
		done(c, err)
		l.end()
	})
}

// settle returns when everything that was submitted has ended.
func (l *eventLog) settle(ctx context.Context) error {
	for {
		rung := l.idle.next()
		l.mu.Lock()
		open := l.open
		l.awaited = open > 0
		l.mu.Unlock()
		if open == 0 {
			return nil
		}
		select {
		case <-rung:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *eventLog) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open++
}

func (l *eventLog) end() {
	l.mu.Lock()
	l.open--
	tell := l.open == 0 && l.awaited
	l.mu.Unlock()
	if tell {
		l.idle.ring()
	}
}

// submitAndWait commits a write set and returns how that ended.
func submitAndWait(ctx context.Context, s store.Store, ws *store.WriteSet) error {
	ended := make(chan error, 1)
	s.Submit(ws, func(_ store.Commit, err error) { ended <- err })
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// eventsPage is how many events are read from the log at once.
const eventsPage = 512

// Events implements [Service].
func (h *Host) Events(ctx context.Context, q api.EventQuery, fn func(store.LogEntry) error) error {
	var gets matcher
	if q.Subscription != "" {
		name, err := h.subscription(ctx, q.Subscription)
		if err != nil {
			return err
		}
		gets = func(entry store.LogEntry) (bool, error) { return h.wanted(ctx, name, entry.Encoded, q.Follow) }
	}
	match, err := h.matcher(ctx, q, gets)
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

// wanted reports whether a subscription gets an event. While its plugin is not ready nobody
// knows: who can wait is told once it is.
func (h *Host) wanted(ctx context.Context, subscription string, encoded []byte, wait bool) (bool, error) {
	for {
		rung := h.settled.next()
		_, wanted, err := h.delivery.Route(ctx, subscription, encoded)
		if !wait || !errors.Is(err, task.ErrTransition) {
			return wanted, err
		}
		select {
		case <-rung:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// Events implements [Service]; there is nothing to follow without a host, and nobody knows who subscribes.
func (r *Reader) Events(ctx context.Context, q api.EventQuery, fn func(store.LogEntry) error) error {
	if q.Follow || q.Subscription != "" {
		return r.noHost()
	}
	match, err := r.matcher(ctx, q, nil)
	if err != nil {
		return err
	}
	_, err = r.past(ctx, q, match, fn)
	return err
}

// matcher says whether an event of the log is one of those that are asked for.
type matcher func(store.LogEntry) (bool, error)

// matcher returns the predicate of a query. gets says whether a subscription gets an
// event.
func (r reading) matcher(ctx context.Context, q api.EventQuery, gets matcher) (matcher, error) {
	if strings.Contains(strings.TrimSuffix(q.Type, "*"), "*") {
		return nil, fmt.Errorf("event type %q: a wildcard stands at the end: %w", q.Type, task.ErrInvalid)
	}
	if !q.Since.IsZero() && (q.From > 0 || q.Last > 0) {
		return nil, fmt.Errorf("events since a time, and a sequence or a number of events: want one of them: %w", task.ErrInvalid)
	}
	var id task.ID
	if q.Task != "" {
		var err error
		if id, err = r.store.Resolve(ctx, q.Task); err != nil {
			return nil, err
		}
	}
	var filter *expr.Filter
	if q.Filter != "" {
		var err error
		if filter, err = expr.Compile(q.Filter); err != nil {
			return nil, fmt.Errorf("filter: %w: %w", task.ErrInvalid, err)
		}
		if err := filter.CheckPayload(newEventCatalog(nil, nil, nil).payloads([]string{q.Type})); err != nil {
			return nil, fmt.Errorf("filter: %w: %w", task.ErrInvalid, err)
		}
	}
	since := int64(math.MinInt64)
	if !q.Since.IsZero() {
		since = q.Since.UnixNano()
	}
	return func(entry store.LogEntry) (bool, error) { //nolint:contextcheck // a filter ends in time by itself
		head, err := eventHeadOf(entry)
		if err != nil {
			return false, err
		}
		if id != "" && string(head.task) != string(id) || head.at < since || !matchesType(q.Type, string(head.kind)) {
			return false, nil
		}
		if filter != nil {
			if ok, _ := filter.Match(expr.NewEvent(entry.Encoded)); !ok { // what cannot be evaluated does not match
				return false, nil
			}
		}
		if gets != nil {
			return gets(entry)
		}
		return true, nil
	}, nil
}

// matchesType reports whether an event is of a type or wildcard, empty for all.
func matchesType(wanted, name string) bool {
	prefix, wildcard := strings.CutSuffix(wanted, "*")
	return wanted == "" || wanted == name || wildcard && strings.HasPrefix(name, prefix)
}

// past calls fn for what the log holds now and returns the sequence to go on from.
func (r reading) past(
	ctx context.Context, q api.EventQuery, match matcher, fn func(store.LogEntry) error,
) (next uint64, err error) {
	if q.Last > 0 {
		return r.last(ctx, q.Last, match, fn)
	}
	if q.Task == "" {
		from := q.From
		if !q.Since.IsZero() {
			if from, err = r.store.SeqAt(ctx, q.Since); err != nil {
				return 0, err
			}
		}
		return r.scan(ctx, from, match, fn)
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
	ctx context.Context, from uint64, match matcher, fn func(store.LogEntry) error,
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
	ctx context.Context, n int, match matcher, fn func(store.LogEntry) error,
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

func deliver(e store.LogEntry, match matcher, fn func(store.LogEntry) error) error {
	if ok, err := match(e); !ok {
		return err
	}
	return fn(e)
}

func decodeEvent(e store.LogEntry) (*eventv1.Event, error) {
	envelope := &eventv1.Event{}
	if err := proto.Unmarshal(e.Encoded, envelope); err != nil {
		return nil, fmt.Errorf("event %d: %w: %w", e.Seq, store.ErrCorrupt, err)
	}
	return envelope, nil
}
