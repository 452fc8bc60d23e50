package host

import (
	"context"

	"github.com/tasker-engine/tasker/host/internal/api"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/supervisor"
)

// Service is what can be asked of a host: in this process (a Host), in another one (a
// [Client]), or of a home without one (a Reader).
type Service = api.Service

// The words of [Service].
type (
	// TemplateInfo is one registered template.
	TemplateInfo = api.TemplateInfo
	// PluginInfo is one plugin and its process.
	PluginInfo = api.PluginInfo
	// PluginUsage is what the process of a plugin uses of the machine.
	PluginUsage = api.PluginUsage
	// PluginUpgrade is an upgrade of a plugin that is under way.
	PluginUpgrade = api.PluginUpgrade
	// PluginRest says when a plugin has no process although nothing is wrong.
	PluginRest = supervisor.Rest
	// HandlerInfo is one handler that a plugin offers.
	HandlerInfo = api.HandlerInfo
	// EventQuery selects events of the log.
	EventQuery = api.EventQuery
	// Health says how a host is doing.
	Health = api.Health
	// BackupInfo says what a backup holds.
	BackupInfo = api.BackupInfo
	// Access is what a caller of the control API may do.
	Access = api.Access
	// Mode is what a host was started for.
	Mode = api.Mode
	// Hinter is implemented by errors that know their remedy.
	Hinter = api.Hinter
	// Filter selects tasks.
	Filter = store.Filter
	// Page asks for a part of a listing.
	Page = store.Page
	// Summary is a task without its steps.
	Summary = store.Summary
	// LogEntry is one event as stored.
	LogEntry = store.LogEntry
	// Crash is the report on one crash of a plugin.
	Crash = store.Crash
	// StoreStats says how much a store holds.
	StoreStats = store.Stats
	// StoreSizes says what takes the room of a store.
	StoreSizes = store.Sizes
	// Deleted says what was removed.
	Deleted = store.Deleted
	// UpgradeRequest says what a plugin is to be replaced by.
	UpgradeRequest = api.UpgradeRequest
	// UpgradeProgress is how far the replacement of a plugin is.
	UpgradeProgress = api.UpgradeProgress
	// Pruned says what the rules of retention let go.
	Pruned = api.Pruned
)

// The modes of a host.
const (
	ModeServe = api.ModeServe // until it is stopped
	ModeRun   = api.ModeRun   // for one task
	ModeNone  = api.ModeNone  // no host runs: a reader answers
)

// What an [UpgradeRequest] may ask for, and the phases at which it may end.
const (
	ActionUpgrade  = api.ActionUpgrade
	ActionRollback = api.ActionRollback
	ActionReload   = api.ActionReload
	ActionPromote  = api.ActionPromote
	ActionAbort    = api.ActionAbort

	UpgradeDone     = api.UpgradeDone
	UpgradeCanary   = api.UpgradeCanary
	UpgradeRolled   = api.UpgradeRolled
	UpgradeDraining = api.UpgradeDraining // on the way there
)

// The kinds of access.
const (
	AccessRead  = api.AccessRead  // ask
	AccessWrite = api.AccessWrite // ask and change
)

// Limits of listings.
const (
	DefaultPage = store.DefaultPage
	MaxPage     = store.MaxPage
)

// Defaults of [Options] that the supervisor sets.
const (
	DefaultCancelGrace  = supervisor.DefaultCancelGrace
	DefaultStartTimeout = supervisor.DefaultStartTimeout
	DefaultHangTimeout  = supervisor.DefaultHangTimeout
)

// Errors of a [Service], beside those of package task.
var (
	// ErrNoHost is returned where a running host is needed and none runs in the home.
	ErrNoHost = api.ErrNoHost
	// ErrEmbedded is returned for a creation that reaches a host which runs one task.
	ErrEmbedded = api.ErrEmbedded
	// ErrUnknownHandler is returned where a task is refused because no plugin offers its
	// handlers.
	ErrUnknownHandler = api.ErrUnknownHandler
	// ErrDenied is returned for a call that the caller's token does not allow.
	ErrDenied = api.ErrDenied
)

// Client is a [Service] that asks a host in another process.
type Client = api.Client

// DialToken connects to a host at its socket with a token of it. Error: [ErrNoHost].
func DialToken(ctx context.Context, home, socket, token string) (*Client, error) {
	return api.DialToken(ctx, home, socket, token)
}

// Dial connects to the host that runs in the home. Error: [ErrNoHost].
func Dial(ctx context.Context, home string) (*Client, error) { return api.Dial(ctx, home) }
