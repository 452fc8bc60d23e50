package runner

import (
	"container/heap"
	"hash/fnv"
	"io"
	"slices"
	"time"

	"github.com/tasker-engine/tasker/host/internal/engine"
	"github.com/tasker-engine/tasker/host/internal/measure"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// pool is what is known of one plugin: its instances and who waits for a slot.
type pool struct {
	instances []*instance                    // in the order in which they became ready
	queues    map[task.HandlerRef]*readyHeap // by handler as the steps name it
	waiting   int                            // in all queues
	queueTime *measure.Histogram             // from ready to claimed; nil = not measured
	// successor is the instance that gets a share of the tasks, and the others the rest;
	// empty = whoever is ready gets all.
	successor string
	share     float64
}

// instance is one process that takes work. A slot is taken by being in slots.
type instance struct {
	task.Instance

	draining bool
	alone    bool // it holds the attempt of a suspect
	full     bool // it refused an attempt, because somebody is alone in it or wants to be
	wishes   bool // it was a suspect's, which waits for its turn
	slots    map[task.AttemptID]*slot
	sends    []*task.Assignment // in this round
	vacated  []func(error)      // who waits until no slot is taken
}

// slot is an attempt that an instance holds, from the reservation on with which a step's
// next attempt is claimed.
type slot struct {
	id       task.AttemptID
	instance *instance
	handler  string
	suspect  bool
	left     bool // it was told to end: nobody waits for it
	claim    engine.Claim

	saved   time.Time         // when its last checkpoint was stored
	pending *store.Checkpoint // the newest, not stored yet
	flush   *timer            // armed while a checkpoint is pending
}

// input is the claim that a slot was reserved for.
func (s *slot) input() input { return input{in: &s.claim, claim: s} }

func (r *Runner) pool(plugin string) *pool {
	p, ok := r.pools[plugin]
	if !ok {
		p = &pool{queues: make(map[task.HandlerRef]*readyHeap), queueTime: r.meters.newQueueTime()}
		r.pools[plugin] = p
	}
	return p
}

// handler returns the handler that a step wants: the version that its first claim
// resolved, if there was one.
func handlerOf(e *entry, o task.Ordinal) task.HandlerRef {
	ref := e.agg.Template.Steps[o].Handler
	if s := e.agg.Step(o).Settings; s != nil {
		ref.Version = s.HandlerVersion
	}
	return ref
}

// reserve takes a slot for a step that just became ready, nil when none is free or
// others have waited longer.
func (r *Runner) reserve(e *entry, o task.Ordinal) *slot {
	ref := handlerOf(e, o)
	p := r.pool(ref.Plugin)
	if p.waiting > 0 && (p.queues[ref] != nil && p.queues[ref].Len() > 0 || p.suspectWaits()) {
		return nil
	}
	c := r.take1(p, ref, e, o)
	if c != nil {
		p.queueTime.Observe(0)
	}
	return c
}

// take1 takes a slot of the plugin for the step if one is free.
func (r *Runner) take1(p *pool, ref task.HandlerRef, e *entry, o task.Ordinal) *slot {
	if !r.intake {
		return nil
	}
	suspect := isSuspect(e, o)
	inst, offer := p.free(ref, e.agg.Task.ID, suspect)
	for inst != nil && !r.plugins.Join(inst.ID, suspect) {
		inst.full, inst.wishes = true, suspect
		inst, offer = p.free(ref, e.agg.Task.ID, suspect)
	}
	if inst == nil {
		return nil
	}
	inst.alone = suspect
	id := task.AttemptID{Task: e.agg.Task.ID, Ordinal: o, Number: e.agg.Step(o).Attempts + 1}
	s := &slot{
		id: id, instance: inst, handler: ref.Handler, suspect: suspect,
		claim: engine.Claim{Ordinal: o, Instance: inst.ID, Offer: offer},
	}
	inst.slots[id] = s
	return s
}

// free returns the newest instance that offers the handler, has a slot for it, and may
// have the task.
func (p *pool) free(ref task.HandlerRef, id task.ID, suspect bool) (*instance, *task.Offer) {
	if p.successor == "" {
		return p.freeAmong(ref, suspect, func(*instance) bool { return true })
	}
	inst, offer := (*instance)(nil), (*task.Offer)(nil)
	if shareOf(id) < p.share {
		inst, offer = p.freeAmong(ref, suspect, func(i *instance) bool { return i.ID == p.successor })
	}
	if inst == nil && !p.succeeded(ref) {
		inst, offer = p.freeAmong(ref, suspect, func(i *instance) bool { return i.ID != p.successor })
	}
	return inst, offer
}

// succeeded reports whether the successor gets all attempts of a handler: then its
// predecessor gets none, even if it has to be waited for.
func (p *pool) succeeded(ref task.HandlerRef) bool {
	return p.share >= 1 && slices.ContainsFunc(p.instances, func(i *instance) bool {
		return i.ID == p.successor && !i.draining && i.offer(ref) != nil
	})
}

// shareOf places a task between 0 and 1: the same one always at the same place, so that all
// of its steps go the same way.
func shareOf(id task.ID) float64 {
	h := fnv.New32a()
	_, _ = io.WriteString(h, string(id)) // a hash takes everything
	return float64(h.Sum32()) / (1 << 32)
}

func (p *pool) freeAmong(ref task.HandlerRef, suspect bool, may func(*instance) bool) (*instance, *task.Offer) {
	for _, inst := range slices.Backward(p.instances) {
		if inst.draining || len(inst.slots) >= inst.room(suspect) || !may(inst) {
			continue
		}
		offer := inst.offer(ref)
		if offer != nil && (offer.MaxConcurrency == 0 || inst.taken(ref.Handler) < offer.MaxConcurrency) {
			return inst, offer
		}
	}
	return nil, nil
}

// taken counts the slots that a handler has taken; only handlers with a limit of their
// own are asked for it.
func (inst *instance) taken(handler string) int {
	n := 0
	for _, s := range inst.slots {
		if s.handler == handler {
			n++
		}
	}
	return n
}

// offer returns what the instance offers for a reference: the version named, or the
// highest.
func (inst *instance) offer(ref task.HandlerRef) *task.Offer {
	var best *task.Offer
	for i := range inst.Offers {
		o := &inst.Offers[i]
		if o.Handler != ref.Handler || (ref.Version != 0 && o.Version != ref.Version) {
			continue
		}
		if best == nil || o.Version > best.Version {
			best = o
		}
	}
	return best
}

// holds reports whether a reserved slot is still there: its instance may have gone.
func (r *Runner) holds(s *slot) bool {
	return r.instances[s.instance.ID] == s.instance && s.instance.slots[s.id] == s
}

// release gives a reserved slot back; nil is fine.
func (r *Runner) release(s *slot) {
	if s != nil {
		r.freeSlot(s.instance, s.id)
	}
}

// freeSlot ends an attempt's hold on its instance and lets the next step in.
func (r *Runner) freeSlot(inst *instance, id task.AttemptID) {
	s, ok := inst.slots[id]
	if !ok {
		return
	}
	r.disarmFlush(s)
	delete(inst.slots, id)
	if len(inst.slots) == 0 {
		inst.tellVacated()
	}
	inst.alone = inst.alone && !s.suspect
	r.admit(inst.Plugin)
	r.vacate(inst)
}

// tellVacated answers who waits until the instance has nothing to do.
func (inst *instance) tellVacated() {
	for _, reply := range inst.vacated {
		reply(nil)
	}
	inst.vacated = nil
}

// enqueue puts a claimable step into the queue of its handler.
func (r *Runner) enqueue(e *entry, o task.Ordinal) {
	if e.queued[o] != nil {
		return
	}
	if e.queued == nil {
		e.queued = make(map[task.Ordinal]*ready)
	}
	ref := handlerOf(e, o)
	p := r.pool(ref.Plugin)
	q := p.queues[ref]
	if q == nil {
		q = &readyHeap{pool: p}
		p.queues[ref] = q
	}
	r.arrivals++
	item := &ready{entry: e, ordinal: o, suspect: isSuspect(e, o), priority: e.agg.Priority(o), n: r.arrivals, since: r.meters.began, queue: q}
	e.queued[o] = item
	heap.Push(q, item)
	p.waiting++
	r.want(ref.Plugin, p)
}

// want tells that steps wait for a plugin that has no instance.
func (r *Runner) want(plugin string, p *pool) {
	if r.opts.Wanted != nil && p.waiting > 0 && len(p.instances) == 0 {
		r.opts.Wanted(plugin)
	}
}

// dequeue takes the steps of a task that is forgotten out of the queues.
func (r *Runner) dequeue(e *entry) {
	for _, item := range e.queued {
		heap.Remove(item.queue, item.index)
		item.queue.pool.waiting--
	}
	e.queued = nil
}

// admit gives the free slots of a plugin to the steps that have waited longest, higher
// priority first, across its handlers.
func (r *Runner) admit(plugin string) {
	p := r.pool(plugin)
	for r.intake && p.waiting > 0 {
		var best *readyHeap
		var ref task.HandlerRef
		for h, q := range p.queues {
			if q.Len() == 0 || (best != nil && !q.items[0].before(best.items[0])) {
				continue
			}
			head := q.items[0]
			if inst, _ := p.free(h, head.entry.agg.Task.ID, head.suspect); inst != nil {
				best, ref = q, h
			} else if head.suspect && p.offered(h) {
				return // it goes before all others
			}
		}
		if best == nil {
			return
		}
		next := best.items[0]
		e := next.entry
		now := r.now(e)
		var c *slot
		claimable := e.agg.Claimable(next.ordinal, now)
		if claimable {
			if c = r.take1(p, ref, e, next.ordinal); c == nil {
				continue // its instance is full: it goes to another one, or waits
			}
		}
		heap.Pop(best)
		delete(e.queued, next.ordinal)
		p.waiting--
		if !claimable {
			r.arm(e, next.ordinal, now) // it was cancelled or paused, or the clock was set back
			continue
		}
		p.queueTime.Observe(int64(r.meters.began.Sub(next.since)))
		r.add(e, c.input())
	}
}

// ready is a claimable step in a queue.
type ready struct {
	entry    *entry
	ordinal  task.Ordinal
	suspect  bool
	priority int32
	n        uint64    // order of arrival over all queues
	since    time.Time // when it was queued; zero = not measured
	queue    *readyHeap
	index    int // in the queue
}

func (a *ready) before(b *ready) bool {
	if a.suspect != b.suspect {
		return a.suspect
	}
	if a.priority != b.priority {
		return a.priority > b.priority
	}
	return a.n < b.n
}

// readyHeap orders steps by priority, then arrival.
type readyHeap struct {
	pool  *pool
	items []*ready
}

func (h *readyHeap) Len() int           { return len(h.items) }
func (h *readyHeap) Less(i, j int) bool { return h.items[i].before(h.items[j]) }
func (h *readyHeap) Swap(i, j int) {
	h.items[i], h.items[j] = h.items[j], h.items[i]
	h.items[i].index, h.items[j].index = i, j
}

func (h *readyHeap) Push(x any) {
	item := x.(*ready) //nolint:errcheck // only enqueue pushes
	item.index = len(h.items)
	h.items = append(h.items, item)
}

func (h *readyHeap) Pop() any {
	last := len(h.items) - 1
	x := h.items[last]
	h.items[last] = nil
	h.items = h.items[:last]
	return x
}
