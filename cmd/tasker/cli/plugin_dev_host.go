package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

// devGrace is how long attempts may go on when the plugin is swapped, unless the settings
// say otherwise. What is cut runs again with the new process.
const devGrace = 2 * time.Second

// devProbe is how long a build has to be fine before the one that it replaces ends.
const devProbe = 200 * time.Millisecond

// debugTimeout stands in for the limits within which a plugin has to give a sign of life.
const debugTimeout = 24 * time.Hour

// devHost is the host in which a plugin is developed; each build has its own.
type devHost struct {
	*host.Host

	own  *ownHost
	logs *movingWriter
	tail *logFollower // of the plugin that is developed
}

// startDev starts a host with a build of the plugin, and the other plugins of the home.
func startDev(ctx context.Context, d *devLoop, b build) (*devHost, error) {
	opts := d.cfg.hostOptions()
	opts.HealthAddr, opts.MetricsAddr = "", "" // somebody who watches a service means the one that stays
	opts.PluginDirs = append([]string{b.path}, others(d.cfg.PluginDirs, filepath.Base(b.path))...)
	opts.Grace = d.grace()
	if d.debug {
		opts.HangTimeout, opts.StartTimeout, opts.CancelGrace = debugTimeout, debugTimeout, debugTimeout
		if d.project.node { // its debugger listens on a port, which is kept from plugins that do not ask for the network
			opts.PluginIsolation = maps.Clone(opts.PluginIsolation)
			if opts.PluginIsolation == nil {
				opts.PluginIsolation = make(map[string]string)
			}
			opts.PluginIsolation[b.name] = "off"
		}
	}
	levels := d.cfg.LogLevel
	if d.cfg.origins["log_level"] == originDefault {
		levels, opts.LogLevel = "warn", "warn"
		opts.PluginLogLevels = map[string]string{b.name: "debug"}
	}
	logging := *d.cfg
	if logging.LogFormat == formatAuto {
		logging.LogFormat = formatText
	}
	logs := &movingWriter{w: d.stderr}
	quiet := *d.app
	quiet.stderr = logs
	opts.Logger = quiet.logger(&logging, levels)
	tail := followLog(filepath.Join(d.cfg.Home, "logs", b.name+".log"), logs)
	own, err := runHost(ctx, opts, logs)
	if err != nil {
		return nil, errors.Join(err, tail.close())
	}
	return &devHost{Host: own.host, own: own, logs: logs, tail: tail}, nil
}

// grace is how long attempts may go on when the plugin is swapped.
func (d *devLoop) grace() time.Duration {
	if d.cfg.origins["grace"] == originDefault {
		return devGrace
	}
	return d.cfg.hostOptions().Grace
}

// others lists the plugins of directories but for those of a file name, which what is
// developed stands in for.
func others(dirs []string, name string) []string {
	var paths []string
	for _, dir := range dirs {
		if info, err := os.Stat(dir); err == nil && info.Mode().IsRegular() {
			paths = append(paths, dir)
			continue
		}
		found, _ := filepath.Glob(filepath.Join(dir, pluginPrefix+"*")) // the pattern is well formed, or the directory is not there
		for _, path := range found {
			if filepath.Base(path) != name {
				paths = append(paths, path)
			}
		}
	}
	return paths
}

// stop ends the host, if there is one, and waits for it.
func (h *devHost) stop() error {
	if h == nil {
		return nil
	}
	return errors.Join(h.own.stop(), h.tail.close())
}

// serves returns the plugin of a build if it works, else nil.
func (h *devHost) serves(ctx context.Context, b build) (*host.PluginInfo, error) {
	if h == nil || h.own.over() {
		return nil, nil //nolint:nilnil // there is none
	}
	found, err := h.Plugins(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(found, func(p host.PluginInfo) bool { return p.Name == b.name })
	if i < 0 || !works(&found[i]) {
		return nil, nil //nolint:nilnil // it does not
	}
	return &found[i], nil
}

// works reports whether a plugin takes work, or will when there is some.
func works(p *host.PluginInfo) bool {
	return slices.Contains([]task.PluginState{task.PluginReady, task.PluginDegraded, task.PluginIdle}, p.State)
}

// awaitPlugin waits until the plugin is ready, or will not be by itself, and returns how
// it is.
func (h *devHost) awaitPlugin(ctx context.Context, name string) (*host.PluginInfo, error) {
	if !awaitReady(ctx, h.Host, func(*host.Health) {}) {
		return nil, ctx.Err()
	}
	tick := time.NewTicker(logTick)
	defer tick.Stop()
	for {
		found, err := h.Plugins(ctx)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(found, func(p host.PluginInfo) bool { return p.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("the host knows no plugin %s", name)
		}
		switch found[i].State {
		case task.PluginStopped, task.PluginStarting, task.PluginHandshaking, task.PluginConfiguring:
		default:
			return &found[i], nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// explainDebugger says how to attach a debugger, and waits for somebody who has done so.
func (d *devLoop) explainDebugger(pid int, binary string) error {
	if d.project.node {
		d.note("\nattach a debugger:  node inspect -p %d", pid)
		d.note("or, for one that reads source maps:  kill -USR1 %d, then chrome://inspect, or attach to port 9229 in an editor.", pid)
		d.note("Nothing of the machine is kept from the plugin meanwhile.")
	} else {
		d.note("\nattach a debugger:  dlv attach %d %s", pid, shellWord(binary))
		d.note("then set a breakpoint, such as `break main.greet`, and `continue`; to leave it running, `exit` and answer n when asked to kill it.")
	}
	d.note("The plugin may be silent for %s. A step's own timeout still ends its attempt.", debugTimeout)
	if d.project.node {
		return d.awaitEnter()
	}
	if scope, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope"); err == nil && strings.TrimSpace(string(scope)) != "0" && os.Geteuid() != 0 {
		d.note("This kernel lets only root attach (kernel.yama.ptrace_scope): sudo dlv attach ..., or sudo sysctl kernel.yama.ptrace_scope=0")
	}
	return d.awaitEnter()
}

// awaitEnter gives the time to set a breakpoint before something runs.
func (d *devLoop) awaitEnter() error {
	if d.run == "" && d.event == "" {
		return nil
	}
	d.note("Press Enter to go on.")
	if _, err := bufio.NewReader(d.stdin).ReadString('\n'); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("wait for Enter: %w", err)
	}
	return nil
}

// movingWriter writes to where it was told last.
type movingWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (m *movingWriter) to(w io.Writer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.w = w
}

// Write implements [io.Writer].
func (m *movingWriter) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.w.Write(p)
}
