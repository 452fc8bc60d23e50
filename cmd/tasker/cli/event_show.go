package cli

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

func (a *app) eventShowCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "show EVENT",
		Short: "Show what an event means and carries",
		Long: `Show what an event means, who fires it and how often, the fields of its payload, and an
example. No host is needed.

--json prints the keys of ` + "`event list --json`" + `; "payload_schema" is a JSON Schema.`,
		Example: `  tasker event show step.failed
  tasker event show step.failed --json | jq .payload_schema`,
		Args:              args(1, 1),
		ValidArgsFunction: completeEvents,
	}
	asJSON := jsonFlag(c)
	c.RunE = func(_ *cobra.Command, given []string) error {
		e, ok := event.Lookup(given[0])
		switch {
		case !ok:
			return unknownEvent(given[0])
		case *asJSON:
			return a.printJSON(e)
		default:
			return a.printEntry(&e)
		}
	}
	return c
}

// unknownEvent names the nearest event, and where others are found that have the word in
// them.
func unknownEvent(name string) error {
	hint := "tasker event list"
	if name != "" && len(event.Search(name)) > 0 {
		hint += fmt.Sprintf(" --search %q", name)
	}
	return withHint(fmt.Errorf("no event %q%s", name, didYouMean(name, eventNames())), hint)
}

func (a *app) printEntry(e *event.Entry) error {
	a.out.printf("event        %s\ndescription  %s\nfired by     %s\nfrequency    %s\nsince        %s\n",
		e.Name, e.Description, firedBy(e), e.Frequency, e.Since)
	if e.DeprecatedBy != nil {
		a.out.printf("deprecated   use %s\n", *e.DeprecatedBy)
	}
	t := table{head: []string{"FIELD", "TYPE", "REQUIRED", "DESCRIPTION"}}
	for _, f := range e.Fields() {
		t.add(f.Name, f.Type, required(f), f.Description)
	}
	a.out.printf("\npayload\n")
	t.print(a.out)
	var example bytes.Buffer
	if err := json.Indent(&example, e.Example, "", "  "); err != nil {
		return fmt.Errorf("example of %s: %w", e.Name, err)
	}
	a.out.printf("\nexample\n%s\n", &example)
	return nil
}

func required(f event.Field) string {
	if f.Required {
		return "yes"
	}
	return "no"
}
