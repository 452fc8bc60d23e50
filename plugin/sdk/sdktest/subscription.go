package sdktest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// Binding ties a subscription to a template, or to all tasks, with a config.
type Binding struct {
	// Namespace, Template and Version name the template. All empty = all tasks.
	Namespace, Template, Version string
	// Config is anything that marshals to JSON. Nil = none.
	Config any
}

// Verdict is what a subscriber answers.
type Verdict string

// The verdicts.
const (
	Acked    Verdict = "acked"    // done
	Retried  Verdict = "retried"  // to be delivered again
	Rejected Verdict = "rejected" // a dead letter
	Dropped  Verdict = "dropped"  // no answer: an event before it in its order is to be delivered again first
	Lost     Verdict = "lost"     // no answer: the stream, or the plugin, ended
)

// Answer is what became of an event.
type Answer struct {
	// Verdict is what the subscriber says.
	Verdict Verdict
	// Reason is why it was not acked.
	Reason string
	// Unavailable says that what the subscriber needs is not there: the event comes again, and nothing is counted.
	Unavailable bool
	// After is how long to wait before the event is delivered again. 0 = as the host says.
	After time.Duration
}

// Subscription is an open Deliver stream: it delivers events as a host does.
type Subscription struct {
	p      *Plugin
	name   string
	byTask bool

	stream     grpc.BidiStreamingClient[pluginv1.DeliverRequest, pluginv1.DeliverResponse]
	disconnect context.CancelFunc
	sendMu     sync.Mutex

	mu       sync.Mutex
	bindings []*pluginv1.Binding
	seq      uint64 // of the last event
	open     []*Delivered
	pongs    map[uint64]bool
	pings    uint64
	logs     []LogLine
	lines    int               // log lines handed out
	values   map[string][]byte // what can be fetched
	spans    []Span
	wrong    []string      // answers that no host can make sense of
	ended    error         // why the stream has ended
	changed  chan struct{} // closed and replaced at every frame
}

// Delivered is an event that was sent to a subscriber.
type Delivered struct {
	s      *Subscription
	wire   *pluginv1.SequencedEvent
	task   string
	answer Answer // guarded by the subscription's lock
	done   chan struct{}
}

// Subscribe opens the stream of a subscription. The bindings have the numbers from 1 on. The test fails at its end if
// the subscriber has answered what it was not asked.
func (p *Plugin) Subscribe(tb testing.TB, name string, bindings ...Binding) *Subscription {
	tb.Helper()
	s := &Subscription{
		p: p, name: name, pongs: make(map[uint64]bool), values: make(map[string][]byte), changed: make(chan struct{}),
	}
	i := slices.IndexFunc(p.manifest.GetSubscriptions(), func(sub *pluginv1.SubscriptionSpec) bool { return sub.GetName() == name })
	if i < 0 {
		tb.Fatalf("plugin %s has no subscription %q", p.manifest.GetName(), name)
	}
	s.byTask = p.manifest.GetSubscriptions()[i].GetOrder() == pluginv1.DeliveryOrder_DELIVERY_ORDER_TASK
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	s.disconnect = cancel
	var err error
	if s.stream, err = pluginv1.NewEventServiceClient(p.conn).Deliver(ctx); err != nil {
		cancel()
		tb.Fatalf("deliver to %s: %v", name, err)
	}
	var reader sync.WaitGroup
	reader.Go(s.read)
	tb.Cleanup(func() {
		cancel()
		reader.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, wrong := range s.wrong {
			tb.Errorf("subscription %s: %s", name, wrong)
		}
	})
	s.send(tb, &pluginv1.DeliverRequest{Kind: &pluginv1.DeliverRequest_Open{
		Open: &pluginv1.Open{Subscription: name, Bindings: s.bind(tb, bindings), TraceShare: p.share},
	}})
	return s
}

// Rebind replaces the bindings for the events that follow.
func (s *Subscription) Rebind(tb testing.TB, bindings ...Binding) {
	tb.Helper()
	s.send(tb, &pluginv1.DeliverRequest{Kind: &pluginv1.DeliverRequest_Bindings{Bindings: s.bind(tb, bindings)}})
}

func (s *Subscription) bind(tb testing.TB, bindings []Binding) *pluginv1.Bindings {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bindings = nil
	for i, b := range bindings {
		config, err := document(b.Config)
		if err != nil {
			tb.Fatalf("binding %d: %v", i+1, err)
		}
		wire := &pluginv1.Binding{Id: uint32(i + 1), Config: config}
		if b.Namespace+b.Template+b.Version != "" {
			wire.Template = &pluginv1.TemplateRef{Namespace: b.Namespace, Name: b.Template, Version: b.Version}
		}
		s.bindings = append(s.bindings, wire)
	}
	return &pluginv1.Bindings{Bindings: s.bindings}
}

// Deliver delivers one event and waits for the answer.
func (s *Subscription) Deliver(tb testing.TB, e Event) Answer {
	tb.Helper()
	return s.Send(tb, e)[0].Wait(tb)
}

// Send delivers events, in one batch, and does not wait.
func (s *Subscription) Send(tb testing.TB, events ...Event) []*Delivered {
	tb.Helper()
	batch := make([]*Delivered, len(events))
	for i, e := range events {
		batch[i] = s.next(tb, e)
	}
	s.deliver(tb, 0, batch...)
	return batch
}

// Gap says that events up to a sequence were cut from the log. Later events have higher ones.
func (s *Subscription) Gap(tb testing.TB, through uint64) {
	tb.Helper()
	s.mu.Lock()
	s.seq = max(s.seq, through)
	s.mu.Unlock()
	s.deliver(tb, through)
}

// Store keeps a value for the subscriber to fetch, and returns what stands in for it in an event.
func (s *Subscription) Store(tb testing.TB, v any) *event.Ref {
	tb.Helper()
	doc, err := document(v)
	if err != nil {
		tb.Fatalf("store a value: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ref := fmt.Sprintf("value-%d", len(s.values)+1)
	s.values[ref] = doc
	return &event.Ref{Ref: ref, Size: int64(len(doc))}
}

// Ping asks for a sign of life and waits for it.
func (s *Subscription) Ping(tb testing.TB) {
	tb.Helper()
	s.mu.Lock()
	s.pings++
	nonce := s.pings
	s.mu.Unlock()
	s.send(tb, &pluginv1.DeliverRequest{Kind: &pluginv1.DeliverRequest_Ping{Ping: &pluginv1.Ping{Nonce: nonce}}})
	s.await(tb, "pong", func() bool { return s.pongs[nonce] })
}

// Log waits for the next log line that was not returned yet.
func (s *Subscription) Log(tb testing.TB) LogLine {
	tb.Helper()
	var l LogLine
	s.await(tb, "log line", func() bool {
		if s.lines == len(s.logs) {
			return false
		}
		l = s.logs[s.lines]
		s.lines++
		return true
	})
	return l
}

// Spans returns the spans of the deliveries that were answered. Every delivery has one, unless the subscriber is untraced or the
// event's trace is not recorded.
func (s *Subscription) Spans() []Span {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.spans)
}

// Close says that no further events come and waits until the subscriber has answered those that came.
func (s *Subscription) Close(tb testing.TB) {
	tb.Helper()
	s.sendMu.Lock()
	err := s.stream.CloseSend()
	s.sendMu.Unlock()
	if err != nil {
		tb.Fatalf("close subscription %s: %v", s.name, err)
	}
	if err := s.End(tb); !errors.Is(err, io.EOF) {
		tb.Fatalf("subscription %s ended with %v", s.name, err)
	}
}

// Disconnect breaks the stream, as a host that dies does.
func (s *Subscription) Disconnect() { s.disconnect() }

// End waits until the stream has ended and returns why: [io.EOF] for an end in order.
func (s *Subscription) End(tb testing.TB) error {
	tb.Helper()
	timeout := time.After(s.p.patience)
	for {
		s.mu.Lock()
		ended, changed := s.ended, s.changed
		s.mu.Unlock()
		if ended != nil {
			return ended
		}
		select {
		case <-changed:
		case <-timeout:
			tb.Fatalf("subscription %s has not ended after %s", s.name, s.p.patience)
		}
	}
}

// Wait waits for what becomes of the event.
func (d *Delivered) Wait(tb testing.TB) Answer {
	tb.Helper()
	select {
	case <-d.done:
	case <-time.After(d.s.p.patience):
		tb.Fatalf("event %d of subscription %s has no answer after %s", d.wire.GetSeq(), d.s.name, d.s.p.patience)
	}
	d.s.mu.Lock()
	defer d.s.mu.Unlock()
	return d.answer
}

// Redeliver delivers the same event again.
func (d *Delivered) Redeliver(tb testing.TB) *Delivered {
	tb.Helper()
	return d.s.Redeliver(tb, d)[0]
}

// Redeliver delivers events again, in one batch; they may have been those of another stream, such as one that was
// open before the plugin was started anew.
func (s *Subscription) Redeliver(tb testing.TB, events ...*Delivered) []*Delivered {
	tb.Helper()
	batch := make([]*Delivered, len(events))
	s.mu.Lock()
	for i, d := range events {
		s.seq = max(s.seq, d.wire.GetSeq())
		batch[i] = &Delivered{s: s, task: d.task, done: make(chan struct{}), wire: &pluginv1.SequencedEvent{
			Seq: d.wire.GetSeq(), Event: d.wire.GetEvent(), Delivery: d.wire.GetDelivery() + 1, Binding: d.wire.GetBinding(),
		}}
	}
	s.mu.Unlock()
	s.deliver(tb, 0, batch...)
	return batch
}

// deliver sends a batch.
func (s *Subscription) deliver(tb testing.TB, gap uint64, batch ...*Delivered) {
	tb.Helper()
	out := &pluginv1.Batch{GapThrough: gap}
	s.sendMu.Lock() // no Restart between what is taken down here and what is sent
	defer s.sendMu.Unlock()
	s.mu.Lock()
	for _, d := range batch {
		out.Events = append(out.Events, d.wire)
		s.open = append(s.open, d)
	}
	ended := s.ended
	s.mu.Unlock()
	if ended != nil {
		tb.Fatalf("subscription %s takes no events: %v", s.name, ended)
	}
	if err := s.stream.Send(&pluginv1.DeliverRequest{Kind: &pluginv1.DeliverRequest_Batch{Batch: out}}); err != nil {
		tb.Fatalf("send to subscription %s: %v", s.name, err)
	}
}

func (s *Subscription) send(tb testing.TB, req *pluginv1.DeliverRequest) {
	tb.Helper()
	if err := s.write(req); err != nil {
		tb.Fatalf("send to subscription %s: %v", s.name, err)
	}
}

func (s *Subscription) write(req *pluginv1.DeliverRequest) error {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	return s.stream.Send(req)
}

// await waits until have is true; it is called with the lock held.
func (s *Subscription) await(tb testing.TB, what string, have func() bool) {
	tb.Helper()
	timeout := time.After(s.p.patience)
	for {
		s.mu.Lock()
		ok, ended, changed := have(), s.ended, s.changed
		s.mu.Unlock()
		switch {
		case ok:
			return
		case ended != nil:
			tb.Fatalf("subscription %s ended without a %s: %v", s.name, what, ended)
		}
		select {
		case <-changed:
		case <-timeout:
			tb.Fatalf("no %s of subscription %s after %s", what, s.name, s.p.patience)
		}
	}
}

// read takes what the subscriber says.
func (s *Subscription) read() {
	for {
		frame, err := s.stream.Recv()
		if frame.GetRetry() != nil {
			s.retried(frame.GetRetry())
			continue
		}
		s.mu.Lock()
		if err != nil {
			s.ended = err
			for _, d := range s.open {
				d.end(Answer{Verdict: Lost, Reason: err.Error()})
			}
			s.open = nil
		} else {
			s.take(frame)
		}
		close(s.changed)
		s.changed = make(chan struct{})
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// take takes one frame. The lock is held.
func (s *Subscription) take(frame *pluginv1.DeliverResponse) {
	switch k := frame.GetKind().(type) {
	case *pluginv1.DeliverResponse_Ack:
		s.acked(k.Ack)
	case *pluginv1.DeliverResponse_Reject:
		s.answered(k.Reject.GetSeq(), Answer{Verdict: Rejected, Reason: k.Reject.GetReason()})
	case *pluginv1.DeliverResponse_Pong:
		s.pongs[k.Pong.GetNonce()] = true
	case *pluginv1.DeliverResponse_Log:
		s.logs = append(s.logs, LogLine{Level: k.Log.GetLevel(), Message: k.Log.GetMessage(), Fields: k.Log.GetFields()})
	case *pluginv1.DeliverResponse_Spans:
		spans, err := decodeSpans(k.Spans.GetOtlp())
		if err != nil {
			s.wrong = append(s.wrong, err.Error())
		}
		s.spans = append(s.spans, spans...)
	case *pluginv1.DeliverResponse_Fetch:
		go s.answer(k.Fetch, s.values[k.Fetch.GetRef()])
	}
}

// acked takes an Ack. The lock is held.
func (s *Subscription) acked(a *pluginv1.Ack) {
	if through := a.GetThrough(); through > 0 {
		if s.byTask {
			s.wrong = append(s.wrong, fmt.Sprintf("it acks through %d, which means nothing in the order of tasks", through))
		}
		before := len(s.open)
		s.open = slices.DeleteFunc(s.open, func(d *Delivered) bool {
			if d.wire.GetSeq() > through {
				return false
			}
			d.end(Answer{Verdict: Acked})
			return true
		})
		if before == len(s.open) {
			s.wrong = append(s.wrong, fmt.Sprintf("it acks through %d, which it was not asked", through))
		}
	}
	for _, seq := range a.GetSeqs() {
		s.answered(seq, Answer{Verdict: Acked})
	}
}

// answered takes the answer for one event. The lock is held.
func (s *Subscription) answered(seq uint64, a Answer) {
	i := slices.IndexFunc(s.open, func(d *Delivered) bool { return d.wire.GetSeq() == seq })
	if i < 0 {
		s.wrong = append(s.wrong, fmt.Sprintf("event %d is %s, which it was not asked", seq, a.Verdict))
		return
	}
	d := s.open[i]
	s.open = slices.Delete(s.open, i, i+1)
	d.end(a)
}

// retried takes a Retry and restarts the lane, without what waits in it. What breaks the stream is seen elsewhere.
func (s *Subscription) retried(r *pluginv1.Retry) {
	s.sendMu.Lock()
	defer s.sendMu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.open, func(d *Delivered) bool { return d.wire.GetSeq() == r.GetSeq() })
	task := ""
	if i >= 0 && s.byTask {
		task = s.open[i].task
	}
	_ = s.stream.Send(&pluginv1.DeliverRequest{Kind: &pluginv1.DeliverRequest_Restart{Restart: &pluginv1.Restart{TaskId: task}}})
	s.answered(r.GetSeq(), Answer{
		Verdict: Retried, Reason: r.GetReason(), After: r.GetAfter().AsDuration(), Unavailable: r.GetUnavailable(),
	})
	s.open = slices.DeleteFunc(s.open, func(d *Delivered) bool {
		if s.byTask && d.task != task {
			return false
		}
		d.end(Answer{Verdict: Dropped})
		return true
	})
}

// end says what became of the event. The lock is held.
func (d *Delivered) end(a Answer) {
	d.answer = a
	close(d.done)
}

// answer sends a value that was asked for, in parts. What breaks the stream is seen elsewhere.
func (s *Subscription) answer(f *pluginv1.EventFetch, doc []byte) {
	const part = 256 << 10
	if doc == nil {
		_ = s.write(eventChunk(&pluginv1.EventChunk{FetchId: f.GetId(), Last: true, Error: "no such value"}))
		return
	}
	for {
		n := min(part, len(doc))
		c := &pluginv1.EventChunk{FetchId: f.GetId(), Data: doc[:n], Last: n == len(doc)}
		if err := s.write(eventChunk(c)); err != nil || c.GetLast() {
			return
		}
		doc = doc[n:]
	}
}

func eventChunk(c *pluginv1.EventChunk) *pluginv1.DeliverRequest {
	return &pluginv1.DeliverRequest{Kind: &pluginv1.DeliverRequest_Chunk{Chunk: c}}
}

// example returns the example of an event, nil when there is none.
func (s *Subscription) example(name string) json.RawMessage {
	if e, ok := event.Lookup(name); ok {
		return e.Example
	}
	for _, e := range s.p.manifest.GetEmits() {
		if e.GetName() == name {
			return e.GetExample()
		}
	}
	return nil
}
