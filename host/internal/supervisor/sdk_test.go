//go:build unix

package supervisor

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host/task"
)

// buildMock builds the mock plugin, which is made with the SDK.
func buildMock(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, BinaryPrefix+"mock"), "github.com/tasker-engine/tasker/plugins/mock")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the mock plugin: %v\n%s", err, out)
	}
	return dir
}

func TestPluginMadeWithTheSDK(t *testing.T) {
	dir := buildMock(t)
	h := startHost(t, func(o *Options) { o.Dirs, o.HangTimeout, o.CancelGrace = []string{dir}, 15*time.Second, time.Minute })
	in := h.instanceOf("mock", 1)
	handle := func(ordinal int, handler, config string) *task.Assignment {
		a := attempt(ordinal, handler, `{"a":1}`)
		a.Config = []byte(config)
		h.Dispatch(in.ID, []*task.Assignment{a})
		return a
	}
	t.Run("success", func(t *testing.T) {
		h := h.within(t)
		a := handle(1, "echo", "")
		if got := string(h.final(a.ID).Output); !strings.Contains(got, `{"a":1}`) {
			t.Errorf("output = %s, want the input in it", got)
		}
	})
	t.Run("panic of one attempt", func(t *testing.T) {
		h := h.within(t)
		a := handle(2, "panic", `{"times":1}`)
		got := h.final(a.ID).Failure
		if got == nil || got.Code != task.CodePanic || len(got.Stack) == 0 {
			t.Errorf("failure = %+v, want a panic with its stack", got)
		}
	})
	t.Run("unknown handler", func(t *testing.T) {
		h := h.within(t)
		a := handle(3, "nonsense", "")
		if got := h.final(a.ID).Failure; got == nil || got.Code != task.CodeUnknownHandler {
			t.Errorf("failure = %+v, want %s", got, task.CodeUnknownHandler)
		}
	})
	t.Run("cancel", func(t *testing.T) {
		h := h.within(t)
		a := handle(4, "sleep", `{"for":"1h"}`)
		h.Cancel(in.ID, a.ID, task.CodeCancelRequested)
		if got := h.final(a.ID).Failure; got == nil || got.Kind != task.KindCancelled {
			t.Errorf("failure = %+v, want a cancelled one", got)
		}
	})
	t.Run("hostile flood", func(t *testing.T) {
		h := h.within(t)
		h.final(handle(5, "flood", `{"lines":1000,"bytes":200,"hostile":true}`).ID)
	})
	t.Run("killed", func(t *testing.T) {
		h := h.within(t)
		a := handle(6, "sleep", `{"for":"1h"}`)
		if err := syscall.Kill(h.Plugins()[0].PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if got := h.lost(in.ID); got != task.LossCrashed {
			t.Errorf("cause = %s, want %s", got, task.LossCrashed)
		}
		c := h.crash(in.ID)
		if c.Signal != "killed" || !strings.Contains(c.Cause, "out of memory") || len(c.Attempts) != 1 || c.Attempts[0] != a.ID.String() {
			t.Errorf("crash = %+v, want the signal, a hint and the attempt", c)
		}
	})
	t.Run("exit, child and drain", func(t *testing.T) {
		h := h.within(t)
		in = h.instanceOf("mock", 2)
		handle(7, "exit", `{"code":4,"times":1}`)
		h.lost(in.ID)
		in = h.instanceOf("mock", 3)
		h.final(handle(8, "child", `{"for":"1h"}`).ID)
		a := handle(9, "heartbeat", `{"every":"10ms","for":"300ms"}`)
		h.running(a.ID)
		h.Drain(t.Context())
		if got := h.final(a.ID); got.Kind != task.ReportSucceeded {
			t.Errorf("the attempt in flight ended with %+v, want success", got.Failure)
		}
	})
}
