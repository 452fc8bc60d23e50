package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/template"
)

// config is everything that can be set.
type config struct {
	Home           string
	PluginDirs     []string
	TemplateDirs   []string
	Environment    string
	LogLevel       string
	LogFormat      string
	HealthAddr     string
	MetricsListen  string
	SlowOperation  time.Duration
	Grace          time.Duration
	CancelGrace    time.Duration
	StartTimeout   time.Duration
	HangTimeout    time.Duration
	Concurrency    int
	Isolation      string
	DeliveryGrace  time.Duration
	WorkflowEvents bool
	TracingKeep    bool
	EventsKeep     keepFor
	Subscriptions  []template.HostSubscription
	Retention      retentionConfig
	Plugins        map[string]pluginConfig
	Commands       map[string]commandConfig

	// origins says for each key where its value comes from.
	origins map[string]string
}

// retentionConfig says how long finished tasks are kept.
type retentionConfig struct {
	Complete, Error, Cancelled, ResolvedManually keepFor

	Last   int // 0 = any number
	Export string
	Rules  []template.RetentionRule
}

// keepFor is how long something is kept; 0 = for ever.
type keepFor time.Duration

// String returns the duration, or "forever".
func (k keepFor) String() string {
	if k == 0 {
		return forever
	}
	return time.Duration(k).String()
}

const forever = "forever"

// pluginConfig is what is set for one plugin.
type pluginConfig struct {
	Config       json.RawMessage // nil = {}
	Env          []string
	StartTimeout time.Duration // 0 = start_timeout
	Rest         restConfig
	Isolation    string // empty = isolation
	Limits       host.PluginLimits
}

// setting is one key of the configuration. Its variable is TASKER_ and the key in upper
// case, dots as underscores.
type setting struct {
	key   string
	flag  string // of `run` and `serve`; empty = none
	value func(*config) any
	check func(*config) error // nil = anything
	dir   bool                // the value is a directory
	help  string
}

// settings lists the keys in the order in which they are shown; `subscriptions` and
// `plugins`, which are no single values, are treated apart.
func settings() []setting {
	return slices.Concat(hostSettings(), eventSettings(), retentionSettings())
}

// hostSettings are the keys about the host and its plugins.
func hostSettings() []setting {
	return []setting{
		{
			key: "home", flag: "home", value: func(c *config) any { return &c.Home },
			help: "The directory that holds everything: the store, logs, plugins' data and this file. Not allowed in the file itself.",
		},
		{
			key: "plugin_dirs", flag: "plugin-dir", value: func(c *config) any { return &c.PluginDirs },
			help: "Directories with executables named `tasker-plugin-*`, or single ones. Default: `plugins` in the home and `plugins` beside the tasker binary, as far as they exist.",
		},
		{
			key: "template_dirs", flag: "template-dir", value: func(c *config) any { return &c.TemplateDirs },
			help: "Directories with templates, read with their subdirectories. Default: `templates` in the home, if it exists.",
		},
		{
			key: "environment", flag: "env", value: func(c *config) any { return &c.Environment },
			help: "The environment whose overrides are merged into templates. Empty means none.",
		},
		{
			key: "log_level", flag: "log-level", value: func(c *config) any { return &c.LogLevel },
			check: func(c *config) error { _, err := parseLogLevels(c.LogLevel); return err },
			help:  "The least level that the host logs, and that plugins are told to: trace, debug, info, warn or error. Parts may have levels of their own: `info,delivery=debug,plugin.http=trace`. Parts are `runner`, `store`, `delivery`, `plugin` (what runs plugins), `control`, `metrics`, `traces`, and `plugin.NAME`, which is what a plugin is told. Default `info`; a host that `tasker run` starts itself says `warn`.",
		},
		{
			key: "log_format", flag: "log-format", value: func(c *config) any { return &c.LogFormat },
			check: func(c *config) error { return oneOf(c.LogFormat, formatAuto, formatText, formatJSON) },
			help:  "How the host logs to stderr: `text`, `json` (one object per line), or `auto`: text on a terminal, else JSON. The host that `tasker run` starts itself takes `auto` for text everywhere, as all else that it writes to stderr is for people.",
		},
		{
			key: "health_addr", flag: "health-addr", value: func(c *config) any { return &c.HealthAddr },
			check: func(c *config) error { return loopback(c.HealthAddr) },
			help:  "A loopback `host:port` that answers GET /livez and GET /readyz while `tasker serve` runs. Empty means none.",
		},
		{
			key: "metrics.listen", value: func(c *config) any { return &c.MetricsListen },
			check: func(c *config) error { return endpoint(c.MetricsListen) },
			help:  "A `host:port` at which GET /metrics answers in the formats of Prometheus while `tasker serve` runs, such as `127.0.0.1:9464`. Whoever reaches it can read it. Empty means none. The variables of OpenTelemetry (`OTEL_METRICS_EXPORTER`, `OTEL_EXPORTER_OTLP_ENDPOINT`) have metrics pushed; when nobody looks, nothing is measured.",
		},
		{
			key: "store.slow_operation", value: func(c *config) any { return &c.SlowOperation },
			check: func(c *config) error { return positive(c.SlowOperation) },
			help:  "How long an operation of the store takes at least that is logged by name, at the level info, and counted.",
		},
		{
			key: "grace", flag: "grace", value: func(c *config) any { return &c.Grace },
			check: func(c *config) error { return positive(c.Grace) },
			help:  "How long attempts may go on when the host stops. What is cut then runs again when the home is opened next.",
		},
		{
			key: "cancel_grace", value: func(c *config) any { return &c.CancelGrace },
			check: func(c *config) error { return positive(c.CancelGrace) },
			help:  "How long an attempt may go on after it was told to stop, by a cancel or a timeout.",
		},
		{
			key: "start_timeout", value: func(c *config) any { return &c.StartTimeout },
			check: func(c *config) error { return positive(c.StartTimeout) },
			help:  "How long a plugin may take from its start until it is ready.",
		},
		{
			key: "hang_timeout", value: func(c *config) any { return &c.HangTimeout },
			check: func(c *config) error {
				if c.HangTimeout < host.MinHangTimeout {
					return fmt.Errorf("%s: want at least %s, because plugins say every few seconds only that they are alive", c.HangTimeout, host.MinHangTimeout)
				}
				return nil
			},
			help: "The silence of a plugin that holds attempts which counts as a hang, at least 10s; the plugin is then killed and started again.",
		},
		{
			key: "concurrency", value: func(c *config) any { return &c.Concurrency },
			check: func(c *config) error {
				if c.Concurrency < 1 {
					return fmt.Errorf("%d: want at least 1", c.Concurrency)
				}
				return nil
			},
			help: "How many attempts a plugin runs at once that declares no limit of its own.",
		},
		{
			key: "isolation", value: func(c *config) any { return &c.Isolation },
			check: func(c *config) error { return oneOf(c.Isolation, host.IsolationProfiles()...) },
			help:  "What of the machine is kept from plugins that did not ask for it in their manifests: `default`, all that the kernel can keep; `strict`, the same, and what it cannot keep is a reason not to start a plugin; `off`, nothing but the environment. `tasker plugin doctor` tells what is in force. See docs/isolation.md.",
		},
	}
}

// eventSettings are the keys about events and their delivery.
func eventSettings() []setting {
	return []setting{
		{
			key: "delivery_grace", value: func(c *config) any { return &c.DeliveryGrace },
			check: func(c *config) error { return positive(c.DeliveryGrace) },
			help:  "How long subscribers may catch up with the events when the host stops. What they did not get then, they get when it runs again.",
		},
		{
			key: "events.keep", value: func(c *config) any { return &c.EventsKeep },
			check: func(c *config) error {
				if c.EventsKeep < 0 {
					return fmt.Errorf("%s: want 0 or more", c.EventsKeep)
				}
				return nil
			},
			help: "How long events are kept after they happened, whether or not all subscribers have got them; a subscriber that missed some is told of the gap. `0` or `forever` keeps all.",
		},
		{
			key: "events.workflow", value: func(c *config) any { return &c.WorkflowEvents },
			help: "Whether the `workflow.*` events are recorded, which tell the engine's own steps.",
		},
		{
			key: "tracing.keep", value: func(c *config) any { return &c.TracingKeep },
			help: "Whether what plugins tell of attempts, such as their API calls, is kept with the task for `tasker task trace`. It goes with the task.",
		},
	}
}

// pluginKeys are the keys below plugins.NAME, with their help.
func pluginKeys() []struct{ key, help string } {
	keys := []struct{ key, help string }{
		{"config", "The plugin's configuration, as its manifest describes it."},
		{"env", "Names of environment variables that the plugin may see, if its manifest asks for them."},
		{"start_timeout", "Overrides `start_timeout` for this plugin."},
		{"isolation", "Overrides `isolation` for this plugin."},
		{"limits.memory", "The most memory that its process may hold, such as `512MiB`; above, it is drained or killed and started again. A Go program is told, and collects garbage before."},
		{"limits.files", "The most files that a process of it may hold open. Default 65536. Not with the isolation `off`."},
		{"limits.processes", "The most threads and processes that it may have together, default 4096; docs/isolation.md says what is counted. Not with the isolation `off`."},
	}
	return append(keys, restKeys()...)
}

// variable returns the name of a key's environment variable.
func (s setting) variable() string {
	return "TASKER_" + strings.ToUpper(strings.ReplaceAll(s.key, ".", "_"))
}

// set parses a text as the setting's type.
func (s setting) set(c *config, text string) error {
	switch p := s.value(c).(type) {
	case *string:
		*p = text
	case *[]string:
		*p = filepath.SplitList(text)
	case *time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q: want a duration such as 500ms, 10s or 5m", text)
		}
		*p = d
	case *keepFor:
		if text == forever {
			*p = 0
			return nil
		}
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q: want a duration such as 720h, or forever", text)
		}
		*p = keepFor(d)
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q: want a whole number", text)
		}
		*p = n
	case *bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q: want true or false", text)
		}
		*p = b
	}
	return nil
}

// show returns the setting's value as a JSON value: durations are texts.
func (s setting) show(c *config) any {
	switch p := s.value(c).(type) {
	case *string:
		return *p
	case *[]string:
		if *p == nil {
			return []string{}
		}
		return *p
	case *time.Duration:
		return p.String()
	case *keepFor:
		return p.String()
	case *int:
		return *p
	case *bool:
		return *p
	default:
		return nil
	}
}

// defaults returns the configuration of an empty one.
func defaults() *config {
	return &config{
		LogLevel: "info", LogFormat: formatAuto, SlowOperation: host.DefaultSlowOperation, Grace: host.DefaultGrace, CancelGrace: host.DefaultCancelGrace,
		Isolation: isolationDefault, StartTimeout: host.DefaultStartTimeout, HangTimeout: host.DefaultHangTimeout, Concurrency: host.DefaultConcurrency,
		DeliveryGrace: host.DefaultDeliveryGrace, EventsKeep: keepFor(host.DefaultEventsKeep), TracingKeep: true,
		Retention: retentionConfig{
			Complete: keepFor(host.DefaultKeepComplete), Error: keepFor(host.DefaultKeepFailed),
			Cancelled: keepFor(host.DefaultKeepFailed), ResolvedManually: keepFor(host.DefaultKeepFailed),
		},
		origins: make(map[string]string),
	}
}

// defaultDirs are the directories that count when none are named, as far as they exist.
func (cfg *config) defaultDirs() {
	if cfg.origins["plugin_dirs"] == originDefault {
		candidates := []string{filepath.Join(cfg.Home, "plugins")}
		if exe, err := os.Executable(); err == nil {
			candidates = append(candidates, filepath.Join(filepath.Dir(exe), "plugins"))
		}
		cfg.PluginDirs = existing(candidates)
	}
	if cfg.origins["template_dirs"] == originDefault {
		cfg.TemplateDirs = existing([]string{filepath.Join(cfg.Home, "templates")})
	}
}

// warnOfMissing names plugin directories that are not there: plugins may be put there
// later, but a slip of the pen is likelier.
func (a *app) warnOfMissing(cfg *config) {
	for _, dir := range cfg.PluginDirs {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			a.note("warning: plugin directory %s does not exist", dir)
		}
	}
}

func existing(dirs []string) []string {
	var found []string
	for _, dir := range dirs {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			found = append(found, dir)
		}
	}
	return found
}

// hostOptions turns the configuration into a host's.
func (cfg *config) hostOptions() host.Options {
	levels, _ := parseLogLevels(cfg.LogLevel) // it was checked
	o := host.Options{
		Home: cfg.Home, PluginDirs: cfg.PluginDirs, TemplateDirs: cfg.TemplateDirs, Environment: cfg.Environment,
		Version: buildVersion().Version, LogLevel: levels.all, PluginLogLevels: levels.plugins(), HealthAddr: cfg.HealthAddr, MetricsAddr: cfg.MetricsListen, SlowOperation: cfg.SlowOperation,
		Grace: cfg.Grace, CancelGrace: cfg.CancelGrace, StartTimeout: cfg.StartTimeout, HangTimeout: cfg.HangTimeout,
		Concurrency: cfg.Concurrency, WorkflowEvents: cfg.WorkflowEvents, ForgetSpans: !cfg.TracingKeep,
		EventsKeep: time.Duration(cfg.EventsKeep), DeliveryGrace: cfg.DeliveryGrace,
		StartTimeouts: make(map[string]time.Duration), PluginConfigs: make(map[string]json.RawMessage),
		PluginEnv: make(map[string][]string), PluginRests: make(map[string]host.PluginRest), Isolation: cfg.Isolation,
		PluginIsolation: make(map[string]string), PluginLimits: make(map[string]host.PluginLimits),
	}
	o.Retention = cfg.Retention.options()
	for _, s := range cfg.Subscriptions {
		o.Subscriptions = append(o.Subscriptions, host.Subscriber{
			Subscriber: s.Subscriber, Template: s.Template, Events: s.Events, Filter: s.Filter, Config: s.Config,
			Disabled: s.Disabled, Position: s.Position,
		})
	}
	for name, p := range cfg.Plugins {
		if p.StartTimeout > 0 {
			o.StartTimeouts[name] = p.StartTimeout
		}
		if p.Config != nil {
			o.PluginConfigs[name] = p.Config
		}
		if p.Env != nil {
			o.PluginEnv[name] = p.Env
		}
		if rest, set := p.Rest.option(); set {
			o.PluginRests[name] = rest
		}
		if p.Isolation != "" {
			o.PluginIsolation[name] = p.Isolation
		}
		if p.Limits != (host.PluginLimits{}) {
			o.PluginLimits[name] = p.Limits
		}
	}
	return o
}

// Values of log_format.
const (
	formatAuto = "auto"
	formatText = "text"
	formatJSON = "json"
)

// logsJSON reports whether what is logged to a stream is JSON.
func (cfg *config) logsJSON(w io.Writer) bool {
	return cfg.LogFormat == formatJSON || cfg.LogFormat == formatAuto && !isTerminal(w)
}

// logger makes the host's logger.
func (a *app) logger(c *config, level string) hclog.Logger {
	levels, _ := parseLogLevels(level) // it was checked
	return newPartLogger(hclog.New(&hclog.LoggerOptions{
		Name: "tasker", Output: a.stderr, JSONFormat: c.logsJSON(a.stderr), IndependentLevels: true,
		TimeFn: func() time.Time { return a.now().UTC() }, TimeFormat: "2006-01-02T15:04:05.000Z",
	}), levels)
}

func oneOf(value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("%q: want one of %s%s", value, strings.Join(allowed, ", "), didYouMean(value, allowed))
}

func positive(d time.Duration) error {
	if d <= 0 {
		return fmt.Errorf("%s: want more than 0", d)
	}
	return nil
}

func loopback(addr string) error {
	if addr == "" {
		return nil
	}
	name, _, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("%q: want host:port such as 127.0.0.1:7701", addr)
	}
	if ip := net.ParseIP(name); name != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("%q: only a loopback address such as 127.0.0.1 is allowed, because the answers are not protected", addr)
	}
	return nil
}

// endpoint checks a "host:port" that others may reach.
func endpoint(addr string) error {
	if addr == "" {
		return nil
	}
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return fmt.Errorf("%q: want host:port such as 127.0.0.1:9464", addr)
	}
	return nil
}
