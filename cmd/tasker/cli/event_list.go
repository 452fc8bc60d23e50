package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

func (a *app) eventListCommand() *cobra.Command {
	const maxDescription = 100
	c := &cobra.Command{
		Use:   "list",
		Short: "List the events that exist",
		Long: `List the events that exist: the catalog, in the order of the lives of tasks, steps,
plugins and hosts. With --search those come first that have the words in their name, then
in their description, then in the names of their fields. No host is needed.

--json prints an array of {"name", "category", "description", "payload_schema", "example",
"fired_by", "frequency", "since", "deprecated_by"}.`,
		Example: `  tasker event list --family step
  tasker event list --search retry
  tasker event list --json | jq -r '.[].name'`,
		Args: args(0, 0),
	}
	family := c.Flags().String("family", "", "of this family: "+strings.Join(event.Families(), ", "))
	search := c.Flags().String("search", "", "with these words, in any case")
	asJSON := jsonFlag(c)
	_ = c.RegisterFlagCompletionFunc("family", cobra.FixedCompletions(event.Families(), cobra.ShellCompDirectiveNoFileComp))
	c.RunE = func(c *cobra.Command, _ []string) error {
		if known := event.Families(); *family != "" && !slices.Contains(known, *family) {
			return usageOf(c, fmt.Errorf("no family %q%s; there are %s", *family, didYouMean(*family, known), strings.Join(known, ", ")))
		}
		found := slices.DeleteFunc(event.Search(*search), func(e event.Entry) bool {
			return *family != "" && e.Category != *family
		})
		if *asJSON {
			return a.printJSON(list(found))
		}
		if len(found) == 0 {
			a.note("no event matches")
			return nil
		}
		t := table{head: []string{"EVENT", "FIRED BY", "DESCRIPTION"}}
		for i := range found {
			t.add(found[i].Name, firedBy(&found[i]), cut(found[i].Description, maxDescription))
		}
		t.print(a.out)
		return nil
	}
	return c
}
