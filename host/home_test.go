package host_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oklog/ulid/v2"
	bolt "go.etcd.io/bbolt"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
)

func TestLockedHome(t *testing.T) {
	h := hosttest.Start(t)
	_, err := host.Open(t.Context(), host.Options{Home: h.Home()})
	if !errors.Is(err, task.ErrLocked) || !strings.Contains(err.Error(), h.Home()) {
		t.Errorf("second host in a home: %v, want %v and the home's name", err, task.ErrLocked)
	}
	if _, err := host.OpenReader(t.Context(), host.Options{Home: h.Home()}); !errors.Is(err, task.ErrLocked) {
		t.Errorf("reader of a home with a host: %v, want %v", err, task.ErrLocked)
	}
	h.WantTask(h.End(h.Create(graph("a"))), task.Complete) // the first one goes on
}

func TestOpenWithACancelledContextLeavesNothing(t *testing.T) {
	home := filepath.Join(t.TempDir(), "home")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if h, err := host.Open(ctx, host.Options{Home: home}); !errors.Is(err, context.Canceled) || h != nil {
		t.Errorf("open: %v, %v; want no host and %v", h, err, context.Canceled)
	}
	h := hosttest.Start(t, hosttest.Options(func(o *host.Options) { o.Home = home }))
	h.WantTask(h.End(h.Create(graph("a"))), task.Complete)
}

func TestCloseLetsGoOfTheHome(t *testing.T) {
	home := t.TempDir()
	for range 2 {
		h, err := host.Open(t.Context(), host.Options{Home: home})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(h.Close(), h.Close()); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := h.Run(t.Context()); err == nil {
			t.Error("a closed host ran")
		}
	}
}

func TestBadOptions(t *testing.T) {
	tests := []struct {
		name    string
		options host.Options
	}{
		{"no home", host.Options{}},
		{"negative grace", host.Options{Home: t.TempDir(), Grace: -1}},
		{"negative concurrency", host.Options{Home: t.TempDir(), Concurrency: -1}},
		{"short hang timeout", host.Options{Home: t.TempDir(), HangTimeout: host.MinHangTimeout - 1}},
		{"bad log level", host.Options{Home: t.TempDir(), LogLevel: "loud"}},
		{"bad plugin config", host.Options{Home: t.TempDir(), PluginConfigs: map[string]json.RawMessage{"mock": []byte("{")}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, err := host.Open(t.Context(), test.options); !errors.Is(err, task.ErrInvalid) {
				t.Errorf("open: %v, want %v", err, task.ErrInvalid)
			}
		})
	}
}

// TestReader answers what needs no host from a home without one, and says what to do
// where one is needed.
func TestReader(t *testing.T) {
	h := hosttest.Start(t)
	done := h.TaskIn(task.Complete)
	open := h.TaskIn(task.Pending)
	h.Stop()
	r, err := host.OpenReader(t.Context(), host.Options{Home: h.Home()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	for id, want := range map[task.ID]task.Status{done: task.Complete, open: task.Pending} {
		v, err := r.Task(t.Context(), string(id))
		if err != nil || v.Status != want {
			t.Errorf("task %s: %v, want %s", id, err, want)
			continue
		}
		var events []hosttest.Event
		err = r.Events(t.Context(), host.EventQuery{Task: string(id)}, func(entry host.LogEntry) error {
			e, err := hosttest.DecodeEvent(entry)
			events = append(events, e)
			return err
		})
		if err := errors.Join(err, hosttest.Check(v, events)); err != nil {
			t.Error(err)
		}
	}
	v, err := r.Task(t.Context(), string(open))
	if err != nil {
		t.Fatal(err)
	}
	if reason := v.Steps[0].Reason; reason == nil || reason.Code != task.ReasonNoHost || reason.Remedy == "" {
		t.Errorf("reason %+v, want %s with a remedy", reason, task.ReasonNoHost)
	}
	err = r.CancelTask(t.Context(), string(open), task.Operation{})
	var hint host.Hinter
	if !errors.Is(err, host.ErrNoHost) || !errors.As(err, &hint) || !strings.Contains(hint.Hint(), h.Home()) {
		t.Errorf("cancel without a host: %v, want %v with a hint", err, host.ErrNoHost)
	}
}

// TestFileThatIsNoPlugin names the file and why it is none; other plugins run.
func TestFileThatIsNoPlugin(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "tasker-plugin-fake")
	if err := os.WriteFile(path, []byte("#!/bin/sh\necho garbage\necho more garbage >&2\nexit 7\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	notes := filepath.Join(dir, "tasker-plugin-notes")
	if err := os.WriteFile(notes, []byte("not executable"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := hosttest.Start(t, hosttest.Expect("plugin crashed", "plugin is refused", "garbage"),
		hosttest.Options(func(o *host.Options) { o.PluginDirs = []string{dir} }))
	id := h.Create(graph("good", "a | handler: fake/do", "b | handler: notes/do"))
	v := h.AwaitStep(id, "good", task.StepComplete)
	v = h.View(v.ID)
	for name, text := range map[task.StepName]string{"a": "fake", "b": "chmod +x"} {
		if r := hosttest.Step(v, name).Reason; r == nil || r.Code != task.ReasonPluginDown || !strings.Contains(r.Text, text) {
			t.Errorf("step %s: reason %+v, want %s that says %q", name, r, task.ReasonPluginDown, text)
		}
	}
	if p := h.Plugin("notes"); p.State != task.PluginRefused || !strings.Contains(p.Cause, notes) {
		t.Errorf("plugin notes is %s: %s", p.State, p.Cause)
	}
	crashes, err := h.Crashes(t.Context(), "fake")
	if err != nil || len(crashes) == 0 || !strings.Contains(strings.Join(crashes[0].Stderr, "\n"), "more garbage") {
		t.Errorf("crashes %+v, %v; want what the file printed", crashes, err)
	}
}

// exchange replaces a record of the store, which nobody has open, and returns what was
// there.
func exchange(t *testing.T, path, bucket string, key, value []byte) (was []byte) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket([]byte(bucket))
		was = bytes.Clone(b.Get(key))
		return b.Put(key, value)
	})
	if err := errors.Join(err, db.Close()); err != nil || was == nil {
		t.Fatalf("replace %s/%x: was %d bytes, error %v", bucket, key, len(was), err)
	}
	return was
}

// TestDamagedTask starts a host in a home in which one unfinished task cannot be read:
// the others run, health and log tell, and the task goes on once it is mended.
func TestDamagedTask(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	bad := h.Create(graph("a | handler: later/do"))
	good := h.Create(graph("a | handler: mock/sleep, config: {for: 1h}"))
	h.AwaitStep(good, "a", task.StepInProgress)
	h.Cut()
	id, err := ulid.ParseStrict(string(bad))
	if err != nil {
		t.Fatal(err)
	}
	record := exchange(t, host.StorePath(h.Home()), "tasks", id[:], []byte("damaged, no record"))
	h.Expect("task cannot be loaded")
	h.Restart()
	h.Await(good, func(v *task.View) bool { return hosttest.Step(v, "a").Attempts == 2 })
	health, err := h.Health(context.Background())
	if err != nil || !strings.Contains(strings.Join(health.Problems, "\n"), "cannot be read and stand still: 1") {
		t.Errorf("health %+v, error %v; want it to tell of the task", health, err)
	}
	h.Cut()
	exchange(t, host.StorePath(h.Home()), "tasks", id[:], record)
	h.Restart()
	if v := h.View(bad); v.Status != task.Pending {
		t.Errorf("the mended task is %s", v.Status)
	}
}
