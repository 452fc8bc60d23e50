package boltstore

import (
	"bytes"
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

// listChunk is the number of candidates looked at in one transaction, so that a filter
// which rarely matches holds no transaction open for long.
const listChunk = 1024

// span of task keys: from lo, inclusive, to hi, exclusive; without end when open.
type keyRange struct {
	lo, hi taskKey
	open   bool
}

// after is the key behind k.
func (k taskKey) after() taskKey {
	for i := len(k) - 1; i >= 0; i-- {
		k[i]++
		if k[i] != 0 {
			break
		}
	}
	return k
}

// source is one ordered sequence of candidates: the keys of a bucket behind a prefix.
type source struct {
	kind   kind
	prefix []byte
	only   *taskKey // a single task, whatever the bucket holds
	cursor *bolt.Cursor
	head   taskKey
	valid  bool
}

// seek moves to the first candidate of r, from its end when desc.
func (s *source) seek(t *txn, r keyRange, desc bool) {
	if s.only != nil {
		s.head, s.valid = *s.only, r.contains(*s.only)
		return
	}
	s.cursor = t.cursor(s.kind)
	var key []byte
	if desc {
		key = s.seekBack(r)
	} else {
		key, _ = s.cursor.Seek(slices.Concat(s.prefix, r.lo[:]))
	}
	s.settle(t, key, r, desc)
}

// seekBack moves to the last key before the end of r.
func (s *source) seekBack(r keyRange) []byte {
	bound := slices.Concat(s.prefix, r.hi[:])
	if r.open { // behind every key with the prefix: task keys have 16 bytes
		bound = slices.Concat(s.prefix, bytes.Repeat([]byte{0xff}, taskLen+1))
	}
	if key, _ := s.cursor.Seek(bound); key == nil {
		key, _ = s.cursor.Last()
		return key
	}
	key, _ := s.cursor.Prev()
	return key
}

// next moves on in the direction of the listing.
func (s *source) next(t *txn, r keyRange, desc bool) {
	if s.only != nil {
		s.valid = false
		return
	}
	var key []byte
	if desc {
		key, _ = s.cursor.Prev()
	} else {
		key, _ = s.cursor.Next()
	}
	s.settle(t, key, r, desc)
}

// settle takes the key that the cursor is on, if it is still within the range.
func (s *source) settle(t *txn, key []byte, r keyRange, desc bool) {
	s.valid = false
	if key == nil || len(key) != len(s.prefix)+taskLen || !bytes.HasPrefix(key, s.prefix) {
		return
	}
	t.reads++
	s.head = taskKey(key[len(s.prefix):])
	if desc {
		s.valid = bytes.Compare(s.head[:], r.lo[:]) >= 0
	} else {
		s.valid = r.contains(s.head)
	}
}

func (r keyRange) contains(k taskKey) bool {
	return bytes.Compare(k[:], r.lo[:]) >= 0 && (r.open || bytes.Compare(k[:], r.hi[:]) < 0)
}

// listing is one call of List.
type listing struct {
	filter  store.Filter
	span    keyRange
	limit   int
	page    []store.Summary
	more    bool
	done    bool
	scanned int
}

// List returns the tasks that the filter selects, by the time in their ids, and
// whether more follow. It walks the narrowest index that the filter names. Errors:
// task.ErrInvalid for a filter or page that makes no sense.
func (s *Store) List(ctx context.Context, f store.Filter, p store.Page) (page []store.Summary, more bool, err error) {
	l, err := newListing(f, p)
	if err != nil {
		return nil, false, fmt.Errorf("list: %w", err)
	}
	for !l.done {
		l.scanned = 0
		if err := s.view(ctx, opList, l.scan); err != nil {
			return nil, false, fmt.Errorf("list: %w", err)
		}
	}
	return l.page, l.more, nil
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
	l := &listing{filter: f, limit: p.Limit, span: keyRange{open: true}}
	if !f.CreatedFrom.IsZero() {
		l.span.lo = firstTaskKey(f.CreatedFrom)
	}
	if !f.CreatedTo.IsZero() { // a key has milliseconds, the filter nanoseconds
		l.span.hi, l.span.open = firstTaskKey(f.CreatedTo.Add(time.Millisecond)), false
	}
	if p.After != "" {
		k, err := parseTaskKey(p.After)
		if err != nil {
			return nil, err
		}
		l.continueFrom(k)
	}
	return l, nil
}

// continueFrom leaves out k and what was listed before it.
func (l *listing) continueFrom(k taskKey) {
	if l.filter.OldestFirst {
		if next := k.after(); bytes.Compare(next[:], l.span.lo[:]) > 0 {
			l.span.lo = next
		}
	} else if l.span.open || bytes.Compare(k[:], l.span.hi[:]) < 0 {
		l.span.hi, l.span.open = k, false
	}
}

// scan looks at up to listChunk candidates.
func (l *listing) scan(t *txn) error {
	desc := !l.filter.OldestFirst
	sources := l.sources(t)
	for i := range sources {
		sources[i].seek(t, l.span, desc)
	}
	for l.scanned < listChunk {
		k, ok := nextCandidate(sources, desc)
		if !ok {
			l.done = true
			return nil
		}
		for i := range sources {
			if sources[i].valid && sources[i].head == k {
				sources[i].next(t, l.span, desc)
			}
		}
		l.scanned++
		if err := l.look(t, k); err != nil || l.done {
			return err
		}
		l.continueFrom(k)
	}
	return nil
}

// nextCandidate is the foremost of the sources' heads.
func nextCandidate(sources []source, desc bool) (taskKey, bool) {
	var best taskKey
	found := false
	for i := range sources {
		s := &sources[i]
		if !s.valid {
			continue
		}
		if c := bytes.Compare(s.head[:], best[:]); !found || (c < 0) != desc && c != 0 {
			best, found = s.head, true
		}
	}
	return best, found
}

// look adds a candidate to the page if it matches.
func (l *listing) look(t *txn, k taskKey) error {
	record, _, err := readTask(t, k)
	if err != nil {
		return err
	}
	status := task.Status(record.GetStatus())
	if len(l.filter.Statuses) > 0 && !slices.Contains(l.filter.Statuses, status) {
		return nil
	}
	spec, err := readSpec(t, k)
	if err != nil {
		return err
	}
	if !l.matches(k, spec) {
		return nil
	}
	if len(l.page) == l.limit {
		l.more, l.done = true, true
		return nil
	}
	l.page = append(l.page, store.Summary{
		Spec: specFromRecord(k.id(), spec), Status: status,
		Stop: stopFromRecord(record.GetStop()), Failure: failureFromRecord(record.GetFailure()),
		StartedAt: fromNanos(record.GetStartedAt()), CompletedAt: fromNanos(record.GetCompletedAt()),
		UpdatedAt: fromNanos(record.GetUpdatedAt()),
	})
	return nil
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

// sources picks what to walk: the narrowest index that the filter names.
func (l *listing) sources(t *txn) []source {
	f := &l.filter
	switch {
	case f.CorrelationID != "":
		out := []source{{kind: kindByCorrelation, prefix: indexPrefix(f.CorrelationID)}}
		if k, err := parseTaskKey(task.ID(f.CorrelationID)); err == nil && t.get(kindSpecs, k[:]) != nil {
			out = append(out, source{only: &k}) // a task's own id is its default correlation id
		}
		return out
	case f.Tag != "":
		return []source{{kind: kindByTag, prefix: indexPrefix(f.Tag)}}
	case f.Template != "":
		return []source{{kind: kindByTemplate, prefix: indexPrefix(templateName(f.Namespace, f.Template))}}
	case len(f.Statuses) > 0 && !slices.Contains(f.Statuses, task.Complete):
		return statusSources(f.Statuses)
	case f.Namespace != "":
		return namespaceSources(t, f.Namespace)
	default:
		return []source{{kind: kindSpecs}}
	}
}

func indexPrefix(name string) []byte { return append([]byte(name), 0) }

// statusSources are by_status for the rare statuses and live for the unfinished.
func statusSources(statuses []task.Status) []source {
	var out []source
	live := false
	for i, status := range statuses {
		switch {
		case slices.Contains(statuses[:i], status):
		case indexedStatus(status):
			out = append(out, source{kind: kindByStatus, prefix: indexPrefix(string(status))})
		case !live:
			live = true
			out = append(out, source{kind: kindLive})
		}
	}
	return out
}

// namespaceSources are the index entries of every template of a namespace, found by
// jumping from name to name.
func namespaceSources(t *txn, namespace string) []source {
	var out []source
	prefix := []byte(namespace + "/")
	c := t.cursor(kindByTemplate)
	for key, _ := c.Seek(prefix); key != nil && bytes.HasPrefix(key, prefix); {
		t.reads++
		name, _, ok := asIndexKey(key)
		if !ok {
			key, _ = c.Next()
			continue
		}
		out = append(out, source{kind: kindByTemplate, prefix: indexPrefix(name)})
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
