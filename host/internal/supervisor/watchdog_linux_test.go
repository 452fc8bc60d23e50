package supervisor

import (
	"strings"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host/task"
)

// TestMemoryLimit: a process that has more memory than it may is ended, which is a crash.
func TestMemoryLimit(t *testing.T) {
	h := startHost(t, func(o *Options) {
		o.LimitCheck = 10 * time.Millisecond
		o.Isolation.Limits = map[string]Limits{"hog": {Memory: 160 << 20}}
	}, "hog")
	in := h.instanceOf("hog", 1)
	a := attempt(1, "hog", `1`)
	h.Dispatch(in.ID, []*task.Assignment{a})
	if got := h.lost(in.ID); got != task.LossCrashed {
		t.Errorf("cause = %s, want %s", got, task.LossCrashed)
	}
	if c := h.crash(in.ID); !strings.HasPrefix(c.Cause, "memory limit: it has ") || !strings.Contains(c.Cause, "limits.memory is 160 MiB") {
		t.Errorf("cause = %q, want the limit", c.Cause)
	}
	if l := h.inState("hog", task.PluginBackoff); !l.Crashed || !strings.HasPrefix(l.Cause, "memory limit: ") {
		t.Errorf("life %+v, want a crash for the limit", l)
	}
	h.instanceOf("hog", 2)
}
