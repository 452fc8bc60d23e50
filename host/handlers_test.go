package host_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
)

// scriptPlugin offers a shell script as a plugin, beside the others.
func scriptPlugin(t *testing.T, name, script string) hosttest.Option {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("the plugin is a shell script")
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tasker-plugin-"+name), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return hosttest.Options(func(o *host.Options) { o.PluginDirs = append(o.PluginDirs, dir) })
}

func requireHandlers(r *task.Request) { r.RequireHandlers = true }

// TestRefusedPluginIsMissing: who cannot do without the handlers learns at once that
// their plugin does not run, and why (rule R2).
func TestRefusedPluginIsMissing(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t, hosttest.WithoutPlugins(), scriptPlugin(t, "greeter", "echo good morning"), hosttest.Expect("plugin is refused"))
	_, err := h.TryCreate(graph("a | handler: greeter/greet"), requireHandlers)
	if !errors.Is(err, host.ErrUnknownHandler) {
		t.Fatalf("create: %v, want %v", err, host.ErrUnknownHandler)
	}
	for _, text := range []string{"plugin greeter is refused", "good morning"} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error %q says nothing of %q", err, text)
		}
	}
	if n := h.Tasks(); n != 0 {
		t.Errorf("%d tasks are stored, want none", n)
	}
	created, err := h.TryCreate(graph("a | handler: greeter/greet"))
	if err != nil || len(created.Warnings) != 1 || !strings.Contains(created.Warnings[0], "greeter is refused") {
		t.Errorf("created %+v, %v; want a warning of the plugin", created, err)
	}
}

// TestSlowPluginHoldsNobodyUp: only who needs it waits for a plugin that is being
// started, and only with RequireHandlers.
func TestSlowPluginHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t, scriptPlugin(t, "slow", "exec sleep 3600"),
		hosttest.Options(func(o *host.Options) { o.StartTimeout = 24 * time.Hour }))
	created, err := h.TryCreate(graph("a | handler: mock/echo"), requireHandlers)
	if err != nil {
		t.Fatal(err)
	}
	h.WantTask(h.Checked(created.ID), task.Complete)
	created, err = h.TryCreate(graph("a | handler: slow/do"))
	if err != nil || len(created.Warnings) > 0 {
		t.Errorf("created %+v, %v; want no warning of a plugin that is being started", created, err)
	}
	if got := h.Plugin("slow"); got.State != task.PluginHandshaking {
		t.Errorf("the slow plugin is %s, want it to be on its way still", got.State)
	}
}

// TestHandlerAtItsLimitIsTheReason: a step that waits for its handler alone says so
// (rule S7).
func TestHandlerAtItsLimitIsTheReason(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	id := h.Create(graph(append(slices12("handler: mock/limited, config: {for: 1h}"), "more | handler: mock/limited")...))
	h.Await(id, func(v *task.View) bool { return strings.Count(hosttest.Describe(v), "in_progress") >= 12 })
	var r *task.Reason
	for range 10_000 { // a claim is stored a moment before the plugin gets it
		if r = hosttest.Step(h.View(id), "more").Reason; r != nil {
			break
		}
	}
	if r == nil || r.Code != task.ReasonNoSlot || !strings.Contains(r.Text, "mock/limited") || !strings.Contains(r.Text, "12") {
		t.Errorf("reason %+v, want %s of the handler with its limit", r, task.ReasonNoSlot)
	}
}

// TestInputsThatAreNoDocument are refused, whatever stands behind or in the document.
func TestInputsThatAreNoDocument(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	for name, input := range map[string]string{
		"a stray brace": `{"a":1}}`, "a stray bracket": `{"a":1}]`, "garbage": `{"a":1}}garbage`,
		"two documents": `{} {}`, "no UTF-8": "{\"a\":\"\xff\"}",
	} {
		if created, err := h.TryCreate(graph("a"), hosttest.Input(input)); !errors.Is(err, task.ErrInvalid) {
			t.Errorf("%s: created %+v, %v; want %v", name, created, err, task.ErrInvalid)
		}
	}
	h.WantTask(h.Checked(h.Create(graph("a"), hosttest.Input(" {\"a\":1} \n"))), task.Complete)
}

// TestEndlessTimesAreRefused, for they cannot be stored.
func TestEndlessTimesAreRefused(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	for name, change := range map[string]hosttest.RequestOption{
		"deadline": func(r *task.Request) { r.Deadline = task.MaxDuration + 1 },
		"key TTL":  func(r *task.Request) { r.KeyTTL = task.MaxDuration + 1 },
	} {
		if _, err := h.TryCreate(graph("a"), change); !errors.Is(err, task.ErrInvalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, want %v", name, err, task.ErrInvalid)
		}
	}
	id := h.Create(graph("a"), func(r *task.Request) { r.Deadline, r.KeyTTL = task.MaxDuration, task.MaxDuration })
	h.WantTask(h.Checked(id), task.Complete)
}
