package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

func (a *app) eventCommand() *cobra.Command {
	return a.noun("event", "Read the log of events, and what each event means",
		a.eventTailCommand(), a.eventListCommand(), a.eventShowCommand(),
	)
}

// eventNames are the names of the catalog.
func eventNames() []string {
	var names []string
	for _, p := range event.Payloads() {
		names = append(names, p.EventName())
	}
	return names
}

// completeEvents proposes the names of events, with what they mean.
func completeEvents(_ *cobra.Command, done []string, _ string) ([]string, cobra.ShellCompDirective) {
	var proposals []string
	for _, e := range event.Catalog() {
		if len(done) == 0 {
			proposals = append(proposals, e.Name+"\t"+e.Description)
		}
	}
	return proposals, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// completeEventTypes proposes what --type takes: names, and a pattern for each family.
func completeEventTypes(c *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	proposals, directive := completeEvents(c, nil, typed)
	for _, family := range event.Families() {
		proposals = append(proposals, family+".*\tall of the family "+family)
	}
	return proposals, directive
}

// firedBy is the components that fire an event, as people read them.
func firedBy(e *event.Entry) string { return strings.Join(e.FiredBy, ", ") }
