package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// tellWaiting says which subscriptions, left as they are by a host of our own, have not got
// all events of the task: nobody delivers them until another host runs.
func (r *runner) tellWaiting(ctx context.Context, reader *host.Reader, left []host.SubscriptionStatus) {
	if len(left) == 0 {
		return
	}
	from := left[0].Through
	for i := range left {
		from = min(from, left[i].Through)
	}
	waiting := make([]int, len(left))
	q := host.EventQuery{Task: string(r.last.ID), From: from + 1}
	err := eachEvent(ctx, reader, q, func(seq uint64, e *eventv1.Event) error {
		for i := range left {
			if seq > left[i].Through && mayWant(&left[i], e.GetType()) {
				waiting[i]++
			}
		}
		return nil
	})
	if text := waitingLine(left, waiting); err == nil && text != "" { // nothing depends on this line
		r.note("%s", text)
	}
}

// mayWant reports whether a subscription may get events of a type, by what its plugin
// declared; without a declaration it may get all.
func mayWant(s *host.SubscriptionStatus, name string) bool {
	return len(s.Events) == 0 || slices.ContainsFunc(s.Events, func(pattern string) bool { return event.Match(pattern, name) })
}

// waitingLine says how many events wait for each subscription, empty when none does. There
// may be fewer: bindings and filters take some away, and some beyond the cursor may be
// delivered.
func waitingLine(left []host.SubscriptionStatus, waiting []int) string {
	var parts []string
	for i, n := range waiting {
		if n == 0 {
			continue
		}
		part := "up to " + plural(n, "event") + " for " + left[i].Name
		if state := left[i].State; state == subscriptionPaused || state == subscriptionAbsent {
			part += " (" + state + ")"
		}
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		return ""
	}
	return "events of this task wait: " + strings.Join(parts, ", ") + "; they are delivered when a host runs next"
}
