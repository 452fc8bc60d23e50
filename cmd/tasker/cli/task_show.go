package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

func (a *app) taskShowCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "show ID",
		Short: "Show a task with its steps",
		Long: `Show a task with its steps. ID may be shortened as long as it is unambiguous.

--json prints all of the task: the keys of ` + "`tasker run --json`" + ` and those of its request,
its derived status and health, and for each step its settings, its last attempt, its
failure and why it is not running.`,
		Example: `  tasker task show 01JD
  tasker task show 01JD --json | jq '.steps[] | select(.status == "error")'`,
		Args:              args(1, 1),
		ValidArgsFunction: a.completeTasks,
	}
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, given []string) error {
		return a.ask(c, func(ctx context.Context, _ *config, s host.Service) error {
			v, err := s.Task(ctx, given[0])
			if err != nil {
				return err
			}
			if *asJSON {
				return a.printJSON(newTaskJSON(v))
			}
			a.printTask(v)
			return nil
		})
	}
	return c
}

func (a *app) printTask(v *task.View) {
	line := func(name, value string) {
		if value != "" && value != "-" {
			a.out.printf("%-15s %s\n", name, oneLine(value))
		}
	}
	line("task", string(v.ID))
	line("template", v.Template.String())
	line("status", statusText(v))
	if v.Failure != nil {
		line("error", v.Failure.Error())
	}
	if v.Stop != nil {
		line("stopping", byWhom(string(v.Stop.Kind), v.Stop.By, v.Stop.Reason))
	}
	if v.Resolution != nil {
		line("resolved", byWhom("", v.Resolution.By, v.Resolution.Reason))
	}
	line("created", clock(v.CreatedAt))
	line("started", clock(v.StartedAt))
	line("completed", clock(v.CompletedAt))
	line("deadline", clock(v.Deadline))
	line("initiator", v.Initiator)
	line("source system", v.SourceSystem)
	line("reason", v.Reason)
	line("tags", strings.Join(v.Tags, ", "))
	if v.CorrelationID != string(v.ID) {
		line("correlation id", v.CorrelationID)
	}
	line("input", cut(string(v.Input.Inline), maxShownResult))
	if v.Input.Ref != nil {
		line("input", size(v.Input.Ref.Size))
	}
	line("next", v.Action)
	a.out.printf("\n")
	for _, d := range newTree(v).draw(v, a.now(), 1000, 0) {
		a.out.printf("%s\n", d.text)
	}
}

// byWhom is what an operator or the engine did, by whom and why, as far as known.
func byWhom(what, by, reason string) string {
	if by != "" {
		what += " by " + by
	}
	if reason != "" {
		what += ": " + reason
	}
	return strings.TrimSpace(what)
}

// statusText is the status of a task and, while that says something, how it is doing.
func statusText(v *task.View) string {
	if v.Status.Terminal() && v.Health == task.HealthOK {
		return string(v.Status)
	}
	return string(v.Status) + " (" + string(v.Derived) + ", " + string(v.Health) + ")"
}
