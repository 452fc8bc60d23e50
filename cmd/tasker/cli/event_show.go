package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

func (a *app) eventShowCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "show EVENT",
		Short: "Show what an event means and carries, and who gets it",
		Long: `Show what an event means, who fires it and how often, which subscribers of the plugins
that are there get it, the fields of its payload, and an example. Without a running host
custom events and subscribers are those that the store knows.

--json prints the keys of ` + "`event list --json`" + `; "payload_schema" is a JSON Schema.`,
		Example: `  tasker event show step.failed
  tasker event show step.failed --json | jq .payload_schema`,
		Args:              args(1, 1),
		ValidArgsFunction: a.completeEvents,
	}
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, given []string) error {
		cfg, err := a.config(c)
		if err != nil {
			return err
		}
		all, err := a.catalog(c.Context(), cfg)
		if err != nil {
			return err
		}
		e, ok := all.lookup(given[0])
		if !ok {
			return all.unknownEvent(given[0])
		}
		if all.source != "" {
			a.note("%s", all.source)
		}
		if *asJSON {
			return a.printJSON(newEntryJSON(e))
		}
		return a.printEntry(e)
	}
	return c
}

// unknownEvent names the nearest event, and where others are found that have the word in
// them.
func (c *catalog) unknownEvent(name string) error {
	hint := "tasker event list"
	if name != "" && len(c.search(name)) > 0 {
		hint += fmt.Sprintf(" --search %q", name)
	}
	return withHint(fmt.Errorf("no event %q%s", name, didYouMean(name, c.names())), hint)
}

func (a *app) printEntry(e *host.CatalogEntry) error {
	line := func(name, value string) {
		if value != "" {
			a.out.printf("%-12s %s\n", name, oneLine(value))
		}
	}
	line("event", e.Name)
	line("description", e.Description)
	line("fired by", firedBy(&e.Entry)+absent(e))
	line("frequency", e.Frequency)
	line("since", e.Since)
	if e.Custom && e.Version > 0 {
		line("version", fmt.Sprint(e.Version))
	}
	if e.DeprecatedBy != nil {
		line("deprecated", "use "+*e.DeprecatedBy)
	}
	subscribers := "no subscriber"
	if len(e.Subscribers) > 0 {
		subscribers = strings.Join(e.Subscribers, ", ")
	}
	line("goes to", subscribers)
	if fields := e.Fields(); len(fields) > 0 {
		t := table{head: []string{"FIELD", "TYPE", "REQUIRED", "DESCRIPTION"}}
		for _, f := range fields {
			t.add(f.Name, f.Type, required(f), f.Description)
		}
		a.out.printf("\npayload\n")
		t.print(a.out)
	}
	if len(e.Example) == 0 {
		return nil
	}
	var example bytes.Buffer
	if err := json.Indent(&example, e.Example, "", "  "); err != nil {
		return fmt.Errorf("example of %s: %w", e.Name, err)
	}
	a.out.printf("\nexample\n%s\n", printable(example.String(), true))
	return nil
}

func required(f event.Field) string {
	if f.Required {
		return "yes"
	}
	return "no"
}
