package hosttest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

// built holds one build per Go package; each is done once per test binary.
var built sync.Map // package -> func() (string, error)

// buildDir is where this process keeps the plugins that it built.
func buildDir() string {
	return filepath.Join(os.TempDir(), "tasker-hosttest-"+strconv.Itoa(os.Getpid()))
}

// BuildPlugin builds the plugin of a Go package, an import path or a path from the
// test's directory, and returns the directory that holds it and nothing else. It is
// named after the last element of the path.
func BuildPlugin(tb testing.TB, pkg string) string {
	tb.Helper()
	build, _ := built.LoadOrStore(pkg, sync.OnceValues(func() (string, error) { return build(pkg) }))
	dir, err := build.(func() (string, error))() //nolint:errcheck,forcetypeassert // nothing else is stored
	if err != nil {
		tb.Fatalf("build plugin %s: %v", pkg, err)
	}
	return dir
}

func build(pkg string) (string, error) {
	if err := os.MkdirAll(buildDir(), 0o700); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(buildDir(), "plugin-*")
	if err != nil {
		return "", err
	}
	name := "tasker-plugin-" + filepath.Base(pkg)
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	cmd := exec.CommandContext(context.Background(), "go", "build", "-o", filepath.Join(dir, name), pkg)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return dir, nil
}

// Plugin returns what the host knows of a plugin.
func (h *Host) Plugin(name string) host.PluginInfo {
	h.t.Helper()
	p, ok := h.findPlugin(name)
	if !ok {
		h.t.Fatalf("no plugin %q", name)
	}
	return p
}

func (h *Host) findPlugin(name string) (host.PluginInfo, bool) {
	h.t.Helper()
	for _, p := range h.notePlugins() {
		if p.Name == name {
			return p, true
		}
	}
	return host.PluginInfo{}, false
}

// notePlugins remembers the processes that must be gone at the end.
func (h *Host) notePlugins() []host.PluginInfo {
	h.t.Helper()
	plugins, err := h.Plugins(context.Background())
	if err != nil {
		h.t.Fatalf("plugins: %v", err)
	}
	for _, p := range plugins {
		if p.PID != 0 {
			h.pids.note(p.PID, p.Instance)
		}
	}
	return plugins
}

// AwaitPlugin waits until a plugin is ready and returns what is known of it then. It is
// woken by the plugin's events.
func (h *Host) AwaitPlugin(name string) host.PluginInfo {
	h.t.Helper()
	ctx, cancel := h.context()
	defer cancel()
	var found host.PluginInfo
	look := func() bool {
		found, _ = h.findPlugin(name)
		return found.State == task.PluginReady
	}
	err := h.Events(ctx, host.EventQuery{Type: "plugin.*", Follow: true}, func(host.LogEntry) error {
		if look() {
			return errEnough
		}
		return nil
	})
	if !look() {
		h.t.Fatalf("plugin %s is %s (%s), want ready: %v", name, found.State, found.Cause, err)
	}
	return found
}

// KillPlugin kills the process of a plugin that is ready, as `kill -9` does, and
// returns its instance once the host has noticed. The host warns of the crash.
func (h *Host) KillPlugin(name string) (instance string) {
	h.t.Helper()
	p := h.AwaitPlugin(name)
	h.Expect("plugin crashed")
	q := host.EventQuery{Type: "plugin.crashed"}
	before := len(h.Log(q))
	process, err := os.FindProcess(p.PID)
	if err == nil {
		err = process.Kill()
	}
	if err != nil {
		h.t.Fatalf("kill process %d of %s: %v", p.PID, p.Instance, err)
	}
	ctx, cancel := h.context()
	defer cancel()
	q.Follow = true
	err = h.Events(ctx, q, func(host.LogEntry) error {
		if before--; before < 0 {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		h.t.Fatalf("the host did not notice the end of %s: %v", p.Instance, err)
	}
	return p.Instance
}

// processes are the plugin processes that were seen, and that must be gone at the end.
type processes struct {
	mu   sync.Mutex
	seen map[int]string // the instance by process id
}

func (p *processes) note(pid int, instance string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen == nil {
		p.seen = make(map[int]string)
	}
	p.seen[pid] = instance
}

// alive names the processes that still run.
func (p *processes) alive() (out []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for pid, instance := range p.seen {
		if processAlive(pid) {
			out = append(out, fmt.Sprintf("plugin process %d of %s", pid, instance))
		}
	}
	return out
}

// AwaitPlugins waits until the plugins are as wanted. It looks again and again: not every
// change in the life of a plugin is an event.
func (h *Host) AwaitPlugins(what string, wanted func([]host.PluginInfo) bool) {
	h.t.Helper()
	ctx, cancel := h.context()
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !wanted(h.notePlugins()) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			h.t.Fatalf("waited in vain for %s: %+v", what, h.notePlugins())
		}
	}
}
