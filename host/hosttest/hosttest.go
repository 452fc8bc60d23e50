// Package hosttest runs a whole host in a test: a real store file in a temporary home,
// real plugin processes, the real log. Every test that uses it also proves that the
// host stops cleanly, that the store keeps its rules, that no plugin process is left
// behind and that nothing was warned of that the test did not expect.
//
//	func TestMain(m *testing.M) { hosttest.Main(m) }
//
//	func TestGreeting(t *testing.T) {
//		h := hosttest.Start(t)
//		id := h.Create("name: hello\nversion: 1.0.0\nsteps:\n- {name: greet, handler: mock/echo}\n")
//		v := h.End(id)
//		h.WantSteps(v, "greet=complete/1")
//	}
//
// To test a template without any process, [Simulate] runs it with Go functions in place of the plugins, on a clock of its
// own:
//
//	got := hosttest.Simulate(t, hosttest.Scenario{Template: "order.yaml", Stubs: map[string]hosttest.Stub{
//		"charge": hosttest.Func(func(ctx context.Context, in Order) (Receipt, error) { return Receipt{}, nil }),
//	}})
//	got.WantTask(task.Complete)
//	got.WantEvents("step.completed(charge) task.completed")
//
// Without other plugins a host offers plugins/mock, which fails on request.
package hosttest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/internal/boltstore/bolttest"
	"github.com/tasker-engine/tasker/host/task"
)

// Patience is how long a helper waits before it fails the test. Nothing ever takes so
// long unless something is wrong.
const Patience = time.Minute

// Host is a host under test. It is replaced by [Host.Restart]; a Host belongs to the
// test's goroutine, but what [host.Host] offers may be called from any.
type Host struct {
	*host.Host

	t     testing.TB
	opts  host.Options
	log   *capture
	pids  *processes
	abort chan struct{}
	stop  context.CancelFunc
	ended chan error // nil when not running
}

// Option changes how a host is started.
type Option func(*config)

type config struct {
	host      host.Options
	plugins   []string
	noPlugins bool
	recorders []string
	expected  []string
}

// Options changes the options of the host. Home, Logger and Abort are set by Start.
func Options(change func(o *host.Options)) Option {
	return func(c *config) { change(&c.host) }
}

// Plugins offers the plugins of these Go packages, import paths or paths from the
// test's directory, instead of plugins/mock. Each is built once per test binary.
func Plugins(packages ...string) Option {
	return func(c *config) { c.plugins = packages }
}

// WithoutPlugins offers no plugins but those of Options.PluginDirs.
func WithoutPlugins() Option { return func(c *config) { c.noPlugins = true } }

// Expect lets the host warn of things whose log line contains one of the texts.
func Expect(texts ...string) Option {
	return func(c *config) { c.expected = append(c.expected, texts...) }
}

// mockPlugin is what a host offers unless it is told otherwise.
const mockPlugin = "github.com/tasker-engine/tasker/plugins/mock"

// Start starts a host in a directory of its own and stops it when the test ends. Unless
// an option says otherwise the cancel grace is short, so that what ignores a cancel does
// not hold up the test.
func Start(tb testing.TB, options ...Option) *Host {
	tb.Helper()
	c := config{plugins: []string{mockPlugin}}
	c.host.CancelGrace = 500 * time.Millisecond
	c.host.Grace = Patience / 2
	for _, o := range options {
		o(&c)
	}
	if c.host.Home == "" {
		c.host.Home = filepath.Join(tb.TempDir(), "home")
	}
	if !c.noPlugins {
		for _, pkg := range c.plugins {
			c.host.PluginDirs = append(c.host.PluginDirs, BuildPlugin(tb, pkg))
		}
	}
	if len(c.recorders) > 0 {
		dir := tb.TempDir()
		for _, name := range c.recorders {
			InstallRecorder(tb, dir, name)
		}
		c.host.PluginDirs = append(c.host.PluginDirs, dir)
	}
	h := &Host{t: tb, opts: c.host, log: newCapture(c.expected), pids: &processes{}}
	h.opts.Logger = hclog.New(&hclog.LoggerOptions{Name: "host", Level: hclog.Trace, Output: h.log, JSONFormat: true})
	tb.Cleanup(h.cleanup)
	h.start()
	return h
}

func (h *Host) start() {
	h.t.Helper()
	h.abort = make(chan struct{})
	h.opts.Abort = h.abort
	var err error
	if h.Host, err = host.Open(context.Background(), h.opts); err != nil {
		h.t.Fatalf("open host: %v", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	running := h.Host
	go func() { ended <- running.Run(ctx) }()
	h.stop, h.ended = stop, ended
	<-h.Ready()
}

// Stop stops the host as its first signal does: what runs may end.
func (h *Host) Stop() {
	h.t.Helper()
	if h.ended == nil {
		return
	}
	h.notePlugins()
	h.stop()
	select {
	case err := <-h.ended:
		if err != nil {
			h.t.Errorf("host ended with: %v", err)
		}
	case <-time.After(Patience):
		buf := make([]byte, 1<<20)
		h.t.Fatalf("host did not stop within %s\n%s", Patience, buf[:runtime.Stack(buf, true)])
	}
	h.ended = nil
}

// Cut stops the host as its second signal does: what runs is cut, and runs again when
// the home is opened next.
func (h *Host) Cut() {
	h.t.Helper()
	h.log.expect("attempts were cut")
	close(h.abort)
	h.Stop()
}

// Restart opens the home again after [Host.Stop] or [Host.Cut]; a host that runs is
// stopped first.
func (h *Host) Restart() {
	h.t.Helper()
	h.Stop()
	h.start()
}

// With returns the host for a subtest: what it finds fails the subtest. It must not be
// stopped or restarted.
func (h *Host) With(tb testing.TB) *Host {
	tb.Helper()
	sub := *h
	sub.t = tb
	return &sub
}

// Home returns the home of the host.
func (h *Host) Home() string { return h.opts.Home }

// Expect is the option [Expect] for what a test only learns later.
func (h *Host) Expect(texts ...string) { h.log.expect(texts...) }

// cleanup stops the host and proves what every test proves.
func (h *Host) cleanup() {
	if h.ended != nil {
		h.cancelAll()
		h.Stop()
	}
	for _, survivor := range h.pids.alive() {
		h.t.Errorf("%s outlived the host", survivor)
	}
	if path := host.StorePath(h.opts.Home); fileExists(path) {
		bolttest.Verify(h.t, path)
	}
	for _, line := range h.log.unexpected() {
		h.t.Errorf("host log: %s", line)
	}
	if h.t.Failed() {
		h.t.Logf("log of the host:\n%s", h.log)
	}
}

// cancelAll cancels what has not ended, so that the host need not wait for it.
func (h *Host) cancelAll() {
	ctx, cancel := h.context()
	defer cancel()
	f := host.Filter{Statuses: []task.Status{task.Pending, task.InProgress, task.Paused}}
	open, _, err := h.ListTasks(ctx, f, host.Page{Limit: host.MaxPage})
	if err != nil {
		h.t.Errorf("list tasks: %v", err)
	}
	for i := range open {
		err := h.CancelTask(ctx, string(open[i].Spec.ID), task.Operation{Reason: "the test is over"})
		if err != nil && !errors.Is(err, task.ErrTransition) {
			h.t.Errorf("cancel task: %v", err)
		}
	}
}

// context bounds one call to the host; it outlives the test's own context.
func (h *Host) context() (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(context.Background(), Patience, fmt.Errorf("waited for %s", Patience))
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Main runs the tests of a package, removes the plugins that were built for them, and
// fails when a goroutine is left.
func Main(m *testing.M) { goleak.VerifyTestMain(suite{m}) }

type suite struct{ *testing.M }

// Run implements goleak.TestingM.
func (s suite) Run() (code int) {
	code = s.M.Run()
	if err := os.RemoveAll(buildDir()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}
