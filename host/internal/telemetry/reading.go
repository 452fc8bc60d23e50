package telemetry

import (
	"time"

	"github.com/tasker-engine/tasker/host/internal/measure"
)

// Reading is what a host has counted, and how it is doing, at one moment. It is made anew
// for every scrape and push.
type Reading struct {
	Version   string
	GoVersion string
	Mode      string
	Uptime    time.Duration

	Tasks         map[string]uint64 // by status; those without a task too
	Engine        Engine
	Queues        []Queue // by plugin
	Store         Store
	Plugins       []Plugin
	Subscriptions []Subscription
}

// Engine is what the loop around the engine has done.
type Engine struct {
	Decisions uint64
	RoundTime measure.Snapshot // ns
	Live      int              // tasks in memory
}

// Queue is what waits for a plugin and what it holds.
type Queue struct {
	Plugin    string
	Ready     int
	OldestFor time.Duration
	InFlight  int
	QueueTime measure.Snapshot // ns
}

// Store is what the store has done and how large it is.
type Store struct {
	Commits    uint64
	CommitTime measure.Snapshot // ns
	BatchSize  measure.Snapshot // jobs
	Operations map[string]Operation
	FileBytes  int64
	FreeBytes  int64
	Events     uint64 // ever recorded
}

// Operation is one operation of the store.
type Operation struct{ Calls, Reads, Puts, Slow uint64 }

// Plugin is a plugin and its processes since the host started.
type Plugin struct {
	Name     string
	State    string
	States   []string // that a plugin can be in
	HasUsage bool     // what its process uses is known
	Memory   int64    // bytes
	CPU      time.Duration
	Restarts int
	Crashes  int

	OpenFiles, Threads int

	Handlers map[string]Handler
}

// Handler is one handler of a plugin.
type Handler struct {
	Outcomes      map[string]uint64
	Wire, Handler measure.Snapshot // ns
}

// Subscription is how far a subscription has come.
type Subscription struct {
	Name      string // "plugin/name"
	Behind    uint64 // events
	BehindFor time.Duration
	Delivered uint64
	Dead      int // dead letters that nobody has dealt with
}
