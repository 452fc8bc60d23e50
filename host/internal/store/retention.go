package store

import (
	"context"
	"time"

	"github.com/tasker-engine/tasker/host/task"
)

// Retention is the part of a [Store] about the end of tasks.
type Retention interface {
	// Sweep looks once through the finished tasks, by template, status and creation, and
	// calls fn with those that keep lets go at a time, MaxSweep at most per call, until fn
	// returns an error. A task whose idempotency key has not expired is not among them. fn is
	// called outside any transaction and may use the store. next is when a task becomes due by
	// its age that was not yet, as far as is known from the tasks that have ended; zero when
	// none ever does. An unreadable task is skipped and told in the error, after the others.
	Sweep(ctx context.Context, keep Keeper, now time.Time, fn func([]Due) error) (next time.Time, err error)
	// Delete removes finished tasks with everything that belongs to them, their idempotency
	// keys included, but their events, which the log keeps as long as all others. Unfinished
	// tasks and those that do not exist are left out. It works in small transactions with
	// pauses, so that commits are delayed by little, and returns what went, also beside an
	// error. Errors: ErrCorrupt for a task that cannot be read, ErrClosed, ErrReadOnly.
	Delete(ctx context.Context, ids []task.ID) (Deleted, error)
	// Sizes returns how much of the file each kind of record takes, and the finished tasks by
	// template and status, of which it reads so many of each kind to know their size.
	Sizes(ctx context.Context, samples int) (Sizes, error)
}

// MaxSweep is the largest number of tasks that Sweep hands over at once.
const MaxSweep = 256

// Due is a finished task that may go. Of one whose deletion was interrupted only the id
// is known.
type Due struct {
	ID                  task.ID
	Namespace, Template string
	Status              task.Status
}

// Keep says how long finished tasks of one template and status are kept. What either
// field lets go is let go.
type Keep struct {
	For  time.Duration // after a task has ended; 0 = for ever
	Last int           // the newest so many, by creation; 0 = any number
}

// Keeper returns what is kept of a template's finished tasks in a status.
type Keeper func(namespace, template string, status task.Status) Keep

// Deleted says what was removed.
type Deleted struct {
	Tasks   uint64
	Records uint64
}

// Sizes says what takes the room of a store.
type Sizes struct {
	FileBytes  int64
	PageBytes  int   // the size of a page
	Pages      int64 // of the file
	FreePages  int64 // that hold nothing and are used again before the file grows
	Buckets    []BucketSize
	Unfinished uint64 // tasks
	Finished   []TaskSize
}

// BucketSize is the room that one kind of record takes.
type BucketSize struct {
	Name  string
	Keys  int
	Bytes int64 // of keys, values and what orders them
	Pages int64 // so many pages of the file, of which Bytes are in use
}

// TaskSize is the room that the finished tasks of a template in a status take, without
// their events.
type TaskSize struct {
	Namespace, Template string
	Status              task.Status
	Tasks               uint64
	Sampled             uint64 // of which so many were read; the others are taken to be like them
	Bytes               int64
	Oldest              time.Time // when the oldest of them was created
}
