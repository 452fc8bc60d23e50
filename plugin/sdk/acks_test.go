package sdk_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// TestAckWaitsForNoEvent: Acks gather while there is more to handle, but the host is told of
// an event that is done while the next one takes its time.
func TestAckWaitsForNoEvent(t *testing.T) {
	for name, order := range map[string]sdk.SubscriberOptions{
		"global order": {},
		"task order":   {Order: sdk.TaskOrder, Lanes: 1},
	} {
		t.Run(name, func(t *testing.T) {
			first := make(chan struct{}) // closed when the host has the first answer
			sub := subscriber(t, sdk.Subscribe(all(func(ctx context.Context, e rawEvent) error {
				if string(e.Payload) == "0" {
					return nil
				}
				select {
				case <-first:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}), order))
			sent := sub.Send(t, custom("t", 3)...)
			if a := sent[0].Wait(t); a.Verdict != sdktest.Acked {
				t.Errorf("the first: %+v", a)
			}
			close(first)
			for _, d := range sent[1:] {
				if a := d.Wait(t); a.Verdict != sdktest.Acked {
					t.Errorf("one of the others: %+v", a)
				}
			}
			sub.Close(t)
		})
	}
}

// TestErrOfEvent: the context of an event tells its end to who never asked for a channel.
func TestErrOfEvent(t *testing.T) {
	over := make(chan context.Context, 1)
	sub := subscriber(t, all(func(ctx context.Context, _ rawEvent) error {
		over <- ctx
		return ctx.Err()
	}))
	if a := sub.Send(t, custom("t", 1)...)[0].Wait(t); a.Verdict != sdktest.Acked {
		t.Errorf("answer %+v, want acked", a)
	}
	if ctx := <-over; !errors.Is(ctx.Err(), context.Canceled) {
		t.Errorf("error %v after the event, want %v", ctx.Err(), context.Canceled)
	}
	sub.Close(t)

	late := subscriber(t, sdk.Subscribe(all(func(ctx context.Context, _ rawEvent) error {
		for ctx.Err() == nil {
			runtime.Gosched()
		}
		<-ctx.Done()
		return sdk.Permanent(ctx.Err())
	}), sdk.SubscriberOptions{Timeout: time.Millisecond}))
	if a := late.Send(t, custom("t", 1)...)[0].Wait(t); a.Verdict != sdktest.Rejected {
		t.Errorf("answer %+v of the late one, want rejected", a)
	}
	late.Close(t)
}
