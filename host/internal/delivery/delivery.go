package delivery

import (
	"context"
	"encoding/json"
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
	Events(ctx context.Context, from uint64, limit int) ([]store.LogEntry, error)
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

// Options configure a [Delivery]. The parts are required, every other field has a
// default.
type Options struct {
	Store     Store
	Publisher Publisher
	Streams   Streams
	Values    Values
	// Template returns the bindings that the template of an event brings, in order; nil
	// for none. taskID helps to find a template that is not registered. It may read the
	// store and is called once per template version until [Delivery.Rebind].
	Template func(ctx context.Context, ref task.TemplateRef, taskID task.ID) ([]Binding, error)
	// Bindings are those of the host as a whole.
	Bindings []Binding
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
