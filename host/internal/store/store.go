// Package store is the port between the engine and whatever keeps its state: the
// write set that a decision produces, the views that readers get, and the [Store]
// interface that package storetest tests. It says nothing of bbolt; everything that
// assumes one process stays behind it.
package store

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/tasker-engine/tasker/host/task"
)

// Errors of a store, beside those of package task.
var (
	// ErrConflict is returned by a commit whose expected revision is not the stored one:
	// the caller drops its aggregate, loads it again and decides again.
	ErrConflict = errors.New("revision conflict")
	// ErrClosed is returned by every operation after Close.
	ErrClosed = errors.New("store is closed")
	// ErrVersion is returned when the file was written by a newer Tasker.
	ErrVersion = errors.New("schema version not supported")
	// ErrCorrupt is returned when a record cannot be read; the message names it.
	ErrCorrupt = errors.New("corrupt record")
	// ErrReadOnly is returned by writes to a store opened for reading.
	ErrReadOnly = errors.New("store is open for reading only")
)

// DuplicateError is returned by a commit that creates a task under an idempotency key
// that is already known with the same input.
type DuplicateError struct {
	ID task.ID // the task that the key stands for
}

// Error names the existing task.
func (e *DuplicateError) Error() string { return "duplicate of task " + string(e.ID) }

// WriteSet is everything that one decision changes: it is committed as a whole or not
// at all. A write set without a task (TaskID empty) carries events and what delivery
// keeps; one with a task changes the task or a step, because that is where its revision
// is kept.
type WriteSet struct {
	TaskID task.ID
	// Expected is the revision that the decision was made on, 0 for a creation.
	Expected uint64
	// Revision is the revision after it, Expected+1. Seq is the task_seq after it.
	Revision uint64
	Seq      uint64

	// Create is set for the first write set of a task.
	Create *Creation
	// Task is set when fields of the task itself changed (not for mere step changes).
	Task *task.Task
	// Steps are the changed steps, by ascending ordinal. The store encodes them before
	// Submit returns and keeps no reference.
	Steps []*task.Step
	// Events are the encoded events of the decision, in order.
	Events []Event
	// Blobs are values too large for their record.
	Blobs []Blob

	// Delivery is what a write set without a task changes of the subscriptions.
	Delivery *DeliverySet
}

// Creation is the immutable part of a new task.
type Creation struct {
	Spec task.Spec
	// Template is the snapshot whose SHA-256 is Spec.Template.Hash; stored once per hash.
	Template []byte
	Steps    uint32 // number of steps
}

// Event is one published event: the encoded envelope and what the store needs of it.
type Event struct {
	Type    string
	Encoded []byte // tasker.event.v1.Event
}

// Blob is a large value.
type Blob struct {
	N    uint32
	Data []byte
}

// Commit is what a committed write set was given.
type Commit struct {
	// FirstSeq is the log sequence of the first event; the i-th has FirstSeq+i. 0 = no
	// events.
	FirstSeq uint64
}

// Aggregate is a task as stored, ready to be decided on.
type Aggregate struct {
	// Task has every field but the names and initial values of untouched steps: Steps
	// has one entry per step, those never written are zero but for Ordinal and Status
	// (pending).
	Task *task.Task
	// Template is the snapshot that the task runs.
	Template []byte
}

// Summary is a task without its steps, as listings show it.
type Summary struct {
	Spec        task.Spec // Input may be a reference
	Status      task.Status
	Stop        *task.Stop
	Failure     *task.Failure
	StartedAt   time.Time
	CompletedAt time.Time
	UpdatedAt   time.Time // when the task itself changed last, not one of its steps
}

// Filter selects tasks; zero fields select all.
type Filter struct {
	Statuses      []task.Status // any of
	Namespace     string
	Template      string // needs Namespace
	Version       string // needs Template
	Tag           string
	CorrelationID string
	CreatedFrom   time.Time // inclusive
	CreatedTo     time.Time // exclusive
	OldestFirst   bool      // default: newest first
}

// Page asks for a part of a listing. After is the next id that the page before came
// with, empty for the first page. Limit is 1 to MaxPage; 0 = DefaultPage.
type Page struct {
	After task.ID
	Limit int
}

// Limits of listings.
const (
	DefaultPage = 50
	MaxPage     = 1000
)

// LogEntry is one event as stored.
type LogEntry struct {
	Seq     uint64
	Encoded []byte // tasker.event.v1.Event
}

// Checkpoint is the last thing that a running attempt wanted its successor to know.
type Checkpoint struct {
	Step     task.StepID
	Attempt  uint32
	Data     json.RawMessage // nil when none was ever reported, only progress
	Progress float64
	Note     string
	At       time.Time
}

// Crash is the report on one crash of a plugin.
type Crash struct {
	Plugin, Version, Instance string
	At                        time.Time
	Phase, Cause              string
	ExitCode                  int    // -1 when a signal ended it
	Signal                    string // empty = none
	Stderr                    []string
	Panic                     string
	Attempts                  []string
}

// MaxCrashes is the number of crash reports kept per plugin; older ones go.
const MaxCrashes = 20

// Stats says how much a store holds and how it does. Operations are by name.
type Stats struct {
	SchemaVersion int
	HostID        string
	Epoch         uint64
	FileBytes     int64
	Path          string
	Buckets       []BucketStats
	Tasks         map[task.Status]uint64 // the maintained counters
	LastSeq       uint64
	Commits       uint64        // transactions since open
	CommitTime    time.Duration // spent in transactions since open
	WriteSets     uint64        // write sets since open
	Deleted       Deleted       // since open
	Operations    map[string]OperationStats
}

// BucketStats is the size of one kind of record.
type BucketStats struct {
	Name  string
	Keys  int
	Bytes int64
}

// OperationStats counts what one operation of the store touched since open.
type OperationStats struct {
	Calls uint64
	Reads uint64 // records read
	Puts  uint64 // records written or deleted
}

// DeliverySet is what delivery changes of its subscriptions. What is forgotten and
// settled goes before the rest is written, so a subscription can be forgotten and begun
// anew at once. A set that names an event which the log does not have yet is refused
// with task.ErrInvalid, and so is a cursor whose failing events are not in order.
type DeliverySet struct {
	Cursors     []*Cursor      // replaced as a whole
	DeadLetters []*DeadLetter  // added, or replaced when the subscription has one of that sequence
	Settled     []DeadLetterID // removed; one that is not there is no error
	Forgotten   []string       // subscriptions whose cursor and dead letters go
	Events      []CustomEvent  // declared custom events, replaced by name
}

// Cursor is where a subscription stands. A subscription is "plugin/name".
type Cursor struct {
	Subscription string
	Through      uint64    // every event up to here is acked, dead-lettered or not wanted
	Failing      []Failing // by sequence, at most MaxFailing; all beyond Through
	Careful      uint64    // events up to here go one at a time; 0 = none
	Paused       *Pause    // nil = not paused
	Replays      []Replay
	Delivered    uint64 // events acked so far
	CreatedAt    time.Time
	AckedAt      time.Time // zero = never
}

// MaxFailing is how many failing events a cursor keeps.
const MaxFailing = 256

// Failing is an event whose delivery failed and that will come again.
type Failing struct {
	Seq      uint64
	Failures uint32 // how often the subscriber asked for it again
	Kills    uint32 // how often a process ended while it held this event alone
	Reason   string
	RetryAt  time.Time
}

// Pause says who holds a subscription.
type Pause struct {
	At     time.Time
	By     string
	Reason string
}

// Replay is a part of the log that is delivered once more.
type Replay struct {
	Next, To uint64   // the next sequence to deliver, and the last one
	Types    []string // names or trailing wildcards; none = all that the subscription wants
}

// DeadLetterID names a dead letter.
type DeadLetterID struct {
	Subscription string
	Seq          uint64
}

// DeadLetter is an event that a subscriber could not handle.
type DeadLetter struct {
	DeadLetterID

	Encoded    []byte // tasker.event.v1.Event, as in the log, which may have lost it
	At         time.Time
	Reason     string
	Deliveries uint32 // so far
	Retry      bool   // an operator wants it delivered again
}

// CustomEvent is a custom event as it was last declared.
type CustomEvent struct {
	Name        string
	Plugin      string // who declared it
	Version     uint32
	Schema      json.RawMessage
	Example     json.RawMessage
	Description string
	Immediate   bool      // recorded at once and not with the attempt's success
	Since       time.Time // when it was first declared
}

// Store keeps the state of a host. All methods may be called from any goroutine.
// Reads see committed state only and never wait for a commit.
type Store interface {
	// Identity returns the host's id, a ULID made with the store, and the writer's epoch,
	// one more at each open for writing.
	Identity() (hostID string, epoch uint64)

	// Submit queues a write set. Write sets are committed in the order of their
	// submission, many in one transaction when they gather. The set is encoded before
	// Submit returns. done is called exactly once, from the committer's goroutine and in
	// order, after the write set is durable or has failed; it must not block. Errors:
	// ErrConflict, *DuplicateError, task.ErrKeyConflict, task.ErrTooLarge, task.ErrInvalid
	// for a set that no decision can have made, ErrClosed, ErrReadOnly, or what the disk
	// said. One write set's failure fails no other task's; sets of the same task that were
	// submitted before the failure was told conflict, because they were decided on it.
	// On a closed store and on one open for reading, done is called before Submit returns.
	Submit(ws *WriteSet, done func(Commit, error))
	// SaveCheckpoint queues a checkpoint, which replaces the step's last one, in the
	// same way; one without data keeps the data of the last one, whichever attempt made
	// it. It does not touch the task's revision. A checkpoint of a step that has ended
	// meanwhile is dropped without an error. A step's checkpoint goes when the step's
	// status satisfies its dependants, and when its task ends in any way but in error:
	// what an operator can retry keeps it.
	SaveCheckpoint(cp *Checkpoint, done func(error))
	// SaveCrash stores a crash report and returns when it is durable; of each plugin the
	// newest MaxCrashes are kept.
	SaveCrash(ctx context.Context, c *Crash) error

	// Load returns a task with all its steps: one range read. task.ErrNotFound.
	Load(ctx context.Context, id task.ID) (*Aggregate, error)
	// Live calls fn for every unfinished task, oldest first, until fn returns an error. For
	// a task that cannot be read a is nil and err says why, so that one bad record keeps
	// no other task from running. fn may use the store.
	Live(ctx context.Context, fn func(id task.ID, a *Aggregate, err error) error) error
	// List returns summaries by creation time, which is the time in the ids, and where the
	// next page begins: an id for Page.After, which need not be a task's, empty when nothing
	// follows. A call takes bounded time: where a filter matches rarely the page may be
	// short, even empty, with more to come.
	List(ctx context.Context, f Filter, p Page) (page []Summary, next task.ID, err error)
	// Resolve returns the one task whose id starts with prefix (any case):
	// task.ErrNotFound, task.ErrAmbiguous.
	Resolve(ctx context.Context, prefix string) (task.ID, error)
	// Blob returns a large value. task.ErrNotFound.
	Blob(ctx context.Context, id task.ID, n uint32) ([]byte, error)
	// Value returns the document that a blob number stands for, wherever it lies: the
	// task's input or the results of a step, nil when it has none. It reads one record and
	// a blob at most. task.ErrNotFound for a task or a step that has no record.
	Value(ctx context.Context, id task.ID, n uint32) ([]byte, error)
	// Checkpoint returns the checkpoint of a step. task.ErrNotFound when it has none.
	Checkpoint(ctx context.Context, id task.StepID) (Checkpoint, error)
	// Checkpoints returns the checkpoints of a task by ordinal.
	Checkpoints(ctx context.Context, id task.ID) (map[task.Ordinal]Checkpoint, error)
	// Events returns up to limit log entries with a sequence of at least from, in order.
	// The entries stay valid and must not be changed; those of one call share memory, so
	// who keeps one of many for long copies it.
	Events(ctx context.Context, from uint64, limit int) ([]LogEntry, error)
	// EventsWithin is Events for readers of little memory: the entry with which the
	// encoded size of all reaches so many bytes is the last.
	EventsWithin(ctx context.Context, from uint64, limit, bytes int) ([]LogEntry, error)
	// TaskEvents returns all events of one task in order, as far back as the log goes,
	// following the chain of its write sets; it does not scan the log.
	TaskEvents(ctx context.Context, id task.ID) ([]LogEntry, error)
	// LastSeq returns the sequence of the newest event in the log, 0 for an empty log.
	LastSeq(ctx context.Context) (uint64, error)
	// Crashes returns the crash reports of a plugin, newest first; of all plugins when
	// the name is empty.
	Crashes(ctx context.Context, plugin string) ([]Crash, error)
	// Counters returns the number of tasks by status, without counting.
	Counters(ctx context.Context) (map[task.Status]uint64, error)
	// Stats returns sizes and operation counts.
	Stats(ctx context.Context) (Stats, error)

	Log
	Retention
	SpanStore

	// Close waits for what was submitted, and closes.
	Close() error
}

// Log is the part of a [Store] about the log as a whole and who reads it.
type Log interface {
	// FirstSeq returns the sequence of the oldest event that the log still has, 0 for an
	// empty log. It reads one record.
	FirstSeq(ctx context.Context) (uint64, error)
	// SeqAt returns the sequence of the first event that was recorded at a time or later,
	// the next sequence to be given when there is none. It searches; events of one host
	// whose clock was set back are found by the order of the log.
	SeqAt(ctx context.Context, at time.Time) (uint64, error)
	// TrimLog removes the oldest log values, at most limit of them, as long as they were
	// recorded before a time; the last value stays. It returns how many events went and
	// whether more could go. It is done when it returns.
	TrimLog(ctx context.Context, before time.Time, limit int) (removed int, more bool, err error)
	// Cursors returns the cursors of all subscriptions, by name.
	Cursors(ctx context.Context) ([]Cursor, error)
	// DeadLetters returns up to limit dead letters of a subscription with a sequence
	// greater than after, in order.
	DeadLetters(ctx context.Context, subscription string, after uint64, limit int) ([]DeadLetter, error)
	// CustomEvents returns the custom events that were ever declared, by name.
	CustomEvents(ctx context.Context) ([]CustomEvent, error)
}
