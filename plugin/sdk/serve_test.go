package sdk_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// launchProcess launches this test binary as the plugin "process".
func launchProcess(t *testing.T, config any) *sdktest.Plugin {
	t.Helper()
	return sdktest.Launch(t, self(t), sdktest.Options{Config: config, Env: []string{"SDK_TEST_PLUGIN=process"}})
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// byHand runs the binary as a person does.
func byHand(t *testing.T, plugin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), self(t), args...)
	cmd.Env = append(os.Environ(), "SDK_TEST_PLUGIN="+plugin)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run() // the exit code says it
	dir := filepath.Dir(self(t))
	text := strings.NewReplacer(dir, "DIR", filepath.Base(self(t)), "PROGRAM").Replace(errs.String())
	return out.String(), text, cmd.ProcessState.ExitCode()
}

// TestMisdeclaredPluginTellsItsHost: the exit status keeps the host from starting it again.
func TestMisdeclaredPluginTellsItsHost(t *testing.T) {
	t.Setenv(pluginv1.CookieKey, pluginv1.CookieValue)
	stdout, stderr, code := byHand(t, "broken")
	if code != pluginv1.ExitDeclaration || stderr == "" || stdout != "" {
		t.Errorf("exit code %d, stdout %q, stderr %q; want %d and what is wrong on stderr", code, stdout, stderr, pluginv1.ExitDeclaration)
	}
}

func TestByHand(t *testing.T) {
	const explained = `PROGRAM is a Tasker plugin, process 1.2.3: a Tasker host starts it, not you.
Behaves like a process.

Handlers:
  process/hold
  process/print

To use it, name a handler in a template and tell Tasker where the plugin is:
  tasker run TEMPLATE --plugin-dir DIR

To look into it:
  PROGRAM --describe   the manifest: handlers, subscriptions, schemas, limits, as JSON
  PROGRAM --version    name and version
`
	const broken = `plugin "Broken" is declared wrongly:
  Name: "Broken" is no plugin name; want [a-z][a-z0-9-]{0,31}
  Version: "one" is no semantic version; want one such as "1.0.0"
  Handlers["x"]: the handler is nil
`
	const described = `{
  "name": "process",
  "version": "1.2.3",
  "title": "Behaves like a process.",
  "sdk": {
    "language": "go",
    "version": "` + sdk.Version + `"
  },
  "features": [
    "step.checkpoint.v1",
    "step.fetch.v1"
  ],
  "handlers": [
    {
      "name": "hold",
      "version": 1,
      "idempotent": "keyed",
      "results": "all",
      "input_schema": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "properties": {},
        "type": "object"
      },
      "output_schema": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "string"
      }
    },
    {
      "name": "print",
      "version": 1,
      "idempotent": "keyed",
      "results": "all",
      "input_schema": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "properties": {},
        "type": "object"
      },
      "output_schema": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "integer"
      }
    }
  ],
  "config_schema": {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "properties": {
      "closed": {
        "type": "string"
      }
    },
    "additionalProperties": false,
    "type": "object"
  },
  "permissions": {}
}
`
	tests := map[string]struct {
		plugin         string
		args           []string
		stdout, stderr string
		code           int
	}{
		"explains itself":  {plugin: "process", stderr: explained, code: 2},
		"unknown option":   {plugin: "process", args: []string{"--help"}, stderr: explained, code: 2},
		"describe":         {plugin: "process", args: []string{"--describe"}, stdout: described},
		"version":          {plugin: "process", args: []string{"--version"}, stdout: "process 1.2.3\n"},
		"broken":           {plugin: "broken", stderr: broken, code: 1},
		"broken, describe": {plugin: "broken", args: []string{"--describe"}, stderr: broken, code: 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, code := byHand(t, tt.plugin, tt.args...)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if diff := cmp.Diff(tt.stdout, stdout); diff != "" {
				t.Errorf("stdout (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.stderr, stderr); diff != "" {
				t.Errorf("stderr (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSubscribersByHand explains a plugin that has no handlers.
func TestSubscribersByHand(t *testing.T) {
	const explained = `PROGRAM is a Tasker plugin, test 1.0.0: a Tasker host starts it, not you.

Subscriptions:
  test/audit  *
  test/pager  step.failed, task.failed  Pages.

Events:
  test.shipped  An order has left.

To use it, tell Tasker where the plugin is:
  tasker serve --plugin-dir DIR

To look into it:
  PROGRAM --describe   the manifest: handlers, subscriptions, schemas, limits, as JSON
  PROGRAM --version    name and version
`
	_, stderr, _ := byHand(t, "events")
	if diff := cmp.Diff(explained, stderr); diff != "" {
		t.Errorf("explanation (-want +got):\n%s", diff)
	}
	stdout, _, _ := byHand(t, "events", "--describe")
	var got struct {
		Handlers      []any            `json:"handlers"`
		Subscriptions []map[string]any `json:"subscriptions"`
		Emits         []map[string]any `json:"emits"`
	}
	if err := json.Unmarshal([]byte(stdout), &got); err != nil {
		t.Fatal(err)
	}
	delete(got.Subscriptions[1], "config_schema")
	delete(got.Emits[0], "schema")
	wantSubs := []map[string]any{
		{"name": "audit", "events": []any{"*"}, "order": "global"},
		{
			"name": "pager", "description": "Pages.\nDay and night.", "events": []any{"step.failed", "task.failed"}, "order": "task",
			"start": "now", "window": 2.0, "max_attempts": 3.0, "timeout": "1m0s", "bound": true, "filter": "event.step != ''",
		},
	}
	wantEmits := []map[string]any{{
		"name": "test.shipped", "version": 1.0, "description": "An order has left.", "example": map[string]any{"order_id": "o-1"},
	}}
	if diff := cmp.Diff(wantSubs, got.Subscriptions); diff != "" || got.Handlers == nil {
		t.Errorf("handlers %v, subscriptions (-want +got):\n%s", got.Handlers, diff)
	}
	if diff := cmp.Diff(wantEmits, got.Emits); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestLaunchBroken(t *testing.T) {
	_, err := sdktest.TryLaunch(t, self(t), sdktest.Options{Env: []string{"SDK_TEST_PLUGIN=broken"}})
	if err == nil || !strings.Contains(err.Error(), `Handlers["x"]: the handler is nil`) {
		t.Errorf("error %v, want what the plugin printed", err)
	}
}

// TestStrayPrints lets a handler and its child print to what was standard output.
func TestStrayPrints(t *testing.T) {
	p := launchProcess(t, nil)
	got := p.Run(t, sdktest.Attempt{Handler: "print"})
	if string(got.Output) != "2" {
		t.Fatalf("output %s (failure %v), want the child's exit code 2", got.Output, got.Failure)
	}
	p.CutLifeline()
	p.Exit(t)
	for _, want := range []string{"printed to stdout\n", "printed to stderr\n", "a Tasker host starts it, not you"} {
		if !strings.Contains(p.Stderr(), want) {
			t.Errorf("standard error %q lacks %q", p.Stderr(), want)
		}
	}
}

// TestLifeline ends the process, and what runs in it, when the host is gone.
func TestLifeline(t *testing.T) {
	closed := filepath.Join(t.TempDir(), "closed")
	p := launchProcess(t, map[string]string{"closed": closed})
	r := p.Begin(t, sdktest.Attempt{Handler: "hold"})
	r.Log(t)
	p.CutLifeline()
	if code := p.Exit(t); code != 0 {
		t.Errorf("exit code %d, want 0: %s", code, p.Stderr())
	}
	if got := r.Wait(t); got.Lost == nil && (got.Failure == nil || got.Failure.Code != sdk.ReasonHostGone) {
		t.Errorf("outcome %+v, want cancelled or lost", got)
	}
	if _, err := os.Stat(closed); err != nil {
		t.Errorf("the configuration was not closed: %v", err)
	}
}

// TestSignals are ignored while the host has not drained the plugin, and end it afterwards.
func TestSignals(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are no such signals")
	}
	p := launchProcess(t, nil)
	r := p.Begin(t, sdktest.Attempt{Handler: "hold"})
	r.Log(t)
	p.Signal(t, syscall.SIGTERM)
	p.Signal(t, os.Interrupt)
	// No drain yet: a signal may be handled later than it is sent, and after a drain it ends the process.
	r.Cancel(t, "cancel_requested")
	if got := r.Wait(t); got.Failure == nil || got.Failure.Verdict != sdk.Cancelled {
		t.Errorf("the attempt ended with %+v, want it to outlive the signals and be cancelled", got)
	}
	if left := p.Drain(t, time.Minute); left != 0 {
		t.Errorf("%d attempts left, want 0", left)
	}
	p.Signal(t, syscall.SIGTERM)
	if code := p.Exit(t); code != 0 {
		t.Errorf("exit code %d, want 0: %s", code, p.Stderr())
	}
}

// TestSocketIsRemoved leaves no socket file behind, however the process ends.
func TestSocketIsRemoved(t *testing.T) {
	p := launchProcess(t, nil)
	before, err := filepath.Glob(filepath.Join(p.SocketDir(), "*"))
	if err != nil || len(before) == 0 {
		t.Skipf("no socket file to look at: %v", err)
	}
	p.CutLifeline()
	p.Exit(t)
	if after, _ := filepath.Glob(filepath.Join(p.SocketDir(), "*")); len(after) > 0 {
		t.Errorf("left behind: %v", after)
	}
}

// TestSilence starts, works and ends without a line on standard error.
func TestSilence(t *testing.T) {
	p := launchProcess(t, nil)
	r := p.Begin(t, sdktest.Attempt{Handler: "hold"})
	r.Log(t)
	r.Cancel(t, "cancel_requested")
	r.Wait(t)
	p.AwaitStatus(t, func(s *pluginv1.Status) bool { return s.GetState() == pluginv1.State_STATE_READY })
	p.Drain(t, time.Minute)
	p.CutLifeline()
	p.Exit(t)
	if got := p.Stderr(); got != "" {
		t.Errorf("standard error:\n%s", got)
	}
}
