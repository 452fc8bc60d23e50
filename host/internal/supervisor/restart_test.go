package supervisor

import (
	"testing"
	"time"
)

func TestHistory(t *testing.T) {
	policy := Options{}.withDefaults().Restart
	const all = 0.999999 // the longest jitter
	type end struct {
		after  time.Duration // since the end before
		ready  time.Duration
		useful bool
		wait   time.Duration // to the second
		quar   bool
	}
	tests := []struct {
		name string
		ends []end
	}{
		{"the wait doubles up to the cap", []end{
			{wait: 500 * time.Millisecond, useful: true},
			{wait: time.Second, useful: true},
			{wait: 2 * time.Second, useful: true},
			{wait: 4 * time.Second, useful: true},
			{wait: 8 * time.Second, useful: true},
			{wait: 16 * time.Second, useful: true},
			{wait: 32 * time.Second, useful: true},
			{wait: time.Minute, useful: true},
			{wait: time.Minute, useful: true},
		}},
		{"five minutes of readiness start over", []end{
			{wait: 500 * time.Millisecond},
			{wait: time.Second},
			{ready: 5 * time.Minute, wait: 500 * time.Millisecond},
		}},
		{"the fifth crash in ten minutes quarantines", []end{
			{wait: 500 * time.Millisecond},
			{wait: time.Second},
			{wait: 2 * time.Second},
			{wait: 4 * time.Second},
			{wait: 8 * time.Second, quar: true},
		}},
		{"crashes further apart do not", []end{
			{wait: 500 * time.Millisecond},
			{wait: time.Second, after: time.Minute},
			{wait: 2 * time.Second, after: time.Minute},
			{wait: 4 * time.Second, after: time.Minute},
			{wait: 8 * time.Second, after: 8 * time.Minute},
			{wait: 16 * time.Second, after: time.Minute},
		}},
		{"useful ones do not count", []end{
			{wait: 500 * time.Millisecond},
			{wait: time.Second},
			{wait: 2 * time.Second},
			{wait: 4 * time.Second},
			{wait: 8 * time.Second, useful: true},
			{wait: 16 * time.Second, quar: true},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var h history
			now := time.Unix(1_000_000, 0)
			for i, e := range tt.ends {
				now = now.Add(e.after)
				wait, quar := h.ended(now, e.ready, e.useful, policy, all)
				if got := wait.Round(time.Millisecond); got != e.wait || quar != e.quar {
					t.Errorf("end %d: wait %s, quarantined %t; want %s, %t", i, got, quar, e.wait, e.quar)
				}
			}
		})
	}
	if wait, _ := new(history).ended(time.Unix(1, 0), 0, false, policy, 0); wait != 0 {
		t.Errorf("wait with no jitter = %s, want 0: the jitter is full", wait)
	}
}
