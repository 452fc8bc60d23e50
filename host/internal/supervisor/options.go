package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// Defaults of [Options].
const (
	DefaultStartTimeout = 30 * time.Second
	DefaultDrainTimeout = 30 * time.Second
	DefaultCancelGrace  = 10 * time.Second
	DefaultHangTimeout  = 15 * time.Second
	DefaultStopGrace    = 2 * time.Second
	DefaultCapacity     = 16
)

// Sink is who is told what plugin processes do. Its methods are called from the
// supervisor's goroutines and must not block for long.
type Sink interface {
	// InstanceReady says that an instance finished its handshake and takes work.
	InstanceReady(in task.Instance)
	// InstanceCapacity says how many attempts an instance is willing to hold now, those
	// included that were cancelled and do not end.
	InstanceCapacity(instance string, capacity int)
	// InstanceRoom says that whoever found no room in an instance may ask again, see
	// [Supervisor.Join].
	InstanceRoom(instance string)
	// InstanceDraining says that an instance takes no new work.
	InstanceDraining(instance string)
	// InstanceGone says that an instance is no more: every attempt without a final
	// report is lost, those in sent for the cause, all others because they were never
	// sent. It is called once per ready instance, after its last Reports.
	InstanceGone(instance string, cause task.LossCause, sent []task.AttemptID)
	// Reports hands over heartbeats and final results, in order per attempt, one batch
	// per frame.
	Reports(reports []task.Report)
	// Life says that a plugin changed its state.
	Life(life task.PluginLife)
	// InstanceShare says which share of the new attempts of its plugin an instance takes
	// from now on: with less than 1 other instances take the rest, and the events go to
	// them. Before the first one of an instance that replaces another it takes nothing.
	InstanceShare(in task.Instance, share float64)
	// Vacate waits until no attempt is on an instance, or on its way there, or until ctx
	// ends.
	Vacate(ctx context.Context, instance string)
	// Crashed hands over a crash report to keep.
	Crashed(crash store.Crash)
}

// Values resolves references of large values.
type Values interface {
	// Value returns the document behind "input", "input/<ordinal>" or "result/<ordinal>" of a task.
	Value(ctx context.Context, id task.ID, ref string) ([]byte, error)
}

// Restart says how soon a plugin that crashed is started again, and when no more.
type Restart struct {
	Base       time.Duration // the first wait at most; it doubles with each crash
	Cap        time.Duration // the longest wait
	Reset      time.Duration // ready for this long, the wait starts again at Base
	MaxCrashes int           // so many crashes within Window quarantine the plugin
	Window     time.Duration
}

// Options configure a [Supervisor]. Sink and the directories are required; every
// other field has a default.
type Options struct {
	Logger hclog.Logger // nil = silent
	Sink   Sink
	Values Values // nil = every fetch fails
	Traces Traces // nil = no trace is recorded, and no span is kept

	// Dirs are searched for executables named tasker-plugin-*, or are one; one that does
	// not exist holds none. Paths are further plugin binaries of any name.
	Dirs  []string
	Paths []string
	// Installed are plugins that were installed and approved.
	Installed []Binary

	RunDir  string // sockets and process records; short, private to this host
	DataDir string // one working directory per plugin below it
	LogDir  string // one log per plugin

	HostID      string
	HostVersion string
	LogLevel    string            // told to plugins: trace, debug, info, warn or error; default info
	LogLevels   map[string]string // exceptions, by plugin

	StartTimeout  time.Duration            // from exec to ready
	StartTimeouts map[string]time.Duration // exceptions, by plugin
	DrainTimeout  time.Duration            // for the attempts in flight at a stop
	CancelGrace   time.Duration            // from a cancel to the slot counting as leaked
	HangTimeout   time.Duration            // silence while attempts run that means a hang
	StopGrace     time.Duration            // between lifeline, TERM and KILL

	// GrantEnv names environment variables that a plugin may see, by plugin; it sees
	// those that its manifest asks for.
	GrantEnv map[string][]string
	// StandardEnv are names that a plugin may see which asks for them by exactly that name
	// and has no entry in GrantEnv.
	StandardEnv []string
	// Configs holds the configuration of each plugin, JSON; {} when missing.
	Configs map[string]json.RawMessage

	// Isolation says what is kept from plugins. The zero value keeps nothing but the
	// environment.
	Isolation Isolation

	DefaultCapacity   int // attempts at once, for plugins that declare no limit
	MaxParallelStarts int // default 2 per core
	Restart           Restart

	// Rests say which plugins need not have a process all the time. ManifestDir keeps what
	// those declare that are started lazily; empty = they are started at once.
	Rests       map[string]Rest
	ManifestDir string
	// LimitCheck is how often limits are looked at that the kernel does not know, default
	// DefaultLimitCheck.
	LimitCheck time.Duration

	// Metered measures attempts for [Supervisor.Metrics].
	Metered bool

	// Verify is asked before a binary is executed; an error refuses the plugin. nil
	// accepts everything.
	Verify func(path string) error

	// CheckManifest is asked about each manifest that a process declared, before it is
	// configured: an error refuses the plugin, notes and warnings are shown with it. It may
	// wait for other plugins, as long as ctx allows: by then [Supervisor.Plugins] shows the
	// manifest, and the start of others is not held up. nil accepts everything.
	CheckManifest func(ctx context.Context, m *Manifest) (notes, warnings []string, err error)
}

// withDefaults returns a copy of o with every unset field at its default.
func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.LogLevel == "" {
		o.LogLevel = "info"
	}
	if o.Verify == nil {
		o.Verify = func(string) error { return nil }
	}
	if o.CheckManifest == nil {
		o.CheckManifest = func(context.Context, *Manifest) (notes, warnings []string, err error) { return nil, nil, nil }
	}
	setDefault(&o.StartTimeout, DefaultStartTimeout)
	setDefault(&o.DrainTimeout, DefaultDrainTimeout)
	setDefault(&o.CancelGrace, DefaultCancelGrace)
	setDefault(&o.HangTimeout, DefaultHangTimeout)
	setDefault(&o.StopGrace, DefaultStopGrace)
	setDefault(&o.LimitCheck, DefaultLimitCheck)
	setDefault(&o.DefaultCapacity, DefaultCapacity)
	setDefault(&o.MaxParallelStarts, 2*runtime.NumCPU())
	setDefault(&o.Restart.Base, 500*time.Millisecond)
	setDefault(&o.Restart.Cap, time.Minute)
	setDefault(&o.Restart.Reset, 5*time.Minute)
	setDefault(&o.Restart.MaxCrashes, 5)
	setDefault(&o.Restart.Window, 10*time.Minute)
	return o
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// validate checks what no default can mend.
func (o Options) validate() error {
	var problems []error
	if o.Sink == nil {
		problems = append(problems, errors.New("sink is missing"))
	}
	problems = append(problems, checkDir("run", o.RunDir), checkDir("data", o.DataDir), checkDir("log", o.LogDir), checkRunDir(o.RunDir))
	for _, level := range append(slices.Collect(maps.Values(o.LogLevels)), o.LogLevel) {
		if hclog.LevelFromString(level) == hclog.NoLevel {
			problems = append(problems, fmt.Errorf("log level %q: want trace, debug, info, warn or error", level))
		}
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"start timeout", o.StartTimeout},
		{"drain timeout", o.DrainTimeout},
		{"cancel grace", o.CancelGrace},
		{"hang timeout", o.HangTimeout},
		{"stop grace", o.StopGrace},
		{"limit check", o.LimitCheck},
		{"restart base", o.Restart.Base},
		{"restart cap", o.Restart.Cap},
	} {
		if d.value < 0 {
			problems = append(problems, fmt.Errorf("%s %s: want more than 0", d.name, d.value))
		}
	}
	if o.DefaultCapacity < 0 || o.MaxParallelStarts < 0 || o.Restart.MaxCrashes < 0 {
		problems = append(problems, errors.New("capacity, parallel starts and crashes: want more than 0"))
	}
	for name, config := range o.Configs {
		if !json.Valid(config) {
			problems = append(problems, fmt.Errorf("configuration of plugin %s: no valid JSON", name))
		}
	}
	problems = append(problems, o.Isolation.validate())
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("supervisor options: %w: %w", task.ErrInvalid, err)
	}
	return nil
}

func checkDir(name, dir string) error {
	if !filepath.IsAbs(dir) {
		return fmt.Errorf("%s directory %q: want an absolute path", name, dir)
	}
	return nil
}

// logLevel returns what a plugin is told to log.
func (o Options) logLevel(plugin string) string {
	if level, ok := o.LogLevels[plugin]; ok {
		return level
	}
	return o.LogLevel
}

// startTimeout returns how long a plugin may take from exec to ready.
func (o Options) startTimeout(plugin string) time.Duration {
	if d, ok := o.StartTimeouts[plugin]; ok && d > 0 {
		return d
	}
	return o.StartTimeout
}

// config returns the configuration of a plugin.
func (o Options) config(plugin string) json.RawMessage {
	if c, ok := o.Configs[plugin]; ok && len(c) > 0 {
		return c
	}
	return json.RawMessage("{}")
}

// grantedEnv returns the names that a manifest asks for and the operator grants, sorted.
func (o Options) grantedEnv(plugin string, wanted []string) []string {
	var names []string
	granted, decided := o.GrantEnv[plugin]
	for _, name := range granted {
		if slices.Contains(wanted, name) || slices.Contains(wanted, anyEnv) {
			names = append(names, name)
		}
	}
	for _, name := range o.StandardEnv {
		if !decided && slices.Contains(wanted, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
