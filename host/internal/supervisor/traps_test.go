//go:build unix

package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/task"
)

// Every trap of go-plugin that the supervisor is built around has a test here that
// reproduces it.

// The library's own stderr parser panics on this line, in a goroutine without recover.
func TestTrapHostileStderrDoesNotKillTheHost(t *testing.T) {
	h := startHost(t, nil, "hostile")
	in := h.instanceOf("hostile", 1)
	a := attempt(1, "echo", `1`)
	h.Dispatch(in.ID, []*task.Assignment{a})
	h.final(a.ID)
	h.Drain(t.Context())
	lines, err := h.Logs("hostile", 100)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range lines {
		got = append(got, l.Level+" "+l.Message+" "+string(l.Fields))
	}
	want := []string{"info 1 ", `info {"a": []} `, `warn a proper line {"key":"value"}`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

// Client.Kill of the library waits for ever for a stopped process to answer Shutdown.
func TestTrapStoppedPluginIsKilledWithinTheLimits(t *testing.T) {
	h := startHost(t, func(o *Options) {
		o.DrainTimeout, o.StopGrace = 200*time.Millisecond, 100*time.Millisecond
	}, "good")
	in := h.instanceOf("good", 1)
	pid := h.Plugins()[0].PID
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	a := attempt(1, "echo", `1`)
	h.Dispatch(in.ID, []*task.Assignment{a})
	h.Drain(t.Context())
	if got := h.lost(in.ID); got != task.LossDrained {
		t.Errorf("cause = %s, want %s", got, task.LossDrained)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d: %v, want it gone", pid, err)
	}
}

func TestTrapStoppedPluginIsHungAndStartedAgain(t *testing.T) {
	h := startHost(t, func(o *Options) { o.HangTimeout = 2 * time.Second }, "good")
	in := h.instanceOf("good", 1)
	stop := attempt(1, "stop", `1`)
	h.Dispatch(in.ID, []*task.Assignment{stop})
	if got := h.lost(in.ID); got != task.LossHung {
		t.Errorf("cause = %s, want %s", got, task.LossHung)
	}
	c := h.crash(in.ID)
	if diff := cmp.Diff([]string{stop.ID.String()}, c.Attempts); diff != "" {
		t.Errorf("attempts in flight (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(c.Cause, "hung: ") {
		t.Errorf("cause = %q, want a hang", c.Cause)
	}
	h.instanceOf("good", 2)
}

// A hang leaves no trace unless the process is asked for one before it is killed.
func TestTrapHungPluginLeavesItsGoroutines(t *testing.T) {
	h := startHost(t, func(o *Options) { o.HangTimeout = 100 * time.Millisecond }, "silent")
	in := h.instanceOf("silent", 1)
	h.Dispatch(in.ID, []*task.Assignment{attempt(1, "hold", `1`)})
	if got := h.lost(in.ID); got != task.LossHung {
		t.Errorf("cause = %s, want %s", got, task.LossHung)
	}
	c := h.crash(in.ID)
	if !strings.HasPrefix(c.Panic, "SIGQUIT: quit") || !strings.Contains(c.Panic, "(*testPlugin).execute") {
		t.Errorf("panic = %q, want the dump of the goroutines", c.Panic)
	}
}

// Exited of the library stays false while anybody holds the pipes of a dead plugin.
func TestTrapGrandchildHoldingPipesDoesNotHideACrash(t *testing.T) {
	for _, handler := range []string{"child", "orphan"} {
		t.Run(handler, func(t *testing.T) {
			h := startHost(t, nil, "good")
			in := h.instanceOf("good", 1)
			a := attempt(1, handler, `1`)
			h.Dispatch(in.ID, []*task.Assignment{a})
			if got := h.lost(in.ID); got != task.LossCrashed {
				t.Errorf("cause = %s, want %s", got, task.LossCrashed)
			}
			c := h.crash(in.ID)
			if got, want := c.ExitCode, 7; got != want {
				t.Errorf("exit code = %d, want %d", got, want)
			}
			if handler == "orphan" { // it left the group, so that only we can end it here
				killSleeper(t, c.Stderr)
			}
			h.instanceOf("good", 2)
		})
	}
}

// killSleeper ends the grandchild that a plugin told of.
func killSleeper(t *testing.T, stderr []string) {
	t.Helper()
	for _, line := range stderr {
		if pid, ok := strings.CutPrefix(line, "sleeper "); ok {
			n, err := strconv.Atoi(pid)
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(n, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			return
		}
	}
	t.Fatalf("no sleeper in %q", stderr)
}

// The library gives a plugin two seconds, and its Shutdown cuts the calls in flight.
func TestTrapDrainIsNotCutAtTwoSeconds(t *testing.T) {
	h := startHost(t, nil, "good")
	in := h.instanceOf("good", 1)
	a := attempt(1, "slow", `1`)
	h.Dispatch(in.ID, []*task.Assignment{a})
	h.running(a.ID)
	h.Drain(t.Context())
	if got, want := string(h.final(a.ID).Output), `"slowly done"`; got != want {
		t.Errorf("output = %s, want %s", got, want)
	}
}

// A long line of stdout wedges the library's scanner, and the plugin with it.
func TestTrapLongLinesAreHarmless(t *testing.T) {
	h := startHost(t, nil, "longline")
	in := h.instanceOf("longline", 1)
	a := attempt(1, "echo", `1`)
	h.Dispatch(in.ID, []*task.Assignment{a})
	h.final(a.ID)
	h.Drain(t.Context())
	lines, err := h.Logs("longline", 10)
	if err != nil {
		t.Fatal(err)
	}
	if len(lines) != 2 {
		t.Fatalf("%d lines in the log, want 2", len(lines))
	}
	for _, l := range lines {
		if len(l.Message) > maxLine+100 || !strings.HasSuffix(l.Message, "[cut at 64 KiB]") {
			t.Errorf("line of %s is %d bytes long and ends with %q, want it cut and marked", l.Source, len(l.Message), l.Message[max(0, len(l.Message)-20):])
		}
	}
}

// One print before the handshake makes the library give up.
func TestTrapPrintsBeforeTheHandshakeAreLogged(t *testing.T) {
	h := startHost(t, nil, "garbage")
	h.instanceOf("garbage", 1)
	h.Drain(t.Context())
	lines, err := h.Logs("garbage", 10)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, l := range lines {
		got = append(got, l.Source+" "+l.Level+" "+l.Message)
	}
	if diff := cmp.Diff([]string{"stdout warn starting up ...", "stdout warn a|b|c"}, got); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

// Output after the handshake blocks a plugin when nobody reads it.
func TestTrapOutputAfterTheStartIsRead(t *testing.T) {
	h := startHost(t, nil, "good")
	in := h.instanceOf("good", 1)
	for i := range 20 {
		a := attempt(i, "print", `1`)
		h.Dispatch(in.ID, []*task.Assignment{a})
		h.final(a.ID)
	}
	flood := attempt(99, "flood", `1`)
	h.Dispatch(in.ID, []*task.Assignment{flood})
	h.final(flood.ID)
	h.Drain(t.Context())
	lines, err := h.Logs("good", 1_000_000)
	if err != nil {
		t.Fatal(err)
	}
	count := make(map[string]int)
	for _, l := range lines {
		count[l.Source]++
	}
	if count["stdout"] != 20 {
		t.Errorf("%d lines of stdout, want 20", count["stdout"])
	}
	if count["stderr"] < 20 || count["stderr"] >= 20_020 {
		t.Errorf("%d lines of stderr, want fewer than the flood", count["stderr"])
	}
	if count["host"] == 0 {
		t.Error("no line tells how many were suppressed")
	}
}

// SecureConfig cannot go with a runner of one's own: what is checked is checked before
// the execution.
func TestTrapBinaryIsVerifiedBeforeItRuns(t *testing.T) {
	h := startHost(t, func(o *Options) {
		o.Verify = func(string) error { return errors.New("digest differs") }
	}, "good")
	l := h.inState("good", task.PluginRefused)
	if want := "verify: digest differs"; !strings.Contains(l.Cause, want) {
		t.Errorf("cause = %q, want %q in it", l.Cause, want)
	}
	if lines, err := h.Logs("good", 1); err != nil || len(lines) > 0 {
		t.Errorf("log = %v, %v; want that it never ran", lines, err)
	}
}

// Managed clients are never freed, and every restart could leak connections, pipes and
// goroutines. TASKER_RESTARTS=1000 is the long form: make test-restarts.
func TestTrapRestartsLeaveNothingBehind(t *testing.T) {
	restarts := 20
	if n, err := strconv.Atoi(os.Getenv("TASKER_RESTARTS")); err == nil {
		restarts = n
	}
	h := startHost(t, func(o *Options) { o.Restart.MaxCrashes = 1 << 30 }, "good")
	crash := func(n int) {
		in := h.instanceOf("good", n)
		h.Dispatch(in.ID, []*task.Assignment{attempt(n, "exit", `1`)})
		h.lost(in.ID)
	}
	const warmup = 5
	for n := 1; n <= warmup; n++ {
		crash(n)
	}
	h.instanceOf("good", warmup+1)
	goroutines, files, memory := runtime.NumGoroutine(), openFiles(t), ownMemory()
	for n := warmup + 1; n <= restarts; n++ {
		crash(n)
	}
	h.instanceOf("good", restarts+1)
	// What the last crash leaves may take a moment to end; what every crash left would
	// be at least one per restart.
	if got, limit := runtime.NumGoroutine(), goroutines+restarts/2; got > limit {
		t.Errorf("%d goroutines after %d restarts, %d before", got, restarts, goroutines)
	}
	if got, limit := openFiles(t), files+restarts/2; got > limit {
		t.Errorf("%d open files after %d restarts, %d before", got, restarts, files)
	}
	// Reports of crashes are kept by the test, and the heap has room to breathe.
	const room, perRestart = 32 << 20, 32 << 10
	if got, limit := ownMemory(), memory+room+int64(restarts)*perRestart; got > limit {
		t.Errorf("%d MiB of memory after %d restarts, %d before", got>>20, restarts, memory>>20)
	}
	t.Logf("after %d restarts: %d goroutines, %d files, %d MiB; before: %d, %d, %d",
		restarts, runtime.NumGoroutine(), openFiles(t), ownMemory()>>20, goroutines, files, memory>>20)
}

// ownMemory is what the test has in memory, garbage apart; 0 where the system does not tell.
func ownMemory() int64 {
	debug.FreeOSMemory()
	used, _ := usageOf(os.Getpid())
	return used.Memory
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// A terminal's interrupt and systemd's TERM go to the host's group: plugins have their
// own, so that the host drains first.
func TestTrapPluginHasItsOwnGroupAndSurroundings(t *testing.T) {
	t.Setenv("TASKER_TEST_GRANTED", "yes")
	t.Setenv("TASKER_TEST_DENIED", "no")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	h := startHost(t, func(o *Options) {
		o.GrantEnv = map[string][]string{"env": {"TASKER_TEST_GRANTED", "AWS_SECRET_ACCESS_KEY"}}
		o.Configs = map[string]json.RawMessage{"env": json.RawMessage(`{"port":1}`)}
	}, "env")
	in := h.instanceOf("env", 1)
	a := attempt(1, "env", `1`)
	h.Dispatch(in.ID, []*task.Assignment{a})
	var got struct {
		Dir    string          `json:"dir"`
		Mode   string          `json:"mode"`
		Names  []string        `json:"names"`
		Config json.RawMessage `json:"config"`
		Group  bool            `json:"group"`
	}
	if err := json.Unmarshal(h.final(a.ID).Output, &got); err != nil {
		t.Fatal(err)
	}
	if !got.Group {
		t.Error("the plugin is in a group of others")
	}
	if want := filepath.Join(h.opts.DataDir, "env"); got.Dir != want {
		t.Errorf("working directory = %s, want %s", got.Dir, want)
	}
	if runtime.GOOS == "linux" && got.Mode != "-rw-------" {
		t.Errorf("mode of a new file = %s, want -rw-------", got.Mode)
	}
	if want := `{"port":1}`; string(got.Config) != want {
		t.Errorf("config = %s, want %s", got.Config, want)
	}
	var foreign []string
	for _, name := range got.Names {
		if !slices.Contains(inheritedEnv(), name) && !strings.HasPrefix(name, "PLUGIN_") && name != "TASKER_PLUGIN" {
			foreign = append(foreign, name)
		}
	}
	if diff := cmp.Diff([]string{"TASKER_TEST_GRANTED"}, foreign); diff != "" {
		t.Errorf("environment beyond the inherited (-want +got):\n%s", diff)
	}
	info := h.Plugins()[0]
	if want := "environment variable TASKER_TEST_DENIED: not granted"; !slices.Contains(info.Refused, want) {
		t.Errorf("refused = %q, want %q among it", info.Refused, want)
	}
}

// gRPC servers receive 4 MiB by default.
func TestTrapLargeMessagesPass(t *testing.T) {
	h := startHost(t, nil, "good")
	in := h.instanceOf("good", 1)
	large := attempt(1, "bytes", `1`)
	large.Config = append(append([]byte{'"'}, bytes.Repeat([]byte{'x'}, 9<<20)...), '"')
	huge := attempt(2, "bytes", `1`)
	huge.Config = append(append([]byte{'"'}, bytes.Repeat([]byte{'x'}, 17<<20)...), '"')
	back := attempt(3, "echo", `"`+strings.Repeat("y", 1<<19)+`"`)
	h.Dispatch(in.ID, []*task.Assignment{large, huge, back})
	if got := h.final(large.ID); got.Kind != task.ReportSucceeded {
		t.Errorf("9 MiB: %+v, want success", got.Failure)
	}
	if got := h.final(huge.ID); got.Failure == nil || got.Failure.Code != task.CodeTooLarge || got.Failure.Kind != task.KindPermanent {
		t.Errorf("17 MiB: %+v, want a permanent %s", got.Failure, task.CodeTooLarge)
	}
	if got := h.final(back.ID); len(got.Output) != 1<<19+2 {
		t.Errorf("output has %d bytes, want %d", len(got.Output), 1<<19+2)
	}
}

// The library accepts net/rpc only unless told otherwise, and says little about it.
func TestTrapOtherProtocolsAreRefused(t *testing.T) {
	tests := []struct{ mode, want string }{
		{"netrpc", `handshake: unsupported plugin protocol "netrpc"`},
		{"future", "handshake: incompatible API version with plugin. Plugin version: 7, Client versions: [1]"},
	}
	for _, tt := range tests {
		t.Run(tt.mode, func(t *testing.T) {
			h := startHost(t, nil, tt.mode)
			l := h.inState(tt.mode, task.PluginRefused)
			if !strings.Contains(l.Cause, tt.want) {
				t.Errorf("cause = %q, want %q in it", l.Cause, tt.want)
			}
		})
	}
}

// One panic ends every attempt of the process; the trace must not be lost.
func TestTrapPanicEndsEveryAttemptAndKeepsTheTrace(t *testing.T) {
	h := startHost(t, nil, "good")
	in := h.instanceOf("good", 1)
	hold, last := attempt(1, "hold", `1`), attempt(2, "panic", `1`)
	h.Dispatch(in.ID, []*task.Assignment{hold})
	h.running(hold.ID)
	h.Dispatch(in.ID, []*task.Assignment{last})
	if got := h.lost(in.ID); got != task.LossCrashed {
		t.Errorf("cause = %s, want %s", got, task.LossCrashed)
	}
	c := h.crash(in.ID)
	if diff := cmp.Diff([]string{hold.ID.String(), last.ID.String()}, c.Attempts); diff != "" {
		t.Errorf("attempts in flight (-want +got):\n%s", diff)
	}
	if !strings.HasPrefix(c.Panic, "panic: the handler went too far") || !strings.Contains(c.Panic, "goroutine ") {
		t.Errorf("panic = %q, want the trace", c.Panic)
	}
	if want := "exit status 2: panic: the handler went too far"; c.Cause != want {
		t.Errorf("cause = %q, want %q", c.Cause, want)
	}
	if c.ExitCode != 2 || c.Phase != string(phaseReady) || c.Version != "1.2.3" || len(c.Stderr) == 0 {
		t.Errorf("crash = %+v, want exit code 2 in phase ready with version and stderr", c)
	}
	h.instanceOf("good", 2)
}

// A plugin that ignores the lifeline and TERM still ends with the host.
func TestTrapStubbornPluginIsKilled(t *testing.T) {
	h := startHost(t, func(o *Options) { o.StopGrace = 50 * time.Millisecond }, "stubborn")
	h.instanceOf("stubborn", 1)
	pid := h.Plugins()[0].PID
	h.stop()
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d: %v, want it gone", pid, err)
	}
}

// A long run directory breaks every socket below it, with a message that helps nobody.
func TestTrapLongRunDirectoryIsRefusedAtBoot(t *testing.T) {
	dir := t.TempDir()
	_, err := New(Options{
		Sink: newRecorder(), DataDir: dir, LogDir: dir,
		RunDir: filepath.Join("/tmp", strings.Repeat("x", maxSocketPath-socketTail)),
	})
	if !errors.Is(err, task.ErrInvalid) {
		t.Fatalf("New: %v, want %v", err, task.ErrInvalid)
	}
	for _, want := range []string{"at most " + strconv.Itoa(maxSocketPath-socketTail), "XDG_RUNTIME_DIR", strconv.Itoa(maxSocketPath) + " bytes"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q does not say %q", err, want)
		}
	}
	longest := filepath.Join("/tmp", strings.Repeat("x", maxSocketPath-socketTail-len("/tmp/")))
	if _, err := New(Options{Sink: newRecorder(), DataDir: dir, LogDir: dir, RunDir: longest}); err != nil {
		t.Errorf("New with a run directory of %d bytes: %v", len(longest), err)
	}
}

// The longest accepted run directory must work.
func TestTrapLongestRunDirectoryWorks(t *testing.T) {
	base := shortDir(t)
	h := startHost(t, func(o *Options) {
		o.RunDir = filepath.Join(base, strings.Repeat("r", maxSocketPath-socketTail-len(base)-1))
	}, "good")
	h.instanceOf("good", 1)
}

// Killing the host leaves plugins running and sockets lying about.
func TestTrapKilledHostLeavesNoProcessAndNoSocket(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("waits for processes that are not its children")
	}
	dir := shortDir(t)
	plugins := installPlugins(t, "good", "stubborn")
	cmd, pids := startTestHost(t, dir, plugins)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	for _, pid := range pids {
		awaitGone(t, pid)
	}
	if left := sockets(t, dir); len(left) > 0 {
		t.Errorf("sockets are left: %v", left)
	}
	// The next host takes over the directory, and starts the same plugins.
	h := startHost(t, func(o *Options) {
		o.RunDir, o.Dirs = filepath.Join(dir, "r"), []string{plugins}
		o.StopGrace = 50 * time.Millisecond
	})
	h.instanceOf("good", 1)
	h.instanceOf("stubborn", 1)
}

// sockets lists the sockets below a directory.
func sockets(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type()&os.ModeSocket != 0 {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// What a handler reports because its process is being stopped is no verdict on the step.
func TestFailuresOfAStopAreLost(t *testing.T) {
	h := startHost(t, func(o *Options) { o.DrainTimeout = time.Millisecond }, "deaf")
	in := h.instanceOf("deaf", 1)
	a := attempt(1, "hold", `1`)
	h.Dispatch(in.ID, []*task.Assignment{a})
	h.running(a.ID)
	h.Drain(t.Context())
	h.stop()
	if got := h.lost(in.ID); got != task.LossDrained {
		t.Errorf("cause = %s, want %s", got, task.LossDrained)
	}
	for _, r := range h.reportsOf(a.ID) {
		if r.Kind != task.ReportHeartbeat {
			t.Errorf("report = %+v, want none but heartbeats", r)
		}
	}
}

func TestDrainCutShortByItsContext(t *testing.T) {
	h := startHost(t, func(o *Options) { o.DrainTimeout = time.Hour }, "good")
	in := h.instanceOf("good", 1)
	a := attempt(1, "ignore", `1`)
	h.Dispatch(in.ID, []*task.Assignment{a})
	h.running(a.ID)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h.Drain(ctx)
	if got := h.lost(in.ID); got != task.LossDrained {
		t.Errorf("cause = %s, want %s", got, task.LossDrained)
	}
}
