package delivery

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/tasker-engine/tasker/host/internal/store"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// FuzzScanHeader: what the library reads, the scan reads too.
func FuzzScanHeader(f *testing.F) {
	whole, err := proto.Marshal(&eventv1.Event{
		Id: "01J/1", Type: "step.failed", At: -5, TaskId: "01J", TaskSeq: 7, Step: "charge", Namespace: "shop", Template: "order",
		Version: "1.0.0", CorrelationId: "c", Traceparent: "00-", Payload: []byte(`{"a":1}`),
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(append(whole, whole...))
	f.Add([]byte{0x0a})
	f.Add([]byte{0x08, 1, 0x1a, 1, 'x', 0x13, 0x14}) // known fields of other types, a group
	f.Fuzz(func(t *testing.T, b []byte) {
		var e eventv1.Event
		if proto.Unmarshal(b, &e) != nil {
			return // nobody promises what the scan finds in it
		}
		h, err := scanHeader(b)
		if err != nil {
			t.Fatalf("the library reads it, the scan says %v", err)
		}
		for name, got := range map[string][2]string{
			"id": {string(h.id), e.GetId()}, "type": {string(h.kind), e.GetType()}, "task": {string(h.task), e.GetTaskId()},
			"namespace": {string(h.namespace), e.GetNamespace()}, "template": {string(h.template), e.GetTemplate()},
			"version": {string(h.version), e.GetVersion()}, "payload": {string(h.payload), string(e.GetPayload())},
		} {
			if got[0] != got[1] {
				t.Errorf("%s: got %q, want %q", name, got[0], got[1])
			}
		}
		if h.at != e.GetAt() {
			t.Errorf("at: got %d, want %d", h.at, e.GetAt())
		}
	})
}

func TestScanHeaderOfNothing(t *testing.T) {
	if _, err := scanHeader([]byte{0x0a, 5, 'x'}); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("got error %v, want %v", err, store.ErrCorrupt)
	}
}

// logStore is a log with holes; the rest of a store is not asked for.
type logStore struct {
	Store

	entries []store.LogEntry
	first   uint64
	reads   int
}

func (l *logStore) EventsWithin(_ context.Context, from uint64, limit, bytes int) ([]store.LogEntry, error) {
	l.reads++
	found := l.since(max(from, l.first))
	found = found[:min(limit, len(found))]
	for i := range found {
		if bytes -= len(found[i].Encoded); bytes <= 0 {
			return found[:i+1], nil
		}
	}
	return found, nil
}

// since returns what was ever recorded from a sequence on.
func (l *logStore) since(from uint64) []store.LogEntry {
	i, _ := slices.BinarySearchFunc(l.entries, from, func(e store.LogEntry, seq uint64) int { return cmp.Compare(e.Seq, seq) })
	return l.entries[i:]
}

func (l *logStore) FirstSeq(context.Context) (uint64, error) { return l.first, nil }

// TestReaderReadsTheLog: whatever the order of reading, holes, cuts and growth, what the
// cache gives is what the log has.
func TestReaderReadsTheLog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &logStore{first: 1}
		r := &reader{store: l, log: hclog.NewNullLogger()}
		next := uint64(1)
		encoded, err := proto.Marshal(&eventv1.Event{Payload: make([]byte, rapid.SampledFrom([]int{10, 1_000, 100_000}).Draw(t, "size"))})
		if err != nil {
			t.Fatal(err)
		}
		t.Repeat(map[string]func(*rapid.T){
			"grow": func(t *rapid.T) {
				for range rapid.SampledFrom([]int{1, 2, 5, 300, 600}).Draw(t, "events") {
					l.entries = append(l.entries, store.LogEntry{Seq: next, Encoded: encoded})
					next++
				}
				next += rapid.Uint64Range(0, 3).Draw(t, "hole")
				r.bell.ring()
			},
			"cut": func(t *rapid.T) {
				if n := len(l.entries); n > 0 {
					l.first = max(l.first, l.entries[rapid.IntRange(0, n-1).Draw(t, "first")].Seq)
				}
			},
			"read": func(t *rapid.T) {
				from := rapid.Uint64Range(1, next+2).Draw(t, "from")
				got, err := r.read(t.Context(), from)
				if err != nil {
					t.Fatal(err)
				}
				want := l.since(from)
				for i, e := range got.entries {
					if got.cut == 0 && e.seq != want[i].Seq {
						t.Fatalf("from %d: entry %d is %d, want %d", from, i, e.seq, want[i].Seq)
					}
				}
				if len(got.entries) == 0 && len(want) > 0 && got.cut == 0 {
					t.Fatalf("from %d: nothing, want %d events", from, len(want))
				}
				if got.cut > l.first {
					t.Fatalf("from %d: cut at %d, the log begins with %d", from, got.cut, l.first)
				}
				if len(got.entries) > 0 && got.cut == 0 && got.entries[0].seq != want[0].Seq {
					t.Fatalf("from %d: begins with %d, want %d and no word of a cut", from, got.entries[0].seq, want[0].Seq)
				}
			},
		})
		if len(r.pages) > maxPages {
			t.Errorf("%d pages are kept", len(r.pages))
		}
	})
}

// TestReaderKeepsItsLimits: large events make small pages, and the cache forgets.
func TestReaderKeepsItsLimits(t *testing.T) {
	l := &logStore{first: 1}
	const events, size = 3_000, 400 << 10
	large, err := proto.Marshal(&eventv1.Event{Type: "task.started", Payload: make([]byte, size)})
	if err != nil {
		t.Fatal(err)
	}
	small, err := proto.Marshal(&eventv1.Event{Type: "task.started"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(events) {
		e := store.LogEntry{Seq: i + 1, Encoded: large} // the same bytes: the test needs no more memory
		if i < pageEvents {                             // large ones follow small ones
			e.Encoded = small
		}
		l.entries = append(l.entries, e)
	}
	r := &reader{store: l, log: hclog.NewNullLogger()}
	for from := uint64(1); from <= events; {
		got, err := r.read(t.Context(), from)
		if err != nil || len(got.entries) == 0 {
			t.Fatalf("from %d: %d entries, error %v", from, len(got.entries), err)
		}
		from = got.entries[len(got.entries)-1].seq + 1
		var total int64
		for _, p := range r.pages {
			total += p.bytes.Load()
			if n := p.bytes.Load(); n > pageBytes+2*size {
				t.Fatalf("a page has %d bytes", n)
			}
		}
		if total > maxCached+pageBytes+2*size {
			t.Fatalf("%d bytes are kept", total)
		}
	}
	again, err := r.entry(t.Context(), 1)
	if err != nil || again == nil || again.seq != 1 {
		t.Errorf("the first event again: %v, error %v", again, err)
	}
	if none, err := r.entry(t.Context(), events+5); none != nil || err != nil {
		t.Errorf("an event that is not there: %v, error %v", none, err)
	}
}

// TestBell: who waits is woken at once after a pause, and at a pace while it rings on.
func TestBell(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bell
		begin := time.Now()
		var woken []time.Duration
		ctx, stop := context.WithCancel(t.Context())
		go func() {
			for seen := b.count(); ctx.Err() == nil; seen = b.count() {
				select {
				case <-b.listen(seen):
					woken = append(woken, time.Since(begin))
				case <-ctx.Done():
				}
			}
		}()
		synctest.Wait()
		for range 12 {
			b.ring()
			synctest.Wait()
			<-time.After(pace / 5)
		}
		<-time.After(time.Second)
		b.ring()
		synctest.Wait()
		stop()
		synctest.Wait()
		want := []time.Duration{0, pace, 2 * pace, 3 * pace, 12*pace/5 + time.Second}
		if !slices.Equal(woken, want) {
			t.Errorf("woken after %v, want %v", woken, want)
		}
	})
}

// TestBellMissesNothing: a ring between a look at the log and the wait for more wakes.
func TestBellMissesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b bell
		for n := range 3 {
			seen := b.count()
			b.ring()
			select {
			case <-b.listen(seen):
			case <-time.After(time.Hour):
				t.Errorf("ring %d is missed", n)
			}
		}
		select {
		case <-b.listen(b.count()):
			t.Error("woken without a ring")
		case <-time.After(time.Hour):
		}
	})
}

// BenchmarkWake is what a commit pays when nobody waits for events.
func BenchmarkWake(b *testing.B) {
	var r bell
	for b.Loop() {
		r.ring()
	}
}
