//go:build unix

package supervisor

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// patience is how long a test waits for what must happen; it is no measured duration.
const patience = 60 * time.Second

// recorder is a sink that remembers, and on which tests wait.
type recorder struct {
	mu       sync.Mutex
	changed  chan struct{}
	ready    []task.Instance
	capacity map[string]int
	draining []string
	rooms    []string // instances whose company has changed
	shares   []instanceShare
	gone     []goneInstance
	reports  []task.Report
	life     []task.PluginLife
	crashes  []store.Crash
	late     []string // reports after the end of their instance
}

type instanceShare struct {
	id    string
	share float64
}

type goneInstance struct {
	id    string
	cause task.LossCause
	sent  []task.AttemptID // of the lost
}

func newRecorder() *recorder {
	return &recorder{changed: make(chan struct{}), capacity: make(map[string]int)}
}

func (r *recorder) note(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *recorder) InstanceReady(in task.Instance) { r.note(func() { r.ready = append(r.ready, in) }) }

func (r *recorder) InstanceCapacity(id string, n int) {
	r.note(func() { r.capacity[id] = n })
}

func (r *recorder) InstanceShare(in task.Instance, share float64) {
	r.note(func() { r.shares = append(r.shares, instanceShare{in.ID, share}) })
}

func (r *recorder) InstanceRoom(id string) { r.note(func() { r.rooms = append(r.rooms, id) }) }

func (*recorder) Vacate(context.Context, string) {}

func (r *recorder) InstanceDraining(id string) {
	r.note(func() { r.draining = append(r.draining, id) })
}

func (r *recorder) InstanceGone(id string, cause task.LossCause, sent []task.AttemptID) {
	r.note(func() { r.gone = append(r.gone, goneInstance{id, cause, sent}) })
}

func (r *recorder) Reports(reports []task.Report) {
	for i := range reports {
		if stored := reports[i].Stored; stored != nil {
			reports[i].Stored = nil
			stored()
		}
	}
	r.note(func() {
		for _, report := range reports {
			if slices.ContainsFunc(r.gone, func(g goneInstance) bool { return g.id == report.Instance }) {
				r.late = append(r.late, report.ID.String())
			}
		}
		r.reports = append(r.reports, reports...)
	})
}
func (r *recorder) Life(life task.PluginLife) { r.note(func() { r.life = append(r.life, life) }) }
func (r *recorder) Crashed(c store.Crash)     { r.note(func() { r.crashes = append(r.crashes, c) }) }

// wait waits until a condition over what was recorded holds.
func (r *recorder) wait(t *testing.T, what string, holds func() bool) {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		r.mu.Lock()
		ok, changed := holds(), r.changed
		r.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			r.mu.Lock()
			defer r.mu.Unlock()
			t.Fatalf("waited in vain for %s\nlife: %+v\ngone: %+v\nreports: %+v", what, r.life, r.gone, r.reports)
		}
	}
}

// host is a supervisor with its directories, in a test.
type host struct {
	*Supervisor
	*recorder

	t      *testing.T
	opts   Options
	log    *lockedBuffer
	cancel context.CancelFunc
	ended  chan error
}

// lockedBuffer captures the host's log.
type lockedBuffer struct {
	mu   sync.Mutex
	text []byte
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p...)
	return len(p), nil
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.text)
}

// shortDir makes a directory with a short name: socket paths are limited.
func shortDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "sv") //nolint:usetesting // its names are long
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// installPlugins makes a plugin directory with test plugins of these modes.
func installPlugins(tb testing.TB, modes ...string) string {
	tb.Helper()
	exe, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	dir := tb.TempDir()
	for _, mode := range modes {
		if err := os.Symlink(exe, filepath.Join(dir, BinaryPrefix+mode)); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

// startHost runs a supervisor over test plugins of these modes until the test ends.
func startHost(t *testing.T, change func(*Options), modes ...string) *host {
	t.Helper()
	dir := shortDir(t)
	log := &lockedBuffer{}
	rec := newRecorder()
	opts := Options{
		Logger: hclog.New(&hclog.LoggerOptions{Output: log, Level: hclog.Debug}),
		Sink:   rec, Dirs: []string{installPlugins(t, modes...)},
		RunDir: filepath.Join(dir, "r"), DataDir: filepath.Join(dir, "data"), LogDir: filepath.Join(dir, "log"),
		HostID: "01ARZ3NDEKTSV4RRFFQ69G5FAV", HostVersion: "0.0.1",
		Restart: Restart{Base: time.Millisecond, Cap: 10 * time.Millisecond},
	}
	if change != nil {
		change(&opts)
	}
	s, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	h := &host{Supervisor: s, recorder: rec, t: t, opts: opts, log: log, cancel: cancel, ended: make(chan error, 1)}
	go func() { h.ended <- s.Run(ctx) }()
	t.Cleanup(h.stop)
	return h
}

// within returns the host for a subtest: what fails there fails the subtest.
func (h *host) within(t *testing.T) *host {
	t.Helper()
	c := *h
	c.t = t
	return &c
}

// stop ends the supervisor and checks what must hold at every end.
func (h *host) stop() {
	h.cancel()
	select {
	case err, open := <-h.ended:
		if !open {
			return
		}
		close(h.ended)
		if err != nil {
			h.t.Errorf("Run: %v", err)
		}
	case <-time.After(patience):
		h.t.Fatal("Run does not end")
	}
	h.recorder.mu.Lock()
	defer h.recorder.mu.Unlock()
	if len(h.ready) != len(h.gone) {
		h.t.Errorf("%d instances were ready, %d are gone: %v", len(h.ready), len(h.gone), h.gone)
	}
	for _, late := range h.late {
		h.t.Errorf("a report of %s came after its instance was gone", late)
	}
	if left, _ := filepath.Glob(filepath.Join(h.opts.RunDir, "*")); len(left) > 0 {
		h.t.Errorf("files are left in the run directory: %v", left)
	}
}

// instanceOf waits for the n-th ready instance of a plugin, counted from 1.
func (h *host) instanceOf(plugin string, n int) task.Instance {
	h.t.Helper()
	var found task.Instance
	h.wait(h.t, plugin+" to be ready", func() bool {
		count := 0
		for _, in := range h.ready {
			if in.Plugin == plugin {
				if count++; count == n {
					found = in
					return true
				}
			}
		}
		return false
	})
	return found
}

const testTask = testID

// attempt makes an assignment; step ordinals make ids.
func attempt(ordinal int, handler, input string) *task.Assignment {
	id := task.AttemptID{Task: testTask, Ordinal: task.Ordinal(ordinal), Number: 1}
	return &task.Assignment{
		ID: id, Step: "step", Handler: task.HandlerRef{Plugin: "p", Handler: handler, Version: 1},
		IdempotencyKey: id.Step().String(), Input: task.Value{Inline: []byte(input)},
	}
}

// final waits for the final report of an attempt.
func (h *host) final(id task.AttemptID) task.Report {
	h.t.Helper()
	var found task.Report
	h.wait(h.t, "the result of "+id.String(), func() bool {
		for _, r := range h.reports {
			if r.ID == id && (r.Kind == task.ReportSucceeded || r.Kind == task.ReportFailed) {
				found = r
				return true
			}
		}
		return false
	})
	return found
}

// running waits for the first heartbeat of an attempt.
func (h *host) running(id task.AttemptID) {
	h.t.Helper()
	h.wait(h.t, "a heartbeat of "+id.String(), func() bool {
		return slices.ContainsFunc(h.reports, func(r task.Report) bool { return r.ID == id && r.Kind == task.ReportHeartbeat })
	})
}

// until keeps an instance busy until something holds that nobody tells.
func (h *host) until(instance, what string, holds func() bool) {
	h.t.Helper()
	for n := 1000; !holds(); n++ {
		if n == 100_000 {
			h.t.Fatalf("%d attempts later there is not %s", n, what)
		}
		echo := attempt(n, "echo", `1`)
		h.Dispatch(instance, []*task.Assignment{echo})
		h.final(echo.ID)
	}
}

// inState waits until a plugin reaches a state and returns that change.
func (h *host) inState(plugin string, state task.PluginState) task.PluginLife {
	h.t.Helper()
	var found task.PluginLife
	h.wait(h.t, plugin+" to be "+string(state), func() bool {
		for _, l := range h.life {
			if l.Plugin == plugin && l.State == state {
				found = l
				return true
			}
		}
		return false
	})
	return found
}

// lost waits until an instance is gone and returns why.
func (h *host) lost(instance string) task.LossCause { return h.end(instance).cause }

// end waits until an instance is gone and returns what was said of its end.
func (h *host) end(instance string) goneInstance {
	h.t.Helper()
	var found goneInstance
	h.wait(h.t, instance+" to be gone", func() bool {
		for _, g := range h.gone {
			if g.id == instance {
				found = g
				return true
			}
		}
		return false
	})
	return found
}

// crash waits for the crash report of an instance.
func (h *host) crash(instance string) store.Crash {
	h.t.Helper()
	var found store.Crash
	h.wait(h.t, "a crash report of "+instance, func() bool {
		for _, c := range h.crashes {
			if c.Instance == instance {
				found = c
				return true
			}
		}
		return false
	})
	return found
}

// reportsOf returns everything that was reported of an attempt.
func (h *host) reportsOf(id task.AttemptID) []task.Report {
	h.recorder.mu.Lock()
	defer h.recorder.mu.Unlock()
	var found []task.Report
	for _, r := range h.reports {
		if r.ID == id {
			found = append(found, r)
		}
	}
	return found
}

// crashesOf returns the crash reports of a plugin.
func (h *host) crashesOf(plugin string) []store.Crash {
	h.recorder.mu.Lock()
	defer h.recorder.mu.Unlock()
	var found []store.Crash
	for _, c := range h.crashes {
		if c.Plugin == plugin {
			found = append(found, c)
		}
	}
	return found
}
