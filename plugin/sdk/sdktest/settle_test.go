package sdktest_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// TestSettle: an event comes again as hosts deliver it, and the pauses are those of hosts.
func TestSettle(t *testing.T) {
	busy, gone := errors.New("busy"), errors.New("gone")
	tests := []struct {
		name    string
		answers []error // the last one is that of all further deliveries
		limit   int
		want    string
		took    time.Duration
		reason  string
	}{
		{name: "at once", answers: []error{nil}, want: "acked"},
		{name: "in the end", answers: []error{busy, busy, nil}, want: "retried 1s retried 2s acked", took: 3 * time.Second},
		{name: "never", answers: []error{busy}, want: "retried 1s retried 2s retried 4s retried 8s retried, in the end rejected", took: 15 * time.Second, reason: "busy"},
		{name: "refused", answers: []error{busy, sdk.Permanent(gone)}, want: "retried 1s rejected", took: time.Second, reason: "gone"},
		{name: "as it asks", answers: []error{sdk.RetryAfter(busy, time.Hour), nil}, want: "retried 1h0m0s acked", took: time.Hour},
		{name: "fewer attempts", answers: []error{busy}, limit: 2, want: "retried 1s retried, in the end rejected", took: time.Second, reason: "busy"},
		{
			name: "an outage is not counted", answers: []error{sdk.Unavailable(gone), sdk.Unavailable(gone), busy, nil}, limit: 2,
			want: "retried 1s retried 2s retried 1s acked", took: 4 * time.Second,
		},
		{
			name: "up to a minute", answers: []error{busy}, limit: 9, took: 183 * time.Second, reason: "busy",
			want: "retried 1s retried 2s retried 4s retried 8s retried 16s retried 32s retried 1m0s retried 1m0s retried, in the end rejected",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				deliveries := 0
				on := sdk.On(func(_ context.Context, e sdk.Event[event.StepFailed]) error {
					if deliveries++; e.Delivery != deliveries {
						t.Errorf("delivery %d has number %d", deliveries, e.Delivery)
					}
					return tt.answers[min(deliveries, len(tt.answers))-1]
				})
				p := sdktest.Start(t, sdk.Plugin{Name: "test", Version: "1.0.0", Subscribers: sdk.Subscribers{
					"s": sdk.Subscribe(on, sdk.SubscriberOptions{MaxAttempts: tt.limit}),
				}})
				begin := time.Now()
				got := p.Subscribe(t, "s").Settle(t, sdktest.Event{Type: "step.failed"})
				if got.String() != tt.want || got.Reason != tt.reason {
					t.Errorf("%s for %q, want %s for %q", got, got.Reason, tt.want, tt.reason)
				}
				if took := time.Since(begin); took != tt.took {
					t.Errorf("it took %s, want %s", took, tt.took)
				}
			})
		})
	}
}
