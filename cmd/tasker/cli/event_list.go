package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// entryJSON is one event of `event list --json` and `event show --json`.
type entryJSON struct {
	event.Entry

	Custom      bool     `json:"custom"`
	Installed   bool     `json:"installed"`
	Subscribers []string `json:"subscribers"`
}

func newEntryJSON(e *host.CatalogEntry) entryJSON {
	return entryJSON{Entry: e.Entry, Custom: e.Custom, Installed: e.Installed, Subscribers: list(e.Subscribers)}
}

func (a *app) eventListCommand() *cobra.Command {
	const maxDescription = 100
	c := &cobra.Command{
		Use:   "list",
		Short: "List the events that exist",
		Long: `List the events that exist: the catalog, in the order of the lives of tasks, steps,
plugins, subscriptions and hosts, then the custom events of plugins and templates. With
--search those come first that have the words in their name, then in their description,
then in the names of their fields. Without a running host custom events are those that
the store knows, and without a home there are Tasker's own.

--json prints an array of {"name", "category", "description", "payload_schema", "example",
"fired_by", "frequency", "since", "deprecated_by", "version", "custom", "installed",
"subscribers"}; "version" is there for custom events only.`,
		Example: `  tasker event list --family step
  tasker event list --search retry
  tasker event list --json | jq -r '.[] | select(.custom) | .name'`,
		Args: args(0, 0),
	}
	family := c.Flags().String("family", "", "of this family: "+strings.Join(event.Families(), ", ")+", or a plugin's or template's")
	search := c.Flags().String("search", "", "with these words, in any case")
	asJSON := jsonFlag(c)
	_ = c.RegisterFlagCompletionFunc("family", func(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return a.completeCatalog(c).families(), cobra.ShellCompDirectiveNoFileComp
	})
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, err := a.config(c)
		if err != nil {
			return err
		}
		all, err := a.catalog(c.Context(), cfg)
		if err != nil {
			return err
		}
		if known := all.families(); *family != "" && !slices.Contains(known, *family) {
			return usageOf(c, fmt.Errorf("no family %q%s; there are %s", *family, didYouMean(*family, known), strings.Join(known, ", ")))
		}
		found := slices.DeleteFunc(all.search(*search), func(e host.CatalogEntry) bool {
			return *family != "" && e.Category != *family
		})
		if all.source != "" {
			a.note("%s", all.source)
		}
		if *asJSON {
			out := make([]entryJSON, len(found))
			for i := range found {
				out[i] = newEntryJSON(&found[i])
			}
			return a.printJSON(out)
		}
		if len(found) == 0 {
			a.note("no event matches")
			return nil
		}
		t := table{head: []string{"EVENT", "FIRED BY", "DESCRIPTION"}}
		for i := range found {
			t.add(found[i].Name, firedBy(&found[i].Entry)+absent(&found[i]), cut(oneLine(found[i].Description), maxDescription))
		}
		t.print(a.out)
		return nil
	}
	return c
}

// absent marks a custom event whose plugin or template is not there now.
func absent(e *host.CatalogEntry) string {
	if e.Custom && !e.Installed {
		return " (absent)"
	}
	return ""
}
