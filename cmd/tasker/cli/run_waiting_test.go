package cli

import (
	"testing"

	"github.com/tasker-engine/tasker/host"
)

func TestWaitingLine(t *testing.T) {
	left := []host.SubscriptionStatus{{Name: "journal/events", State: "delivering"}, {Name: "mail/failures", State: subscriptionPaused}}
	for name, c := range map[string]struct {
		waiting []int
		want    string
	}{
		"nothing": {[]int{0, 0}, ""},
		"one":     {[]int{1, 0}, "events of this task wait: up to 1 event for journal/events; they are delivered when a host runs next"},
		"paused": {
			[]int{0, 3}, "events of this task wait: up to 3 events for mail/failures (paused); they are delivered when a host runs next",
		},
		"both": {
			[]int{2, 3},
			"events of this task wait: up to 2 events for journal/events, up to 3 events for mail/failures (paused); they are delivered when a host runs next",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := waitingLine(left, c.waiting); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestMayWant(t *testing.T) {
	declared := &host.SubscriptionStatus{Events: []string{"task.*", "step.failed"}}
	for name, want := range map[string]bool{"task.completed": true, "step.failed": true, "step.completed": false} {
		if got := mayWant(declared, name); got != want {
			t.Errorf("%s: got %t, want %t", name, got, want)
		}
	}
	if !mayWant(&host.SubscriptionStatus{}, "step.completed") {
		t.Error("without a declaration: got false, want true")
	}
}
