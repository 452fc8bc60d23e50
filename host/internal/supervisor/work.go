package supervisor

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/task"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// Limits of what is fetched by reference.
const (
	maxFetches = 64        // waiting, per instance
	chunkBytes = 512 << 10 // of one part
)

// order is one entry of the outbox: an attempt to start or one to cancel.
type order struct {
	held       *held
	assignment *task.Assignment
	cancel     *pluginv1.Cancel // instead of both
}

// outbox is the queue of an instance's sender. It is bounded by the capacity that the
// runner respects.
type outbox struct {
	wake chan struct{} // capacity 1

	mu     sync.Mutex
	orders []order
	closed bool
}

func (o *outbox) put(orders ...order) {
	o.mu.Lock()
	if !o.closed {
		o.orders = append(o.orders, orders...)
	}
	o.mu.Unlock()
	notify(o.wake)
}

// take moves everything that waits behind what is waiting already.
func (o *outbox) take(waiting []order) []order {
	o.mu.Lock()
	defer o.mu.Unlock()
	waiting = append(waiting, o.orders...)
	clear(o.orders)
	o.orders = o.orders[:0]
	return waiting
}

func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.orders, o.closed = nil, true
}

// dispatch queues attempts; it never blocks. A draining instance takes none: its end
// says that they were not sent.
func (in *instance) dispatch(as []*task.Assignment) {
	orders := make([]order, 0, len(as))
	in.mu.Lock()
	for _, a := range as {
		if in.draining {
			break
		}
		if len(in.attempts) == in.leaked {
			in.sawLife() // an idle plugin does not tick
		}
		h := &held{
			id: a.ID, key: a.ID.String(), handler: a.Handler.Handler, meter: in.meters[a.Handler.Handler],
			step: a.Step, correlation: a.CorrelationID, traceparent: a.Traceparent, suspect: a.Suspect,
		}
		in.attempts[h.key] = h
		orders = append(orders, order{held: h, assignment: a})
	}
	in.mu.Unlock()
	in.outbox.put(orders...)
	notify(in.changed)
}

// cancelAttempt asks for the end of an attempt and counts its slot as leaked when it
// takes longer than the grace.
func (in *instance) cancelAttempt(id task.AttemptID, reason string) {
	key := id.String()
	in.mu.Lock()
	h, ok := in.attempts[key]
	if ok && isTimeout(reason) {
		h.count(outcomeTimedOut) // now: it may never end
	}
	if ok && h.timer == nil {
		h.timer = time.AfterFunc(in.opts.CancelGrace, func() { in.leak(key) })
	}
	in.mu.Unlock()
	if ok {
		in.outbox.put(order{cancel: &pluginv1.Cancel{AttemptId: key, Reason: reason}})
	}
}

// leak counts the slot of a cancelled attempt that did not end.
func (in *instance) leak(key string) {
	in.mu.Lock()
	if h, ok := in.attempts[key]; ok && !h.leaked {
		h.leaked = true
		in.leaked++
	}
	in.mu.Unlock()
	notify(in.changed)
	notify(in.idle)
}

// send frames what waits and sends it; nothing is delayed to fill a frame.
func (in *instance) send() {
	var waiting []order
	var chunk *pluginv1.Chunk
	for {
		waiting = in.outbox.take(waiting)
		if len(waiting) == 0 && chunk == nil {
			select {
			case <-in.outbox.wake:
			case chunk = <-in.chunks:
			case <-in.ctx.Done():
				return
			}
			continue
		}
		frame := &pluginv1.WorkRequest{}
		waiting = slices.Delete(waiting, 0, in.fill(frame, waiting))
		if chunk != nil {
			frame.Chunks, chunk = append(frame.Chunks, chunk), nil
		} else {
			select {
			case c := <-in.chunks:
				frame.Chunks = append(frame.Chunks, c)
			default:
			}
		}
		if err := in.work.Send(frame); err != nil {
			return // the receiver sees why
		}
	}
}

// fill puts orders into a frame until it is full, and returns how many of them are dealt
// with. Orders keep their order: a cancel never overtakes its attempt.
func (in *instance) fill(frame *pluginv1.WorkRequest, waiting []order) int {
	size, now := 0, in.clock()
	frame.Attempts = make([]*pluginv1.Attempt, 0, min(len(waiting), pluginv1.MaxFrameItems))
	for i, o := range waiting {
		if i == pluginv1.MaxFrameItems || size >= pluginv1.MaxFrameBytes {
			return i
		}
		if o.cancel != nil {
			frame.Cancels = append(frame.Cancels, o.cancel)
			continue
		}
		if in.dropUnsent(o.held) {
			continue
		}
		attempt, refs := toWireAttempt(o.held.key, o.assignment)
		sampled := in.place(attempt, o.assignment)
		n := proto.Size(attempt)
		if limit := pluginv1.MaxMessageBytes - frameOverhead; n > limit {
			in.refuseAttempt(o.held, fmt.Sprintf("attempt %s is %d bytes on the wire; the limit is %d", o.held.key, n, limit))
			continue
		}
		if size > 0 && size+n > pluginv1.MaxFrameBytes {
			return i
		}
		size += n
		in.offer(o.held, refs, sampled, now)
		frame.Attempts = append(frame.Attempts, attempt)
	}
	return len(waiting)
}

// dropUnsent forgets an attempt that a drain keeps from being sent.
func (in *instance) dropUnsent(h *held) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.draining {
		delete(in.attempts, h.key)
		notify(in.idle)
	}
	return in.draining
}

// frameOverhead is room for what a frame carries beside one large attempt: a chunk and
// the cancels.
const frameOverhead = 1 << 20

// offer notes that an attempt is sent, what it may fetch, and whether its trace is recorded.
func (in *instance) offer(h *held, refs []string, sampled bool, now time.Time) {
	in.mu.Lock()
	defer in.mu.Unlock()
	h.sent, h.refs, h.sampled, h.sentAt = true, refs, sampled, now
}

// refuseAttempt ends an attempt that cannot be sent.
func (in *instance) refuseAttempt(h *held, why string) {
	if in.finish(h.key) != nil {
		h.count(outcomeFailedForGood)
		in.opts.Sink.Reports([]task.Report{{
			ID: h.id, Instance: in.id, Kind: task.ReportFailed, Failure: hostFailure(task.CodeTooLarge, why),
		}})
	}
}

// receive turns frames into reports until the stream ends.
func (in *instance) receive() {
	defer close(in.received)
	emits, window := newEmits(in.manifest), newEmitWindow()
	for {
		frame, err := in.work.Recv()
		if err != nil {
			in.broken <- fmt.Errorf("work: %w", err)
			return
		}
		var reports []task.Report
		now := in.clock()
		for _, u := range frame.GetUpdates() {
			r, ok := in.update(u, emits, now)
			if ok && r.Kind == task.ReportEmitted && !window.tryTake(&r) {
				in.report(reports) // what is waited for may be among them
				reports = nil
				ok = window.take(in.ctx, &r)
			}
			if ok && reports == nil {
				reports = make([]task.Report, 0, len(frame.GetUpdates()))
			}
			if ok {
				reports = append(reports, r)
			}
		}
		in.report(reports)
	}
}

func (in *instance) report(reports []task.Report) {
	if len(reports) > 0 {
		in.opts.Sink.Reports(reports)
	}
}

// update takes one update, which came at a time; it returns a report when the update makes one.
func (in *instance) update(u *pluginv1.Update, emits *emits, now time.Time) (task.Report, bool) {
	key := u.GetAttemptId()
	in.mu.Lock()
	h, known := in.attempts[key]
	abandoned := in.abandoned
	in.mu.Unlock()
	if !known {
		in.launch.output.attempt(logkeys.About{Attempt: cut(key, maxNote)}, "warn", "dropped an update of an attempt that this instance does not hold", nil)
		return task.Report{}, false
	}
	out := in.launch.output
	switch k := u.GetKind().(type) {
	case *pluginv1.Update_Heartbeat:
		report, dropped := fromWireHeartbeat(h.id, in.id, k.Heartbeat)
		if dropped != "" {
			out.attempt(h.keys(), "warn", dropped, nil)
		}
		return report, true
	case *pluginv1.Update_Log:
		out.attempt(h.keys(), k.Log.GetLevel(), k.Log.GetMessage(), k.Log.GetFields())
	case *pluginv1.Update_Fetch:
		in.queueFetch(h, key, k.Fetch.GetRef())
	case *pluginv1.Update_Emit:
		e, err := emits.atOnce(k.Emit)
		if err != nil {
			out.attempt(h.keys(), "warn", cut("dropped an event: "+err.Error(), task.MaxErrorMessage), nil)
			return task.Report{}, false
		}
		return task.Report{ID: h.id, Instance: in.id, Kind: task.ReportEmitted, Emits: []task.Emit{e}}, true
	case *pluginv1.Update_Result:
		report := fromWireResult(h.id, in.id, k.Result)
		if abandoned && report.Kind == task.ReportFailed {
			return task.Report{}, false
		}
		if report.Kind == task.ReportSucceeded {
			report = withEmits(report, k.Result.GetEmits(), emits)
		}
		if in.finish(key) != nil {
			h.ended(&report, now, time.Duration(k.Result.GetTookNanos()))
		}
		return report, true
	case *pluginv1.Update_Spans:
		in.spans(h, k.Spans)
	default: // what later versions add
	}
	return task.Report{}, false
}

// withEmits returns the report of a success with its custom events; one that does not fit
// its declaration fails the attempt for good, because it would come again.
func withEmits(r task.Report, ws []*pluginv1.Emit, emits *emits) task.Report {
	es, err := emits.ofResult(ws)
	if err != nil {
		return task.Report{ID: r.ID, Instance: r.Instance, Kind: task.ReportFailed, Failure: &task.Failure{
			Kind: task.KindPermanent, Code: task.CodeInvalidEvent, Source: task.SourcePlugin,
			Message: cut(err.Error(), task.MaxErrorMessage),
		}}
	}
	r.Emits = es
	return r
}

// finish forgets an attempt that ended and returns it, nil when it was not held.
func (in *instance) finish(key string) *held {
	in.mu.Lock()
	h, ok := in.attempts[key]
	if ok {
		delete(in.attempts, key)
		if h.timer != nil {
			h.timer.Stop()
		}
		if h.leaked {
			in.leaked--
			notify(in.changed)
		}
	}
	empty := len(in.attempts) == in.leaked
	in.mu.Unlock()
	if ok {
		in.completed.Add(1)
		in.finished.Add(1)
	}
	if empty {
		notify(in.idle)
	}
	return h
}

// watch keeps the latest status.
func (in *instance) watch() {
	defer close(in.watched)
	for {
		resp, err := in.status.Recv()
		if err != nil {
			in.broken <- fmt.Errorf("watch: %w", err)
			return
		}
		in.sawLife()
		in.mu.Lock()
		same := proto.Equal(in.reported, resp.GetStatus())
		in.reported = resp.GetStatus()
		in.mu.Unlock()
		if !same {
			notify(in.changed)
		}
	}
}

// fetchRequest is a document that an attempt wants.
type fetchRequest struct {
	id      task.ID
	key     string // of the attempt
	ref     string
	refused string // why it is not answered, empty = it is
}

// queueFetch checks that a reference was offered and hands it to the fetcher. A full
// queue holds the receiver back, and so the plugin.
func (in *instance) queueFetch(h *held, key, ref string) {
	f := fetchRequest{id: h.id.Task, key: key, ref: ref}
	in.mu.Lock()
	if !slices.Contains(h.refs, ref) {
		f.refused = fmt.Sprintf("reference %q was not offered to this attempt", cut(ref, maxCode))
	}
	in.mu.Unlock()
	select {
	case in.fetches <- f:
	case <-in.ctx.Done():
	}
}

// fetch answers requests, one after the other.
func (in *instance) fetch() {
	for {
		select {
		case f := <-in.fetches:
			in.answer(f)
		case <-in.ctx.Done():
			return
		}
	}
}

func (in *instance) answer(f fetchRequest) {
	data, err := in.value(f)
	if err != nil {
		in.sendChunk(f, &pluginv1.Chunk{Last: true, Error: cut(err.Error(), maxNote)})
		return
	}
	for {
		n := min(len(data), chunkBytes)
		in.sendChunk(f, &pluginv1.Chunk{Data: data[:n], Last: n == len(data)})
		if data = data[n:]; len(data) == 0 {
			return
		}
	}
}

func (in *instance) value(f fetchRequest) ([]byte, error) {
	if f.refused != "" {
		return nil, errors.New(f.refused)
	}
	if in.opts.Values == nil {
		return nil, fmt.Errorf("reference %s: %w", f.ref, task.ErrNotFound)
	}
	return in.opts.Values.Value(in.ctx, f.id, f.ref)
}

// sendChunk hands a part to the sender, at its pace.
func (in *instance) sendChunk(f fetchRequest, c *pluginv1.Chunk) {
	c.AttemptId, c.Ref = f.key, f.ref
	select {
	case in.chunks <- c:
	case <-in.ctx.Done():
	}
}
