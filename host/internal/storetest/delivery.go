package storetest

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

func deliveryCases() []testCase {
	return []testCase{
		{"cursors are stored as a whole and replaced as a whole", cursors},
		{"dead letters are read from anywhere", deadLetters},
		{"custom events are replaced by name", customEvents},
		{"what is settled and forgotten goes first", settled},
		{"changes of subscriptions travel with events", deliveryWithEvents},
		{"one refused set of subscriptions fails no neighbour", deliveryAlone},
		{"sets of subscriptions that nobody can have made are refused", malformedDelivery},
		{"what is submitted may be changed at once", deliveryIsCopied},
		{"subscriptions are there after reopening", deliveryReopened},
		{"cursors are written beside transitions", deliveryConcurrent},
	}
}

// Cursor returns a cursor with something in every field. The log must reach 2 events
// beyond through.
func Cursor(subscription string, through uint64) *store.Cursor {
	return &store.Cursor{
		Subscription: subscription, Through: through,
		Failing: []store.Failing{
			{Seq: through + 1, Failures: 2, Reason: "sink is full", RetryAt: Start().Add(time.Minute)},
			{Seq: through + 2, Kills: 1, Reason: "signal: killed"},
		},
		Careful:   through + 2,
		Paused:    &store.Pause{At: Start(), By: "operator", Reason: "sink is rebuilt"},
		Replays:   []store.Replay{{Next: 1, To: through, Types: []string{"task.*"}}},
		Delivered: through, CreatedAt: Start(), AckedAt: Start().Add(time.Second),
	}
}

// DeadLetter returns a dead letter of an event without a task.
func DeadLetter(subscription string, seq uint64) *store.DeadLetter {
	return &store.DeadLetter{
		DeadLetterID: store.DeadLetterID{Subscription: subscription, Seq: seq},
		Encoded:      Event("", seq, "test.dead", Start()).Encoded,
		At:           Start().Add(time.Hour), Reason: "no such customer", Deliveries: 5,
	}
}

// CustomEvent returns a declared custom event.
func CustomEvent(name string, version uint32) store.CustomEvent {
	plugin, _, _ := strings.Cut(name, ".")
	return store.CustomEvent{
		Name: name, Plugin: plugin, Version: version, Schema: []byte(`{"type":"object"}`), Example: []byte(`{"order":"o-1"}`),
		Description: "an order has left", Immediate: version%2 == 0, Since: Start(),
	}
}

// Events returns a write set of so many events without a task, each recorded at.
func Events(n int, at time.Time) *store.WriteSet {
	ws := &store.WriteSet{}
	for i := range n {
		ws.Events = append(ws.Events, Event("", uint64(i)+1, "test.lone", at))
	}
	return ws
}

// Delivery returns a write set of changes of subscriptions.
func Delivery(d store.DeliverySet) *store.WriteSet { return &store.WriteSet{Delivery: &d} }

// wantCursors fails the test unless the store has exactly these cursors, by name.
func wantCursors(t *fixture, s store.Store, what string, want ...*store.Cursor) {
	t.Helper()
	var all []store.Cursor
	for _, c := range want {
		all = append(all, *c)
	}
	got, err := s.Cursors(t.Context())
	if diff := cmp.Diff(all, got); err != nil || diff != "" {
		t.Errorf("cursors %s (-want +got), error %v:\n%s", what, err, diff)
	}
}

// wantDead fails the test unless the subscription has exactly these dead letters.
func wantDead(t *fixture, s store.Store, subscription string, want ...*store.DeadLetter) {
	t.Helper()
	var all []store.DeadLetter
	for _, l := range want {
		all = append(all, *l)
	}
	got, err := s.DeadLetters(t.Context(), subscription, 0, math.MaxInt)
	if diff := cmp.Diff(all, got); err != nil || diff != "" {
		t.Errorf("dead letters of %s (-want +got), error %v:\n%s", subscription, err, diff)
	}
}

func cursors(t *fixture) {
	s := t.store()
	wantCursors(t, s, "of a new store")
	MustCommit(t, s, Events(10, Start()))
	b, a := Cursor("b/audit", 3), &store.Cursor{Subscription: "a/audit"}
	c, err := Commit(s, Delivery(store.DeliverySet{Cursors: []*store.Cursor{b, a}}))
	if c.FirstSeq != 0 || err != nil {
		t.Errorf("set without events: got first sequence %d, error %v; want 0", c.FirstSeq, err)
	}
	wantCursors(t, s, "as written", a, b)
	b = &store.Cursor{Subscription: "b/audit", Through: 10, CreatedAt: Start()}
	a = Cursor("a/audit", 8)
	MustCommit(t, s, Delivery(store.DeliverySet{Cursors: []*store.Cursor{a, b}}))
	wantCursors(t, s, "as replaced", a, b)
	b.Through = 2
	MustCommit(t, s, Delivery(store.DeliverySet{Cursors: []*store.Cursor{b}}))
	wantCursors(t, s, "as set back", a, b)
}

func deadLetters(t *fixture) {
	s := t.store()
	const sub, beside = "mail/failures", "mail/failures2"
	MustCommit(t, s, Events(300, Start()))
	var all []*store.DeadLetter
	for _, seq := range []uint64{1, 2, 255, 256, 300} { // key order is the order of numbers
		all = append(all, DeadLetter(sub, seq))
	}
	set := store.DeliverySet{DeadLetters: []*store.DeadLetter{all[4], all[0], all[3], all[2], all[1], DeadLetter(beside, 7)}}
	MustCommit(t, s, Delivery(set))
	wantDead(t, s, sub, all...)
	wantDead(t, s, beside, DeadLetter(beside, 7))
	wantDead(t, s, "mail")
	wantDead(t, s, "")
	for _, c := range []struct {
		after uint64
		limit int
		want  []*store.DeadLetter
	}{
		{0, 2, all[:2]},
		{2, 2, all[2:4]},
		{3, 10, all[2:]},
		{299, 10, all[4:]},
		{300, 10, nil},
		{math.MaxUint64, 10, nil},
		{0, 0, nil},
		{0, -1, nil},
	} {
		got, err := s.DeadLetters(t.Context(), sub, c.after, c.limit)
		if err != nil || len(got) != len(c.want) {
			t.Errorf("dead letters after %d, at most %d: got %d, error %v; want %d", c.after, c.limit, len(got), err, len(c.want))
			continue
		}
		for i := range got {
			if got[i].Seq != c.want[i].Seq {
				t.Errorf("dead letter %d after %d: got event %d, want %d", i, c.after, got[i].Seq, c.want[i].Seq)
			}
		}
	}
	all[2].Retry, all[2].Deliveries, all[2].Reason = true, 10, "again"
	MustCommit(t, s, Delivery(store.DeliverySet{DeadLetters: []*store.DeadLetter{all[2]}}))
	wantDead(t, s, sub, all...)
}

func customEvents(t *fixture) {
	s := t.store()
	want := []store.CustomEvent{CustomEvent("orders.shipped", 1), {Name: "zoo.opened"}}
	MustCommit(t, s, Delivery(store.DeliverySet{Events: []store.CustomEvent{want[1], want[0]}}))
	for range 2 {
		got, err := s.CustomEvents(t.Context())
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("custom events (-want +got), error %v:\n%s", err, diff)
		}
		want[0] = CustomEvent("orders.shipped", 2)
		MustCommit(t, s, Delivery(store.DeliverySet{Events: want[:1]}))
	}
}

func settled(t *fixture) {
	s := t.store()
	MustCommit(t, s, Events(10, Start()))
	a, b := Cursor("a/x", 3), Cursor("b/x", 4)
	dead := []*store.DeadLetter{DeadLetter("a/x", 1), DeadLetter("a/x", 2), DeadLetter("b/x", 1), DeadLetter("b/x", 2)}
	MustCommit(t, s, Delivery(store.DeliverySet{Cursors: []*store.Cursor{a, b}, DeadLetters: dead}))
	gone := []store.DeadLetterID{dead[0].DeadLetterID, {Subscription: "a/x", Seq: 9}, {Subscription: "c/x", Seq: 1}}
	MustCommit(t, s, Delivery(store.DeliverySet{Settled: gone}))
	wantDead(t, s, "a/x", dead[1])
	wantDead(t, s, "b/x", dead[2:]...)
	wantCursors(t, s, "beside settled dead letters", a, b)
	MustCommit(t, s, Delivery(store.DeliverySet{Forgotten: []string{"a/x", "never/seen"}}))
	wantDead(t, s, "a/x")
	wantDead(t, s, "b/x", dead[2:]...)
	wantCursors(t, s, "beside a forgotten one", b)
	again := &store.Cursor{Subscription: "b/x", Through: 10}
	MustCommit(t, s, Delivery(store.DeliverySet{
		Cursors: []*store.Cursor{again}, DeadLetters: dead[3:], Settled: []store.DeadLetterID{dead[3].DeadLetterID}, Forgotten: []string{"b/x"},
	}))
	wantDead(t, s, "b/x", dead[3])
	wantCursors(t, s, "begun anew", again)
}

func deliveryWithEvents(t *fixture) {
	s := t.store()
	ws := Events(2, Start())
	ws.Delivery = &store.DeliverySet{ // about the events that come with it
		Cursors: []*store.Cursor{{Subscription: "a/x", Through: 2}}, DeadLetters: []*store.DeadLetter{DeadLetter("a/x", 1)},
	}
	c, err := Commit(s, ws)
	if c.FirstSeq != 1 || err != nil {
		t.Errorf("commit: got first sequence %d, error %v; want 1", c.FirstSeq, err)
	}
	wantCursors(t, s, "that came with events", ws.Delivery.Cursors...)
	wantDead(t, s, "a/x", ws.Delivery.DeadLetters...)
	if last, err := s.LastSeq(t.Context()); last != 2 || err != nil {
		t.Errorf("last sequence: got %d, error %v; want 2", last, err)
	}
	MustCommit(t, s, Delivery(store.DeliverySet{Settled: []store.DeadLetterID{{Subscription: "a/x", Seq: 1}}}))
	if last, err := s.LastSeq(t.Context()); last != 2 || err != nil {
		t.Errorf("last sequence after a set without events: got %d, error %v; want 2", last, err)
	}
}

func deliveryAlone(t *fixture) {
	s := t.store()
	fl := NewFlow(1, 1)
	good, ahead := &store.Cursor{Subscription: "a/x", Through: 2}, &store.Cursor{Subscription: "b/x", Through: 99}
	got := Gather(s, fl.Create(), Delivery(store.DeliverySet{Cursors: []*store.Cursor{good}}),
		Delivery(store.DeliverySet{Cursors: []*store.Cursor{{Subscription: "a/x", Through: 1}, ahead}}), fl.Claim(0))
	for i, want := range []error{nil, nil, task.ErrInvalid, nil} {
		wantErr(t, fmt.Sprintf("set %d", i), got[i], want)
	}
	wantStored(t, s, fl)
	wantCursors(t, s, "beside a refused set", good)
}

func malformedDelivery(t *fixture) {
	s := t.store()
	fl := NewFlow(1, 1)
	MustCommit(t, s, fl.Create(), Events(5, Start())) // 6 events
	withTask := fl.Clone().Claim(0)
	withTask.Delivery = &store.DeliverySet{Forgotten: []string{"a/x"}}
	cursor := func(change func(*store.Cursor)) store.DeliverySet {
		c := Cursor("a/x", 3)
		change(c)
		return store.DeliverySet{Cursors: []*store.Cursor{c}}
	}
	many := func(n int) (out []store.Failing) {
		for i := range n {
			out = append(out, store.Failing{Seq: uint64(i) + 1})
		}
		return out
	}
	for name, ws := range map[string]*store.WriteSet{
		"empty":                         Delivery(store.DeliverySet{}),
		"with a task":                   withTask,
		"no name":                       Delivery(cursor(func(c *store.Cursor) { c.Subscription = "" })),
		"a NUL in the name":             Delivery(cursor(func(c *store.Cursor) { c.Subscription = "a\x00x" })),
		"a name too long":               Delivery(cursor(func(c *store.Cursor) { c.Subscription = strings.Repeat("x", 40_000) })),
		"ahead of the log":              Delivery(cursor(func(c *store.Cursor) { c.Through, c.Failing = 7, nil })),
		"careful ahead":                 Delivery(cursor(func(c *store.Cursor) { c.Careful = 7 })),
		"failing ahead":                 Delivery(cursor(func(c *store.Cursor) { c.Failing[1].Seq = 7 })),
		"failing not beyond the cursor": Delivery(cursor(func(c *store.Cursor) { c.Failing[0].Seq = 3 })),
		"failing twice":                 Delivery(cursor(func(c *store.Cursor) { c.Failing[1].Seq = 4 })),
		"too many failing":              Delivery(cursor(func(c *store.Cursor) { c.Through, c.Failing = 0, many(store.MaxFailing+1) })),
		"dead letter without a name":    Delivery(store.DeliverySet{DeadLetters: []*store.DeadLetter{DeadLetter("", 1)}}),
		"dead letter ahead":             Delivery(store.DeliverySet{DeadLetters: []*store.DeadLetter{DeadLetter("a/x", 7)}}),
		"dead letter of nothing":        Delivery(store.DeliverySet{DeadLetters: []*store.DeadLetter{DeadLetter("a/x", 0)}}),
		"dead letter without an event": Delivery(store.DeliverySet{DeadLetters: []*store.DeadLetter{
			{DeadLetterID: store.DeadLetterID{Subscription: "a/x", Seq: 1}},
		}}),
		"settled without a name":      Delivery(store.DeliverySet{Settled: []store.DeadLetterID{{Seq: 1}}}),
		"forgotten without a name":    Delivery(store.DeliverySet{Forgotten: []string{""}}),
		"custom event without a name": Delivery(store.DeliverySet{Events: []store.CustomEvent{{}}}),
	} {
		_, err := Commit(s, ws)
		wantErr(t, name, err, task.ErrInvalid)
	}
	wantStored(t, s, fl)
	wantCursors(t, s, "after refusals")
	wantDead(t, s, "a/x")
}

func deliveryIsCopied(t *fixture) {
	s := t.store()
	MustCommit(t, s, Events(5, Start()))
	c, l, e := Cursor("a/x", 3), DeadLetter("a/x", 1), CustomEvent("a.b", 1)
	wantC, wantL := *c, *l
	errs := make(chan error, 1)
	set := Delivery(store.DeliverySet{Cursors: []*store.Cursor{c}, DeadLetters: []*store.DeadLetter{l}, Events: []store.CustomEvent{e}})
	wantC.Failing, wantC.Replays = append([]store.Failing(nil), c.Failing...), append([]store.Replay(nil), c.Replays...)
	wantL.Encoded = append([]byte(nil), l.Encoded...)
	s.Submit(set, func(_ store.Commit, err error) { errs <- err })
	c.Through, c.Failing[0].Seq, c.Replays[0].To = 5, 99, 99
	clear(l.Encoded)
	if err := <-errs; err != nil {
		t.Fatalf("commit: %v", err)
	}
	wantCursors(t, s, "as submitted", &wantC)
	wantDead(t, s, "a/x", &wantL)
}

func deliveryReopened(t *fixture) {
	s := t.store()
	MustCommit(t, s, Events(5, Start()))
	c, l, e := Cursor("a/x", 3), DeadLetter("a/x", 1), CustomEvent("a.b", 1)
	MustCommit(t, s, Delivery(store.DeliverySet{Cursors: []*store.Cursor{c}, DeadLetters: []*store.DeadLetter{l}, Events: []store.CustomEvent{e}}))
	mustClose(t, s)
	s = t.open(t.T, t.dir, true)
	wantCursors(t, s, "after reopening", c)
	wantDead(t, s, "a/x", l)
	got, err := s.CustomEvents(t.Context())
	if diff := cmp.Diff([]store.CustomEvent{e}, got); err != nil || diff != "" {
		t.Errorf("custom events after reopening (-want +got), error %v:\n%s", err, diff)
	}
	_, err = Commit(s, Delivery(store.DeliverySet{Forgotten: []string{"a/x"}}))
	wantErr(t, "forget in a store open for reading", err, store.ErrReadOnly)
}

// deliveryConcurrent has subscriptions follow the log while tasks are driven.
func deliveryConcurrent(t *fixture) {
	const tasks, steps, followers = 4, 20, 3
	s := t.store()
	bells := newBells(followers)
	var want [followers]*store.Cursor
	var writers, readers sync.WaitGroup
	for i := range followers {
		want[i] = &store.Cursor{Subscription: fmt.Sprintf("f%d/x", i)}
		readers.Go(func() {
			for range bells[i] {
				followLog(t, s, want[i])
			}
			followLog(t, s, want[i])
		})
	}
	for i := range uint64(tasks) {
		writers.Go(func() { claimAll(t, s, NewFlow(i, steps), bells) })
	}
	writers.Wait()
	bells.close()
	readers.Wait()
	last, err := s.LastSeq(t.Context())
	for _, c := range want {
		if c.Through != last || c.Delivered != last || err != nil {
			t.Errorf("%s: got through %d, delivered %d; want %d, error %v", c.Subscription, c.Through, c.Delivered, last, err)
		}
	}
	wantCursors(t, s, "that followed the log", want[:]...)
}

// followLog moves a cursor to the end of the log, a page at a time.
func followLog(t *fixture, s store.Store, c *store.Cursor) {
	for {
		page, err := s.Events(t.Context(), c.Through+1, 16)
		if err != nil {
			t.Errorf("events: %v", err)
		}
		if len(page) == 0 {
			return
		}
		for _, e := range page {
			if e.Seq != c.Through+1 {
				t.Errorf("%s: event %d follows %d", c.Subscription, e.Seq, c.Through)
			}
			c.Through, c.Delivered = e.Seq, c.Delivered+1
		}
		if _, err := Commit(s, Delivery(store.DeliverySet{Cursors: []*store.Cursor{c}})); err != nil {
			t.Errorf("cursor: %v", err)
			return
		}
	}
}
