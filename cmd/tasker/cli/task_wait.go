package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

func (a *app) taskWaitCommand() *cobra.Command {
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "wait ID",
		Short: "Wait for the end of a task",
		Long: `Wait for the end of a task, showing its steps meanwhile. ID may be shortened as long as
it is unambiguous. An interrupt ends the waiting, not the task.

--json prints the same object as ` + "`tasker run --json`" + `.

The exit code is 0 when the task is complete, 1 when it is not.`,
		Example: `  tasker task wait 01JD --timeout 5m
  tasker task wait 01JD --json | jq .status`,
		Args:              args(1, 1),
		ValidArgsFunction: a.completeTasks,
	}
	c.Flags().DurationVar(&timeout, "timeout", 0, "stop waiting after this time (default never)")
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, given []string) error {
		return a.ask(c, func(ctx context.Context, cfg *config, s host.Service) error {
			r := &runner{app: a, command: c, timeout: timeout, json: *asJSON, cfg: cfg, service: s}
			r.show()
			err := r.follow(ctx, task.ID(given[0]))
			r.progress.close()
			if errors.Is(err, host.ErrNoHost) && r.last != nil {
				return withHint(fmt.Errorf("task %s is %s, and no host is running that would go on with it", r.last.ID, r.last.Status), hintFor(err))
			}
			if err != nil {
				return err
			}
			if v, err := s.Task(context.WithoutCancel(ctx), string(r.last.ID)); err == nil && r.stopped == nil {
				r.last = v
			}
			return r.report(ctx, "")
		})
	}
	return c
}
