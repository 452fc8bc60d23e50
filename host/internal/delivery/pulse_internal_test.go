package delivery

import (
	"testing"
	"time"
)

// TestPatience: a plugin that answers up to five seconds after the timeout has not stalled.
func TestPatience(t *testing.T) {
	for timeout, want := range map[time.Duration]time.Duration{
		0: minPatience, 100 * time.Millisecond: minPatience, 5 * time.Second: minPatience, 30 * time.Second: time.Minute,
	} {
		begin := time.Now()
		p := pulse{since: begin, lastPing: begin.Add(want)}
		if p.duty(timeout, begin.Add(want-1)).stalled || !p.duty(timeout, begin.Add(want)).stalled {
			t.Errorf("timeout %s: want to stall after %s", timeout, want)
		}
	}
}
