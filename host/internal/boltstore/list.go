package boltstore

import (
	"bytes"
	"container/heap"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	storev1 "github.com/tasker-engine/tasker/proto/tasker/store/v1"
)

// scanReads is how many records one call of List reads before it answers with what it
// has found and where to go on. The worst filter therefore costs some tens of
// milliseconds a page; those that an index serves stay far below.
const scanReads = 1 << 14

// order is the direction of a listing.
type order struct{ desc bool }

// before reports whether a comes before b.
func (o order) before(a, b taskKey) bool {
	c := bytes.Compare(a[:], b[:])
	return c < 0 != o.desc && c != 0
}

// behind is the key next to k in this direction.
func (o order) behind(k taskKey) taskKey {
	by := byte(1)
	if o.desc {
		by = 0xff
	}
	for i := len(k) - 1; i >= 0; i-- {
		k[i] += by
		if carried := k[i] == 0 && !o.desc || k[i] == 0xff && o.desc; !carried {
			break
		}
	}
	return k
}

// source is one ordered sequence of candidates: the keys of a bucket behind a prefix.
type source struct {
	order  order
	kind   kind
	prefix []byte
	of     []byte   // only keys whose value begins so
	only   *taskKey // a single task, whatever the bucket holds
	cursor *bolt.Cursor
	head   taskKey // valid until the source has ended
}

// seek moves to the first candidate that is not before k and reports whether there is
// one. It may stop early at a candidate that it has not looked at when reads are spent.
func (s *source) seek(t *txn, k taskKey, spent func() bool) bool {
	if s.only != nil {
		s.head = *s.only
		return !s.order.before(s.head, k)
	}
	var key, value []byte
	if s.cursor == nil {
		s.cursor = t.cursor(s.kind)
	} else if key, value = s.step(t); key == nil || !s.take(key) {
		return false // the end of the sequence
	}
	if key == nil || s.order.before(s.head, k) { // further than one step
		key, value = s.jump(t, k)
	}
	for ; key != nil && s.take(key); key, value = s.step(t) {
		if bytes.HasPrefix(value, s.of) || spent() {
			return true
		}
	}
	return false
}

// take reads a candidate from a key; it reports whether the key belongs to the sequence.
func (s *source) take(key []byte) bool {
	if len(key) != len(s.prefix)+taskLen || !bytes.HasPrefix(key, s.prefix) {
		return false
	}
	s.head = taskKey(key[len(s.prefix):])
	return true
}

func (s *source) step(t *txn) (key, value []byte) {
	t.reads++
	if s.order.desc {
		return s.cursor.Prev()
	}
	return s.cursor.Next()
}

func (s *source) jump(t *txn, k taskKey) (key, value []byte) {
	t.reads++
	bound := slices.Concat(s.prefix, k[:])
	key, value = s.cursor.Seek(bound)
	switch {
	case !s.order.desc || bytes.Equal(key, bound):
		return key, value
	case key == nil:
		return s.cursor.Last()
	default:
		return s.cursor.Prev()
	}
}

// union is the candidates of any of its sources, a heap by their heads.
type union []*source

func (u *union) Len() int           { return len(*u) }
func (u *union) Less(i, j int) bool { return (*u)[i].order.before((*u)[i].head, (*u)[j].head) }
func (u *union) Swap(i, j int)      { (*u)[i], (*u)[j] = (*u)[j], (*u)[i] }

// Push is never called: sources only end.
func (u *union) Push(any) {}

// Pop implements [heap.Interface].
func (u *union) Pop() any {
	old := *u
	last := old[len(old)-1]
	*u = old[:len(old)-1]
	return last
}

// start moves every source to its first candidate that is not before k.
func (u *union) start(t *txn, k taskKey, spent func() bool) {
	*u = slices.DeleteFunc(*u, func(s *source) bool { return !s.seek(t, k, spent) })
	heap.Init(u)
}

// seek moves to the first candidate that is not before k and reports whether there is one.
func (u *union) seek(t *txn, k taskKey, spent func() bool) bool {
	for len(*u) > 0 && (*u)[0].order.before((*u)[0].head, k) {
		if (*u)[0].seek(t, k, spent) {
			heap.Fix(u, 0)
		} else {
			heap.Pop(u)
		}
	}
	return len(*u) > 0
}

// listing is one call of List.
type listing struct {
	filter   store.Filter
	order    order
	from, to taskKey // the first and the last key that may be listed
	limit    int
	reads    uint64 // how many it may read
	page     []store.Summary
	next     task.ID
}

// List returns tasks that the filter selects, by the time in their ids, and the id
// behind which the next page begins, empty when there is nothing more. It walks the
// indexes that the filter names, leaping from one to the other, and reads about
// scanReads records at most: a page may be short, and even empty, with more to come.
// Errors: task.ErrInvalid for a filter or page that makes no sense.
func (s *Store) List(ctx context.Context, f store.Filter, p store.Page) (page []store.Summary, next task.ID, err error) {
	l, err := newListing(f, p)
	if err != nil {
		return nil, "", fmt.Errorf("list: %w", err)
	}
	if l.order.before(l.to, l.from) {
		return nil, "", nil
	}
	if err := s.view(ctx, opList, l.scan); err != nil {
		return nil, "", fmt.Errorf("list: %w", err)
	}
	return l.page, l.next, nil
}

func newListing(f store.Filter, p store.Page) (*listing, error) {
	if p.Limit == 0 {
		p.Limit = store.DefaultPage
	}
	switch {
	case p.Limit < 0 || p.Limit > store.MaxPage:
		return nil, fmt.Errorf("%w: a page has 1 to %d tasks, not %d", task.ErrInvalid, store.MaxPage, p.Limit)
	case f.Template != "" && f.Namespace == "":
		return nil, fmt.Errorf("%w: template %q needs its namespace", task.ErrInvalid, f.Template)
	case f.Version != "" && f.Template == "":
		return nil, fmt.Errorf("%w: version %q needs its template", task.ErrInvalid, f.Version)
	}
	l := &listing{filter: f, limit: p.Limit, reads: scanReads, order: order{desc: !f.OldestFirst}}
	lo, hi := taskKey{}, taskKey(bytes.Repeat([]byte{0xff}, taskLen))
	if !f.CreatedFrom.IsZero() {
		lo = firstTaskKey(f.CreatedFrom)
	}
	if !f.CreatedTo.IsZero() { // a key has milliseconds, the filter nanoseconds
		hi = firstTaskKey(f.CreatedTo.Add(time.Millisecond))
	}
	if l.from, l.to = lo, hi; l.order.desc {
		l.from, l.to = hi, lo
	}
	if p.After != "" {
		k, err := parseTaskKey(p.After)
		if err != nil {
			return nil, err
		}
		if next := l.order.behind(k); !l.order.before(k, next) {
			l.from, l.to = l.to, l.from // nothing comes behind the last key that there can be
		} else if l.order.before(l.from, next) {
			l.from = next
		}
	}
	return l, nil
}

// scan fills the page.
func (l *listing) scan(t *txn) error {
	groups := l.groups(t)
	never := func() bool { return false }
	for _, g := range groups {
		g.start(t, l.from, never)
	}
	limit := t.reads + l.reads
	spent := func() bool { return t.reads >= limit }
	for k := l.from; ; k = l.order.behind(k) {
		var found, agreed bool
		if k, found, agreed = leap(t, groups, k, spent); !found || l.order.before(l.to, k) {
			return nil
		}
		if !agreed || spent() {
			back := order{desc: !l.order.desc}
			l.next = back.behind(k).id()
			return nil
		}
		if done, err := l.look(t, k); done || err != nil {
			return err
		}
	}
}

// leap returns the first task that is not before k and in every group; agreed is false
// when reads were spent before one was found, and no task before the one returned is.
func leap(t *txn, groups []*union, k taskKey, spent func() bool) (at taskKey, found, agreed bool) {
	for !agreed {
		agreed = true
		for _, g := range groups {
			if !g.seek(t, k, spent) {
				return k, false, false
			}
			if head := (*g)[0].head; head != k {
				agreed = agreed && g == groups[0]
				k = head
			}
		}
		if !agreed && spent() {
			return k, true, false
		}
	}
	return k, true, true
}

// look adds a task to the page if it matches and reports whether the page has ended.
func (l *listing) look(t *txn, k taskKey) (done bool, err error) {
	record, _, err := readTask(t, k)
	if err != nil {
		return false, err
	}
	status := task.Status(record.GetStatus())
	if len(l.filter.Statuses) > 0 && !slices.Contains(l.filter.Statuses, status) {
		return false, nil
	}
	spec, err := readSpec(t, k)
	if err != nil || !l.matches(k, spec) {
		return false, err
	}
	if len(l.page) == l.limit {
		l.next = l.page[l.limit-1].Spec.ID
		return true, nil
	}
	l.page = append(l.page, store.Summary{
		Spec: specFromRecord(k.id(), spec), Status: status,
		Stop: stopFromRecord(record.GetStop()), Failure: failureFromRecord(record.GetFailure()),
		StartedAt: fromNanos(record.GetStartedAt()), CompletedAt: fromNanos(record.GetCompletedAt()),
		UpdatedAt: fromNanos(record.GetUpdatedAt()),
	})
	return false, nil
}

func (l *listing) matches(k taskKey, r *storev1.SpecRecord) bool {
	f := &l.filter
	created := fromNanos(r.GetCreatedAt())
	correlation := r.GetCorrelationId()
	if correlation == "" {
		correlation = string(k.id())
	}
	switch {
	case f.Namespace != "" && r.GetNamespace() != f.Namespace,
		f.Template != "" && r.GetTemplate() != f.Template,
		f.Version != "" && r.GetVersion() != f.Version,
		f.Tag != "" && !slices.Contains(r.GetTags(), f.Tag),
		f.CorrelationID != "" && correlation != f.CorrelationID,
		!f.CreatedFrom.IsZero() && created.Before(f.CreatedFrom),
		!f.CreatedTo.IsZero() && !created.Before(f.CreatedTo):
		return false
	default:
		return true
	}
}

// groups are the indexes that the filter names; a task must be in all of them.
func (l *listing) groups(t *txn) []*union {
	f := &l.filter
	var out []*union
	if f.CorrelationID != "" {
		u := &union{{order: l.order, kind: kindByCorrelation, prefix: indexPrefix(f.CorrelationID)}}
		if k, err := parseTaskKey(task.ID(f.CorrelationID)); err == nil && t.get(kindSpecs, k[:]) != nil {
			*u = append(*u, &source{order: l.order, only: &k}) // a task's own id is its default correlation id
		}
		out = append(out, u)
	}
	if f.Tag != "" {
		out = append(out, &union{{order: l.order, kind: kindByTag, prefix: indexPrefix(f.Tag)}})
	}
	if f.Namespace != "" || len(f.Statuses) > 0 {
		out = append(out, l.states(t))
	}
	if len(out) == 0 {
		out = append(out, &union{{order: l.order, kind: kindSpecs}})
	}
	return out
}

func indexPrefix(name string) []byte { return append([]byte(name), 0) }

// states are the tasks of the filter's template or namespace in the filter's statuses:
// by_state for the finished, live for the others.
func (l *listing) states(t *txn) *union {
	f := &l.filter
	names := []string{templateName(f.Namespace, f.Template)}
	of := []byte(names[0])
	switch {
	case f.Namespace == "":
		names, of = templateNames(t, nil), nil
	case f.Template == "":
		of = []byte(f.Namespace + "/")
		names = templateNames(t, of)
	}
	statuses := f.Statuses
	if len(statuses) == 0 {
		statuses = task.Statuses()
	}
	u, live := &union{}, false
	for i, status := range statuses {
		switch {
		case slices.Contains(statuses[:i], status):
		case status.Terminal():
			for _, name := range names {
				*u = append(*u, &source{order: l.order, kind: kindByState, prefix: indexPrefix(stateName(name, status))})
			}
		case !live:
			live = true
			*u = append(*u, &source{order: l.order, kind: kindLive, of: of})
		}
	}
	return u
}

// templateNames are the names in by_state that begin with a prefix, found by jumping
// from one to the next.
func templateNames(t *txn, prefix []byte) []string {
	var out []string
	c := t.cursor(kindByState)
	for key, _ := c.Seek(prefix); key != nil && bytes.HasPrefix(key, prefix); {
		t.reads++
		name, _, _, ok := asStateKey(key)
		if !ok {
			key, _ = c.Next()
			continue
		}
		out = append(out, name)
		key, _ = c.Seek(append([]byte(name), 1)) // behind name NUL anything
	}
	return out
}

// Resolve returns the one task whose id starts with prefix, in any case. Errors:
// task.ErrNotFound, also for an empty prefix, which is a slip rather than a wish;
// task.ErrAmbiguous.
func (s *Store) Resolve(ctx context.Context, prefix string) (task.ID, error) {
	lo, hi, ok := prefixRange(prefix)
	if !ok {
		return "", fmt.Errorf("task %q: %w", prefix, task.ErrNotFound)
	}
	var found []taskKey
	err := s.view(ctx, opResolve, func(t *txn) error {
		c := t.cursor(kindSpecs)
		for key, _ := c.Seek(lo[:]); key != nil && bytes.Compare(key, hi[:]) <= 0 && len(found) < 2; key, _ = c.Next() {
			t.reads++
			if k, ok := asTaskKey(key); ok {
				found = append(found, k)
			}
		}
		return nil
	})
	switch {
	case err != nil:
		return "", fmt.Errorf("task %q: %w", prefix, err)
	case len(found) == 0:
		return "", fmt.Errorf("task %q: %w", prefix, task.ErrNotFound)
	case len(found) > 1:
		return "", fmt.Errorf("task %q: %w: %s and %s begin with it", prefix, task.ErrAmbiguous, found[0].id(), found[1].id())
	default:
		return found[0].id(), nil
	}
}

// prefixRange is the first and the last key whose id starts with prefix.
func prefixRange(prefix string) (lo, hi taskKey, ok bool) {
	up := strings.ToUpper(prefix) // may be longer than prefix
	if up == "" || len(up) > task.IDLen {
		return lo, hi, false
	}
	lo, loErr := parseTaskKey(task.ID(up + strings.Repeat("0", task.IDLen-len(up))))
	hi, hiErr := parseTaskKey(task.ID(up + strings.Repeat("Z", task.IDLen-len(up))))
	return lo, hi, loErr == nil && hiErr == nil
}
