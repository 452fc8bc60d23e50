package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

// isGone reports whether a task does not exist, or not any more.
func isGone(err error) bool { return errors.Is(err, task.ErrNotFound) }

func (a *app) taskDeleteCommand() *cobra.Command {
	flags := listFlags{limit: host.MaxPage, oldestFirst: true}
	var yes bool
	c := &cobra.Command{
		Use:   "delete [ID...]",
		Short: "Remove finished tasks for good",
		Long: `Remove finished tasks for good: their steps, results and idempotency keys. Name them, or
choose them with filters; those that have not ended are left alone. It asks before, on a
terminal; elsewhere --yes is needed. Their events stay as long as all others. Old tasks
are removed without this, as ` + "`retention`" + ` in the configuration says.`,
		Example: `  tasker task delete 01JD
  tasker task delete --status cancelled --template shop/order --until 24h --yes`,
		ValidArgsFunction: a.completeTasks,
		Args:              cobra.ArbitraryArgs,
	}
	flags.addFilters(c)
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.RunE = func(c *cobra.Command, given []string) error {
		if (len(given) > 0) == flags.chosen() {
			return usageOf(c, errors.New("want either ids or filters"))
		}
		filter, page, err := flags.query(a.now())
		if err != nil {
			return usageOf(c, err)
		}
		return a.tell(c, func(ctx context.Context, _ *config, client *host.Client) error {
			ids, err := finishedNamed(ctx, client, given)
			if err != nil {
				return err
			}
			if len(given) == 0 {
				if ids, err = finishedFiltered(ctx, client, filter, page); err != nil {
					return err
				}
			}
			if len(ids) == 0 {
				a.note("no finished tasks")
				return nil
			}
			if !yes {
				if err := a.confirm(c, fmt.Sprintf("remove %s for good?", plural(len(ids), "finished task"))); err != nil {
					return err
				}
			}
			return a.deleteTasks(ctx, client, ids)
		})
	}
	return c
}

// finishedNamed returns the ids of the tasks that were named; all must have ended.
func finishedNamed(ctx context.Context, client *host.Client, given []string) ([]task.ID, error) {
	ids := make([]task.ID, 0, len(given))
	for _, name := range given {
		v, err := client.Task(ctx, name)
		if err != nil {
			return nil, err
		}
		if !v.Status.Terminal() {
			return nil, withHint(fmt.Errorf("task %s is %s: only finished tasks are removed", v.ID, v.Status), "cancel it first: tasker task cancel "+string(v.ID))
		}
		ids = append(ids, v.ID)
	}
	return ids, nil
}

// finishedFiltered returns the ids of the finished tasks that a filter selects.
func finishedFiltered(ctx context.Context, client *host.Client, f host.Filter, p host.Page) (ids []task.ID, err error) {
	if len(f.Statuses) == 0 {
		f.Statuses = []task.Status{task.Complete, task.Error, task.Cancelled, task.ResolvedManually}
	}
	for {
		page, next, err := client.ListTasks(ctx, f, p)
		if err != nil {
			return nil, err
		}
		for i := range page {
			if page[i].Status.Terminal() {
				ids = append(ids, page[i].Spec.ID)
			}
		}
		if p.After = next; next == "" {
			return ids, nil
		}
	}
}

// deleteTasks removes tasks, some at a time, and says how many went.
func (a *app) deleteTasks(ctx context.Context, client *host.Client, ids []task.ID) error {
	const atOnce = 1000
	var total host.Deleted
	for len(ids) > 0 {
		n := min(len(ids), atOnce)
		d, err := client.DeleteTasks(ctx, ids[:n])
		if err != nil {
			return fmt.Errorf("removed %s so far: %w", plural(total.Tasks, "task"), err)
		}
		total.Tasks += d.Tasks
		total.Records += d.Records
		ids = ids[n:]
	}
	a.note("removed %s (%s)", plural(total.Tasks, "task"), strings.TrimSpace(plural(total.Records, "record")))
	return nil
}
