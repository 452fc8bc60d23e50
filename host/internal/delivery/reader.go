package delivery

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tasker-engine/tasker/host/internal/expr"
	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/internal/store"
)

// Limits of the reader's cache.
const (
	pageEvents = 512      // of one page
	pageBytes  = 4 << 20  // of one page, beside its last event
	maxPages   = 64       // of the cache
	maxCached  = 32 << 20 // bytes of the cache, beside the page that was read last
)

// decodedFactor is how many times its encoded size an event takes about when it has been
// decoded for a filter.
const decodedFactor = 8

// entry is one event of the log with what its header says. It is shared by all who read
// it and does not change.
type entry struct {
	seq     uint64
	encoded []byte
	kind    string // the event's type
	task    string
	origin  *origin // nil = of no template
	about   string  // the subscription that a subscriber.* event is about
	at      int64   // nanoseconds since 1970
	corrupt bool    // nobody can have it

	page *page
	view atomic.Pointer[expr.Event]
}

// event returns the event as filters see it; it is decoded once.
func (e *entry) event() *expr.Event {
	if v := e.view.Load(); v != nil {
		return v
	}
	if e.view.CompareAndSwap(nil, expr.NewEvent(e.encoded)) && e.page != nil {
		e.page.decoded.Add(int64(len(e.encoded)) * decodedFactor)
	}
	return e.view.Load()
}

// newEntry returns an event that is not read from the log. Error: store.ErrCorrupt.
func newEntry(seq uint64, encoded []byte) (*entry, error) {
	h, err := scanHeader(encoded)
	if err != nil {
		return nil, err
	}
	var n names
	return &entry{
		seq: seq, encoded: encoded, kind: string(h.kind), task: string(h.task),
		origin: n.origin(&h, nil), about: h.about(), at: h.at,
	}, nil
}

// page is a run of the log: every event with a sequence from from to next-1. Only the one
// at the end of the log, and one that was left half read, ever grow.
type page struct {
	from    uint64
	next    atomic.Uint64
	full    atomic.Bool  // it does not grow
	decoded atomic.Int64 // bytes that filters made of it
	used    uint64       // when it was asked for last; guarded by the reader's mu
	bytes   atomic.Int64

	mu      sync.Mutex // held while it is read, so that it is read once
	entries []*entry   // grows by append only: a part once given out does not change
	cut     uint64     // the log begins here, which is behind from; 0 = it has all
	ended   bool       // the log had no more at rings
	rings   uint64
}

// reader reads the log for all subscriptions. Those that stand near each other find what
// the first one has read.
type reader struct {
	store Store
	log   hclog.Logger
	bell  bell

	mu    sync.Mutex
	pages []*page // by from
	clock uint64
	names names
}

// run is what the reader has of the log from a sequence on.
type run struct {
	entries []*entry // none = the log has no more, or cut says where it goes on
	cut     uint64   // the log has lost what was before; 0 = nothing
	rings   uint64   // with no entries: the state of the bell at which there were none
}

// read returns a run of the log from a sequence on: at least one event, unless there is
// none. Errors: of the store.
func (r *reader) read(ctx context.Context, from uint64) (run, error) {
	for {
		found, next, err := r.readPage(ctx, r.pageFor(from), from)
		if err != nil || next == 0 {
			return found, err
		}
		from = next
	}
}

// readPage returns the run of the log that a page has. With next it has none, and what
// follows from next on is asked for instead.
func (r *reader) readPage(ctx context.Context, p *page, from uint64) (found run, next uint64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if from >= p.next.Load() && (!p.ended || p.rings != r.bell.count()) {
		if err := r.extend(ctx, p); err != nil {
			return run{}, 0, err
		}
	}
	i, _ := slices.BinarySearchFunc(p.entries, from, func(e *entry, seq uint64) int {
		if e.seq < seq {
			return -1
		}
		return 1
	})
	found = run{entries: p.entries[i:len(p.entries):len(p.entries)], rings: p.rings}
	switch {
	case p.cut > from:
		found.cut = p.cut
	case len(found.entries) == 0 && !p.ended: // a hole at the end of the page, or it cannot grow
		return run{}, p.next.Load(), nil
	}
	return found, 0, nil
}

// entry returns the event of a sequence, nil when the log does not have it.
func (r *reader) entry(ctx context.Context, seq uint64) (*entry, error) {
	found, err := r.read(ctx, seq)
	if err != nil || len(found.entries) == 0 || found.entries[0].seq != seq {
		return nil, err
	}
	return found.entries[0], nil
}

// pageFor returns the page that has a sequence, or that is to be extended to have it.
func (r *reader) pageFor(seq uint64) *page {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock++
	i, _ := slices.BinarySearchFunc(r.pages, seq+1, func(p *page, seq uint64) int {
		if p.from < seq {
			return -1
		}
		return 1
	})
	if i > 0 {
		p := r.pages[i-1]
		if next := p.next.Load(); seq < next || seq == next && !p.full.Load() {
			p.used = r.clock
			return p
		}
	}
	p := &page{from: seq, used: r.clock}
	p.next.Store(seq)
	r.pages = slices.Insert(r.pages, i, p)
	return p
}

// extend reads what follows in the log into a page, whose lock is held.
func (r *reader) extend(ctx context.Context, p *page) error {
	limit, bound := r.room(p)
	p.rings, p.ended = r.bell.count(), false
	from := p.next.Load()
	size := max(pageBytes-p.bytes.Load(), 1)
	found, err := r.store.EventsWithin(ctx, from, limit, int(size))
	if err != nil {
		return fmt.Errorf("read the log: %w", err)
	}
	if len(found) > 0 && found[0].Seq > from {
		if len(p.entries) > 0 { // what is missing is for a page of its own to find out
			p.full.Store(true)
			return nil
		}
		if err := r.findCut(ctx, p, found[0].Seq); err != nil {
			return err
		}
	}
	for i := range found {
		size -= int64(len(found[i].Encoded))
	}
	p.ended = len(found) < limit && size > 0
	n := len(found)
	for n > 0 && bound > 0 && found[n-1].Seq >= bound {
		n--
	}
	r.add(p, found[:n])
	switch {
	case n < len(found):
		p.next.Store(bound)
		p.ended = false
	case n > 0:
		p.next.Store(found[n-1].Seq + 1)
	}
	p.full.Store(len(p.entries) >= pageEvents || p.bytes.Load() >= pageBytes || bound > 0 && p.next.Load() >= bound)
	r.evict(p)
	return nil
}

// findCut notes that the log begins behind the start of a page.
func (r *reader) findCut(ctx context.Context, p *page, first uint64) error {
	begin, err := r.store.FirstSeq(ctx)
	if err != nil {
		return fmt.Errorf("read the log's begin: %w", err)
	}
	if begin > p.from {
		p.cut = min(begin, first)
	}
	return nil
}

// room returns how many events fit into a page, and where the next page begins, 0 = there
// is none.
func (r *reader) room(p *page) (limit int, bound uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.pages, p); i >= 0 && i+1 < len(r.pages) {
		bound = r.pages[i+1].from
	}
	return max(pageEvents-len(p.entries), 1), bound
}

// add scans the headers of events and appends them to a page.
func (r *reader) add(p *page, found []store.LogEntry) {
	if len(found) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	entries := make([]entry, len(found))
	if p.entries == nil {
		p.entries = make([]*entry, 0, max(len(found), pageEvents/4))
	}
	var tasks []byte // of all, to be copied once
	var bytes int64
	ends := make([]int, len(found))
	var last *origin
	for i := range found {
		e := &entries[i]
		e.seq, e.encoded, e.page = found[i].Seq, found[i].Encoded, p
		bytes += int64(len(e.encoded))
		h, err := scanHeader(e.encoded)
		if err != nil {
			e.corrupt = true
			r.log.Error("an event of the log cannot be read and is delivered to nobody", logkeys.Seq, e.seq, logkeys.Error, err)
		}
		last = r.names.origin(&h, last)
		e.kind, e.origin, e.about, e.at = r.names.kind(h.kind), last, h.about(), h.at
		tasks = append(tasks, h.task...)
		ends[i] = len(tasks)
		p.entries = append(p.entries, e)
	}
	all, begin := string(tasks), 0
	for i, end := range ends {
		entries[i].task, begin = all[begin:end], end
	}
	p.bytes.Add(bytes)
}

// evict forgets the pages that were not asked for the longest, until the cache keeps its
// limits; never the one that was just read.
func (r *reader) evict(keep *page) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var total int64
	for _, p := range r.pages {
		total += p.bytes.Load() + p.decoded.Load()
	}
	for len(r.pages) > 1 && (len(r.pages) > maxPages || total > maxCached) {
		oldest := -1
		for i, p := range r.pages {
			if p != keep && (oldest < 0 || p.used < r.pages[oldest].used) {
				oldest = i
			}
		}
		if oldest < 0 {
			return
		}
		total -= r.pages[oldest].bytes.Load() + r.pages[oldest].decoded.Load()
		r.pages = slices.Delete(r.pages, oldest, oldest+1)
	}
}

// pace is the least time between two moments at which those who wait for the log are
// woken. What a frame costs, in both processes, is that of some twenty events: without it
// each of a thousand commits a second has frames of its own, with a few events in each.
const pace = 10 * time.Millisecond

// bell wakes those who wait for the log to grow. A ring that nobody waits for, or that is
// not the first since they were woken, costs two atomic operations. Those who wait are woken together: at once after a pause, and at a
// pace while the log grows on and on.
type bell struct {
	rings   atomic.Uint64
	waiting atomic.Bool // for a ring

	mu    sync.Mutex
	rung  chan struct{} // closed when those who wait are woken; nil = nobody waits
	woken time.Time     // when that was last
	later *time.Timer   // wakes them; nil = none was needed yet
	armed bool          // it runs
}

func (b *bell) count() uint64 { return b.rings.Load() }

func (b *bell) ring() {
	b.rings.Add(1)
	if !b.waiting.Load() {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.call()
}

// listen returns a channel that is closed when the log has grown since a count, which it
// may have already.
func (b *bell) listen(count uint64) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rung == nil {
		b.rung = make(chan struct{})
	}
	rung := b.rung
	b.waiting.Store(!b.armed)
	if b.count() != count {
		b.call()
	}
	return rung
}

// call wakes those who wait, now or later. The lock is held.
func (b *bell) call() {
	if b.rung == nil || b.armed {
		return
	}
	wait := pace - time.Since(b.woken)
	if wait <= 0 {
		b.open()
		return
	}
	b.armed = true
	b.waiting.Store(false) // no ring is needed any more
	if b.later == nil {
		b.later = time.AfterFunc(wait, b.due)
		return
	}
	b.later.Reset(wait)
}

// due is what the timer runs.
func (b *bell) due() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.armed = false
	if b.rung != nil {
		b.open()
	}
}

// open wakes those who wait. The lock is held.
func (b *bell) open() {
	b.waiting.Store(false)
	close(b.rung)
	b.rung, b.woken = nil, time.Now()
}
