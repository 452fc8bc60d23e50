package sdk

import (
	"container/heap"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
)

// maxTaken is how many items that were taken a queue keeps before it is made shorter.
const maxTaken = 64

// item is one event that waits in a lane; or, with gap, news of events that will never come.
type item struct {
	seq     uint64
	event   []byte // encoded
	task    []byte // within event; nil when the order is global
	number  uint32 // of the delivery
	binding *binding
	gap     uint64
}

// lane is what is handled strictly in order: the events of a task, or all of them.
type lane struct {
	task  string
	queue []item
	head  int  // of the queue
	held  bool // from a Retry to the host's Restart, what comes is dropped
	busy  bool // a worker has it, or will
	place int  // among the lanes that are ready, -1 = a worker has it, or nobody
	turn  int  // raised by a Restart: what is handled meanwhile has no answer
}

// lanes are the lanes of a stream and the goroutines that work on them: each has one lane at a time. They are guarded
// by the stream's lock.
type lanes struct {
	byTask   map[string]*lane
	ready    readyLanes
	limit    int // of workers
	workers  int
	waiting  int // workers that have nothing to do
	handling int // events that the author's code has
	changed  *sync.Cond
	started  bool
	stopped  bool // nothing further is handled
	closing  bool // nothing further comes
}

// readyLanes are the lanes that have something and no worker: a heap by the first event that waits in each. The host
// takes it that the oldest event which it has no answer to is at work, so that it comes before any other.
type readyLanes []*lane

// Len implements heap.Interface.
func (r *readyLanes) Len() int { return len(*r) }

// Less implements heap.Interface.
func (r *readyLanes) Less(i, j int) bool { return (*r)[i].next() < (*r)[j].next() }

// Swap implements heap.Interface.
func (r *readyLanes) Swap(i, j int) {
	lanes := *r
	lanes[i], lanes[j] = lanes[j], lanes[i]
	lanes[i].place, lanes[j].place = i, j
}

// Push implements heap.Interface.
func (r *readyLanes) Push(x any) {
	ln := x.(*lane) //nolint:errcheck,forcetypeassert // by add
	ln.place = len(*r)
	*r = append(*r, ln)
}

// Pop implements heap.Interface.
func (r *readyLanes) Pop() any {
	last := len(*r) - 1
	ln := (*r)[last]
	(*r)[last] = nil
	*r = (*r)[:last]
	ln.place = -1
	return ln
}

func (r *readyLanes) add(ln *lane) { heap.Push(r, ln) }

// take removes the lane whose first event is the oldest.
func (r *readyLanes) take() *lane { return heap.Pop(r).(*lane) } //nolint:errcheck,forcetypeassert // nothing else is in it

// remove removes a lane that is among them.
func (r *readyLanes) remove(ln *lane) { heap.Remove(r, ln.place) }

// before reports whether one of them has an older event than a lane.
func (r *readyLanes) before(ln *lane) bool { return len(*r) > 0 && (*r)[0].next() < ln.next() }

func (l *lanes) init(s *deliverStream) {
	l.byTask, l.limit, l.changed = make(map[string]*lane), 1, sync.NewCond(&s.mu)
	if s.byTask {
		l.limit = s.sub.options.Lanes
		if l.limit == 0 {
			l.limit = DefaultLanes
		}
	}
}

// start lets events be handled, unless the plugin is being drained.
func (s *deliverStream) start(draining bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lanes.started = true
	if draining {
		s.halt()
	}
	s.employ()
	s.settle()
}

// stop lets no further event be handled.
func (s *deliverStream) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.halt()
}

// halt is stop with the lock held.
func (s *deliverStream) halt() {
	s.lanes.stopped = true
	s.lanes.byTask, s.lanes.ready = make(map[string]*lane), nil
	s.lanes.changed.Broadcast()
	s.settle()
}

// settle tells when nothing is handled and nothing will be. The lock is held.
func (s *deliverStream) settle() {
	l := &s.lanes
	if l.handling == 0 && (l.stopped || l.closing && l.started && len(l.ready) == 0) && !isClosed(s.settled) {
		close(s.settled)
		l.stopped = true
		l.changed.Broadcast()
	}
}

// enqueue puts events into their lanes.
func (s *deliverStream) enqueue(items []item) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &s.lanes
	if l.stopped {
		return
	}
	for i := range items {
		ln := l.byTask[string(items[i].task)]
		if ln == nil {
			ln = &lane{task: string(items[i].task), place: -1}
			l.byTask[ln.task] = ln
		}
		if ln.held && items[i].gap == 0 {
			continue
		}
		ln.push(items[i])
		if !ln.busy {
			ln.busy = true
			l.ready.add(ln)
		}
	}
	s.employ()
}

// employ finds workers for the lanes that are ready. The lock is held.
func (s *deliverStream) employ() {
	l := &s.lanes
	if !l.started || l.stopped {
		return
	}
	for range min(len(l.ready), l.waiting) {
		l.changed.Signal()
	}
	for n := len(l.ready) - l.waiting; n > 0 && l.workers < l.limit; n-- {
		l.workers++
		go s.work()
	}
}

// push appends to the queue.
func (ln *lane) push(it item) {
	if ln.head > maxTaken && ln.head > len(ln.queue)/2 { // what was taken is more than what is left
		ln.queue = slices.Delete(ln.queue, 0, ln.head)
		ln.head = 0
	}
	ln.queue = append(ln.queue, it)
}

// pop takes the next item.
func (ln *lane) pop() item {
	it := ln.queue[ln.head]
	ln.queue[ln.head] = item{}
	ln.head++
	if ln.head == len(ln.queue) {
		ln.queue, ln.head = ln.queue[:0], 0
	}
	return it
}

// drop empties the queue but for news of gaps, which come once.
func (ln *lane) drop() {
	ln.queue = slices.DeleteFunc(slices.Delete(ln.queue, 0, ln.head), func(it item) bool { return it.gap == 0 })
	ln.head = 0
}

func (ln *lane) empty() bool { return ln.head == len(ln.queue) }

// next returns the sequence of the first item, which there is; 0 = it is news of a gap.
func (ln *lane) next() uint64 { return ln.queue[ln.head].seq }

// restart drops what waits in a lane and lets it go on with what comes from now on.
func (s *deliverStream) restart(task string) {
	if !s.byTask {
		task = ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ln := s.lanes.byTask[task]
	if ln == nil {
		return
	}
	if ln.place >= 0 {
		s.lanes.ready.remove(ln)
		ln.busy = false
	}
	ln.drop()
	ln.held = false
	ln.turn++
	if !ln.busy && !ln.empty() {
		ln.busy = true
		s.lanes.ready.add(ln)
	}
	if !ln.busy && ln.empty() {
		delete(s.lanes.byTask, task)
	}
}

// work handles the oldest event that waits, then the next, until the stream stops.
func (s *deliverStream) work() {
	var ln *lane
	returned := false
	defer func() {
		if !returned { // the author's code ended the goroutine; handle has answered for it and holds the lock
			s.release(ln)
			go s.work()
		}
		s.mu.Unlock()
	}()
	s.mu.Lock()
	for ln = s.take(); ln != nil; ln = s.take() {
		for !ln.empty() && !s.lanes.stopped && !s.lanes.ready.before(ln) {
			s.handle(ln, ln.pop())
		}
		s.release(ln)
	}
	s.lanes.workers--
	returned = true
}

// take waits for a lane that has something. Nil = the stream stops. The lock is held.
func (s *deliverStream) take() *lane {
	l := &s.lanes
	for len(l.ready) == 0 && !l.stopped {
		if l.handling == 0 {
			s.tellAcks()
		}
		l.waiting++
		l.changed.Wait()
		l.waiting--
	}
	if l.stopped {
		return nil
	}
	return l.ready.take()
}

// release gives a lane back. The lock is held.
func (s *deliverStream) release(ln *lane) {
	l := &s.lanes
	switch {
	case l.stopped:
	case !ln.empty():
		l.ready.add(ln)
	default:
		ln.busy = false
		if !ln.held && s.byTask { // the one lane of all events stays, with its queue
			delete(l.byTask, ln.task)
		}
	}
	s.settle()
}

// handle lets the author's code handle one event and queues the answer, whatever that code does: return, panic, or
// end its goroutine. The lock is held before and after, and not while that code runs.
func (s *deliverStream) handle(ln *lane, it item) {
	turn := ln.turn
	s.lanes.handling++
	s.mu.Unlock()
	d := &delivery{stream: s, seq: it.seq, number: it.number, binding: it.binding, deadline: time.Now().Add(s.timeout)}
	var err error
	returned := false
	defer func() {
		if !returned {
			err = recovered(recover())
			d.log(hclog.Error, err.Error(), []any{"stack", strings.Join(stackOf(err), "\n")})
		}
		a := d.answer(err)
		spans := d.endSpan(err)
		d.end()
		s.mu.Lock()
		s.tell(spans)
		s.lanes.handling--
		if it.gap > 0 || ln.turn != turn {
			return
		}
		retry := a.failed && !a.final
		if retry && s.ctx.Err() != nil { // it failed because the stream or the process ends, and comes again
			return
		}
		s.answered(it.seq, a)
		if ln.held = retry; retry {
			ln.drop()
		}
	}()
	if it.gap > 0 {
		s.sub.gap(d, it.gap)
	} else {
		err = d.handle(it.event)
	}
	returned = true
}

// handle brings the event to what receives it.
func (d *delivery) handle(event []byte) error {
	if err := d.parse(event); err != nil {
		return Permanent(err)
	}
	d.beginSpan()
	sub := d.stream.sub
	r := sub.route(d.name)
	switch {
	case r == nil: // a host that knows its subscriptions does not send it
		d.log(hclog.Warn, "nothing receives this event", []any{"type", d.name})
		return nil
	case d.binding == nil:
		return Permanent(errors.New("the event came through a binding that the host has not announced"))
	}
	if err := d.binding.ready(d.stream); err != nil {
		return Unavailable(WithCode(err, CodeInvalidConfig)) // whoever mends the config gets the event
	}
	err := r.call(d, d)
	switch err.(type) { //nolint:errorlint // the route's own error, never wrapped
	case nil:
	case *payloadError:
		return Permanent(err)
	default:
		if sub.onError != nil {
			err = sub.onError(d, err)
		}
	}
	if err == nil && sub.remember != nil {
		if err := sub.remember.handled(d.id); err != nil {
			d.log(hclog.Warn, "the event was handled but cannot be remembered", []any{"error", err})
		}
	}
	return err
}

// answer translates an error into the answer that the host gets.
func (d *delivery) answer(err error) answer {
	if err == nil {
		return answer{}
	}
	e := Explain(err)
	a := answer{failed: true, final: e.Verdict == Final, away: e.Unavailable, after: e.RetryAfter, reason: textOf(err)}
	if d.timedOut() {
		a.reason = fmt.Sprintf("not done within %s: %s", d.stream.timeout, a.reason)
	}
	a.reason = cut(a.reason, maxMessage)
	return a
}

// gap tells the author's code, or the log, of a gap.
func (s *subscription) gap(d *delivery, through uint64) {
	if s.onGap != nil {
		s.onGap(d, Gap{Through: through})
		return
	}
	d.log(hclog.Warn, "events were cut from the log before they could be delivered", []any{"through", through})
}
