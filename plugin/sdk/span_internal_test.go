package sdk

import (
	"testing"

	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// TestUntracedIsFree: an attempt that makes no span, in a trace that nobody records, allocates nothing for it.
func TestUntracedIsFree(t *testing.T) {
	a := tracedAttempt(t, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")
	result := &pluginv1.Result{}
	if n := testing.AllocsPerRun(100, func() {
		a.spans = nil
		a.sendSpans(result)
	}); n > 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
