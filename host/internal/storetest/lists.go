package storetest

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

func listCases() []testCase {
	return []testCase{
		{"every filter and page agrees with a model", listModel},
		{"filters and pages that make no sense are refused", listInvalid},
		{"a default correlation id finds its task", listOwnCorrelation},
		{"a summary holds what the task does", listSummary},
		{"a rare match in many tasks is found", listRare},
	}
}

// crowd commits tasks that differ in everything that a filter selects by.
func crowd(tb testing.TB, s store.Store) []*Flow {
	tb.Helper()
	const n = 90
	var flows []*Flow
	var sets []*store.WriteSet
	for i := range n {
		fl := NewFlow(uint64(i), 1, func(sp *task.Spec) {
			sp.CreatedAt = Start().Add(time.Duration(i/4) * 700 * time.Microsecond) // several per millisecond
			sp.Template.Namespace = []string{"shop", "bank", "shop-2"}[i%3]
			sp.Template.Name = []string{"order", "order", "orders", "refund"}[i%4]
			sp.Template.Version = []string{"1.0.0", "2.0.0"}[i%2]
			if i%5 == 0 {
				sp.Tags = []string{"blue", "red"}
			} else if i%7 == 0 {
				sp.Tags = []string{"red"}
			}
			if i%6 == 0 {
				sp.CorrelationID, sp.CorrelationSet = fmt.Sprintf("c%d", i%4), true
			}
		})
		sets = append(sets, fl.Create())
		switch i % 8 {
		case 1, 2:
			sets = append(sets, fl.Claim(0), fl.Succeed(0))
		case 3:
			sets = append(sets, fl.Claim(0), fl.Fail(0))
		case 4:
			sets = append(sets, fl.Cancel())
		case 5:
			sets = append(sets, fl.Claim(0), fl.Fail(0), fl.Resolve())
		case 6:
			sets = append(sets, fl.Claim(0))
		}
		flows = append(flows, fl)
	}
	MustCommit(tb, s, sets...)
	return flows
}

// selects is what a filter means.
func selects(f store.Filter, t *task.Task) bool {
	return (len(f.Statuses) == 0 || slices.Contains(f.Statuses, t.Status)) &&
		(f.Namespace == "" || f.Namespace == t.Template.Namespace) &&
		(f.Template == "" || f.Template == t.Template.Name) &&
		(f.Version == "" || f.Version == t.Template.Version) &&
		(f.Tag == "" || slices.Contains(t.Tags, f.Tag)) &&
		(f.CorrelationID == "" || f.CorrelationID == t.CorrelationID) &&
		(f.CreatedFrom.IsZero() || !t.CreatedAt.Before(f.CreatedFrom)) &&
		(f.CreatedTo.IsZero() || t.CreatedAt.Before(f.CreatedTo))
}

func listModel(t *fixture) {
	s := t.store()
	flows := crowd(t, s)
	rapid.Check(t, func(r *rapid.T) {
		filter := drawFilter(r, flows)
		var want []task.ID
		for _, fl := range flows {
			if selects(filter, &fl.Task) {
				want = append(want, fl.Task.ID)
			}
		}
		slices.SortFunc(want, func(a, b task.ID) int { return cmp.Compare(b, a) })
		if filter.OldestFirst {
			slices.Reverse(want)
		}
		page := store.Page{Limit: rapid.SampledFrom([]int{0, 1, 2, 7, store.MaxPage}).Draw(r, "limit")}
		var got []task.ID
		for {
			summaries, next, err := s.List(t.Context(), filter, page)
			if err != nil {
				r.Fatalf("list: %v", err)
			}
			for _, sum := range summaries {
				got = append(got, sum.Spec.ID)
			}
			if page.After = next; next == "" {
				break
			}
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			r.Fatalf("filter %+v (-want +got):\n%s", filter, diff)
		}
	})
}

func drawFilter(r *rapid.T, flows []*Flow) store.Filter {
	f := store.Filter{
		Statuses:    rapid.SliceOfNDistinct(rapid.SampledFrom(task.Statuses()), 0, 3, rapid.ID).Draw(r, "statuses"),
		Namespace:   rapid.SampledFrom([]string{"", "shop", "bank", "none"}).Draw(r, "namespace"),
		Tag:         rapid.SampledFrom([]string{"", "", "red", "blue", "none"}).Draw(r, "tag"),
		OldestFirst: rapid.Bool().Draw(r, "oldest_first"),
	}
	if f.Namespace != "" {
		f.Template = rapid.SampledFrom([]string{"", "order", "orders", "refund"}).Draw(r, "template")
	}
	if f.Template != "" {
		f.Version = rapid.SampledFrom([]string{"", "1.0.0", "2.0.0"}).Draw(r, "version")
	}
	if rapid.IntRange(0, 3).Draw(r, "correlated") == 0 {
		own := string(rapid.SampledFrom(flows).Draw(r, "flow").Task.ID)
		f.CorrelationID = rapid.SampledFrom([]string{"c0", "c2", "none", own}).Draw(r, "correlation")
	}
	at := func(name string) time.Time {
		if rapid.Bool().Draw(r, "has "+name) {
			return Start().Add(time.Duration(rapid.IntRange(-100, 30_000).Draw(r, name)) * time.Microsecond)
		}
		return time.Time{}
	}
	f.CreatedFrom, f.CreatedTo = at("from"), at("to")
	return f
}

func listInvalid(t *fixture) {
	s := t.store()
	tests := []struct {
		name   string
		filter store.Filter
		page   store.Page
		want   error
	}{
		{"template without namespace", store.Filter{Template: "order"}, store.Page{}, task.ErrInvalid},
		{"version without template", store.Filter{Namespace: "shop", Version: "1.0.0"}, store.Page{}, task.ErrInvalid},
		{"page too long", store.Filter{}, store.Page{Limit: store.MaxPage + 1}, task.ErrInvalid},
		{"page of less than nothing", store.Filter{}, store.Page{Limit: -1}, task.ErrInvalid},
		{"page after what is no id", store.Filter{}, store.Page{After: "x"}, task.ErrBadID},
	}
	for _, tt := range tests {
		_, _, err := s.List(t.Context(), tt.filter, tt.page)
		wantErr(t, tt.name, err, tt.want)
	}
}

func listOwnCorrelation(t *fixture) {
	s := t.store()
	a := NewFlow(1, 1)
	b := NewFlow(2, 1, func(sp *task.Spec) { sp.CorrelationID, sp.CorrelationSet = string(a.Task.ID), true })
	MustCommit(t, s, a.Create(), b.Create())
	page, next, err := s.List(t.Context(), store.Filter{CorrelationID: string(a.Task.ID)}, store.Page{})
	if err != nil || next != "" || len(page) != 2 || page[0].Spec.ID != b.Task.ID || page[1].Spec.ID != a.Task.ID {
		t.Errorf("list: got %+v, next %q, error %v; want task 2, then task 1", page, next, err)
	}
}

func listSummary(t *fixture) {
	s := t.store()
	a := NewFlow(1, 1, func(sp *task.Spec) { sp.Tags, sp.Reason = []string{"t"}, "why" })
	MustCommit(t, s, a.Create(0), a.Fail(0))
	page, _, err := s.List(t.Context(), store.Filter{}, store.Page{})
	want := []store.Summary{{
		Spec: a.Task.Spec, Status: task.Error, Failure: a.Task.Failure,
		StartedAt: a.Task.StartedAt, CompletedAt: a.Task.CompletedAt, UpdatedAt: a.Task.UpdatedAt,
	}}
	if diff := gocmp.Diff(want, page); err != nil || diff != "" {
		t.Errorf("summaries (-want +got), error %v:\n%s", err, diff)
	}
}

func listRare(t *fixture) {
	s := t.store()
	const n = 2500 // several transactions' worth
	var sets []*store.WriteSet
	for i := range uint64(n) {
		fl := NewFlow(i, 1, func(sp *task.Spec) {
			sp.Tags = []string{"all"}
			if i == 3 || i == n-3 {
				sp.Template.Version = "9.0.0"
			}
		})
		sets = append(sets, fl.Create())
	}
	MustCommit(t, s, sets...)
	filter := store.Filter{Tag: "all", Namespace: "shop", Template: "order", Version: "9.0.0"}
	for _, oldest := range []bool{false, true} {
		filter.OldestFirst = oldest
		var found []store.Summary
		for page := (store.Page{Limit: 1}); ; {
			part, next, err := s.List(t.Context(), filter, page)
			if err != nil {
				t.Fatalf("list: %v", err)
			}
			found = append(found, part...)
			if page.After = next; next == "" {
				break
			}
		}
		if len(found) != 2 || found[0].Spec.ID == found[1].Spec.ID {
			t.Errorf("tasks of the rare version: got %+v, want 2", found)
		}
	}
}
