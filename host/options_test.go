package host_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
)

// TestOptionsReachPlugins: a plugin sees its configuration, the variables that it was
// granted and the level that it is to log at.
func TestOptionsReachPlugins(t *testing.T) {
	t.Setenv("TASKER_TEST_WORD", "from the host")
	tests := []struct {
		name    string
		options func(*host.Options)
		want    string
		debug   bool // it logs at debug
	}{
		{"defaults", func(*host.Options) {}, `{"word":"default","granted":""}`, false},
		{"config", func(o *host.Options) {
			o.PluginConfigs = map[string]json.RawMessage{
				"settings": json.RawMessage(`{"word":"other"}`), "mock": json.RawMessage(`{"word":"mine"}`),
			}
		}, `{"word":"other","granted":""}`, false},
		{"env", func(o *host.Options) {
			o.PluginEnv = map[string][]string{"settings": {"TASKER_TEST_WORD"}}
		}, `{"word":"default","granted":"from the host"}`, false},
		{"log level", func(o *host.Options) { o.LogLevel = "debug" }, `{"word":"default","granted":""}`, true},
		{"log level of one", func(o *host.Options) {
			o.PluginLogLevels = map[string]string{"settings": "debug"}
		}, `{"word":"default","granted":""}`, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := hosttest.Start(t, hosttest.Plugins("./testdata/settings"), hosttest.Options(tt.options), hosttest.Expect(`no plugin \"mock\" is installed`))
			v := h.Checked(h.Create(graph("a | handler: settings/show")))
			if got := string(hosttest.Step(v, "a").Output); got != tt.want {
				t.Errorf("the plugin saw %s, want %s", got, tt.want)
			}
			h.Stop()
			lines, err := h.PluginLogs(context.Background(), "settings", 100)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(strings.Join(lines, "\n"), "shown"); got != tt.debug {
				t.Errorf("a line at debug is in its log: %t, want %t\n%s", got, tt.debug, strings.Join(lines, "\n"))
			}
		})
	}
}

// TestConcurrency counts how many attempts a plugin gets at once that declares no limit.
func TestConcurrency(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t, hosttest.Plugins("./testdata/settings"),
		hosttest.Options(func(o *host.Options) { o.Concurrency = 2 }))
	if got := h.AwaitPlugin("settings").Capacity; got != 2 {
		t.Errorf("its capacity is %d, want 2", got)
	}
	const nap = "handler: settings/nap"
	id := h.Create(graph("a | "+nap, "b | "+nap, "c | "+nap, "d | "+nap, "e | "+nap))
	h.WantTask(h.Checked(id), task.Complete)
	if most := mostAtOnce(h.History(id)); most != 2 {
		t.Errorf("up to %d attempts ran at once, want 2", most)
	}
}

// TestGraceEnds: what runs longer than the grace of a stop is cut, and runs again.
func TestGraceEnds(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t, hosttest.Expect("attempts were cut"),
		hosttest.Options(func(o *host.Options) { o.Grace = 50 * time.Millisecond }))
	id := h.Create(graph("a | handler: mock/sleep, config: {for: 2s}"))
	h.AwaitStep(id, "a", task.StepInProgress)
	h.Restart()
	v := h.Checked(id)
	h.WantSteps(v, "a=complete/2")
	if lost := hosttest.Of(h.History(id), "step.attempt_lost", "a"); len(lost) != 1 {
		t.Errorf("%d attempts were lost, want 1", len(lost))
	}
}

// TestStartTimeout gives up a plugin that does not get ready, by the limit of its own
// or by the one for all.
func TestStartTimeout(t *testing.T) {
	t.Parallel()
	const short = 200 * time.Millisecond
	for name, change := range map[string]func(*host.Options){
		"for all": func(o *host.Options) { o.StartTimeout = short },
		"for one": func(o *host.Options) {
			o.StartTimeout, o.StartTimeouts = 24*time.Hour, map[string]time.Duration{"slow": short}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := hosttest.Start(t, hosttest.WithoutPlugins(), scriptPlugin(t, "slow", "exec sleep 3600"),
				hosttest.Options(change), hosttest.Expect("plugin crashed", "plugin is quarantined"))
			cause := awaitCrash(t, h, "slow")
			if want := "not done within the start timeout of 200ms"; !strings.Contains(cause, want) {
				t.Errorf("it crashed because of %q, want %q", cause, want)
			}
		})
	}
}

// awaitCrash waits for the first crash of a plugin and returns its cause.
func awaitCrash(t *testing.T, h *hosttest.Host, plugin string) (cause string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), hosttest.Patience)
	defer cancel()
	err := h.Events(ctx, host.EventQuery{Type: "plugin.crashed", Follow: true}, func(host.LogEntry) error {
		crashes, err := h.Crashes(ctx, plugin)
		if err == nil && len(crashes) > 0 {
			cause = crashes[len(crashes)-1].Cause
			return errSeen
		}
		return err
	})
	if !errors.Is(err, errSeen) {
		t.Fatalf("no crash of %s: %v", plugin, err)
	}
	return cause
}

// TestWorkflowEvents are recorded for those who want to follow the engine's steps.
func TestWorkflowEvents(t *testing.T) {
	t.Parallel()
	for name, on := range map[string]bool{"off": false, "on": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := hosttest.Start(t, hosttest.Options(func(o *host.Options) { o.WorkflowEvents = on }))
			h.WantTask(h.Checked(h.Create(graph("a", "b <- a"))), task.Complete)
			if got := h.Log(host.EventQuery{Type: "workflow.*"}); (len(got) > 0) != on {
				t.Errorf("%d workflow events are recorded: %v", len(got), got)
			}
		})
	}
}

// TestEnvironment: the templates of the host's directories are those of its environment.
func TestEnvironment(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text := graph("a | f2, retry: {limit: 1}") + "environments: {patient: {steps: [{name: a, retry: {limit: 3}}]}}\n"
	if err := os.WriteFile(filepath.Join(dir, "t.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for environment, want := range map[string]string{"": "a=error/1", "patient": "a=complete/3"} {
		t.Run(environment, func(t *testing.T) {
			t.Parallel()
			h := hosttest.Start(t, hosttest.Options(func(o *host.Options) {
				o.TemplateDirs, o.Environment = []string{dir}, environment
			}))
			id := h.Create("", func(r *task.Request) { r.Source, r.Template = nil, "shape" })
			h.WantSteps(h.Checked(id), want)
		})
	}
}

// TestHealthAddr asks a host as an orchestrator does.
func TestHealthAddr(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t, hosttest.Options(func(o *host.Options) { o.HealthAddr = "127.0.0.1:0" }))
	client, err := host.Dial(t.Context(), h.Home())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close() //nolint:errcheck // only a connection
	h.AwaitPlugin("mock")
	for _, path := range []string{"/livez", "/readyz"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+client.Record().Health+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if err := resp.Body.Close(); err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d, %v; want 200", path, resp.StatusCode, err)
		}
	}
}
