package delivery

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tasker-engine/tasker/host/internal/expr"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// Store is what delivery needs of the store.
type Store interface {
	Submit(ws *store.WriteSet, done func(store.Commit, error))
	EventsWithin(ctx context.Context, from uint64, limit, bytes int) ([]store.LogEntry, error)
	FirstSeq(ctx context.Context) (uint64, error)
	LastSeq(ctx context.Context) (uint64, error)
	SeqAt(ctx context.Context, at time.Time) (uint64, error)
	Cursors(ctx context.Context) ([]store.Cursor, error)
	DeadLetters(ctx context.Context, subscription string, after uint64, limit int) ([]store.DeadLetter, error)
}

// Publisher records what happens to subscriptions. Each method submits the event
// together with the changes of ws in one transaction; ws may be empty.
type Publisher interface {
	SubscriberDeadLettered(l task.DeadLetter, at time.Time, ws *store.WriteSet, done func(error))
	SubscriberGap(subscription string, from, through uint64, at time.Time, ws *store.WriteSet, done func(error))
	SubscriberLagging(subscription string, events uint64, behind time.Duration, at time.Time)
}

// Stream is one Deliver stream to a plugin process. Send and Recv may be called at the
// same time, each by one goroutine; both end with an error when the process does.
type Stream interface {
	Send(*pluginv1.DeliverRequest) error
	Recv() (*pluginv1.DeliverResponse, error)
	CloseSend() error
	// Join asks whether events may be sent, or, with alone, whether one may have the process
	// to itself. Who is refused asks again after [Delivery.Room]. It never blocks.
	Join(alone bool) bool
	// Leave says that no event is unanswered, and that none wants to be alone. The end of
	// the stream says so, too.
	Leave()
}

// Streams opens streams to the instances that are ready.
type Streams interface {
	// OpenStream opens a stream to an instance; it ends with ctx.
	OpenStream(ctx context.Context, instance string) (Stream, error)
	// FailInstance says that an instance hangs: it is ended and started again.
	FailInstance(instance, why string)
}

// Values resolves references of large values.
type Values interface {
	Value(ctx context.Context, id task.ID, ref string) ([]byte, error)
}

// Traces is who knows which traces are recorded, and takes spans. Its methods must not
// block.
type Traces interface {
	// Share is the share of traces, 0 to 1, whose deliveries get spans.
	Share() float64
	// Put takes spans of deliveries as a plugin sent them: an OTLP
	// ExportTraceServiceRequest, encoded, which nobody has looked at.
	Put(otlp []byte)
}

// Order is the order in which a subscription gets its events.
type Order uint8

// The orders.
const (
	OrderGlobal Order = iota // by sequence
	OrderTask                // by sequence within each task
)

// Subscription is a subscription as its plugin declares it, checked.
type Subscription struct {
	Name        string // "plugin/name"
	Description string
	Events      []string     // names or trailing wildcards
	Filter      *expr.Filter // nil = all
	Order       Order
	Start       Start
	Bound       bool
	Window      int           // batches; 0 = DefaultWindow
	MaxAttempts int           // 0 = DefaultMaxAttempts
	Timeout     time.Duration // of one event; 0 = DefaultTimeout
}

// Start is where a new subscription begins: At when set, else at the beginning of the
// log, else now.
type Start struct {
	Beginning bool
	At        time.Time
}

// Binding is a rule for the events of one template, or of the host as a whole.
type Binding struct {
	Subscription string
	Source       string            // for people: "template default/order@1.0.0", "tasker.yaml"
	Template     *task.TemplateRef // nil = all; Hash is not looked at
	Events       []string          // nil = all that are declared
	Filter       *expr.Filter      // nil = all
	Config       json.RawMessage   // nil = none
	Enabled      bool
}

// Delivery carries the events of one host to its subscribers. Make it with [New].
type Delivery struct {
	opts     Options
	log      hclog.Logger
	reader   *reader
	bindings *bindings
	saver    *saver
	spacing  spacing
	openedAt uint64 // the log's last sequence when it was made
	trials   atomic.Uint64

	ctx    context.Context //nolint:containedctx // the life of the goroutines, which start and end with what they serve
	cancel context.CancelFunc

	draining atomic.Bool
	moved    chan struct{} // a subscription got ahead while draining

	mu    sync.Mutex // before a subscription's
	subs  map[string]*subscription
	names map[string][]string // subscriptions that an instance was connected with

	life struct {
		sync.Mutex
		running bool // Run is under way
		over    bool // no goroutine starts any more
		wg      sync.WaitGroup
	}
}

// Options configure a [Delivery]. The parts are required, every other field has a
// default.
type Options struct {
	Store     Store
	Publisher Publisher
	Streams   Streams
	Values    Values
	// Template returns the bindings that the template of an event brings, in order; nil
	// for none. taskID helps to find a template that is not registered. It may read the
	// store and is called once per template version until [Delivery.Rebind] or
	// [Delivery.RebindTemplate].
	Template func(ctx context.Context, ref task.TemplateRef, taskID task.ID) ([]Binding, error)
	// Bindings are those of the host as a whole.
	Bindings []Binding
	Traces   Traces           // nil = no spans are wanted
	Logger   hclog.Logger     // nil = silent
	Now      func() time.Time // nil = time.Now

	DrainTimeout time.Duration // default DefaultDrainTimeout
	LagAfter     time.Duration // default DefaultLagAfter
}

// Defaults and limits.
const (
	DefaultWindow       = 4               // batches that may be unanswered
	DefaultMaxAttempts  = 5               // deliveries of one event
	DefaultTimeout      = time.Minute     // of one event
	DefaultDrainTimeout = 5 * time.Second // to catch up when the host stops
	DefaultLagAfter     = time.Minute     // seconds behind that are told of

	MaxBatchEvents = 256     // of one frame
	MaxBatchBytes  = 1 << 20 // of one frame, unless one event is larger
	MaxKills       = 3       // processes that one event may end
	MaxWindow      = 64      // batches that a subscription may ask for
	MaxHeld        = 1 << 10 // lanes that wait to be sent again, or for what is not there
	MaxAhead       = 1 << 16 // answered events beyond one that is not, in the order of tasks

	// FirstTrial is the first sequence of trial events: those of no log.
	FirstTrial = uint64(1) << 63
)

// State is how a subscription is doing.
type State string

// The states.
const (
	StateCurrent    State = "current"    // has everything
	StateDelivering State = "delivering" // catches up
	StateRetrying   State = "retrying"   // waits to deliver an event again
	StatePaused     State = "paused"     // an operator holds it
	StateAbsent     State = "absent"     // its plugin is not ready, or declares it no more
)

// Status is a subscription as operators see it.
type Status struct {
	Declared  *Subscription // nil = not declared by any plugin that is ready now
	Cursor    store.Cursor
	State     State
	Instance  string // "plugin#n", empty = none
	LastSeq   uint64 // of the log
	Behind    uint64 // sequences that it has not been offered or not answered
	BehindFor time.Duration
	Unacked   int
	Dead      int       // dead letters
	Bindings  []Binding // of the host; those of templates the caller knows
	// Unavailable tells what the subscriber needs and cannot reach, the oldest first.
	Unavailable []Outage
}

// Position is a place in the log: a sequence, or the first event at a time or later.
type Position struct {
	Seq uint64
	At  time.Time
}

// Outcome is how a trial event was answered.
type Outcome struct {
	Verdict string // acked, retry or rejected
	Reason  string
	Took    time.Duration
	Binding string // source of the binding through which it went, empty = declared
}

// withDefaults returns the options with defaults for what is not set.
func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.DrainTimeout == 0 {
		o.DrainTimeout = DefaultDrainTimeout
	}
	if o.LagAfter == 0 {
		o.LagAfter = DefaultLagAfter
	}
	return o
}

// withDefaults returns a declaration with defaults for what is not set, within the limits.
func (s Subscription) withDefaults() Subscription {
	if s.Window <= 0 {
		s.Window = DefaultWindow
	}
	s.Window = min(s.Window, MaxWindow)
	if s.MaxAttempts <= 0 {
		s.MaxAttempts = DefaultMaxAttempts
	}
	if s.Timeout <= 0 {
		s.Timeout = DefaultTimeout
	}
	return s
}

// New reads the cursors. What is recorded from now on is new for subscriptions that start
// now. Nothing is delivered before [Delivery.Run]. Errors: of the store.
func New(ctx context.Context, opts Options) (*Delivery, error) {
	opts = opts.withDefaults()
	d := &Delivery{
		opts: opts, log: opts.Logger,
		reader:   &reader{store: opts.Store, log: opts.Logger},
		bindings: newBindings(&opts),
		saver:    newSaver(opts.Store, opts.Logger),
		moved:    make(chan struct{}, 1),
		subs:     make(map[string]*subscription),
		names:    make(map[string][]string),
	}
	d.ctx, d.cancel = context.WithCancel(context.WithoutCancel(ctx))
	var err error
	if d.openedAt, err = opts.Store.LastSeq(ctx); err != nil {
		return nil, fmt.Errorf("delivery: %w", err)
	}
	cursors, err := opts.Store.Cursors(ctx)
	if err != nil {
		return nil, fmt.Errorf("delivery: %w", err)
	}
	for i := range cursors {
		s := newSubscription(d, cursors[i])
		if err := s.countLetters(ctx); err != nil {
			return nil, fmt.Errorf("delivery: %w", err)
		}
		d.subs[s.name] = s
	}
	return d, nil
}

// countLetters finds out how many dead letters there are, and whether some are to be
// retried.
func (s *subscription) countLetters(ctx context.Context) error {
	for after := uint64(0); ; {
		page, err := s.d.opts.Store.DeadLetters(ctx, s.name, after, letterPage)
		if err != nil {
			return err
		}
		s.m.dead += len(page)
		for i := range page {
			after = page[i].Seq
			s.m.moreLetters = s.m.moreLetters || page[i].Retry
		}
		if len(page) < letterPage {
			return nil
		}
	}
}

// Run delivers until ctx ends, then writes the cursors. It runs once.
func (d *Delivery) Run(ctx context.Context) error {
	d.life.Lock()
	d.life.running = !d.life.over
	d.life.Unlock()
	saving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	saved := make(chan struct{})
	go func() {
		defer close(saved)
		d.saver.run(saving)
	}()
	for _, s := range d.all() {
		s.engage()
	}
	<-ctx.Done()
	err := d.finish(context.WithoutCancel(ctx))
	stop()
	<-saved
	return err
}

// finish ends the goroutines and writes the cursors.
func (d *Delivery) finish(ctx context.Context) error {
	d.life.Lock()
	d.life.over = true
	d.life.Unlock()
	d.cancel()
	d.life.wg.Wait()
	return d.saver.flush(ctx, d.all())
}

// Drain lets the subscriptions that are connected and do not wait for a retry catch up
// with what the log holds now, for DrainTimeout at most, then stops all and writes the
// cursors. Errors: of ctx, of the store.
func (d *Delivery) Drain(ctx context.Context) error {
	limit, cancel := context.WithTimeout(ctx, d.opts.DrainTimeout)
	defer cancel()
	last, err := d.opts.Store.LastSeq(ctx)
	d.draining.Store(true)
	for err == nil && !d.caughtUp(last) && limit.Err() == nil {
		select {
		case <-d.moved:
		case <-limit.Done():
		}
	}
	if stopErr := d.finish(context.WithoutCancel(ctx)); err == nil {
		err = stopErr
	}
	return err
}

// caughtUp reports whether nobody who gets ahead is behind a sequence.
func (d *Delivery) caughtUp(last uint64) bool {
	now := d.now()
	return !slices.ContainsFunc(d.all(), func(s *subscription) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.serving && s.targetLocked() != "" && !s.resting && !s.m.retrying(now) && s.m.live.through < last
	})
}

// progressed wakes Drain.
func (d *Delivery) progressed() {
	if d.draining.Load() {
		nudge(d.moved)
	}
}

// begin counts a goroutine that is to start. It reports whether it may.
func (d *Delivery) begin() bool {
	d.life.Lock()
	defer d.life.Unlock()
	if !d.life.running || d.life.over {
		return false
	}
	d.life.wg.Add(1)
	return true
}

func (d *Delivery) end() { d.life.wg.Done() }

func (d *Delivery) stopped() bool { return d.ctx.Err() != nil }

// Wake says that the log has grown. Call it after every commit with events; it costs
// nanoseconds when nobody waits for them.
func (d *Delivery) Wake() { d.reader.bell.ring() }

// Connect says that an instance of a plugin is ready, and what the plugin subscribes to.
// The newest instance of a plugin is served.
func (d *Delivery) Connect(instance string, declared []Subscription) {
	d.mu.Lock()
	var subs []*subscription
	for _, sub := range declared {
		s := d.subs[sub.Name]
		if s == nil {
			s = newSubscription(d, store.Cursor{Subscription: sub.Name})
			d.subs[sub.Name] = s
		}
		subs = append(subs, s)
		d.names[instance] = append(d.names[instance], sub.Name)
	}
	d.mu.Unlock()
	for i, s := range subs {
		s.connect(instance, declared[i].withDefaults())
	}
}

// Connected reports whether an instance was connected, and is still known.
func (d *Delivery) Connected(instance string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.names[instance]
	return ok
}

// Disconnect says that an instance is to get no more events, because it drains: what it
// holds it may still answer. It does not wait.
func (d *Delivery) Disconnect(instance string) { d.disconnect(instance, false) }

// Lost says that the process of an instance has ended. Unless it was disconnected before,
// what it held counts as lost with it.
func (d *Delivery) Lost(instance string) { d.disconnect(instance, true) }

func (d *Delivery) disconnect(instance string, lost bool) {
	d.mu.Lock()
	subs := d.connectedLocked(instance)
	if lost {
		delete(d.names, instance)
	}
	d.mu.Unlock()
	for _, s := range subs {
		s.disconnect(instance, lost)
	}
}

// connectedLocked returns the subscriptions that an instance was connected with.
func (d *Delivery) connectedLocked(instance string) (subs []*subscription) {
	for _, name := range d.names[instance] {
		if s := d.subs[name]; s != nil {
			subs = append(subs, s)
		}
	}
	return subs
}

// Room says that events may ask again which an instance had no room for, see [Stream].
func (d *Delivery) Room(instance string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.connectedLocked(instance) {
		nudge(s.wake)
	}
}

// Rebind says that bindings have changed: those of the host become these, those of
// templates are asked for again.
func (d *Delivery) Rebind(host []Binding) {
	d.bindings.set(host)
	for _, s := range d.all() {
		nudge(s.wake)
	}
}

// RebindTemplate says that a template has other bindings than before: they are asked for again.
func (d *Delivery) RebindTemplate(ref task.TemplateRef) {
	d.bindings.forget(origin{namespace: ref.Namespace, name: ref.Name, version: ref.Version})
}

// all returns all subscriptions.
func (d *Delivery) all() []*subscription {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]*subscription, 0, len(d.subs))
	for _, s := range d.subs {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *subscription) int { return strings.Compare(a.name, b.name) })
	return out
}

// find returns a subscription. Error: task.ErrNotFound.
func (d *Delivery) find(name string) (*subscription, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.subs[name]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("subscription %s: %w", name, task.ErrNotFound)
}

// remove forgets a subscription.
func (d *Delivery) remove(s *subscription) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.subs, s.name)
}

func (d *Delivery) nextTrial() uint64 { return FirstTrial + d.trials.Add(1) - 1 }

func (d *Delivery) now() time.Time { return d.opts.Now() }
