//go:build unix

package supervisor

import (
	"bytes"
	"context"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/task"
)

// TestAttemptsThatADrainKeepsBackAreNotSent: what is dispatched to an instance that
// drains already never reaches it, and its end says so.
func TestAttemptsThatADrainKeepsBackAreNotSent(t *testing.T) {
	h := startHost(t, nil, "deaf")
	in := h.instanceOf("deaf", 1)
	hold := attempt(1, "hold", `1`)
	h.Dispatch(in.ID, []*task.Assignment{hold})
	h.running(hold.ID)
	ctx, impatient := context.WithCancel(context.Background())
	defer impatient()
	drained := make(chan struct{})
	go func() { h.Drain(ctx); close(drained) }()
	h.wait(t, "the drain", func() bool { return len(h.draining) == 1 })
	h.Dispatch(in.ID, []*task.Assignment{attempt(2, "echo", `1`)})
	impatient()
	<-drained
	if diff := cmp.Diff([]task.AttemptID{hold.ID}, h.end(in.ID).sent); diff != "" {
		t.Errorf("lost attempts that were sent (-want +got):\n%s", diff)
	}
}

// TestAttemptsThatWaitAtACrashAreNotSent: what no frame carried when the process died
// cannot have begun.
func TestAttemptsThatWaitAtACrashAreNotSent(t *testing.T) {
	h := startHost(t, nil, "good")
	in := h.instanceOf("good", 1)
	pid := h.Plugins()[0].PID
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	as := make([]*task.Assignment, 40)
	var ids []task.AttemptID
	for i := range as { // far more than the buffers between the processes hold
		as[i] = attempt(10+i, "echo", `1`)
		as[i].Config = bytes.Repeat([]byte("1"), 512<<10)
		ids = append(ids, as[i].ID)
	}
	h.Dispatch(in.ID, as)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	sent := h.end(in.ID).sent
	if len(sent) == len(as) {
		t.Fatalf("all %d attempts are said to have been sent", len(as))
	}
	if diff := cmp.Diff(ids[:len(sent)], sent); len(sent) > 0 && diff != "" {
		t.Errorf("lost attempts that were sent (-want +got):\n%s", diff)
	}
	if got, want := len(h.crash(in.ID).Attempts), len(sent); got != want {
		t.Errorf("the crash report names %d attempts, want the %d that were sent", got, want)
	}
}
