package supervisor

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/tasker-engine/tasker/host/task"
)

// TestEmitWindow: so many events, or so many bytes, may be on their way; the next one
// waits until there is room again. One event may be larger than all.
func TestEmitWindow(t *testing.T) {
	t.Parallel()
	emitted := func(size int) *task.Report { return &task.Report{Emits: []task.Emit{{Payload: make([]byte, size)}}} }
	tests := []struct {
		name string
		size int // of an event
		fit  int // events
	}{
		{"small events", 1, maxEmitted},
		{"large events", maxEmittedBytes / 4, 4},
		{"a very large event", maxEmittedBytes + 1, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := newEmitWindow()
				var taken []*task.Report
				for r := emitted(tt.size); w.tryTake(r); r = emitted(tt.size) {
					taken = append(taken, r)
				}
				if len(taken) != tt.fit {
					t.Fatalf("%d events fit, want %d", len(taken), tt.fit)
				}
				next, in := emitted(tt.size), false
				go func() { in = w.take(t.Context(), next) }()
				synctest.Wait()
				if next.Stored != nil {
					t.Error("the next event did not wait")
				}
				for _, r := range taken {
					r.Stored()
				}
				synctest.Wait()
				if !in {
					t.Error("the next event is not taken, with room for it")
				}
				next.Stored()
				over, end := context.WithCancel(t.Context())
				end()
				for r := emitted(tt.size); w.take(over, r); r = emitted(tt.size) { // until it is full again
					taken = append(taken, r)
				}
				if got := len(taken) - tt.fit; got != tt.fit {
					t.Errorf("%d events fit after all were recorded, want %d", got, tt.fit)
				}
			})
		})
	}
}
