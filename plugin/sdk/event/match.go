package event

import (
	"slices"
	"strings"
)

// Match reports whether an event is among those that a subscription names: by its exact
// name, or by a pattern with one wildcard at its end, such as "orders.*". "*" stands for
// all events but those of the family workflow, which are for those who ask for them by
// name or family. A pattern with a wildcard elsewhere matches nothing.
func Match(pattern, name string) bool {
	prefix, wildcard := strings.CutSuffix(pattern, "*")
	switch {
	case !wildcard:
		return pattern == name
	case strings.HasPrefix(name, workflow) && !strings.HasPrefix(prefix, workflow):
		return false
	default:
		return strings.HasPrefix(name, prefix)
	}
}

// workflow begins the names of the events that a wildcard alone does not stand for.
const workflow = "workflow."

// Reserved reports whether the events of a family are Tasker's own, so that no plugin or
// template may declare one in it.
func Reserved(family string) bool { return slices.Contains(Families(), family) }
