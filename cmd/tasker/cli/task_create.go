package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
)

// createdJSON is what `task create --json` prints.
type createdJSON struct {
	ID        string   `json:"id"`
	Duplicate bool     `json:"duplicate"`
	Warnings  []string `json:"warnings"`
	TraceID   string   `json:"trace_id"`
}

func (a *app) taskCreateCommand() *cobra.Command {
	var flags requestFlags
	c := &cobra.Command{
		Use:   "create TEMPLATE",
		Short: "Create a task in the running host and print its id",
		Long: `Create a task in the running host and print its id, without waiting for its end.
TEMPLATE is the path of a YAML or JSON file, or namespace/name[@version] of a template
that the host knows. A handler that no plugin offers yet is a warning.

The task's trace begins with it, or goes on from the W3C trace context that --traceparent
or the variables TRACEPARENT and TRACESTATE give. --json prints {"id", "duplicate",
"warnings", "trace_id"}.`,
		Example: `  tasker task create shop/order --input @order.json --idempotency-key order-7
  tasker task wait $(tasker task create shop/order --input '{"id": 7}')`,
		Args:              args(1, 1),
		ValidArgsFunction: a.completeTemplates,
	}
	flags.add(c)
	c.Flags().String("env", "", "environment whose overrides are merged into a template file")
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, given []string) error {
		return a.tell(c, func(ctx context.Context, cfg *config, client *host.Client) error {
			req, err := a.request(c, &flags, cfg, given[0])
			if err != nil {
				return err
			}
			created, err := client.CreateTask(ctx, req)
			if err != nil {
				return err
			}
			if *asJSON {
				v, err := client.Task(ctx, string(created.ID)) // with a duplicate it is another one's trace
				if err != nil {
					return err
				}
				return a.printJSON(createdJSON{string(created.ID), created.Duplicate, list(created.Warnings), traceID(v)})
			}
			for _, w := range created.Warnings {
				a.note("warning: %s", w)
			}
			if created.Duplicate {
				a.note("the idempotency key is known: this is the task it stands for")
			}
			a.out.printf("%s\n", created.ID)
			return nil
		})
	}
	return c
}
