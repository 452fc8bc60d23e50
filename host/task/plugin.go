package task

import "time"

// Instance is one running process of a plugin that is ready for work.
type Instance struct {
	ID       string // "plugin#n", unique within a run of the host
	Plugin   string
	Version  string
	Capacity int // attempts at once
	Offers   []Offer
	// Trial says that it is to replace another instance and has not taken over yet.
	Trial bool
}

// PluginState is where a plugin is in its life.
type PluginState string

// The states of a plugin.
const (
	PluginStarting    PluginState = "starting"    // its process is being started
	PluginHandshaking PluginState = "handshaking" // waiting for its handshake and manifest
	PluginConfiguring PluginState = "configuring" // waiting for it to accept its configuration
	PluginReady       PluginState = "ready"       // takes work
	PluginDegraded    PluginState = "degraded"    // takes work, and says that something is wrong
	PluginDraining    PluginState = "draining"    // finishes what it holds
	PluginStopped     PluginState = "stopped"     // ended on purpose
	PluginIdle        PluginState = "idle"        // has no process: one is started when something wants it
	PluginBackoff     PluginState = "backoff"     // crashed, failed to start or left; will be started again
	PluginQuarantined PluginState = "quarantined" // crashed too often; an operator resumes it
	PluginRefused     PluginState = "refused"     // its declaration cannot be accepted
)

// PluginStates returns all states of a plugin.
func PluginStates() []PluginState {
	return []PluginState{
		PluginStarting, PluginHandshaking, PluginConfiguring, PluginReady, PluginDegraded, PluginDraining, PluginStopped,
		PluginIdle, PluginBackoff, PluginQuarantined, PluginRefused,
	}
}

// PluginLife is one change in the life of a plugin.
type PluginLife struct {
	Plugin   string
	Version  string // empty before the manifest was read
	Instance string // "plugin#n"
	State    PluginState
	Cause    string // why, for people: "exit status 2", "drained by stop"
	Crashed  bool   // the change is a crash of a process
	At       time.Time
	RetryAt  time.Time // with PluginBackoff: when it is started again
	Handlers []string  // with PluginReady: "greet@1"
	Again    bool      // with PluginReady: the instance was ready before, and degraded since
	Crashes  int       // with PluginQuarantined: how many in the window
}

// DeadLetter is what is told of an event that a subscriber could not handle.
type DeadLetter struct {
	Subscription string // "plugin/name"
	Seq          uint64
	EventID      string
	EventType    string
	Task         ID // empty = none
	Reason       string
	Deliveries   uint32
}
