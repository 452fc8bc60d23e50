package host_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// steadyPlugin is a plugin in several versions.
const steadyPlugin = "./testdata/steady"

// steadyTask is a chain of steps of it.
const steadyTask = `
name: steady
version: 1.0.0
steps:
  - {name: a, handler: steady/work}
  - {name: b, handler: steady/work, depends_on: [a]}
  - {name: c, handler: steady/work, depends_on: [b]}
`

// steadyAs returns the plugin as another version of it: "2.0.0", or with a fault,
// "2.0.0-crash".
func steadyAs(tb testing.TB, version string) string {
	tb.Helper()
	built, err := filepath.Glob(filepath.Join(hosttest.BuildPlugin(tb, steadyPlugin), "*"))
	if err != nil || len(built) != 1 {
		tb.Fatalf("plugin: built %q, %v", built, err)
	}
	path := filepath.Join(tb.TempDir(), "tasker-plugin-steady-"+version+filepath.Ext(built[0]))
	binary, err := os.ReadFile(built[0])
	if err == nil {
		err = os.WriteFile(path, binary, 0o700)
	}
	if err != nil {
		tb.Fatalf("plugin: %v", err)
	}
	return path
}

// startSteady starts a host with the first version.
func startSteady(tb testing.TB, options ...hosttest.Option) *hosttest.Host {
	tb.Helper()
	h := hosttest.Start(tb, append([]hosttest.Option{
		hosttest.Plugins(steadyPlugin),
		hosttest.Expect("an executable that nobody approved", "plugin is not upgraded", "plugin crashed", "plugin is refused", "the stream to a subscriber ended"),
	}, options...)...)
	h.AwaitPlugin("steady")
	return h
}

// shortProbe is how long successors of tests have to be fine.
const shortProbe = 50 * time.Millisecond

// replace has a plugin replaced and returns how it stands, and the phases.
func replace(tb testing.TB, h *hosttest.Host, r host.UpgradeRequest) (host.UpgradeProgress, []string) {
	tb.Helper()
	r.Plugin = "steady"
	if r.Probe == 0 {
		r.Probe = shortProbe
	}
	ctx, cancel := context.WithTimeout(context.Background(), hosttest.Patience)
	defer cancel()
	var mu sync.Mutex
	var phases []string
	p, err := h.UpgradePlugin(ctx, r, func(p host.UpgradeProgress) {
		mu.Lock()
		defer mu.Unlock()
		phases = append(phases, p.Phase)
	})
	if err != nil {
		tb.Fatalf("%s: %v", r.Action, err)
	}
	mu.Lock()
	defer mu.Unlock()
	return p, phases
}

// servedBy runs a task and returns who did its first step.
func servedBy(tb testing.TB, h *hosttest.Host) (version, greeting string) {
	tb.Helper()
	return didFirst(tb, h.Checked(h.Create(steadyTask)))
}

func didFirst(tb testing.TB, v *task.View) (version, greeting string) {
	tb.Helper()
	var a struct {
		Version  string `json:"version"`
		Greeting string `json:"greeting"`
	}
	if err := json.Unmarshal(hosttest.Step(v, "a").Results.Inline, &a); err != nil {
		tb.Fatalf("task %s: %v", v.ID, err)
	}
	return a.Version, a.Greeting
}

// underLoad creates tasks as long as something goes on, some beyond it, and at least so
// many; it returns them.
func underLoad(h *hosttest.Host, atLeast int, during func()) []task.ID {
	var wg sync.WaitGroup
	over := make(chan struct{})
	begun := make(chan struct{})
	wg.Go(func() {
		defer close(over)
		<-begun
		during()
	})
	const inFlight = 16
	var mu sync.Mutex
	var ids []task.ID
	more := func() bool {
		select {
		case <-over:
			mu.Lock()
			defer mu.Unlock()
			return len(ids) < atLeast
		default:
			return true
		}
	}
	var once sync.Once
	for range inFlight {
		wg.Go(func() {
			for more() {
				id := h.Create(steadyTask)
				mu.Lock()
				ids = append(ids, id)
				if len(ids) >= atLeast/4 {
					once.Do(func() { close(begun) })
				}
				mu.Unlock()
				h.End(id)
			}
		})
	}
	wg.Wait()
	return ids
}

// loadOfTasks is how many tasks a load has at least: 100, or TASKER_UPGRADE_TASKS.
func loadOfTasks(tb testing.TB) int {
	tb.Helper()
	n, err := strconv.Atoi(os.Getenv("TASKER_UPGRADE_TASKS"))
	if err != nil {
		return 100
	}
	return n
}

// checkNothingLost checks every task of a load: it completed, each of its steps once, and
// the subscription has every event, in order, and none twice.
func checkNothingLost(tb testing.TB, h *hosttest.Host, ids []task.ID, clean bool) {
	tb.Helper()
	for _, id := range ids {
		v := h.Checked(id)
		h.WantTask(v, task.Complete)
		for _, step := range []task.StepName{"a", "b", "c"} {
			if done := hosttest.Of(h.History(id), event.NameStepCompleted, step); len(done) != 1 {
				tb.Errorf("task %s: step %s completed %d times, want once", id, step, len(done))
			}
			if begun := hosttest.Of(h.History(id), event.NameStepStarted, step); clean && len(begun) != 1 {
				tb.Errorf("task %s: step %s was started %d times, want once", id, step, len(begun))
			}
		}
	}
	log := h.Log(everything)
	h.AwaitDelivered("steady/all")
	last := log[len(log)-1].Seq
	log = hosttest.Wanted(log, "steady/all", "*")
	got := h.Received("steady", "all")
	for len(got) > 0 && got[len(got)-1].Seq > last {
		got = got[:len(got)-1]
	}
	if err := hosttest.CheckDelivery(got, log); err != nil {
		tb.Error(err)
	}
	if clean && len(got) != len(log) {
		tb.Errorf("the subscription got %d events, want each of %d once", len(got), len(log))
	}
}

// TestUpgradeUnderLoad: while tasks run, a plugin is upgraded, rolled back and reloaded.
// Nothing is lost, nothing completes twice, no event is skipped.
func TestUpgradeUnderLoad(t *testing.T) {
	t.Parallel()
	h := startSteady(t)
	next := steadyAs(t, "2.0.0")
	var before, after, back host.UpgradeProgress
	var phases []string
	ids := underLoad(h, loadOfTasks(t), func() {
		before, phases = replace(t, h, host.UpgradeRequest{Action: host.ActionUpgrade, Path: next})
		after, _ = replace(t, h, host.UpgradeRequest{Action: host.ActionReload})
		back, _ = replace(t, h, host.UpgradeRequest{Action: host.ActionRollback})
		back, _ = replace(t, h, host.UpgradeRequest{Action: host.ActionRollback})
	})
	if got, want := strings.Join(phases, " "), "starting probing draining done"; got != want {
		t.Errorf("phases %q, want %q", got, want)
	}
	for _, p := range []host.UpgradeProgress{before, after, back} {
		if p.Phase != host.UpgradeDone {
			t.Errorf("upgrade ended as %+v, want done", p)
		}
	}
	if before.From != "1.0.0" || before.To != "2.0.0" || before.Instance == after.Instance {
		t.Errorf("upgrade %+v, want from 1.0.0 to 2.0.0, and another instance for the reload", before)
	}
	versions := make(map[string]int)
	for _, id := range ids {
		version, _ := didFirst(t, h.View(id))
		versions[version]++
	}
	if versions["1.0.0"] == 0 || versions["2.0.0"] == 0 || len(versions) != 2 {
		t.Errorf("tasks by version: %v, want some of each", versions)
	}
	checkNothingLost(t, h, ids, true)
	if crashes, err := h.Crashes(t.Context(), "steady"); err != nil || len(crashes) > 0 {
		t.Errorf("crashes %+v, %v; want none", crashes, err)
	}
}

// TestUpgradeRollsBack: a successor that is not fine is given up, and the plugin serves as
// before, under load.
func TestUpgradeRollsBack(t *testing.T) {
	h := startSteady(t)
	for _, tt := range []struct {
		name, version string
		probe         time.Duration
		kill          bool
		why           string
		clean         bool
	}{
		{"that crashes at its start", "2.0.0-crash", shortProbe, false, "exit status 3", true},
		{"that crashes at its first attempt", "2.0.0-fatal", hosttest.Patience, false, "exit status 3", false},
		{"that is killed as it takes over", "2.0.0", hosttest.Patience, true, "signal: killed", false},
	} {
		t.Run("one "+tt.name, func(t *testing.T) {
			h := h.With(t)
			path := steadyAs(t, tt.version)
			var p host.UpgradeProgress
			ids := underLoad(h, 20, func() {
				ctx, cancel := context.WithTimeout(context.Background(), hosttest.Patience)
				defer cancel()
				var err error
				p, err = h.UpgradePlugin(ctx, host.UpgradeRequest{Plugin: "steady", Action: host.ActionUpgrade, Path: path, Probe: tt.probe}, func(p host.UpgradeProgress) {
					if tt.kill && p.Phase == "probing" {
						killSuccessor(t, h)
					}
				})
				if err != nil {
					t.Errorf("upgrade: %v", err)
				}
			})
			if p.Phase != host.UpgradeRolled || !strings.Contains(p.Why, tt.why) {
				t.Errorf("upgrade ended as %+v, want rolled back with %q", p, tt.why)
			}
			if info := h.Plugin("steady"); info.Version != "1.0.0" || info.State != task.PluginReady {
				t.Errorf("plugin is %s %s, want 1.0.0 ready", info.Version, info.State)
			}
			if version, _ := servedBy(t, h); version != "1.0.0" {
				t.Errorf("served by %s, want 1.0.0", version)
			}
			checkNothingLost(t, h, ids, tt.clean)
		})
	}
}

// killSuccessor kills the process that has just taken over.
func killSuccessor(t *testing.T, h *hosttest.Host) {
	t.Helper()
	p := h.Plugin("steady")
	process, err := os.FindProcess(p.PID)
	if err == nil {
		err = process.Kill()
	}
	if err != nil {
		t.Errorf("kill process %d: %v", p.PID, err)
	}
}

// TestUpgradeCanary: a canary gets its share of the tasks and no events, until it is
// promoted or aborted.
func TestUpgradeCanary(t *testing.T) {
	t.Parallel()
	h := startSteady(t)
	next := steadyAs(t, "2.0.0")
	const tasks = 60
	share := func(canary float64) (n int) {
		t.Helper()
		p, _ := replace(t, h, host.UpgradeRequest{Action: host.ActionUpgrade, Path: next, Canary: canary})
		if p.Phase != host.UpgradeCanary {
			t.Fatalf("upgrade stands at %+v, want a canary", p)
		}
		for range tasks {
			v := h.Checked(h.Create(steadyTask))
			version, _ := didFirst(t, v)
			if version == "2.0.0" {
				n++
			}
			if last := string(hosttest.Step(v, "c").Results.Inline); !strings.Contains(last, version) {
				t.Errorf("task %s began with %s, its last step says %s", v.ID, version, last)
			}
		}
		return n
	}
	if n := share(0.5); n == 0 || n == tasks {
		t.Errorf("a canary of a half got %d of %d tasks, want some", n, tasks)
	}
	old := h.Plugin("steady")
	if s := h.Subscription("steady/all"); s.Instance != old.Instance || old.Version != "1.0.0" {
		t.Errorf("events go to %q, want them to stay with %s %s", s.Instance, old.Instance, old.Version)
	}
	if p, _ := replace(t, h, host.UpgradeRequest{Action: host.ActionAbort}); p.Phase != host.UpgradeRolled {
		t.Errorf("abort: %+v, want rolled back", p)
	}
	if version, _ := servedBy(t, h); version != "1.0.0" {
		t.Errorf("served by %s after the abort, want 1.0.0", version)
	}
	share(0.01)
	if p, _ := replace(t, h, host.UpgradeRequest{Action: host.ActionPromote}); p.Phase != host.UpgradeDone {
		t.Errorf("promotion: %+v, want done", p)
	}
	if version, _ := servedBy(t, h); version != "2.0.0" {
		t.Errorf("served by %s after the promotion, want 2.0.0", version)
	}
	checkNothingLost(t, h, nil, true)
}

// TestUpgradeOfAPluginThatRests: a successor that has nothing to do while it is on trial is
// kept, and rests only then.
func TestUpgradeOfAPluginThatRests(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t, hosttest.Plugins(steadyPlugin), hosttest.Expect("an executable that nobody approved"), hosttest.Options(func(o *host.Options) {
		o.PluginRests = map[string]host.PluginRest{"steady": {After: 20 * time.Millisecond}}
	}))
	idle := func(version string) {
		t.Helper()
		h.AwaitPlugins(version+" idle", func(plugins []host.PluginInfo) bool {
			return slices.ContainsFunc(plugins, func(p host.PluginInfo) bool {
				return p.Name == "steady" && p.Version == version && p.State == task.PluginIdle
			})
		})
	}
	idle("1.0.0")
	p, _ := replace(t, h, host.UpgradeRequest{Action: host.ActionUpgrade, Path: steadyAs(t, "2.0.0"), Probe: time.Second})
	if p.Phase != host.UpgradeDone {
		t.Fatalf("upgrade ended as %+v, want done", p)
	}
	idle("2.0.0")
}

// TestReloadGivesThePluginItsConfiguration: what the plugin does not accept changes
// nothing.
func TestReloadGivesThePluginItsConfiguration(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	config := `{"greeting": "hello"}`
	set := func(c string) {
		mu.Lock()
		defer mu.Unlock()
		config = c
	}
	h := startSteady(t, hosttest.Expect("plugin keeps its configuration"), hosttest.Options(func(o *host.Options) {
		o.PluginConfigs = map[string]json.RawMessage{"steady": json.RawMessage(config)}
		o.Reread = func() (map[string]json.RawMessage, error) {
			mu.Lock()
			defer mu.Unlock()
			return map[string]json.RawMessage{"steady": json.RawMessage(config)}, nil
		}
	}))
	want := func(greeting string) {
		t.Helper()
		if _, got := servedBy(t, h); got != greeting {
			t.Errorf("greeting %q, want %q", got, greeting)
		}
	}
	want("hello")
	set(`{"greeting": "good morning"}`)
	if p, _ := replace(t, h, host.UpgradeRequest{Action: host.ActionReload}); p.Phase != host.UpgradeDone {
		t.Errorf("reload: %+v, want done", p)
	}
	want("good morning")
	for bad, why := range map[string]string{`{"greeting": 5}`: "greeting", `{"greeting": "refused"}`: "such a greeting is refused"} {
		set(bad)
		if p, _ := replace(t, h, host.UpgradeRequest{Action: host.ActionReload}); p.Phase != host.UpgradeRolled || !strings.Contains(p.Why, why) {
			t.Errorf("reload with %s: %+v, want it rolled back for %q", bad, p, why)
		}
		want("good morning")
	}
	before := h.Plugin("steady").Instance
	set(`{"greeting": "good morning"}`)
	h.ReloadPlugins(t.Context())
	if after := h.Plugin("steady").Instance; after != before {
		t.Errorf("instance %s after a reload of what has not changed, want %s", after, before)
	}
}

// TestUpgradeKeepsWhatTasksNeed: a successor that offers less than unfinished tasks need is
// refused with their names, unless it is forced.
func TestUpgradeKeepsWhatTasksNeed(t *testing.T) {
	t.Parallel()
	h := startSteady(t)
	id := h.Create(`
name: pinned
version: 1.0.0
steps:
  - {name: a, handler: steady/old@1}
  - {name: b, handler: steady/work, depends_on: [a]}
`, hosttest.Input(`{}`))
	h.End(id) // one that has ended needs nothing
	waiting := h.Create(`
name: pinned
version: 1.0.1
steps:
  - {name: a, handler: absent/never}
  - {name: b, handler: steady/old@1, depends_on: [a]}
`)
	r := host.UpgradeRequest{Action: host.ActionUpgrade, Path: steadyAs(t, "2.0.0-less")}
	p, _ := replace(t, h, r)
	if p.Phase != host.UpgradeRolled || !strings.Contains(p.Why, "steady/old@1, which unfinished task "+string(waiting)+" needs") {
		t.Errorf("upgrade ended as %+v, want it refused for task %s", p, waiting)
	}
	r.Force = true
	if p, _ = replace(t, h, r); p.Phase != host.UpgradeDone {
		t.Errorf("forced upgrade ended as %+v, want done", p)
	}
	if p, _ = replace(t, h, host.UpgradeRequest{Action: host.ActionRollback}); p.Phase != host.UpgradeDone {
		t.Errorf("rollback ended as %+v, want done", p)
	}
	h.Cancel(waiting)
}

// TestUpgradeErrors: what cannot be is refused before anything happens.
func TestUpgradeErrors(t *testing.T) {
	h := startSteady(t)
	for _, tt := range []struct {
		name, want string
		r          host.UpgradeRequest
	}{
		{"a plugin that is not there", `plugin "none"`, host.UpgradeRequest{Plugin: "none", Action: host.ActionReload}},
		{"a version that is not installed", "not installed", host.UpgradeRequest{Plugin: "steady", Action: host.ActionUpgrade, Version: "9.9.9"}},
		{"a file that is not there", "no such file", host.UpgradeRequest{Plugin: "steady", Action: host.ActionUpgrade, Path: "/nowhere/at/all"}},
		{"a share of everything", "want a share", host.UpgradeRequest{Plugin: "steady", Action: host.ActionReload, Canary: 1}},
		{"a promotion of nothing", "not being upgraded", host.UpgradeRequest{Plugin: "steady", Action: host.ActionPromote}},
		{"an abort of nothing", "not being upgraded", host.UpgradeRequest{Plugin: "steady", Action: host.ActionAbort}},
		{"a rollback to nothing", "was not upgraded", host.UpgradeRequest{Plugin: "steady", Action: host.ActionRollback}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := h.UpgradePlugin(t.Context(), tt.r, func(host.UpgradeProgress) {})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
	if version, _ := servedBy(t, h); version != "1.0.0" {
		t.Errorf("served by %s, want 1.0.0", version)
	}
}
