package event_test

import (
	"testing"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

func TestMatch(t *testing.T) {
	tests := []struct {
		pattern, name string
		want          bool
	}{
		{"step.failed", "step.failed", true},
		{"step.failed", "step.failed_again", false},
		{"step.fail", "step.failed", false},
		{"", "step.failed", false},
		{"step.*", "step.failed", true},
		{"step.*", "task.failed", false},
		{"step.*", "steps.failed", false},
		{"step.retry_*", "step.retry_requested", true},
		{"step.retry_*", "step.failed", false},
		{"orders.*", "orders.shipped", true},
		{"*", "orders.shipped", true},
		{"*", "host.started", true},
		{"*", "workflow.no_viable_steps", false},
		{"w*", "workflow.no_viable_steps", false},
		{"workflow*", "workflow.no_viable_steps", false},
		{"w*", "web.opened", true},
		{"workflow.*", "workflow.no_viable_steps", true},
		{"workflow.no_*", "workflow.no_viable_steps", true},
		{"workflow.no_viable_steps", "workflow.no_viable_steps", true},
		{"*.failed", "step.failed", false},
		{"**", "step.failed", false},
		{"step.**", "step.failed", false},
	}
	for _, tt := range tests {
		t.Run(tt.pattern+" "+tt.name, func(t *testing.T) {
			if got := event.Match(tt.pattern, tt.name); got != tt.want {
				t.Errorf("%t, want %t", got, tt.want)
			}
		})
	}
}

// TestMatchCatalog: a wildcard alone matches the catalog without the family workflow,
// and each family's pattern matches that family.
func TestMatchCatalog(t *testing.T) {
	for _, e := range event.Catalog() {
		if got, want := event.Match("*", e.Name), e.Category != "workflow"; got != want {
			t.Errorf("* matches %s: %t, want %t", e.Name, got, want)
		}
		for _, family := range event.Families() {
			if got, want := event.Match(family+".*", e.Name), e.Category == family; got != want {
				t.Errorf("%s.* matches %s: %t, want %t", family, e.Name, got, want)
			}
		}
	}
}

func TestReserved(t *testing.T) {
	for _, family := range event.Families() {
		if !event.Reserved(family) {
			t.Errorf("%s is not reserved", family)
		}
	}
	for _, family := range []string{"", "orders", "steps", "step.failed"} {
		if event.Reserved(family) {
			t.Errorf("%q is reserved", family)
		}
	}
}
