//go:build unix

package supervisor

import (
	"context"
	"testing"
)

// TestParallelStartsAreBounded: who wants to start a plugin waits for one of the starts that
// are allowed at once.
func TestParallelStartsAreBounded(t *testing.T) {
	h := startHost(t, func(o *Options) { o.MaxParallelStarts = 2 }, "good")
	h.instanceOf("good", 1) // it has given its start back
	for range 2 {
		if !h.acquireStart(t.Context()) {
			t.Fatal("a start that is allowed is refused")
		}
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if h.acquireStart(over) {
		t.Error("a third start at once is allowed")
	}
	h.FailInstance("good#1", "the test wants another")
	h.end("good#1")
	h.releaseStart()
	h.instanceOf("good", 2) // it had waited
	h.releaseStart()
}
