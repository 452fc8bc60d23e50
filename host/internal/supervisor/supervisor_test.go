//go:build unix

package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
)

func TestRunsAttemptsAndDrains(t *testing.T) {
	h := startHost(t, nil, "good")
	in := h.instanceOf("good", 1)
	if got, want := in.ID, "good#1"; got != want {
		t.Errorf("instance id = %q, want %q", got, want)
	}
	if got, want := in.Capacity, 8; got != want {
		t.Errorf("capacity = %d, want %d", got, want)
	}
	echo := attempt(1, "echo", `{"n":12345678901234567890}`)
	hold := attempt(2, "hold", `1`)
	h.Dispatch(in.ID, []*task.Assignment{echo, hold})
	if got, want := string(h.final(echo.ID).Output), `{"n":12345678901234567890}`; got != want {
		t.Errorf("output = %s, want %s", got, want)
	}
	h.running(hold.ID)
	h.Drain(context.Background())
	if got, want := string(h.final(hold.ID).Output), `"drained"`; got != want {
		t.Errorf("output of the attempt in flight = %s, want %s", got, want)
	}
	if got := h.lost(in.ID); got != task.LossDrained {
		t.Errorf("cause = %s, want %s", got, task.LossDrained)
	}
	h.stop()
	var states []task.PluginState
	for _, l := range h.life {
		states = append(states, l.State)
	}
	want := []task.PluginState{
		task.PluginStarting, task.PluginHandshaking, task.PluginConfiguring, task.PluginReady, task.PluginDraining, task.PluginStopped,
	}
	if diff := cmp.Diff(want, states); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	if len(h.crashes) > 0 {
		t.Errorf("crash reports = %v, want none", h.crashes)
	}
}

func TestReports(t *testing.T) {
	h := startHost(t, func(o *Options) { o.CancelGrace = time.Hour }, "good")
	in := h.instanceOf("good", 1)
	t.Run("heartbeats come before the result, cleaned", func(t *testing.T) {
		h := h.within(t)
		a := attempt(1, "beat", `1`)
		h.Dispatch(in.ID, []*task.Assignment{a})
		h.final(a.ID)
		want := []task.Report{
			{ID: a.ID, Instance: in.ID, Kind: task.ReportHeartbeat, Progress: 1, Note: "half", Checkpoint: []byte(`{"at":1}`)},
			{ID: a.ID, Instance: in.ID, Kind: task.ReportHeartbeat, Progress: 0.5},
			{ID: a.ID, Instance: in.ID, Kind: task.ReportSucceeded, Output: []byte(`1`)},
		}
		if diff := cmp.Diff(want, h.reportsOf(a.ID)); diff != "" {
			t.Errorf("reports (-want +got):\n%s", diff)
		}
	})
	t.Run("a cancelled attempt ends with its failure", func(t *testing.T) {
		h := h.within(t)
		a := attempt(2, "hold", `1`)
		h.Dispatch(in.ID, []*task.Assignment{a})
		h.running(a.ID)
		h.Cancel(in.ID, a.ID, task.CodeTimeout)
		want := &task.Failure{Kind: task.KindCancelled, Code: task.CodeTimeout, Source: task.SourcePlugin}
		if diff := cmp.Diff(want, h.final(a.ID).Failure); diff != "" {
			t.Errorf("failure (-want +got):\n%s", diff)
		}
	})
	t.Run("a cancel right behind its attempt reaches it", func(t *testing.T) {
		h := h.within(t)
		a := attempt(3, "hold", `1`)
		h.Dispatch(in.ID, []*task.Assignment{a})
		h.Cancel(in.ID, a.ID, task.CodeCancelRequested)
		if got := h.final(a.ID).Failure; got == nil || got.Code != task.CodeCancelRequested {
			t.Errorf("failure = %+v, want code %s", got, task.CodeCancelRequested)
		}
	})
	t.Run("an output that is no JSON fails for good", func(t *testing.T) {
		h := h.within(t)
		a := attempt(4, "broken", `1`)
		h.Dispatch(in.ID, []*task.Assignment{a})
		got := h.final(a.ID).Failure
		if got == nil || got.Code != task.CodeInvalidResult || got.Kind != task.KindPermanent || got.Source != task.SourcePlugin {
			t.Errorf("failure = %+v, want a permanent %s of the plugin", got, task.CodeInvalidResult)
		}
	})
	t.Run("results of attempts that it does not hold are dropped", func(t *testing.T) {
		h := h.within(t)
		a, after := attempt(5, "forge", `1`), attempt(6, "echo", `1`)
		h.Dispatch(in.ID, []*task.Assignment{a})
		h.final(a.ID)
		h.Dispatch(in.ID, []*task.Assignment{after})
		h.final(after.ID)
		if got := len(h.reportsOf(a.ID)); got != 1 {
			t.Errorf("%d reports of the attempt, want 1", got)
		}
		if got := h.reportsOf(task.AttemptID{Task: testTask, Ordinal: 7, Number: 1}); len(got) > 0 {
			t.Errorf("reports of an attempt that was never dispatched: %+v", got)
		}
	})
	t.Run("attempt logs reach the plugin's log", func(t *testing.T) {
		h := h.within(t)
		a := attempt(8, "log", `1`)
		a.CorrelationID = "order-7"
		h.Dispatch(in.ID, []*task.Assignment{a})
		h.final(a.ID)
		lines, err := h.Logs("good", 1)
		if err != nil || len(lines) != 1 {
			t.Fatalf("Logs = %v, %v; want one line", lines, err)
		}
		want := LogLine{At: lines[0].At, Level: "warn", Source: "attempt", Instance: in.ID, Message: "low on paper", Fields: []byte(`{"sheets":3}`), About: logkeys.About{
			Task: string(testTask), Step: "step", Attempt: a.ID.String(), CorrelationID: "order-7", TraceID: trace.Of(string(testTask), "").Trace.String(),
		}}
		if diff := cmp.Diff(want, lines[0]); diff != "" {
			t.Errorf("line (-want +got):\n%s", diff)
		}
	})
	t.Run("a status lowers the capacity and names the trouble", func(t *testing.T) {
		h := h.within(t)
		a := attempt(9, "degrade", `1`)
		h.Dispatch(in.ID, []*task.Assignment{a})
		h.wait(t, "a capacity of 3", func() bool { return h.capacity[in.ID] == 3 })
		if l := h.inState("good", task.PluginDegraded); l.Cause != "database is slow" {
			t.Errorf("cause = %q, want that of the plugin", l.Cause)
		}
	})
	t.Run("a thousand attempts at once", func(t *testing.T) {
		h := h.within(t)
		as := make([]*task.Assignment, 1000)
		for i := range as {
			as[i] = attempt(1000+i, "echo", strconv.Itoa(i))
		}
		h.Dispatch(in.ID, as)
		for i, a := range as {
			if got, want := string(h.final(a.ID).Output), strconv.Itoa(i); got != want {
				t.Fatalf("output of attempt %d = %s, want %s", i, got, want)
			}
		}
	})
	if got := h.Plugins()[0]; got.InFlight != 0 || got.Capacity != 3 || got.PID == 0 || got.State != task.PluginDegraded {
		t.Errorf("info = %+v, want an idle degraded plugin of capacity 3", got)
	}
}

func TestDispatchToNobodyIsDropped(t *testing.T) {
	h := startHost(t, nil, "good")
	in := h.instanceOf("good", 1)
	h.Dispatch("good#99", []*task.Assignment{attempt(1, "echo", `1`)})
	h.Cancel("good#99", attempt(1, "echo", `1`).ID, "timeout")
	h.Drain(t.Context())
	h.Dispatch(in.ID, []*task.Assignment{attempt(2, "echo", `1`)})
	h.stop()
	if len(h.reports) > 0 {
		t.Errorf("reports = %+v, want none", h.reports)
	}
}

// bigValues answers with documents of a size.
type bigValues map[string]int

func (v bigValues) Value(_ context.Context, id task.ID, ref string) ([]byte, error) {
	n, ok := v[string(id)+" "+ref]
	if !ok {
		return nil, task.ErrNotFound
	}
	return make([]byte, n), nil
}

func TestFetch(t *testing.T) {
	h := startHost(t, func(o *Options) {
		o.Values = bigValues{string(testTask) + " input": 3<<20 + 1, string(testTask) + " result/4": 100, string(testTask) + " result/6": chunkBytes}
	}, "good")
	in := h.instanceOf("good", 1)
	a := attempt(9, "fetch", "")
	a.Input = task.Value{Ref: &task.BlobRef{Size: 3<<20 + 1}}
	half := []byte(`"` + strings.Repeat("x", 600<<10) + `"`)
	a.Results = []task.DependencyResult{
		{Step: "blob", Ordinal: 4, Status: task.StepComplete, Value: task.Value{Ref: &task.BlobRef{N: 5, Size: 100}}},
		{Step: "first", Ordinal: 5, Status: task.StepComplete, Value: task.Value{Inline: half}},
		{Step: "second", Ordinal: 6, Status: task.StepComplete, Value: task.Value{Inline: half}}, // over the budget
		{Step: "lost", Ordinal: 7, Status: task.StepComplete, Value: task.Value{Ref: &task.BlobRef{N: 8}}},
		{Step: "skipped", Ordinal: 8, Status: task.StepSkipped},
	}
	h.Dispatch(in.ID, []*task.Assignment{a})
	var got map[string]string
	if err := json.Unmarshal(h.final(a.ID).Output, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"input":      "3145729 bytes in 7 parts ",
		"result/4":   "100 bytes in 1 parts ",
		"result/6":   "524288 bytes in 1 parts ",
		"result/7":   "0 bytes in 1 parts not found",
		"result/999": `0 bytes in 1 parts reference "result/999" was not offered to this attempt`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fetched (-want +got):\n%s", diff)
	}
}

// TestLeakedSlots: attempts that do not end keep their slots, which only who filled them
// counts; when they hold half of what the plugin takes, or all that a handler does, it is
// started again.
func TestLeakedSlots(t *testing.T) {
	tests := []struct {
		mode  string // its capacity
		leaks int    // that it survives
	}{
		{"two", 0},
		{"three", 1},
		{"narrow", 1}, // 8, and 2 per handler
	}
	for _, tt := range tests {
		t.Run(tt.mode, func(t *testing.T) {
			h := startHost(t, func(o *Options) { o.CancelGrace = time.Millisecond }, tt.mode)
			in := h.instanceOf(tt.mode, 1)
			leak := func(n int) {
				a := attempt(n, "ignore", `1`)
				h.Dispatch(in.ID, []*task.Assignment{a})
				h.running(a.ID)
				h.Cancel(in.ID, a.ID, task.CodeTimeout)
			}
			for n := range tt.leaks {
				leak(n)
				h.until(in.ID, "a leaked slot", func() bool { return h.Plugins()[0].Leaked == n+1 })
			}
			leak(tt.leaks)
			if got := h.lost(in.ID); got != task.LossDrained {
				t.Errorf("cause = %s, want %s", got, task.LossDrained)
			}
			h.instanceOf(tt.mode, 2)
			h.recorder.mu.Lock()
			defer h.recorder.mu.Unlock()
			if !slices.Contains(h.draining, in.ID) || len(h.crashes) > 0 {
				t.Errorf("draining = %v, crashes = %v; want an orderly restart", h.draining, h.crashes)
			}
			if n, told := h.capacity[in.ID]; told {
				t.Errorf("a capacity of %d was told; leaked slots are no change of it", n)
			}
		})
	}
}

func TestFailedStarts(t *testing.T) {
	t.Parallel()
	// Ample is enough to get as far as the part that hangs; short need not be enough for anything.
	const ample, short = 10 * time.Second, 500 * time.Millisecond
	tests := []struct {
		mode   string
		state  task.PluginState
		want   []string // parts of the cause
		change func(*Options)
	}{
		{
			mode: "mute", state: task.PluginBackoff, want: []string{"handshake: not done within the start timeout of 10s", "it printed: thinking about it"},
			change: func(o *Options) { o.StartTimeouts = map[string]time.Duration{"mute": ample} },
		},
		{
			mode: "wedged", state: task.PluginBackoff, want: []string{"not done within the start timeout"},
			change: func(o *Options) { o.StartTimeout = short },
		},
		{
			mode: "describe", state: task.PluginBackoff, want: []string{"describe: not done within the start timeout"},
			change: func(o *Options) { o.StartTimeout = ample },
		},
		{mode: "misdeclared", state: task.PluginRefused, want: []string{"handshake: it is declared wrongly, as it says", "it printed: plugin has no handlers"}},
		{mode: "exit", state: task.PluginBackoff, want: []string{"handshake: it ended with exit status 3 before its handshake", "it printed: cannot start: no database"}},
		{mode: "panicky", state: task.PluginBackoff, want: []string{"describe: the process ended with exit status 2", "panic: in the middle of the handshake"}},
		{mode: "zero", state: task.PluginRefused, want: []string{"is no plugin", "hello, I am an ordinary program"}},
		{mode: "badmanifest", state: task.PluginRefused, want: []string{`name "Bad Name"`, `version "one"`, `handler "9lives": name`, "want a whole number from 1", "handler twice@1: declared twice", `input_schema: no valid JSON Schema`}},
		{mode: "picky", state: task.PluginRefused, want: []string{"configure: plugin picky does not accept its configuration: /smtp/port: want a port above 0"}},
		{mode: "schema", state: task.PluginRefused, want: []string{"configure: configuration of plugin schema: does not fit the schema", "port"}},
		{
			mode: "schema-typo", state: task.PluginRefused, want: []string{"prot"},
			change: func(o *Options) {
				o.Configs = map[string]json.RawMessage{"schema-typo": json.RawMessage(`{"prot":1}`)}
			},
		},
		{mode: "Upper", state: task.PluginRefused, want: []string{`plugin name "Upper"`}},
	}
	for _, tt := range tests {
		t.Run(tt.mode, func(t *testing.T) {
			t.Parallel()
			h := startHost(t, tt.change, tt.mode)
			var l task.PluginLife
			h.wait(t, "the state "+string(tt.state), func() bool {
				i := slices.IndexFunc(h.life, func(l task.PluginLife) bool { return l.State == tt.state })
				if i >= 0 {
					l = h.life[i]
				}
				return i >= 0
			})
			for _, want := range tt.want {
				if !strings.Contains(l.Cause, want) {
					t.Errorf("cause = %q\nwant %q in it", l.Cause, want)
				}
			}
			if crashed := tt.state == task.PluginBackoff; l.Crashed != crashed {
				t.Errorf("crashed = %t, want %t", l.Crashed, crashed)
			}
			h.recorder.mu.Lock()
			defer h.recorder.mu.Unlock()
			if len(h.ready) > 0 {
				t.Errorf("ready = %v, want none", h.ready)
			}
		})
	}
}

func TestQuarantineAndResume(t *testing.T) {
	h := startHost(t, nil, "exit")
	l := h.inState("exit", task.PluginQuarantined)
	if l.Crashes != 5 {
		t.Errorf("crashes = %d, want 5", l.Crashes)
	}
	if got := len(h.crashesOf("exit")); got != 5 {
		t.Errorf("%d crash reports, want 5", got)
	}
	c := h.crashesOf("exit")[0]
	if c.ExitCode != 3 || c.Phase != string(phaseHandshake) || len(c.Stderr) != 1 {
		t.Errorf("crash = %+v, want exit code 3 in phase handshake and one line", c)
	}
	if err := h.Resume("nobody", nil); !errors.Is(err, task.ErrNotFound) {
		t.Errorf("Resume of nobody: %v, want %v", err, task.ErrNotFound)
	}
	if err := h.Resume("exit", nil); err != nil {
		t.Fatal(err)
	}
	h.wait(t, "a start after the resume", func() bool {
		i := slices.IndexFunc(h.life, func(l task.PluginLife) bool { return l.State == task.PluginQuarantined })
		return slices.ContainsFunc(h.life[i:], func(l task.PluginLife) bool { return l.State == task.PluginStarting })
	})
}

func TestRestartReadsTheBinaryAgain(t *testing.T) {
	h := startHost(t, nil, "good")
	in := h.instanceOf("good", 1)
	path := h.Plugins()[0].Path
	target, err := os.Readlink(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	h.Dispatch(in.ID, []*task.Assignment{attempt(1, "exit", `1`)})
	if l := h.inState("good", task.PluginRefused); !strings.Contains(l.Cause, "no such file") {
		t.Errorf("cause = %q, want that the binary is missing", l.Cause)
	}
	if err := os.Symlink(target, path); err != nil {
		t.Fatal(err)
	}
	if err := h.Resume("good", nil); err != nil {
		t.Fatal(err)
	}
	h.instanceOf("good", 2)
}

func TestResumeOfARunningPluginIsRefused(t *testing.T) {
	h := startHost(t, nil, "good")
	h.instanceOf("good", 1)
	if err := h.Resume("good", nil); !errors.Is(err, task.ErrInvalid) {
		t.Errorf("Resume: %v, want %v", err, task.ErrInvalid)
	}
}

func TestUsefulPluginsAreNotQuarantined(t *testing.T) {
	h := startHost(t, nil, "good")
	for n := 1; n <= 7; n++ {
		in := h.instanceOf("good", n)
		echo, exit := attempt(2*n, "echo", `1`), attempt(2*n+1, "exit", `1`)
		h.Dispatch(in.ID, []*task.Assignment{echo})
		h.final(echo.ID)
		h.Dispatch(in.ID, []*task.Assignment{exit})
		h.lost(in.ID)
	}
	h.instanceOf("good", 8)
}

// TestDirectories: what is named as a directory may be a single plugin; what can be
// neither is told before anything runs.
func TestDirectories(t *testing.T) {
	one := filepath.Join(installPlugins(t, "good", "alias-a"), BinaryPrefix+"good")
	h := startHost(t, func(o *Options) { o.Dirs = []string{one} })
	h.instanceOf("good", 1)
	if plugins := h.Plugins(); len(plugins) != 1 {
		t.Errorf("a file brought the plugins %+v, want it alone", plugins)
	}
	below := h.opts
	below.Dirs = []string{filepath.Join(one, "below")}
	_, err := New(below)
	if err == nil || !strings.Contains(err.Error(), "plugin directory: ") {
		t.Errorf("a directory below a file: %v, want an error that names it", err)
	}
}

func TestDiscovery(t *testing.T) {
	first := installPlugins(t, "good")
	second := installPlugins(t, "good", "alias-a", "alias-b")
	plain := filepath.Join(second, BinaryPrefix+"plain")
	script := filepath.Join(second, BinaryPrefix+"script")
	for path, mode := range map[string]os.FileMode{plain: 0o600, script: 0o700, filepath.Join(second, "other"): 0o700} {
		if err := os.WriteFile(path, []byte("no program"), mode); err != nil {
			t.Fatal(err)
		}
	}
	h := startHost(t, func(o *Options) {
		o.Dirs = []string{first, second, filepath.Join(second, "missing")}
		o.Paths = []string{filepath.Join(second, "nothing")}
		o.MaxParallelStarts = 1
	})
	h.instanceOf("good", 1)
	h.instanceOf("shared-name", 1)
	causes := make(map[string]string)
	h.wait(t, "five refusals", func() bool {
		clear(causes)
		for _, l := range h.life {
			if l.State == task.PluginRefused {
				causes[l.Plugin] += l.Cause
			}
		}
		return len(causes) == 5
	})
	for plugin, want := range map[string][]string{
		"good":        {`plugin name "good" is taken by ` + filepath.Join(first, BinaryPrefix+"good"), filepath.Join(second, BinaryPrefix+"good") + " is not started"},
		"shared-name": {filepath.Join(second, BinaryPrefix+"alias-a"), filepath.Join(second, BinaryPrefix+"alias-b")},
		"plain":       {plain + " is not executable: run chmod +x"},
		"script":      {script + ": exec: it is no program for this machine"},
		"nothing":     {"no such file"},
	} {
		for _, part := range want {
			if !strings.Contains(causes[plugin], part) {
				t.Errorf("cause of %s = %q, want %q in it", plugin, causes[plugin], part)
			}
		}
	}
	h.stop()
	if got := strings.Count(h.log.String(), "plain is not executable"); got != 1 {
		t.Errorf("told %d times, want once", got)
	}
}

func TestWhatIsServedIsTold(t *testing.T) {
	t.Setenv("TASKER_TEST_DENIED", "no")
	h := startHost(t, nil, "env")
	h.instanceOf("env", 1)
	info := h.Plugins()[0]
	if want := "environment variable TASKER_TEST_DENIED: not granted"; !slices.Contains(info.Refused, want) {
		t.Errorf("refused = %q, want %q", info.Refused, want)
	}
	for _, told := range info.Refused {
		if strings.Contains(told, "TASKER_TEST_UNSET") {
			t.Errorf("refused = %q, want nothing of a variable that is not set", info.Refused)
		}
	}
	if !strings.Contains(h.log.String(), "TASKER_TEST_UNSET") {
		t.Error("the log does not name the variable that is not set")
	}
	if want := "handler echo@1"; !slices.Contains(info.Accepted, want) {
		t.Errorf("accepted = %q, want %q among it", info.Accepted, want)
	}
}

func TestDescribe(t *testing.T) {
	dir := installPlugins(t, "good", "exit")
	m, err := Describe(t.Context(), filepath.Join(dir, BinaryPrefix+"good"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if m.Name != "good" || m.Version != "1.2.3" || len(m.Handlers) == 0 {
		t.Errorf("manifest = %+v, want that of good 1.2.3", m)
	}
	_, err = Describe(t.Context(), filepath.Join(dir, BinaryPrefix+"exit"), Options{})
	var start *StartError
	if !errors.As(err, &start) || start.Phase != string(phaseHandshake) {
		t.Errorf("Describe of a plugin that exits: %v, want a start error in phase handshake", err)
	}
	if _, err := Describe(t.Context(), filepath.Join(dir, "missing"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Describe of nothing: %v, want %v", err, os.ErrNotExist)
	}
}

func TestOneHostPerRunDirectory(t *testing.T) {
	h := startHost(t, nil, "good")
	h.instanceOf("good", 1)
	other, err := New(h.opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Run(t.Context()); !errors.Is(err, task.ErrLocked) {
		t.Errorf("Run of a second host: %v, want %v", err, task.ErrLocked)
	}
	if err := other.Run(t.Context()); !errors.Is(err, errRunTwice) {
		t.Errorf("second Run: %v, want %v", err, errRunTwice)
	}
	other.Drain(t.Context())
}

func TestOptionsAreChecked(t *testing.T) {
	_, err := New(Options{RunDir: "relative", LogLevel: "loud", DrainTimeout: -1, Configs: map[string]json.RawMessage{"mail": json.RawMessage(`{`)}})
	if !errors.Is(err, task.ErrInvalid) {
		t.Fatalf("New: %v, want %v", err, task.ErrInvalid)
	}
	for _, want := range []string{"sink is missing", `run directory "relative"`, `data directory ""`, `log level "loud"`, "drain timeout -1ns", "plugin mail: no valid JSON"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
}
