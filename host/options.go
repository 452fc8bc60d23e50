package host

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tasker-engine/tasker/host/internal/supervisor"
	"github.com/tasker-engine/tasker/host/internal/telemetry"
	"github.com/tasker-engine/tasker/host/task"
)

// Options configure a [Host]. Only Home is required; zero fields take the defaults
// that they name.
type Options struct {
	// Home is the directory that holds everything the host keeps; it is created.
	Home string
	// PluginDirs are searched for executables named tasker-plugin-*; a file is one plugin.
	PluginDirs []string
	// TemplateDirs are searched for templates, recursively.
	TemplateDirs []string
	// Environment is merged into the templates of TemplateDirs. Empty = none.
	Environment string
	// Mode is what the host is started for. Default ModeServe; with ModeRun creations
	// that come over the control socket are refused.
	Mode Mode
	// Version is the host's version, shown to plugins and in health. Default "dev".
	Version string
	// Logger receives the host's log. Default: silent.
	Logger hclog.Logger
	// LogLevel is what plugins are told to log: trace, debug, info, warn or error.
	// Default info.
	LogLevel string
	// PluginLogLevels are exceptions to LogLevel, by plugin. Default: none.
	PluginLogLevels map[string]string
	// HealthAddr is a loopback "host:port" for /livez and /readyz. Default: none.
	HealthAddr string
	// MetricsAddr is the "host:port" at which GET /metrics answers in the formats of
	// Prometheus. Default: none. The OTEL_ variables may ask for metrics, too; when nobody
	// does, nothing is measured. With ModeRun there is no endpoint.
	MetricsAddr string
	// SlowOperation is how long an operation of the store takes at least that is logged.
	// Default DefaultSlowOperation.
	SlowOperation time.Duration

	// Grace is how long attempts may go on after the intake has ended. Default 30 s.
	Grace time.Duration
	// Abort ends the grace at once when it is closed. Default: never.
	Abort <-chan struct{}
	// CancelGrace is how long a cancelled attempt may go on. Default 10 s.
	CancelGrace time.Duration
	// StartTimeout is how long a plugin may take from exec to ready. Default 30 s.
	StartTimeout time.Duration
	// StartTimeouts are exceptions to StartTimeout, by plugin.
	StartTimeouts map[string]time.Duration
	// HangTimeout is the silence while attempts run that counts as a hang, at least
	// MinHangTimeout. Default 15 s.
	HangTimeout time.Duration
	// Concurrency is how many attempts a plugin runs at once that declares no limit.
	// Default 256.
	Concurrency int
	// PluginConfigs are the configurations of plugins, JSON, by plugin. Default {}.
	PluginConfigs map[string]json.RawMessage
	// Reread reads the configurations of plugins anew when a plugin is to be reloaded.
	// Default: they are what PluginConfigs says.
	Reread func() (map[string]json.RawMessage, error)
	// PluginEnv names environment variables that plugins may see if their manifests ask
	// for them, by plugin. Default: those of OpenTelemetry (OTEL_*) that the manifest names
	// exactly; a plugin with an entry, if an empty one, sees what it says and no more.
	PluginEnv map[string][]string
	// Isolation says what of the machine is kept from plugins that were not granted it: off,
	// default or strict. Default off, because the others need a main that calls
	// [LaunchPlugin] first; the tasker binary sets default.
	Isolation string
	// PluginIsolation are exceptions to Isolation, by plugin.
	PluginIsolation map[string]string
	// PluginLimits are what plugins may use of the machine, by plugin. Default: no limits.
	PluginLimits map[string]PluginLimits
	// PluginRests say which plugins need not have a process all the time, by plugin.
	// Default: all have one from the start to the end of the host.
	PluginRests map[string]PluginRest
	// ForgetSpans keeps no spans of attempts in the store: [Service.Trace] then knows what
	// the events of a task tell. Default false.
	ForgetSpans bool
	// WorkflowEvents records the workflow.* events. Default false.
	WorkflowEvents bool

	// Subscriptions bind subscribers to events of all tasks, in this order. Default: none,
	// and subscribers get what they declare.
	Subscriptions []Subscriber
	// EventsKeep is how long the log keeps events. 0 = for ever.
	EventsKeep time.Duration
	// Retention says how long finished tasks are kept. Default: for ever.
	Retention Retention
	// DeliveryGrace is how long subscribers may catch up with the log when the host stops
	// and attempts have ended. Default 5 s.
	DeliveryGrace time.Duration

	// Now is the wall clock. Default time.Now.
	Now func() time.Time
	// Rand returns a number in [0, 1) that spreads retries. Default math/rand/v2.
	Rand func() float64
}

// Subscriber binds a subscription of a plugin to events of the host as a whole (rule
// E9): what it says narrows what the plugin declares. The bindings of a template come
// before it.
type Subscriber struct {
	Subscriber string          // "plugin/name", or "plugin" when the plugin has one subscription
	Template   string          // "namespace/name", "name" of the default namespace, or either with "@version"; empty = all
	Events     []string        // names or trailing wildcards; nil = all that are declared
	Filter     string          // CEL over the event; empty = all
	Config     json.RawMessage // nil = none
	Disabled   bool            // nothing reaches the subscriber through it
	Position   string          // "tasker.yaml:12:5", for messages; empty when there is none
}

// Defaults of [Options].
const (
	DefaultGrace       = 30 * time.Second
	DefaultConcurrency = 256
	// DefaultEventsKeep is what the tasker binary sets EventsKeep to unless it is
	// configured.
	DefaultEventsKeep = 30 * 24 * time.Hour
	// DefaultDeliveryGrace is the default of DeliveryGrace.
	DefaultDeliveryGrace = 5 * time.Second
	// DefaultSlowOperation is the default of SlowOperation.
	DefaultSlowOperation = 250 * time.Millisecond
)

// MinHangTimeout is the least [Options].HangTimeout: plugins say every three seconds
// that they are alive, and a busy machine may delay two of these signs.
const MinHangTimeout = 10 * time.Second

// withDefaults returns a copy of o with every unset field at its default.
func (o Options) withDefaults() Options {
	if o.Mode == "" {
		o.Mode = ModeServe
	}
	if o.Version == "" {
		o.Version = "dev"
	}
	if o.Logger == nil {
		o.Logger = hclog.NewNullLogger()
	}
	if o.Grace == 0 {
		o.Grace = DefaultGrace
	}
	if o.CancelGrace == 0 {
		o.CancelGrace = supervisor.DefaultCancelGrace
	}
	if o.DeliveryGrace == 0 {
		o.DeliveryGrace = DefaultDeliveryGrace
	}
	if o.SlowOperation == 0 {
		o.SlowOperation = DefaultSlowOperation
	}
	if o.Concurrency == 0 {
		o.Concurrency = DefaultConcurrency
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = defaultRand
	}
	return o
}

// validate checks what no default can mend.
func (o Options) validate() error {
	var problems []error
	if o.Home == "" {
		problems = append(problems, errors.New("home is missing"))
	}
	if o.Grace < 0 || o.CancelGrace < 0 {
		problems = append(problems, errors.New("grace and cancel grace: want more than 0"))
	}
	if o.HangTimeout != 0 && o.HangTimeout < MinHangTimeout {
		problems = append(problems, fmt.Errorf("hang timeout %s: want at least %s", o.HangTimeout, MinHangTimeout))
	}
	if o.EventsKeep < 0 || o.DeliveryGrace < 0 {
		problems = append(problems, errors.New("time to keep events and grace of delivery: want at least 0"))
	}
	if o.SlowOperation < 0 {
		problems = append(problems, fmt.Errorf("slow operation %s: want more than 0", o.SlowOperation))
	}
	if o.MetricsAddr != "" {
		if err := telemetry.CheckAddress(o.MetricsAddr); err != nil {
			problems = append(problems, fmt.Errorf("address of the metrics: %w", err))
		}
	}
	if o.Concurrency < 0 {
		problems = append(problems, fmt.Errorf("concurrency %d: want more than 0", o.Concurrency))
	}
	if err := checkRetention(&o.Retention); err != nil {
		problems = append(problems, err)
	}
	problems = append(problems, checkSubscribers(o.Subscriptions)...)
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("host options: %w: %w", task.ErrInvalid, err)
	}
	return nil
}

// The files of a home.
const (
	storeFile = "tasker.db" // the store
	dataDir   = "data"      // working directories of plugins
	logDir    = "logs"      // logs of plugins

	manifestDir = "manifests" // of plugins that are started lazily

	homeMode = 0o700 // inputs and results are nobody else's business
)

// StorePath returns the path of a home's store.
func StorePath(home string) string { return filepath.Join(home, storeFile) }
