package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

// operation is a command by which an operator steers a task.
type operation struct {
	verb, short, long, example string
	stepHelp                   string // help of --step; empty = about the whole task only
	results                    bool   // has --results
	done                       string // what is printed: "cancel requested"
	do                         func(*host.Client, context.Context, string, task.Operation) error
}

func (a *app) taskCancelCommand() *cobra.Command {
	return a.operation(&operation{
		verb: "cancel", short: "Ask a task to stop", done: "cancel requested",
		long: `Ask a task to stop. No new step is started, running handlers are told to stop and get
their grace, and the task ends as cancelled.`,
		example: "  tasker task cancel 01JD --reason 'ordered twice'",
		do:      (*host.Client).CancelTask,
	})
}

func (a *app) taskPauseCommand() *cobra.Command {
	return a.operation(&operation{
		verb: "pause", short: "Keep a task from starting steps", done: "paused",
		long:    `Keep a task from starting steps until it is resumed. What runs goes on to its end.`,
		example: "  tasker task pause 01JD",
		do:      (*host.Client).PauseTask,
	})
}

func (a *app) taskResumeCommand() *cobra.Command {
	return a.operation(&operation{
		verb: "resume", short: "Let a paused task go on", done: "resumed",
		long:    `Let a paused task go on.`,
		example: "  tasker task resume 01JD",
		do:      (*host.Client).ResumeTask,
	})
}

func (a *app) taskRetryCommand() *cobra.Command {
	return a.operation(&operation{
		verb: "retry", short: "Run failed steps again", done: "retry requested",
		long: `Run a failed step, or all failed steps of a task, again with a fresh budget of
attempts. What waited below them goes on when they complete.`,
		example: `  tasker task retry 01JD
  tasker task retry 01JD --step charge --reason 'bank is back'`,
		stepHelp: "only this step (default every failed step)",
		do:       (*host.Client).RetryTask,
	})
}

func (a *app) taskResolveCommand() *cobra.Command {
	return a.operation(&operation{
		verb: "resolve", short: "Close a failed step or task by hand", done: "resolved",
		long: `Close a failed step by hand: it counts as done, yields --results, and what waits for
it goes on. Without --step the failed task itself is closed.`,
		example: `  tasker task resolve 01JD --step charge --results '{"charge_id": "ch_7"}'
  tasker task resolve 01JD --reason 'settled on the phone'`,
		stepHelp: "the step to close (default the task)", results: true,
		do: (*host.Client).ResolveTask,
	})
}

// operation builds the command.
func (a *app) operation(o *operation) *cobra.Command {
	var op task.Operation
	var step, results string
	c := &cobra.Command{
		Use: o.verb + " ID", Short: o.short, Example: o.example,
		Long:              o.long + "\n\nID may be shortened as long as it is unambiguous.",
		Args:              args(1, 1),
		ValidArgsFunction: a.completeTasks,
	}
	f := c.Flags()
	f.StringVar(&op.By, "by", "", "who asks (default the user)")
	f.StringVar(&op.Reason, "reason", "", "why, kept with the task")
	if o.stepHelp != "" {
		f.StringVar(&step, "step", "", o.stepHelp)
	}
	if o.results {
		f.StringVar(&results, "results", "", "what the step yields: JSON, @FILE or @- (default null)")
	}
	c.RunE = func(c *cobra.Command, given []string) error {
		op.Step = task.StepName(step)
		if op.By == "" {
			op.By = operator()
		}
		var err error
		if op.Results, err = a.document(results); err != nil {
			return usageOf(c, fmt.Errorf("--results: %w", err))
		}
		if op.Results != nil && op.Step == "" {
			return usageOf(c, errors.New("--results needs --step: a task has no results of its own"))
		}
		return a.tell(c, func(ctx context.Context, _ *config, client *host.Client) error {
			if err := o.do(client, ctx, given[0], op); err != nil {
				return err
			}
			a.note("%s: %s", given[0], o.done)
			return nil
		})
	}
	return c
}
