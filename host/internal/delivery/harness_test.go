package delivery_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tasker-engine/tasker/host/internal/company"
	"github.com/tasker-engine/tasker/host/internal/delivery"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// memory is a store in memory: it commits while Submit runs.
type memory struct {
	mu      sync.Mutex
	log     []store.LogEntry
	cursors map[string]store.Cursor
	letters map[store.DeadLetterID]store.DeadLetter
	reads   int   // calls of Events
	writes  int   // write sets
	broken  error // what Submit fails with
}

func newMemory() *memory {
	return &memory{cursors: make(map[string]store.Cursor), letters: make(map[store.DeadLetterID]store.DeadLetter)}
}

func (m *memory) Submit(ws *store.WriteSet, done func(store.Commit, error)) {
	m.mu.Lock()
	m.writes++
	err := m.broken
	if err == nil {
		m.apply(ws)
	}
	m.mu.Unlock()
	done(store.Commit{}, err)
}

func (m *memory) apply(ws *store.WriteSet) {
	for _, e := range ws.Events {
		m.log = append(m.log, store.LogEntry{Seq: m.last() + 1, Encoded: e.Encoded})
	}
	if ws.Delivery == nil {
		return
	}
	for _, c := range ws.Delivery.Cursors {
		m.cursors[c.Subscription] = *c
	}
	for _, l := range ws.Delivery.DeadLetters {
		m.letters[l.DeadLetterID] = *l
	}
	for _, id := range ws.Delivery.Settled {
		delete(m.letters, id)
	}
	for _, name := range ws.Delivery.Forgotten {
		delete(m.cursors, name)
		for id := range m.letters {
			if id.Subscription == name {
				delete(m.letters, id)
			}
		}
	}
}

func (m *memory) last() uint64 {
	if len(m.log) == 0 {
		return 0
	}
	return m.log[len(m.log)-1].Seq
}

func (m *memory) EventsWithin(_ context.Context, from uint64, limit, bytes int) ([]store.LogEntry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	i, _ := slices.BinarySearchFunc(m.log, from, func(e store.LogEntry, seq uint64) int {
		if e.Seq < seq {
			return -1
		}
		return 1
	})
	found := slices.Clone(m.log[i:min(i+limit, len(m.log))])
	for n := range found {
		if bytes -= len(found[n].Encoded); bytes <= 0 {
			return found[:n+1], nil
		}
	}
	return found, nil
}

func (m *memory) FirstSeq(context.Context) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.log) == 0 {
		return 0, nil
	}
	return m.log[0].Seq, nil
}

func (m *memory) LastSeq(context.Context) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last(), nil
}

func (m *memory) SeqAt(_ context.Context, at time.Time) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.log {
		var envelope eventv1.Event
		if err := proto.Unmarshal(e.Encoded, &envelope); err != nil {
			return 0, err
		}
		if envelope.GetAt() >= at.UnixNano() {
			return e.Seq, nil
		}
	}
	return m.last() + 1, nil
}

func (m *memory) Cursors(context.Context) ([]store.Cursor, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []store.Cursor
	for _, c := range m.cursors {
		out = append(out, c)
	}
	return out, nil
}

func (m *memory) DeadLetters(_ context.Context, name string, after uint64, limit int) ([]store.DeadLetter, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []store.DeadLetter
	for id, l := range m.letters {
		if id.Subscription == name && id.Seq > after {
			out = append(out, l)
		}
	}
	slices.SortFunc(out, func(a, b store.DeadLetter) int { return int(a.Seq) - int(b.Seq) })
	return out[:min(len(out), limit)], nil
}

// cut removes what is before a sequence.
func (m *memory) cut(first uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.log = slices.DeleteFunc(m.log, func(e store.LogEntry) bool { return e.Seq < first })
}

// fail lets every write fail from now on, with nil none.
func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.broken = err
}

func (m *memory) cursor(name string) store.Cursor {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cursors[name]
}

func (m *memory) counts() (reads, writes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reads, m.writes
}

// world is a host around a delivery: a store, a publisher, and instances that play
// plugins.
type world struct {
	tb    testing.TB
	store delivery.Store
	*delivery.Delivery

	mu        sync.Mutex
	instances map[string]func(ctx context.Context, p *plugin)
	companies map[string]*company.Company // of instances
	plugins   map[string][]*plugin        // streams, by "plugin/name"
	published []string
	failed    []string
	logged    bytes.Buffer
}

type option func(*delivery.Options)

// newWorld makes a delivery and runs it until the test ends.
func newWorld(tb testing.TB, s delivery.Store, opts ...option) *world {
	tb.Helper()
	w := &world{
		tb: tb, store: s, instances: make(map[string]func(context.Context, *plugin)), plugins: make(map[string][]*plugin),
		companies: make(map[string]*company.Company),
	}
	o := delivery.Options{
		Store: s, Publisher: w, Streams: w, Values: w,
		Logger: hclog.New(&hclog.LoggerOptions{Output: &lockedWriter{w: w}, Level: hclog.Warn, DisableTime: true}),
	}
	for _, opt := range opts {
		opt(&o)
	}
	d, err := delivery.New(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	w.Delivery = d
	return w
}

// run runs the delivery; the function that it returns stops it and waits.
func (w *world) run() (stop func()) {
	ctx, cancel := context.WithCancel(w.tb.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			w.tb.Errorf("Run returned %v", err)
		}
	})
}

type lockedWriter struct{ w *world }

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	return l.w.logged.Write(p)
}

func (w *world) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.logged.String()
}

func (w *world) record(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.published = append(w.published, what)
}

func (w *world) told() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.published)
}

// publish commits an event about a subscription, as a host does.
func (w *world) publish(kind, subscription string, ws *store.WriteSet, done func(error)) {
	ws.Events = []store.Event{{Type: kind, Encoded: encode(&eventv1.Event{
		Id: "host/1/1", Type: kind, At: time.Now().UnixNano(), Payload: fmt.Appendf(nil, `{"subscription":%q}`, subscription),
	})}}
	w.store.Submit(ws, func(_ store.Commit, err error) {
		w.Wake()
		done(err)
	})
}

func (w *world) SubscriberDeadLettered(l task.DeadLetter, _ time.Time, ws *store.WriteSet, done func(error)) {
	w.record(fmt.Sprintf("dead %s %d %s %d: %s", l.Subscription, l.Seq, l.EventType, l.Deliveries, l.Reason))
	w.publish("subscriber.dead_lettered", l.Subscription, ws, done)
}

func (w *world) SubscriberGap(name string, from, through uint64, _ time.Time, ws *store.WriteSet, done func(error)) {
	w.record(fmt.Sprintf("gap %s %d-%d", name, from, through))
	w.publish("subscriber.gap", name, ws, done)
}

func (w *world) SubscriberLagging(name string, events uint64, behind time.Duration, _ time.Time) {
	w.record(fmt.Sprintf("lagging %s %d %s", name, events, behind))
}

func (w *world) Value(_ context.Context, id task.ID, ref string) ([]byte, error) {
	if ref != "input" {
		return nil, task.ErrNotFound
	}
	return []byte(strings.Repeat(string(id), 20_000)), nil
}

// instance says how an instance plays its part on each of its streams.
func (w *world) instance(name string, play func(ctx context.Context, p *plugin)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.instances[name] = play
}

func (w *world) FailInstance(instance, why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failed = append(w.failed, instance+": "+why)
}

var errDied = errors.New("transport is closing")

// OpenStream implements Streams: the plugin plays in a goroutine of its own.
func (w *world) OpenStream(ctx context.Context, instance string) (delivery.Stream, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	play := w.instances[instance]
	if play == nil {
		return nil, fmt.Errorf("instance %s: %w", instance, task.ErrNotFound)
	}
	if w.companies[instance] == nil {
		w.companies[instance] = company.New(func() { go w.Room(instance) })
	}
	p := &plugin{
		company: w.companies[instance],
		ctx:     ctx, in: make(chan *pluginv1.DeliverRequest, 8), out: make(chan *pluginv1.DeliverResponse, 8),
		ended: make(chan struct{}), instance: instance, world: w,
	}
	go func() {
		play(ctx, p)
		p.Leave()
		close(p.ended)
	}()
	return p, nil
}

// plugin is the other end of a stream.
type plugin struct {
	ctx      context.Context //nolint:containedctx // the stream's
	instance string
	world    *world
	company  *company.Company
	in       chan *pluginv1.DeliverRequest
	out      chan *pluginv1.DeliverResponse
	ended    chan struct{} // closed when it has played to its end
	err      error         // that the host sees then; nil = io.EOF
}

func (p *plugin) Send(r *pluginv1.DeliverRequest) error {
	select {
	case p.in <- r:
		return nil
	case <-p.ended:
		return io.EOF
	case <-p.ctx.Done():
		return io.EOF
	}
}

func (p *plugin) Recv() (*pluginv1.DeliverResponse, error) {
	select {
	case r := <-p.out:
		return r, nil
	default:
	}
	select {
	case r := <-p.out:
		return r, nil
	case <-p.ended:
		select {
		case r := <-p.out:
			return r, nil
		default:
		}
		if p.err == nil {
			return nil, io.EOF
		}
		return nil, p.err
	case <-p.ctx.Done():
		return nil, p.ctx.Err()
	}
}

func (p *plugin) CloseSend() error     { return nil }
func (p *plugin) Join(alone bool) bool { return p.company.Join(p, alone) }
func (p *plugin) Leave()               { p.company.Leave(p) }

// roomy is a stream to a process with room for everybody.
type roomy struct {
	grpc.BidiStreamingClient[pluginv1.DeliverRequest, pluginv1.DeliverResponse]
}

func (roomy) Join(bool) bool { return true }
func (roomy) Leave()         {}

// next returns the next frame, nil when the stream has ended.
func (p *plugin) next() *pluginv1.DeliverRequest {
	select {
	case r := <-p.in:
		return r
	case <-p.ctx.Done():
		return nil
	}
}

// say sends a frame to the host.
func (p *plugin) say(r *pluginv1.DeliverResponse) {
	select {
	case p.out <- r:
	case <-p.ctx.Done():
	}
}

func (p *plugin) ack(through uint64) {
	p.say(&pluginv1.DeliverResponse{Kind: &pluginv1.DeliverResponse_Ack{Ack: &pluginv1.Ack{Through: through}}})
}

func (p *plugin) ackSeqs(seqs ...uint64) {
	p.say(&pluginv1.DeliverResponse{Kind: &pluginv1.DeliverResponse_Ack{Ack: &pluginv1.Ack{Seqs: seqs}}})
}

func (p *plugin) retry(seq uint64, reason string) {
	p.say(&pluginv1.DeliverResponse{Kind: &pluginv1.DeliverResponse_Retry{Retry: &pluginv1.Retry{Seq: seq, Reason: reason}}})
}

// away answers that what an event needs is not there.
func (p *plugin) away(seq uint64, after time.Duration, reason string) {
	r := &pluginv1.Retry{Seq: seq, Reason: reason, Unavailable: true}
	if after > 0 {
		r.After = durationpb.New(after)
	}
	p.say(&pluginv1.DeliverResponse{Kind: &pluginv1.DeliverResponse_Retry{Retry: r}})
}

func (p *plugin) reject(seq uint64, reason string) {
	p.say(&pluginv1.DeliverResponse{Kind: &pluginv1.DeliverResponse_Reject{Reject: &pluginv1.Reject{Seq: seq, Reason: reason}}})
}

func (p *plugin) pong(r *pluginv1.DeliverRequest) {
	if ping := r.GetPing(); ping != nil {
		p.say(&pluginv1.DeliverResponse{Kind: &pluginv1.DeliverResponse_Pong{Pong: &pluginv1.Pong{Nonce: ping.GetNonce()}}})
	}
}

// journal collects what a subscriber was sent.
type journal struct {
	mu    sync.Mutex
	lines []string
	seqs  []uint64
}

func (j *journal) note(e *pluginv1.SequencedEvent) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf("%d/%d", e.GetSeq(), e.GetDelivery()))
	j.seqs = append(j.seqs, e.GetSeq())
}

func (j *journal) all() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines, " ")
}

func (j *journal) count() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.seqs)
}

// handler plays a plugin with one lane: handle says what to do with each event, a nil
// verdict acknowledges it.
func handler(j *journal, handle func(p *plugin, e *pluginv1.SequencedEvent) bool) func(context.Context, *plugin) {
	return func(_ context.Context, p *plugin) {
		stopped := false
		for {
			r := p.next()
			if r == nil {
				return
			}
			p.pong(r)
			if r.GetRestart() != nil {
				stopped = false
			}
			for _, e := range r.GetBatch().GetEvents() {
				if stopped {
					break
				}
				j.note(e)
				if handle == nil || handle(p, e) {
					p.ack(e.GetSeq())
				} else if stopped = p.err == nil; !stopped {
					return
				}
			}
		}
	}
}

// good plays a plugin that acknowledges everything.
func good(j *journal) func(context.Context, *plugin) { return handler(j, nil) }

// silent plays a plugin that answers pings and nothing else.
func silent(_ context.Context, p *plugin) {
	for r := p.next(); r != nil; r = p.next() {
		p.pong(r)
	}
}

func encode(e *eventv1.Event) []byte {
	b, err := proto.Marshal(e)
	if err != nil {
		panic(err) // an envelope always has a form
	}
	return b
}

const (
	taskA = "01J00000000000000000000000"
	taskB = "01J00000000000000000000001"
)

// add records events: "step.failed" or "step.failed@task".
func (w *world) add(kinds ...string) {
	ws := &store.WriteSet{}
	for _, k := range kinds {
		kind, id, _ := strings.Cut(k, "@")
		e := &eventv1.Event{Id: "x/1", Type: kind, At: time.Now().UnixNano(), TaskId: id, Payload: []byte(`{"n":1}`)}
		if id != "" {
			e.Namespace, e.Template, e.Version = "shop", "order", "1.0.0"
		}
		ws.Events = append(ws.Events, store.Event{Type: kind, Encoded: encode(e)})
	}
	w.store.Submit(ws, func(_ store.Commit, err error) {
		if err != nil {
			w.tb.Errorf("Submit: %v", err)
		}
	})
	w.Wake()
}

func sub(name string, change ...func(*delivery.Subscription)) delivery.Subscription {
	s := delivery.Subscription{Name: name, Events: []string{"*"}, Start: delivery.Start{Beginning: true}}
	for _, c := range change {
		c(&s)
	}
	return s
}

func (w *world) status(name string) delivery.Status {
	w.tb.Helper()
	all, err := w.List(w.tb.Context())
	if err != nil {
		w.tb.Fatal(err)
	}
	for _, s := range all {
		if s.Cursor.Subscription == name {
			return s
		}
	}
	w.tb.Fatalf("no subscription %s", name)
	return delivery.Status{}
}
