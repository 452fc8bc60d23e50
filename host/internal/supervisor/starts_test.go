//go:build unix

package supervisor

import (
	"testing"

	"github.com/tasker-engine/tasker/host/task"
)

// TestParallelStartsAreBounded: of plugins that are to start together, no more do at once
// than may. From its first state to the one in which its manifest is checked each is on its
// way.
func TestParallelStartsAreBounded(t *testing.T) {
	names := []string{"ann", "bob", "cleo", "dan", "eve", "fay"}
	h := startHost(t, func(o *Options) { o.MaxParallelStarts = 1 }, names...)
	for _, name := range names {
		h.instanceOf(name, 1)
	}
	h.recorder.mu.Lock()
	defer h.recorder.mu.Unlock()
	most, starting := 0, make(map[string]bool)
	for _, l := range h.life {
		switch l.State {
		case task.PluginStarting, task.PluginHandshaking:
			starting[l.Plugin] = true
		default:
			delete(starting, l.Plugin)
		}
		most = max(most, len(starting))
	}
	if most != 1 {
		t.Errorf("%d plugins were on their way at once, want 1", most)
	}
}
