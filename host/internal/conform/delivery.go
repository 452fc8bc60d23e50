package conform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// feed is a subscription and what is delivered to it.
type feed struct {
	spec   *pluginv1.SubscriptionSpec
	config []byte // of a binding; nil = none
	events []occurrence
}

// occurrence is an event that may be delivered.
type occurrence struct {
	name    string
	payload []byte
}

// feeds returns the subscriptions to which something can be delivered.
func (t *trial) feeds() (feeds []feed) {
	for _, spec := range t.manifest.GetSubscriptions() {
		fixture := t.opts.Fixtures.Subscriptions[spec.GetName()]
		if fixture.Skip != "" {
			continue
		}
		f := feed{spec: spec, config: fixture.Config}
		if f.config == nil && spec.GetBound() && len(spec.GetConfigSchema()) > 0 {
			f.config = sample(spec.GetConfigSchema())
		}
		if f.events = t.examples(spec); len(f.events) > 0 {
			feeds = append(feeds, f)
		}
	}
	return feeds
}

// maxExamples is how many kinds of events are delivered at most.
const maxExamples = 24

// examples are events with an example that a subscription asks for.
func (t *trial) examples(spec *pluginv1.SubscriptionSpec) (found []occurrence) {
	asks := func(name string) bool {
		return slices.ContainsFunc(spec.GetEvents(), func(pattern string) bool { return event.Match(pattern, name) })
	}
	for _, e := range event.Catalog() {
		if asks(e.Name) {
			found = append(found, occurrence{e.Name, e.Example})
		}
	}
	for _, e := range t.manifest.GetEmits() {
		if asks(e.GetName()) && len(e.GetExample()) > 0 {
			found = append(found, occurrence{e.GetName(), e.GetExample()})
		}
	}
	return found[:min(len(found), maxExamples)]
}

// deliverStream is a Deliver stream and the book of the answers on it.
type deliverStream struct {
	s      *session
	feed   feed
	stream grpc.BidiStreamingClient[pluginv1.DeliverRequest, pluginv1.DeliverResponse]
	cancel context.CancelFunc
	sendMu sync.Mutex
	ended  chan struct{}

	mu       sync.Mutex
	next     uint64
	waiting  []*delivered // sent and not answered, by sequence
	problems []string
	texts    []string // reasons and log lines
	pongs    []uint64
	changed  chan struct{} // closed and replaced with each answer
	err      error
}

// delivered is an event on its way.
type delivered struct {
	wire   *pluginv1.SequencedEvent
	task   string
	answer string // ack, retry or reject; empty = none
	sent   int    // how often
}

// trial reports whether the event is in no log, and so in no lane.
func (e *delivered) trial() bool { return e.wire.GetSeq() >= firstTrial }

// deliver opens a Deliver stream.
func (s *session) deliver(ctx context.Context, f feed) (*deliverStream, error) {
	d, err := s.deliverTo(ctx, f, f.spec.GetName())
	if err != nil {
		return nil, err
	}
	d.next = 1
	return d, nil
}

func (s *session) deliverTo(ctx context.Context, f feed, subscription string) (*deliverStream, error) {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := pluginv1.NewEventServiceClient(s.conn).Deliver(ctx)
	if err != nil {
		cancel()
		return nil, s.callError("Deliver", err)
	}
	open := &pluginv1.Open{Subscription: subscription, Bindings: &pluginv1.Bindings{}}
	if f.config != nil {
		open.Bindings.Bindings = []*pluginv1.Binding{{Id: 1, Config: f.config}}
	}
	d := &deliverStream{s: s, feed: f, stream: stream, cancel: cancel, ended: make(chan struct{}), changed: make(chan struct{})}
	go d.read()
	return d, d.send(&pluginv1.DeliverRequest{Kind: &pluginv1.DeliverRequest_Open{Open: open}})
}

func (d *deliverStream) send(frame *pluginv1.DeliverRequest) error {
	d.sendMu.Lock()
	defer d.sendMu.Unlock()
	return d.sendLocked(frame)
}

func (d *deliverStream) sendLocked(frame *pluginv1.DeliverRequest) error {
	if err := d.stream.Send(frame); err != nil && !errors.Is(err, io.EOF) {
		return d.s.callError("Deliver", err)
	}
	return nil
}

// event makes the next event, of a task.
func (d *deliverStream) event(o occurrence, task string) *delivered {
	d.mu.Lock()
	seq := d.next
	d.next++
	d.mu.Unlock()
	var about struct {
		Step      string `json:"step_name"`
		Namespace string `json:"namespace"`
		Template  string `json:"template"`
		Version   string `json:"version"`
		Task      string `json:"task_id"`
	}
	_ = json.Unmarshal(o.payload, &about) // a payload of another form says nothing
	envelope := &eventv1.Event{
		Id: fmt.Sprintf("%s/%d", task, seq), Type: o.name, At: time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC).UnixNano(),
		Step: about.Step, Namespace: about.Namespace, Template: about.Template, Version: about.Version, Payload: o.payload,
	}
	if about.Task != "" {
		envelope.TaskId, envelope.TaskSeq, envelope.CorrelationId = task, seq, task
	}
	encoded, err := proto.Marshal(envelope)
	if err != nil {
		encoded = nil // texts of the catalog are UTF-8
	}
	e := &delivered{task: envelope.GetTaskId(), wire: &pluginv1.SequencedEvent{Seq: seq, Event: encoded, Delivery: 1}}
	if d.feed.config != nil {
		e.wire.Binding = 1
	}
	return e
}

// batch sends events as one batch.
func (d *deliverStream) batch(gap uint64, events ...*delivered) error {
	d.sendMu.Lock()
	defer d.sendMu.Unlock()
	return d.batchLocked(gap, events)
}

// batchLocked books events and sends them, with the lock on sending held: a Restart comes
// before or after both.
func (d *deliverStream) batchLocked(gap uint64, events []*delivered) error {
	b := &pluginv1.Batch{GapThrough: gap}
	d.mu.Lock()
	for _, e := range events {
		e.sent++
		e.wire.Delivery = uint32(e.sent) //nolint:gosec // a small count
		if e.answer == "" && !slices.Contains(d.waiting, e) {
			d.waiting = append(d.waiting, e)
		}
		b.Events = append(b.Events, e.wire)
	}
	d.mu.Unlock()
	return d.sendLocked(&pluginv1.DeliverRequest{Kind: &pluginv1.DeliverRequest_Batch{Batch: b}})
}

// sendAll delivers each event and waits for the answers.
func (d *deliverStream) sendAll(ctx context.Context, events []occurrence) error {
	var sent []*delivered
	for i, o := range events {
		sent = append(sent, d.event(o, fmt.Sprintf("01JVER1FY0000000000000010%d", i%7)))
	}
	if err := d.batch(0, sent...); err != nil {
		return err
	}
	return d.await(ctx, "answer to each event", func() bool { return len(d.waiting) == 0 })
}

// await waits until a condition on the book holds.
func (d *deliverStream) await(ctx context.Context, what string, ok func() bool) error {
	timer := time.NewTimer(d.s.t.opts.Patience)
	defer timer.Stop()
	for {
		d.mu.Lock()
		done, changed, left := ok(), d.changed, len(d.waiting)
		d.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-d.ended:
			d.mu.Lock()
			defer d.mu.Unlock()
			if ok() {
				return nil
			}
			return fmt.Errorf("subscription %s: the Deliver stream ended without %s: %w", d.feed.spec.GetName(), what, d.s.callError("Deliver", d.err))
		case <-timer.C:
			return fmt.Errorf("subscription %s: no %s within %s: %d events have none", d.feed.spec.GetName(), what, d.s.t.opts.Patience, left)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (d *deliverStream) read() {
	for {
		frame, err := d.stream.Recv()
		if err != nil {
			d.mu.Lock()
			d.err = err
			d.mu.Unlock()
			close(d.ended)
			d.cancel()
			return
		}
		restart := d.take(frame)
		if restart != nil {
			d.again(restart)
		}
	}
}

// take books an answer. It returns the event that the plugin wants again.
func (d *deliverStream) take(frame *pluginv1.DeliverResponse) (again *delivered) {
	d.mu.Lock()
	defer d.mu.Unlock()
	defer func() { close(d.changed); d.changed = make(chan struct{}) }()
	switch k := frame.GetKind().(type) {
	case *pluginv1.DeliverResponse_Ack:
		d.acked(k.Ack)
	case *pluginv1.DeliverResponse_Retry:
		d.texts = append(d.texts, k.Retry.GetReason())
		return d.answered(k.Retry.GetSeq(), "retry")
	case *pluginv1.DeliverResponse_Reject:
		d.texts = append(d.texts, k.Reject.GetReason())
		d.answered(k.Reject.GetSeq(), "reject")
	case *pluginv1.DeliverResponse_Pong:
		d.pongs = append(d.pongs, k.Pong.GetNonce())
	case *pluginv1.DeliverResponse_Log:
		d.texts = append(d.texts, k.Log.GetMessage()+" "+string(k.Log.GetFields()))
	case *pluginv1.DeliverResponse_Fetch:
		go func() {
			_ = d.send(&pluginv1.DeliverRequest{Kind: &pluginv1.DeliverRequest_Chunk{Chunk: &pluginv1.EventChunk{
				FetchId: k.Fetch.GetId(), Last: true, Error: "it is no longer there",
			}}}) // the end of the stream is seen by the reader
		}()
	}
	return nil
}

// acked books an Ack. The lock is held.
func (d *deliverStream) acked(a *pluginv1.Ack) {
	if a.GetThrough() >= d.next && a.GetThrough() < firstTrial {
		d.problems = append(d.problems, fmt.Sprintf("an Ack through %d, which was never delivered", a.GetThrough()))
	}
	for _, seq := range a.GetSeqs() {
		d.answered(seq, "ack")
	}
	var left []*delivered
	for _, e := range d.waiting {
		if e.wire.GetSeq() <= a.GetThrough() {
			e.answer = "ack"
		} else {
			left = append(left, e)
		}
	}
	d.waiting = left
}

// answered books the answer to one event. The lock is held.
func (d *deliverStream) answered(seq uint64, answer string) *delivered {
	i := slices.IndexFunc(d.waiting, func(e *delivered) bool { return e.wire.GetSeq() == seq })
	if i < 0 {
		d.problems = append(d.problems, fmt.Sprintf("the answer %s to event %d, which was answered before or never delivered", answer, seq))
		return nil
	}
	e := d.waiting[i]
	if e.answer == "" || answer != "retry" {
		e.answer = answer
	}
	if answer != "retry" || e.sent > 1 || e.trial() { // a second Retry is answer enough
		d.waiting = slices.Delete(d.waiting, i, i+1)
	}
	if answer == "retry" && !e.trial() {
		return e
	}
	return nil
}

// again answers a Retry as a host does: the lane begins anew.
func (d *deliverStream) again(e *delivered) {
	byTask := d.feed.spec.GetOrder() == pluginv1.DeliveryOrder_DELIVERY_ORDER_TASK
	restart := &pluginv1.Restart{}
	if byTask {
		restart.TaskId = e.task
	}
	d.sendMu.Lock()
	defer d.sendMu.Unlock()
	d.mu.Lock()
	var lane []*delivered
	for _, w := range d.waiting {
		if !w.trial() && (!byTask || w.task == e.task) {
			lane = append(lane, w)
		}
	}
	d.mu.Unlock()
	err := d.sendLocked(&pluginv1.DeliverRequest{Kind: &pluginv1.DeliverRequest_Restart{Restart: restart}})
	if err == nil && len(lane) > 0 {
		_ = d.batchLocked(0, lane) // the end of the stream is seen by the reader
	}
}

// firstTrial is the first sequence of events that are in no log.
const firstTrial = uint64(1) << 63

// finish sends no more and reads the stream to its end.
func (d *deliverStream) finish() error {
	d.sendMu.Lock()
	err := d.stream.CloseSend()
	d.sendMu.Unlock()
	if err != nil {
		return err
	}
	select {
	case <-d.ended:
	case <-time.After(d.s.t.opts.Patience):
		return errors.New("when the host had sent its last frame, the Deliver stream did not end")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.problems {
		d.s.t.failf("subscription %s: %s", d.feed.spec.GetName(), p)
	}
	if !errors.Is(d.err, io.EOF) {
		return fmt.Errorf("when the host had sent its last frame, the Deliver stream ended with %s", status.Convert(d.err).Message())
	}
	return nil
}
