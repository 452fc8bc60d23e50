//go:build unix

package supervisor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host/task"
)

// TestIdleStop: who has nothing to do has no process, until something wants it.
func TestIdleStop(t *testing.T) {
	h := startHost(t, func(o *Options) {
		o.Rests = map[string]Rest{"good": {After: 20 * time.Millisecond}}
	}, "good")
	in := h.instanceOf("good", 1)
	h.inState("good", task.PluginIdle)
	if got := h.lost(in.ID); got != task.LossDrained {
		t.Errorf("cause = %s, want %s", got, task.LossDrained)
	}
	info := h.Plugins()[0]
	if info.PID != 0 || info.Crashes != 0 || !strings.Contains(info.Cause, "nothing to do for 20ms") {
		t.Errorf("an idle plugin is %+v, want no process and the cause", info)
	}
	if n := len(h.crashesOf("good")); n > 0 {
		t.Errorf("%d crash reports of a plugin that rests", n)
	}
	h.Wake("other") // nobody
	h.Wake("good")
	h.instanceOf("good", 2)
	h.instanceIdle(2)
	if err := h.Resume("good", nil); err != nil { // by an operator
		t.Error(err)
	}
	h.instanceOf("good", 3)
}

// instanceIdle waits until a plugin was idle so many times.
func (h *host) instanceIdle(times int) {
	h.t.Helper()
	h.wait(h.t, "the plugin to be idle again", func() bool {
		n := 0
		for _, l := range h.life {
			if l.State == task.PluginIdle {
				n++
			}
		}
		return n >= times
	})
}

// TestIdleness: what an instance holds and what it does keep it from resting.
func TestIdleness(t *testing.T) {
	in := &instance{attempts: make(map[string]*held)}
	i := &idleness{}
	looks := func(n int) (rests bool) {
		for range n {
			rests = i.look(in)
		}
		return rests
	}
	if looks(idleLooks-1) || !looks(1) {
		t.Errorf("an instance that does nothing rests not with look %d", idleLooks)
	}
	in.attempts["a"] = &held{}
	if looks(2 * idleLooks) {
		t.Error("an instance that holds an attempt rests")
	}
	delete(in.attempts, "a")
	in.completed.Add(1)
	if looks(idleLooks) || !looks(1) {
		t.Error("want it to rest as many looks after an attempt ended")
	}
	in.frames.Add(1)
	if looks(idleLooks) || !looks(1) {
		t.Error("want it to rest as many looks after an event was sent")
	}
}

// TestLazyStart: a plugin that was described before is started when something wants it, and
// one whose file is another is started at once.
func TestLazyStart(t *testing.T) {
	dir := installPlugins(t, "good")
	memory := filepath.Join(t.TempDir(), "manifests")
	lazy := func(o *Options) {
		o.Dirs, o.ManifestDir = []string{dir}, memory
		o.Rests = map[string]Rest{"good": {Lazy: true}}
	}
	h := startHost(t, lazy)
	h.instanceOf("good", 1) // nobody knows it yet
	h.stop()

	h = startHost(t, lazy)
	h.inState("good", task.PluginIdle)
	info := h.Plugins()[0]
	if info.Starts != 0 || info.Version != "1.2.3" || info.Manifest == nil || len(info.Manifest.Handlers) == 0 {
		t.Errorf("a lazy plugin is %+v, want its manifest and no start", info)
	}
	h.Wake("good")
	in := h.instanceOf("good", 1)
	a := attempt(1, "echo", `1`)
	h.Dispatch(in.ID, []*task.Assignment{a})
	if r := h.final(a.ID); r.Kind != task.ReportSucceeded {
		t.Errorf("report %+v, want a success", r)
	}
	h.stop()

	h = startHost(t, lazy)
	h.Wake("good") // maybe before anybody knows that there is such a plugin
	h.instanceOf("good", 1)
	h.stop()

	path := filepath.Join(dir, BinaryPrefix+"good")
	if err := os.WriteFile(filepath.Join(memory, "good.json"), []byte(`{"path":"`+path+`","size":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	h = startHost(t, lazy)
	h.instanceOf("good", 1)
}

// TestLazyStartOfInstalled: an installed plugin has no process before a step wants it, for
// what it declares was approved. One with subscriptions is started: they get their place in
// the log.
func TestLazyStartOfInstalled(t *testing.T) {
	path := filepath.Join(installPlugins(t, "good"), BinaryPrefix+"good")
	declared, err := Describe(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	handlers, both := *declared, *declared
	handlers.Subscriptions, both.Subscriptions = nil, []Subscription{{Name: "all", Events: []string{"*"}}}
	start := func(t *testing.T, m *Manifest) *host {
		t.Helper()
		return startHost(t, func(o *Options) {
			o.Installed = []Binary{{Name: "good", Version: declared.Version, Path: path, Manifest: m}}
			o.Rests = map[string]Rest{"good": {Lazy: true}}
		})
	}
	t.Run("handlers", func(t *testing.T) {
		h := start(t, &handlers)
		h.inState("good", task.PluginIdle)
		info := h.Plugins()[0]
		if info.Starts != 0 || info.Instance != "" || info.Manifest == nil || len(info.Manifest.Handlers) == 0 {
			t.Errorf("an installed lazy plugin is %+v, want its manifest and no start", info)
		}
		h.Wake("good")
		in := h.instanceOf("good", 1)
		a := attempt(1, "echo", `1`)
		h.Dispatch(in.ID, []*task.Assignment{a})
		if r := h.final(a.ID); r.Kind != task.ReportSucceeded {
			t.Errorf("report %+v, want a success", r)
		}
	})
	t.Run("subscriptions", func(t *testing.T) { start(t, &both).instanceOf("good", 1) })
}
