package api

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// Errors of the control API, beside those of packages task and store.
var (
	// ErrNoHost is returned where a running host is needed and none runs in the home.
	ErrNoHost = errors.New("no host is running")
	// ErrEmbedded is returned for a creation that reaches a host which runs one task for
	// a `tasker run` and takes no others.
	ErrEmbedded = errors.New("this host runs one task and takes no others")
	// ErrUnknownHandler is returned for a request with RequireHandlers that names
	// handlers which no plugin offers; nothing was stored.
	ErrUnknownHandler = errors.New("no plugin offers the handler")
)

// Hinter is implemented by errors that know their remedy. The hint is the next
// command to type, or a sentence; it crosses the socket with the error.
type Hinter interface {
	error
	Hint() string
}

// Service is what the control API serves. A host offers all of it, a reader (a home
// without a running host) answers what needs one with [ErrNoHost], and a [Client] asks
// the host that runs.
//
// Tasks are named by id or by an unambiguous prefix of one, in any case: errors are
// task.ErrNotFound and task.ErrAmbiguous.
type Service interface {
	// CreateTask creates a task (rules C1 to C5). Errors: task.ErrInvalid with every
	// violation, task.ErrNotFound for the template, task.ErrKeyConflict,
	// task.ErrTooLarge, [ErrUnknownHandler], task.ErrStopping.
	CreateTask(ctx context.Context, r task.Request) (task.Created, error)
	// UnfinishedTask returns the newest task that has not ended and runs the very template
	// (snapshot hash) and input of the request; task.ErrNotFound when there is none.
	UnfinishedTask(ctx context.Context, r task.Request) (task.ID, error)
	// Task returns one task with its steps.
	Task(ctx context.Context, id string) (*task.View, error)
	// Trace returns what a task did when as an encoded ExportTraceServiceRequest of OTLP:
	// spans of the task, its steps and attempts, which follow from its events, and what
	// plugins told of attempts, as far as it was kept. What goes on ends with the present.
	Trace(ctx context.Context, id string) ([]byte, error)
	// ListTasks returns a page of tasks, and where the next one begins: an id for
	// Page.After, empty when nothing follows. A page is answered in bounded time: where a
	// filter matches rarely it may be short, even empty, with more to come.
	ListTasks(ctx context.Context, f store.Filter, p store.Page) (page []store.Summary, next task.ID, err error)
	// WatchTask calls fn with the task at once and after every change, changes coalesced
	// while fn runs. The views carry no Output (ask Task for it). It returns nil after the
	// view of the ended task, fn's error, or the context's; task.ErrStopping when the host
	// stops first.
	WatchTask(ctx context.Context, id string, fn func(*task.View) error) error

	// CancelTask, PauseTask, ResumeTask, RetryTask and ResolveTask are an operator's
	// wishes about a task or, for retry and resolve, about one of its steps (op.Step).
	// op.Task is ignored: id names the task. Error: task.ErrTransition.
	CancelTask(ctx context.Context, id string, op task.Operation) error
	PauseTask(ctx context.Context, id string, op task.Operation) error
	ResumeTask(ctx context.Context, id string, op task.Operation) error
	RetryTask(ctx context.Context, id string, op task.Operation) error
	ResolveTask(ctx context.Context, id string, op task.Operation) error

	// Templates returns the registered templates by name and version, without Source and
	// Snapshot.
	Templates(ctx context.Context) ([]TemplateInfo, error)
	// Template returns one template: "namespace/name[@version]" or "name[@version]" of
	// the default namespace; without a version the highest. Error: task.ErrNotFound with
	// a suggestion.
	Template(ctx context.Context, ref string) (*TemplateInfo, error)

	// Plugins returns the plugins by name, those that did not start included.
	Plugins(ctx context.Context) ([]PluginInfo, error)
	// PluginLogs returns the last lines that a plugin wrote, oldest first, at most lines
	// of them.
	PluginLogs(ctx context.Context, plugin string, lines int) ([]string, error)
	// Crashes returns the crash reports of a plugin, newest first; of all when plugin is
	// empty.
	Crashes(ctx context.Context, plugin string) ([]store.Crash, error)
	// ResumePlugin starts a quarantined or waiting plugin again, at once.
	ResumePlugin(ctx context.Context, plugin string) error
	// UpgradePlugin replaces a plugin beside the running one and tells of each phase. It
	// returns how it stands: done, with a canary that it gets its share, or that it was
	// rolled back and why, which is no error. The end of ctx rolls back. Errors:
	// task.ErrNotFound, task.ErrInvalid, task.ErrStopping.
	UpgradePlugin(ctx context.Context, r UpgradeRequest, tell func(UpgradeProgress)) (UpgradeProgress, error)

	// Events calls fn for the events of the log that match, in order. With q.Follow it
	// goes on with those to come until the context ends, which is not an error.
	Events(ctx context.Context, q EventQuery, fn func(store.LogEntry) error) error

	EventService

	// StopHost has the host end in an orderly way, as the end of the context of its Run does,
	// because somebody takes over its home; by says who, for its log. It returns at once, see
	// Health.Draining. Errors: [ErrEmbedded] for a host that ends with its task.
	StopHost(ctx context.Context, by string) error
	// Health says how the host is doing.
	Health(ctx context.Context) (*Health, error)
	// StoreStats says how much the store holds.
	StoreStats(ctx context.Context) (*store.Stats, error)
	// StoreSizes says what takes the room of the store. It reads all of it, and so many
	// tasks of each template and status.
	StoreSizes(ctx context.Context, samples int) (*store.Sizes, error)
	// PruneStore removes what the rules of retention let go, with export if that is on, or
	// only says what it would be.
	PruneStore(ctx context.Context, dryRun bool) (*Pruned, error)
	// DeleteTasks removes finished tasks, whatever the rules say, without export, with their
	// idempotency keys. Those that have not ended, or do not exist, are left out. ids are
	// whole ids.
	DeleteTasks(ctx context.Context, ids []task.ID) (store.Deleted, error)
	// Backup writes a consistent copy of the store to path, a file that does not exist
	// yet, while the host goes on. A relative path is relative to the host's working
	// directory; callers make it absolute.
	Backup(ctx context.Context, path string) (*BackupInfo, error)
}

// TemplateInfo is one registered template.
type TemplateInfo struct {
	Ref         task.TemplateRef
	Description string
	Path        string // the file it was read from; empty when no longer known
	Environment string // what was merged into it, empty = nothing
	Steps       int
	Handlers    []string // references as written, sorted, unique
	InputSchema json.RawMessage
	Latest      bool // the version that a reference without one means

	// Source is the file as read, Snapshot the template after environment and defaults
	// (what is stored with a task). Only with [Service.Template].
	Source   []byte
	Snapshot []byte
}

// PluginInfo is one plugin and its process.
type PluginInfo struct {
	Name     string // from the manifest; before one was read, from the file
	Version  string // empty before a manifest was read
	Path     string // the executable
	State    task.PluginState
	Cause    string    // why it is in that state, for people
	Since    time.Time // when it entered the state
	RetryAt  time.Time // with backoff: when it is started again
	Instance string    // "plugin#n", empty without a process
	PID      int       // 0 without a process
	Restarts int       // starts since the host started, the first not counted

	Capacity int // attempts at once
	InFlight int // attempts it holds
	Leaked   int // slots of attempts that did not stop when told to

	Handlers      []HandlerInfo
	Subscriptions []SubscriptionInfo
	Emits         []EmitInfo
	// Manifest is all that it declared, JSON; nil before a manifest was read.
	Manifest json.RawMessage
	// Notes say what of the declaration was accepted and refused, and why.
	Notes []string

	Usage    *PluginUsage // nil = it has no process, or the system does not tell
	Finished uint64       // attempts that ended in its processes since the host started

	Isolation *Isolation // nil before a manifest was read

	Previous string         // the version that a rollback returns to; empty = it was not upgraded since the host started
	Upgraded string         // how the last upgrade went, for people; empty = there was none
	Upgrade  *PluginUpgrade // that is under way, nil = none
}

// PluginUpgrade is an upgrade of a plugin that is under way.
type PluginUpgrade struct {
	Phase    string  // starting, canary, probing or draining
	Share    float64 // of the tasks, 0 to 1, that goes to the successor
	From, To string  // versions; empty when not known yet
	Path     string  // the executable of the successor
	Instance string  // of the successor, empty before it has a process
	PID      int     // of the successor, 0 = none
	State    task.PluginState
	InFlight int // attempts that the successor holds
}

// Isolation is what of the machine is kept from the process of a plugin.
type Isolation struct {
	Profile  string // off, default or strict
	Measures []Measure
	Env      []string // the names of the variables that it sees, sorted
	DataDir  string   // its own directory
	// SocketDir has a directory of its own with its socket while it starts.
	SocketDir string
	Memory    int64 // the most that may be resident, bytes; 0 = no limit
}

// Measure is one thing that is kept from a plugin, or is not.
type Measure struct {
	Name   string
	State  string // enforced, granted, missing or off
	Detail string // how, or why not
}

// PluginUsage is what the process of a plugin uses of the machine.
type PluginUsage struct {
	Memory    int64         // resident, bytes
	CPUTime   time.Duration // since the process began
	OpenFiles int           // file descriptors
	Threads   int
}

// HandlerInfo is one handler that a plugin offers.
type HandlerInfo struct {
	Name           string
	Version        uint32
	Description    string
	Idempotent     task.Idempotency
	Timeout        time.Duration // 0 = none
	MaxConcurrency int           // 0 = the plugin's
	InputSchema    json.RawMessage
	ConfigSchema   json.RawMessage
	OutputSchema   json.RawMessage
}

// SubscriptionInfo is one subscription that a plugin declares.
type SubscriptionInfo struct {
	Name   string
	Events []string
	Bound  bool // live only through bindings
}

// EmitInfo is one custom event that a plugin declares.
type EmitInfo struct {
	Name        string
	Version     uint32
	Description string
}

// EventQuery selects events of the log.
type EventQuery struct {
	From   uint64 // first sequence number; 0 = the beginning, or with Task the task's first
	Last   int    // only the last so many of what the log holds now; 0 = all. Not with From
	Task   string // id or prefix; empty = all events
	Type   string // exact name or trailing wildcard ("step.*"); empty = all
	Follow bool   // go on with events to come

	Since  time.Time // recorded then or later; not with From and Last
	Filter string    // CEL over the event, empty = all
	// Subscription asks for the events that this subscription gets, by its declaration and
	// its bindings as they are now. Empty = all.
	Subscription string
}

// Mode is what a host was started for.
type Mode string

// The modes.
const (
	ModeServe Mode = "serve" // until it is stopped
	ModeRun   Mode = "run"   // for one task: embedded in a `tasker run`
	ModeNone  Mode = "none"  // no host runs: a reader answers
)

// Health says how a host is doing.
type Health struct {
	Ready    bool     // takes work: store open, no plugin still in its first start, not draining
	Live     bool     // the engine's loop answers
	Problems []string // why it is not ready or not well, for people
	Mode     Mode
	Version  string
	PID      int
	Home     string
	HostID   string
	Since    time.Time // when it started
	Store    StoreHealth
	Plugins  map[task.PluginState]int
	Tasks    map[task.Status]uint64
	Draining *Draining // nil = it takes work
}

// Draining says that a host takes no work any more and ends.
type Draining struct {
	Attempts int       // that it waits for
	Until    time.Time // when these are cut
}

// StoreHealth is the store's part of [Health].
type StoreHealth struct {
	OK            bool
	Path          string
	SchemaVersion int
	Epoch         uint64
	FileBytes     int64
	LastSeq       uint64
}

// Pruned says what the rules of retention let go.
type Pruned struct {
	Groups  []PrunedGroup
	Records uint64    // that were removed
	Next    time.Time // when the next task will be due, as far as is known; zero = never
}

// PrunedGroup is what goes of the finished tasks of a template in a status.
type PrunedGroup struct {
	Namespace, Template string
	Status              task.Status
	Tasks               uint64
}

// BackupInfo says what a backup holds.
type BackupInfo struct {
	Path    string
	Bytes   int64
	SHA256  string // hex, of the file
	Took    time.Duration
	LastSeq uint64 // the last event in it
	Tasks   uint64
}
