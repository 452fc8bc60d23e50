package cli

import (
	"encoding/json"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/template"
)

func (a *app) templateShowCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "show TEMPLATE",
		Short: "Show a template",
		Long: `Show a template: what it is, its steps, the schema of its input, which events reach which
subscribers, and which events it publishes itself. TEMPLATE is the path of a file, or
[namespace/]name[@version] of a registered template.

--source prints the file as it was read. --json prints the keys of ` + "`template list --json`" + `,
"subscriptions" and "events" as ` + "`template check --json`" + ` does, and "snapshot": the template
after environment and defaults, as it is stored with a task.`,
		Example: `  tasker template show shop/order --source
  tasker template show order.yaml --env production --json`,
		Args:              args(1, 1),
		ValidArgsFunction: a.completeTemplates,
	}
	templateFlags(c)
	source := c.Flags().Bool("source", false, "print the file as it was read")
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, given []string) error {
		cfg, err := a.config(c)
		if err != nil {
			return err
		}
		info, t, err := a.template(c.Context(), cfg, given[0])
		if err != nil {
			return err
		}
		switch {
		case *source:
			a.out.printf("%s", info.Source)
			return nil
		case *asJSON:
			return a.printJSON(struct {
				templateJSON

				Subscriptions []templateBindingJSON `json:"subscriptions"`
				Events        []templateEventJSON   `json:"events"`
				Snapshot      json.RawMessage       `json:"snapshot"`
			}{newTemplateJSON(info), newBindingsJSON(t), newTemplateEventsJSON(t), info.Snapshot})
		}
		a.showTemplate(info, t)
		return nil
	}
	return c
}

// showTemplate prints a template for people.
func (a *app) showTemplate(info *host.TemplateInfo, t *template.Template) {
	a.out.printf("template     %s\nfile         %s\n", info.Ref, info.Path)
	if info.Description != "" {
		a.out.printf("description  %s\n", oneLine(info.Description))
	}
	a.out.printf("handlers     %s\n", strings.Join(info.Handlers, ", "))
	if len(info.InputSchema) > 0 {
		a.out.printf("input        %s\n", info.InputSchema)
	}
	a.out.printf("\n%s", t.Text())
	for _, part := range []struct {
		head  string
		lines []string
	}{
		{"subscriptions", bindingLines(newBindingsJSON(t))},
		{"events", templateEventLines(newTemplateEventsJSON(t))},
	} {
		if len(part.lines) == 0 {
			continue
		}
		a.out.printf("\n%s\n", part.head)
		for _, line := range part.lines {
			a.out.printf("  %s\n", line)
		}
	}
}
