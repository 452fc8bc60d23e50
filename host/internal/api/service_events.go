package api

import (
	"context"
	"encoding/json"
	"time"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// EventService is the part of [Service] about events and who gets them.
type EventService interface {
	// Catalog returns the events that there are: those of Tasker, then the custom ones of
	// plugins and templates by name.
	Catalog(ctx context.Context) ([]CatalogEntry, error)
	// Subscriptions returns all subscriptions by name, those included whose plugin is not
	// there now.
	Subscriptions(ctx context.Context) ([]SubscriptionStatus, error)
	// PauseSubscription holds a subscription until it is resumed, over restarts. A
	// subscription is "plugin/name", or "plugin" when the plugin has one only: for this and
	// the methods below the error is task.ErrNotFound with a suggestion.
	PauseSubscription(ctx context.Context, name string, op task.Operation) error
	// ResumeSubscription lets a paused subscription go on. Error: task.ErrTransition when it
	// is not paused.
	ResumeSubscription(ctx context.Context, name string) error
	// RewindSubscription moves the cursor to just before a position, back or forward, and
	// forgets failures; it returns the sequence that is delivered next.
	RewindSubscription(ctx context.Context, name string, to Position) (uint64, error)
	// ReplaySubscription delivers a part of the log once more, beside what is new.
	ReplaySubscription(ctx context.Context, name string, r Replay) error
	// ForgetSubscription removes the cursor and the dead letters of a subscription that no
	// plugin declares now. Error: task.ErrTransition when one does.
	ForgetSubscription(ctx context.Context, name string) error
	// DeadLetters returns a page of dead letters of a subscription, of all when name is
	// empty, by sequence; after is the last sequence of the page before.
	DeadLetters(ctx context.Context, name string, after uint64, limit int) (page []store.DeadLetter, more bool, err error)
	// RetryDeadLetters delivers dead letters again, DiscardDeadLetters removes them: those
	// of the sequences, or all when there are none. They return how many.
	RetryDeadLetters(ctx context.Context, name string, seqs []uint64) (int, error)
	DiscardDeadLetters(ctx context.Context, name string, seqs []uint64) (int, error)
	// TryEvent delivers one event to a subscription, outside of the log and of its cursor,
	// and waits for the answer. Error: task.ErrInvalid for an event that does not fit the
	// catalog, ErrNoHost, task.ErrTransition when the plugin is not ready.
	TryEvent(ctx context.Context, r TryRequest) (*TryResult, error)
}

// CatalogEntry is an event of the catalog and who is there to get it.
type CatalogEntry struct {
	event.Entry

	Custom      bool     // declared by a plugin or a template
	Installed   bool     // its plugin or template is there now; true for the events of Tasker
	Subscribers []string // subscriptions that want it, by name
}

// SubscriptionStatus is one subscription.
type SubscriptionStatus struct {
	Name        string // "plugin/name"
	Description string
	State       string // current, delivering, retrying, paused, absent
	Events      []string
	Filter      string
	Order       string // global or task
	Bound       bool   // live only through bindings
	Window      int
	MaxAttempts int
	Timeout     time.Duration
	Instance    string // "plugin#n", empty = none
	Through     uint64 // every event up to here is done
	LastSeq     uint64 // of the log
	Behind      uint64 // events of the log beyond Through
	BehindFor   time.Duration
	Unacked     int
	Delivered   uint64
	DeadLetters int
	Paused      *store.Pause
	Failing     []store.Failing
	Replays     []store.Replay
	Bindings    []BindingInfo
	CreatedAt   time.Time
	AckedAt     time.Time // zero = never
	Unavailable []Outage  // the oldest first
}

// Outage says that what a subscriber needs is not there: its events wait, and fail not.
type Outage struct {
	Since   time.Time
	Reason  string
	NextTry time.Time // not after now: an event is on its way
	Tries   int
	Binding string // source of the binding whose events wait, empty = the declared subscription
}

// BindingInfo is one binding of a subscription.
type BindingInfo struct {
	Source   string            // "template default/order@1.0.0", "tasker.yaml"
	Template *task.TemplateRef // nil = all
	Events   []string          // nil = all that are declared
	Filter   string
	Config   json.RawMessage
	Enabled  bool
	Problem  string // why it has no effect, empty = it has
}

// Position is a place in the log: a sequence, or the first event at a time or later.
type Position struct {
	Seq uint64
	At  time.Time
}

// Replay is a part of the log: from a position to another, which may be zero (the end of
// the log now), of some types (none = all that the subscription wants).
type Replay struct {
	From, To Position
	Types    []string
}

// TryRequest asks for a trial of a subscriber.
type TryRequest struct {
	Subscription string
	Type         string          // the event's name
	Payload      json.RawMessage // nil = the catalog's example, or the event of FromTask
	FromTask     string          // id or prefix: the last event of Type of this task
	Timeout      time.Duration   // to wait for the answer; 0 = the subscription's
}

// TryResult is how a trial ended.
type TryResult struct {
	Verdict string // acked, retry or rejected
	Reason  string
	Took    time.Duration
	Binding string // source of the binding through which it went, empty = declared
}
