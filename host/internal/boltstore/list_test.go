package boltstore

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/storetest"
	"github.com/tasker-engine/tasker/host/task"
)

// mixedFilters are filters of every combination that the command line offers, over what
// fillMixed stores.
func mixedFilters() map[string]store.Filter {
	shop, bank := store.Filter{Namespace: "shop", Template: "order"}, store.Filter{Namespace: "bank"}
	with := func(f store.Filter, change func(*store.Filter)) store.Filter {
		change(&f)
		return f
	}
	failed := []task.Status{task.Error}
	return map[string]store.Filter{
		"none":                      {},
		"oldest first":              {OldestFirst: true},
		"complete":                  {Statuses: []task.Status{task.Complete}},
		"error":                     {Statuses: failed},
		"unfinished":                {Statuses: []task.Status{task.Pending, task.InProgress, task.Paused}},
		"template":                  shop,
		"template, error":           with(shop, func(f *store.Filter) { f.Statuses = failed }),
		"template, cancelled":       with(shop, func(f *store.Filter) { f.Statuses = []task.Status{task.Cancelled} }),
		"template, unfinished":      with(shop, func(f *store.Filter) { f.Statuses = []task.Status{task.InProgress} }),
		"template, version":         with(shop, func(f *store.Filter) { f.Version = "9.0.0" }),
		"namespace":                 bank,
		"namespace, error":          with(bank, func(f *store.Filter) { f.Statuses = failed }),
		"tag":                       {Tag: "common"},
		"tag, error":                {Tag: "common", Statuses: failed},
		"tag, rare tag's template":  {Tag: "common", Namespace: "bank", Template: "refund"},
		"tag, template, error":      with(shop, func(f *store.Filter) { f.Tag, f.Statuses = "common", failed }),
		"unknown tag":               {Tag: "none"},
		"correlation id":            {CorrelationID: "shared"},
		"correlation id, error":     {CorrelationID: "shared", Statuses: failed},
		"created long ago":          {CreatedTo: storetest.Start()},
		"created then, error":       {CreatedFrom: storetest.Start().Add(50 * time.Millisecond), Statuses: failed, OldestFirst: true},
		"template, nothing created": with(shop, func(f *store.Filter) { f.CreatedFrom = storetest.Start().Add(time.Hour) }),
	}
}

// fillMixed stores finished tasks: of two hundred one failed, one was cancelled, one is of
// another template; half have a tag, a third a correlation id.
func fillMixed(tb testing.TB, s *Store, n int) {
	tb.Helper()
	const chunk = 2000
	var sets []*store.WriteSet
	for i := range n {
		fl := storetest.NewFlow(uint64(i), 1, func(sp *task.Spec) {
			sp.CreatedAt = storetest.Start().Add(time.Duration(i) * time.Millisecond / 4)
			if i%200 == 7 {
				sp.Template.Namespace, sp.Template.Name = "bank", "refund"
			}
			if i%2 == 0 {
				sp.Tags = []string{"common"}
			}
			if i%3 == 0 {
				sp.CorrelationID, sp.CorrelationSet = "shared", true
			}
		})
		sets = append(sets, fl.Create(0))
		switch i % 200 {
		case 1, 4:
			sets = append(sets, fl.Fail(0))
		case 2:
			sets = append(sets, fl.Cancel())
		default:
			sets = append(sets, fl.Succeed(0))
		}
		if len(sets) >= chunk || i+1 == n {
			storetest.MustCommit(tb, s, sets...)
			sets = sets[:0]
		}
	}
}

// TestListInParts lists with so few reads a call that every page comes in parts, and
// finds what a listing with all reads finds.
func TestListInParts(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "tasker.db"))
	fillMixed(t, s, 450)
	list := func(f store.Filter, reads uint64, limit int) (ids []task.ID) {
		for page := (store.Page{Limit: limit}); ; {
			l, err := newListing(f, page)
			if err != nil {
				t.Fatal(err)
			}
			l.reads = reads
			if err := s.view(t.Context(), opList, l.scan); err != nil {
				t.Fatal(err)
			}
			for i := range l.page {
				ids = append(ids, l.page[i].Spec.ID)
			}
			if l.next == "" {
				return ids
			}
			if l.next == page.After {
				t.Fatalf("filter %+v: no progress behind %s", f, l.next)
			}
			page.After = l.next
		}
	}
	for name, f := range mixedFilters() {
		whole := list(f, 1<<30, store.MaxPage)
		for _, reads := range []uint64{1, 7, 100} {
			if diff := cmp.Diff(whole, list(f, reads, 20)); diff != "" {
				t.Errorf("%s, %d reads (-whole +parts):\n%s", name, reads, diff)
			}
		}
		if ids := slices.Clone(whole); !f.OldestFirst {
			slices.Reverse(ids)
			if !slices.IsSorted(ids) {
				t.Errorf("%s: not newest first", name)
			}
		}
	}
}

// TestListReads asserts that the first page of every filter that an index serves reads
// what it shows, whatever the number of tasks, and that no page reads more than
// scanReads allows.
func TestListReads(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "tasker.db"))
	fillMixed(t, s, 4000)
	m := &meter{t: t, s: s}
	m.spent("list")
	const limit, names = 5, 2
	// each task shown, and the one that shows that more follow, is found with at most
	// five reads beside its two records; each index costs a few to begin with.
	const budget = (limit+1)*(2+5) + 6*names
	// no index knows versions, and two that share nothing are leapt through to their end.
	unindexed := []string{"template, version", "tag, rare tag's template"}
	for name, f := range mixedFilters() {
		if _, _, err := s.List(t.Context(), f, store.Page{Limit: limit}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		reads, puts := m.spent("list")
		if !slices.Contains(unindexed, name) && reads > budget || puts != 0 {
			t.Errorf("%s: %d reads, %d puts; the budget is %d and 0", name, reads, puts, budget)
		}
	}
}

// BenchmarkList reads first pages out of TASKER_TASKS finished tasks, 20,000 unless set.
func BenchmarkList(b *testing.B) {
	n := 20_000
	if text := os.Getenv("TASKER_TASKS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			b.Fatal(err)
		}
	}
	s, err := Open(filepath.Join(b.TempDir(), "tasker.db"), Options{})
	if err != nil {
		b.Fatal(err)
	}
	fillMixed(b, s, n)
	filters := mixedFilters()
	var names []string
	for name := range filters {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		b.Run(fmt.Sprintf("filter=%s", name), func(b *testing.B) {
			for b.Loop() {
				if _, _, err := s.List(b.Context(), filters[name], store.Page{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}
