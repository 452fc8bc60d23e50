//go:build unix

package host_test

import (
	"strings"
	"syscall"
	"testing"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
)

// TestHangTimeout stops a plugin that holds an attempt: it is killed, started again, and
// the attempt runs again.
func TestHangTimeout(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t, hosttest.Expect("plugin crashed"),
		hosttest.Options(func(o *host.Options) { o.HangTimeout = host.MinHangTimeout }))
	id := h.Create(graph("a | handler: mock/sleep, config: {for: 12s}"))
	h.AwaitStep(id, "a", task.StepInProgress)
	if err := syscall.Kill(h.Plugin("mock").PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if cause, want := awaitCrash(t, h, "mock"), "no sign of life for 10s"; !strings.Contains(cause, want) {
		t.Errorf("it crashed because of %q, want %q", cause, want)
	}
	v := h.Checked(id) // longer than the timeout: who is alive says so in time
	h.WantTask(v, task.Complete)
	if s := hosttest.Step(v, "a"); s.Losses != 1 || s.Failures != 0 {
		t.Errorf("%d losses and %d failures, want 1 and 0", s.Losses, s.Failures)
	}
}

// TestExecEnv: what the operator grants to exec reaches the commands that name it.
func TestExecEnv(t *testing.T) {
	t.Setenv("TASKER_TEST_WORD", "granted")
	t.Setenv("TASKER_TEST_OTHER", "kept back")
	h := hosttest.Start(t, hosttest.Plugins("github.com/tasker-engine/tasker/plugins/exec"),
		hosttest.Options(func(o *host.Options) { o.PluginEnv = map[string][]string{"exec": {"TASKER_TEST_WORD"}} }))
	v := h.Checked(h.Create(graph("a | handler: exec/run, config: {command: [env], env: [TASKER_TEST_WORD, TASKER_TEST_OTHER]}")))
	h.WantTask(v, task.Complete)
	got := string(hosttest.Step(v, "a").Output)
	if !strings.Contains(got, "TASKER_TEST_WORD=granted") || strings.Contains(got, "TASKER_TEST_OTHER") {
		t.Errorf("the command saw %s, want the variable that was granted and not the other", got)
	}
}
