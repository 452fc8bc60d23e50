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

// TestSlowHost: spans that a host does not take are bounded, and it is told how many are lost.
func TestSlowHost(t *testing.T) {
	s := &deliverStream{wake: make(chan struct{}, 1)}
	big := spansOf{otlp: make([]byte, maxQueuedSpans/4), count: 100}
	for range 7 {
		s.tell(big)
	}
	if len(s.queue) != 4 || s.spanBytes > maxQueuedSpans {
		t.Errorf("%d frames of %d bytes wait, want 4", len(s.queue), s.spanBytes)
	}
	s.takeFrames(nil)
	s.tell(spansOf{otlp: []byte{0}, count: 1})
	s.tell(spansOf{otlp: []byte{1}, count: 127})
	s.tell(spansOf{otlp: []byte{2}, count: 1})
	frames, _ := s.takeFrames(nil)
	if len(frames) != 3 {
		t.Fatalf("%d frames, want 3", len(frames))
	}
	if got, want := frames[0].frame.GetLog().GetMessage(), "300 spans of this subscription were dropped: the host did not keep up"; got != want {
		t.Errorf("log line %q, want %q", got, want)
	}
	if got := frames[1].frame.GetSpans().GetOtlp(); len(got) != 2 {
		t.Errorf("a frame has %v, want what there is room for", got)
	}
}
