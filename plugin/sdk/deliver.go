package sdk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// deliveries holds the Deliver streams of the process.
type deliveries struct {
	decl *declaration
	log  hclog.Logger
	disp *dispatcher

	mu       sync.Mutex
	streams  map[string]*deliverStream // by subscription; the newest
	draining bool
}

// deliver serves one stream of one subscription.
func (ds *deliveries) deliver(stream grpc.BidiStreamingServer[pluginv1.DeliverRequest, pluginv1.DeliverResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	open := first.GetOpen()
	if open == nil {
		return status.Error(codes.InvalidArgument, "the first frame of a Deliver stream is an Open")
	}
	sub := ds.decl.subscription(open.GetSubscription())
	if sub == nil {
		return status.Errorf(codes.NotFound, "plugin %s %s has no subscription %q", ds.decl.plugin.Name, ds.decl.plugin.Version, open.GetSubscription())
	}
	s := newDeliverStream(ds, sub, open.GetTraceShare())
	s.bind(open.GetBindings())
	defer s.unbind()
	ds.add(s)
	defer ds.remove(s)
	ctx, stop := context.WithCancel(stream.Context())
	defer stop()
	go s.sendFrames(ctx, stream)

	err = s.receive(stream)
	if err == nil { // the host sends no more; what it has sent is handled
		err = s.rest(ctx)
	}
	s.end(ReasonHostGone)
	stop()
	<-s.flushed
	return err
}

// add makes s the stream of its subscription. An older one ends, and is given time to end what it runs: the host
// opens a new one when it has given up the old one.
func (ds *deliveries) add(s *deliverStream) {
	ds.mu.Lock()
	older, draining := ds.streams[s.sub.name], ds.draining
	ds.streams[s.sub.name] = s
	ds.mu.Unlock()
	if older == nil {
		s.start(draining)
		return
	}
	older.end(ReasonStopped)
	go func() {
		patience := time.NewTimer(stopGrace)
		defer patience.Stop()
		select {
		case <-older.settled:
		case <-patience.C:
			ds.log.Warn("a subscriber goes on after its context has ended: the same events are handled beside it", "subscription", s.sub.name)
		case <-s.ctx.Done():
		}
		s.start(draining)
	}()
}

// remove forgets a stream that has ended, unless it still runs something.
func (ds *deliveries) remove(s *deliverStream) {
	if !isClosed(s.settled) {
		return
	}
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if ds.streams[s.sub.name] == s {
		delete(ds.streams, s.sub.name)
	}
}

// each calls fn for every stream.
func (ds *deliveries) each(fn func(*deliverStream)) {
	ds.mu.Lock()
	defer ds.mu.Unlock()
	for _, s := range ds.streams {
		fn(s)
	}
}

// drain lets no further event be handled.
func (ds *deliveries) drain() {
	ds.mu.Lock()
	ds.draining = true
	ds.mu.Unlock()
	ds.each((*deliverStream).stop)
}

// untilIdle waits until no event is being handled and all answers are on their way, or ctx ends.
func (ds *deliveries) untilIdle(ctx context.Context) {
	var open []*deliverStream
	ds.each(func(s *deliverStream) { open = append(open, s) })
	for _, s := range open {
		select {
		case <-s.settled:
		case <-ctx.Done():
			return
		}
		select {
		case <-s.flush():
		case <-s.flushed:
		case <-ctx.Done():
			return
		}
	}
}

// cancelAll cancels what is being handled.
func (ds *deliveries) cancelAll(reason string) {
	ds.each(func(s *deliverStream) { s.cancel(&CancelError{Reason: reason}) })
}

// How long an Ack may wait for further ones while more events are handled, and for how many.
const (
	ackGather = time.Millisecond
	ackEvents = 256
)

// deliverStream is one Deliver stream.
type deliverStream struct {
	all      *deliveries
	sub      *subscription
	byTask   bool // a lane per task
	timeout  time.Duration
	share    float64         // of traces, whose deliveries get spans
	ctx      context.Context //nolint:containedctx // of all that is handled for the stream
	cancel   context.CancelCauseFunc
	declared *binding
	bindings map[uint32]*binding // only for the receiver
	wake     chan struct{}       // there is something to send
	flushed  chan struct{}       // closed when the sender has ended
	settled  chan struct{}       // closed when nothing is handled and nothing will be
	fetching chan struct{}       // holds a value for each fetch that is under way

	mu    sync.Mutex
	lanes lanes

	queue     []outgoing
	ack       *pluginv1.Ack   // the last answer in the queue, which further ones are merged into; nil: it is no Ack
	acks      int             // events that ack stands for
	gather    *time.Timer     // wakes the sender for it
	spans     *pluginv1.Spans // the last ones in the queue, which further ones are added to; nil: there is no room
	spanCount int             // in spans
	spansLost int             // since the last one that was queued
	spanBytes int             // in the queue
	logs      int             // log lines in the queue
	dropped   int             // log lines dropped since the last one that was taken
	ended     bool            // nothing is queued any more
	closing   bool            // the sender ends when the queue is empty
	fetches   map[uint64]*eventFetch
	lastFetch uint64
}

// outgoing is a frame that waits to be sent, or a mark between frames that is closed when they were.
type outgoing struct {
	frame *pluginv1.DeliverResponse
	mark  chan struct{}
}

func newDeliverStream(ds *deliveries, sub *subscription, share float64) *deliverStream {
	s := &deliverStream{
		all: ds, sub: sub, declared: &binding{sub: sub}, byTask: sub.options.Order == TaskOrder, timeout: sub.options.Timeout,
		wake: make(chan struct{}, 1), flushed: make(chan struct{}), settled: make(chan struct{}), fetches: make(map[uint64]*eventFetch),
		fetching: make(chan struct{}, maxEventFetches), share: share,
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	if s.timeout == 0 {
		s.timeout = DefaultEventTimeout
	}
	s.gather = time.AfterFunc(ackGather, func() { wake(s.wake) })
	s.gather.Stop()
	s.lanes.init(s)
	return s
}

// bind takes the bindings that later events come through. Those that stay as they are keep what they have decoded.
func (s *deliverStream) bind(list *pluginv1.Bindings) {
	old := s.bindings
	s.bindings = map[uint32]*binding{0: s.declared}
	for _, b := range list.GetBindings() {
		if b.GetId() == 0 {
			continue
		}
		is := old[b.GetId()]
		if is == nil || !bytes.Equal(is.config, b.GetConfig()) {
			is = &binding{sub: s.sub, config: b.GetConfig()}
			if s.sub.config != nil {
				go func() { _ = is.ready(s) }() // reported
			}
		}
		s.bindings[b.GetId()] = is
	}
	for id, was := range old {
		if s.bindings[id] != was {
			s.all.disp.forgive(was)
		}
	}
}

// unbind forgets what is wrong with the bindings.
func (s *deliverStream) unbind() {
	for _, b := range s.bindings {
		s.all.disp.forgive(b)
	}
}

// receive takes frames until the host sends no more, which is no error. It never waits for what is handled.
func (s *deliverStream) receive(stream grpc.BidiStreamingServer[pluginv1.DeliverRequest, pluginv1.DeliverResponse]) error {
	var items []item
	for {
		req, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch k := req.GetKind().(type) {
		case *pluginv1.DeliverRequest_Batch:
			items = s.items(items[:0], k.Batch)
			s.enqueue(items)
			clear(items)
		case *pluginv1.DeliverRequest_Ping:
			s.say(&pluginv1.DeliverResponse{Kind: &pluginv1.DeliverResponse_Pong{Pong: &pluginv1.Pong{Nonce: k.Ping.GetNonce()}}})
		case *pluginv1.DeliverRequest_Restart:
			s.restart(k.Restart.GetTaskId())
		case *pluginv1.DeliverRequest_Bindings:
			s.bind(k.Bindings)
		case *pluginv1.DeliverRequest_Chunk:
			s.chunk(k.Chunk)
		}
	}
}

// items makes a batch ready for the lanes.
func (s *deliverStream) items(items []item, b *pluginv1.Batch) []item {
	if through := b.GetGapThrough(); through > 0 {
		items = append(items, item{gap: through})
	}
	for _, e := range b.GetEvents() {
		it := item{seq: e.GetSeq(), event: e.GetEvent(), number: e.GetDelivery(), binding: s.bindings[e.GetBinding()]}
		if s.byTask {
			it.task = taskOf(it.event)
		}
		items = append(items, it)
	}
	return items
}

// say queues a frame.
func (s *deliverStream) say(frame *pluginv1.DeliverResponse) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.push(frame)
}

// push queues a frame. The lock is held.
func (s *deliverStream) push(frame *pluginv1.DeliverResponse) {
	if !s.ended {
		s.queue = append(s.queue, outgoing{frame: frame})
		wake(s.wake)
	}
}

// log queues a log line. Those beyond the limit are dropped.
func (s *deliverStream) log(line *pluginv1.Log) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.logs >= maxQueuedLogs {
		s.dropped++
		return
	}
	if s.dropped > 0 {
		s.push(&pluginv1.DeliverResponse{Kind: &pluginv1.DeliverResponse_Log{Log: &pluginv1.Log{
			Level: hclog.Warn.String(), Message: fmt.Sprintf("%d log lines of this subscription were dropped: the host did not keep up", s.dropped),
		}}})
		s.dropped = 0
	}
	s.push(&pluginv1.DeliverResponse{Kind: &pluginv1.DeliverResponse_Log{Log: line}})
	s.logs++
}

// answer is how an event ended.
type answer struct {
	failed bool // else it is done
	final  bool // it failed and shall not come again
	away   bool // it failed for no fault of its own
	after  time.Duration
	reason string
}

// answered queues an answer. Answers keep their order: an Ack stands for all that was sent before it and has no
// answer. The lock is held.
func (s *deliverStream) answered(seq uint64, a answer) {
	switch {
	case a.final:
		s.ack = nil
		s.push(&pluginv1.DeliverResponse{Kind: &pluginv1.DeliverResponse_Reject{Reject: &pluginv1.Reject{Seq: seq, Reason: a.reason}}})
	case a.failed:
		s.ack = nil
		r := &pluginv1.Retry{Seq: seq, Reason: a.reason, Unavailable: a.away}
		if a.after > 0 {
			r.After = durationpb.New(a.after)
		}
		s.push(&pluginv1.DeliverResponse{Kind: &pluginv1.DeliverResponse_Retry{Retry: r}})
	default:
		s.acked(seq)
	}
}

// acked queues an Ack, or merges it into the last answer. It goes with the next frame, when nothing else waits to be
// handled, or when it stands for many events, but not much later than now. The lock is held.
func (s *deliverStream) acked(seq uint64) {
	switch {
	case s.ended:
		return
	case s.ack == nil:
		s.ack, s.acks = &pluginv1.Ack{}, 0
		s.queue = append(s.queue, outgoing{frame: &pluginv1.DeliverResponse{Kind: &pluginv1.DeliverResponse_Ack{Ack: s.ack}}})
		s.gather.Reset(ackGather)
	}
	if s.byTask {
		s.ack.Seqs = append(s.ack.Seqs, seq)
	} else {
		s.ack.Through = seq
	}
	if s.acks++; s.acks == ackEvents {
		s.tellAcks()
	}
}

// tellAcks has the sender send an Ack that waits. The lock is held.
func (s *deliverStream) tellAcks() {
	if s.ack != nil {
		s.gather.Stop()
		wake(s.wake)
	}
}

// flush returns a channel that is closed when all that is queued now was sent.
func (s *deliverStream) flush() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	mark := make(chan struct{})
	if s.ended {
		close(mark)
		return mark
	}
	s.queue = append(s.queue, outgoing{mark: mark})
	wake(s.wake)
	return mark
}

// sendFrames sends what is queued, until the stream ends.
func (s *deliverStream) sendFrames(ctx context.Context, stream grpc.BidiStreamingServer[pluginv1.DeliverRequest, pluginv1.DeliverResponse]) {
	defer close(s.flushed)
	var frames []outgoing
	for {
		var last bool
		frames, last = s.takeFrames(frames)
		for _, f := range frames {
			if f.mark != nil {
				close(f.mark)
			} else if err := stream.Send(f.frame); err != nil {
				s.end(ReasonHostGone)
				return
			}
		}
		if len(frames) > 0 {
			continue
		}
		if last {
			return
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return
		}
	}
}

// takeFrames takes the queue and leaves an empty one in its place. Last = nothing will be queued any more.
func (s *deliverStream) takeFrames(empty []outgoing) (frames []outgoing, last bool) {
	clear(empty)
	s.mu.Lock()
	defer s.mu.Unlock()
	frames, s.queue = s.queue, empty[:0]
	s.ack, s.spans, s.spanBytes, s.logs = nil, nil, 0, 0
	return frames, s.closing
}

// rest waits until all that the host has sent is handled and answered.
func (s *deliverStream) rest(ctx context.Context) error {
	s.mu.Lock()
	s.lanes.closing = true
	s.settle()
	s.mu.Unlock()
	select {
	case <-s.settled:
	case <-ctx.Done():
		return ctx.Err()
	}
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	wake(s.wake)
	select {
	case <-s.flushed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// end stops taking answers, cancels what is being handled and drops what is not.
func (s *deliverStream) end(reason string) {
	s.mu.Lock()
	s.ended, s.queue, s.ack = true, nil, nil
	s.gather.Stop()
	s.mu.Unlock()
	s.cancel(&CancelError{Reason: reason})
	s.stop()
}
