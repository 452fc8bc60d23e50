package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

// listFlags are the flags of `task list`.
type listFlags struct {
	statuses      []string
	template      string
	tag           string
	correlationID string
	since, until  string
	oldestFirst   bool
	after         string
	limit         int
	all           bool
}

func (a *app) taskListCommand() *cobra.Command {
	var flags listFlags
	c := &cobra.Command{
		Use:   "list",
		Short: "List tasks, newest first",
		Long: `List tasks, newest first, a page at a time. Filters are combined. Where very few of many
tasks match, looking for them may take a while: Ctrl-C shows what was found so far.

--json prints an array of {"id", "template", "status", "error", "tags",
"correlation_id", "priority", "initiator", "created_at", "started_at", "completed_at",
"updated_at"}.`,
		Example: `  tasker task list --status error --since 24h
  tasker task list --template shop/order --tag vip --limit 10
  tasker task list --all --json`,
		Args: args(0, 0),
	}
	flags.addFilters(c)
	f := c.Flags()
	f.BoolVar(&flags.oldestFirst, "oldest-first", false, "oldest first")
	f.StringVar(&flags.after, "after", "", "where to go on, as the page before said")
	f.IntVar(&flags.limit, "limit", host.DefaultPage, fmt.Sprintf("tasks per page, at most %d", host.MaxPage))
	f.BoolVar(&flags.all, "all", false, "all pages")
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		filter, page, err := flags.query(a.now())
		if err != nil {
			return usageOf(c, err)
		}
		return a.ask(c, func(ctx context.Context, _ *config, s host.Service) error {
			found, next, stopped := a.listTasks(ctx, s, filter, page, flags.all)
			if len(found) == 0 && stopped != nil {
				return stopped
			}
			if *asJSON {
				out := make([]summaryJSON, len(found))
				for i := range found {
					out[i] = newSummaryJSON(&found[i])
				}
				return errors.Join(a.printJSON(out), stopped)
			}
			a.printTasks(found, next)
			return stopped
		})
	}
	return c
}

// addFilters adds the flags that say which tasks.
func (f *listFlags) addFilters(c *cobra.Command) {
	flags := c.Flags()
	flags.StringSliceVar(&f.statuses, "status", nil, "any of these statuses: "+strings.Join(statusNames(), ", "))
	flags.StringVar(&f.template, "template", "", "of this template: [namespace/]name[@version]")
	flags.StringVar(&f.tag, "tag", "", "with this tag")
	flags.StringVar(&f.correlationID, "correlation-id", "", "with this correlation id")
	flags.StringVar(&f.since, "since", "", "created since: a time such as 2026-01-31T08:00:00Z, or how long ago such as 24h")
	flags.StringVar(&f.until, "until", "", "created before: a time, or how long ago")
	_ = c.RegisterFlagCompletionFunc("status", cobra.FixedCompletions(statusNames(), cobra.ShellCompDirectiveNoFileComp))
}

// chosen reports whether any filter is set.
func (f *listFlags) chosen() bool {
	return len(f.statuses) > 0 || f.template+f.tag+f.correlationID+f.since+f.until != ""
}

func statusNames() []string {
	var names []string
	for _, s := range task.Statuses() {
		names = append(names, string(s))
	}
	return names
}

// query turns the flags into a filter and a page.
func (f *listFlags) query(now time.Time) (host.Filter, host.Page, error) {
	filter := host.Filter{Tag: f.tag, CorrelationID: f.correlationID, OldestFirst: f.oldestFirst}
	for _, s := range f.statuses {
		if err := oneOf(s, statusNames()...); err != nil {
			return filter, host.Page{}, fmt.Errorf("--status: %w", err)
		}
		filter.Statuses = append(filter.Statuses, task.Status(s))
	}
	if f.template != "" {
		name, version, _ := strings.Cut(f.template, "@")
		namespace, short, ok := strings.Cut(name, "/")
		if !ok {
			namespace, short = "default", name
		}
		filter.Namespace, filter.Template, filter.Version = namespace, short, version
	}
	var err error
	if filter.CreatedFrom, err = instant(f.since, now); err != nil {
		return filter, host.Page{}, fmt.Errorf("--since: %w", err)
	}
	if filter.CreatedTo, err = instant(f.until, now); err != nil {
		return filter, host.Page{}, fmt.Errorf("--until: %w", err)
	}
	if f.limit < 1 || f.limit > host.MaxPage {
		return filter, host.Page{}, fmt.Errorf("--limit: %d is not between 1 and %d", f.limit, host.MaxPage)
	}
	if f.after != "" {
		if _, err := task.ParseID(f.after); err != nil {
			return filter, host.Page{}, fmt.Errorf("--after: %w", err)
		}
	}
	return filter, host.Page{After: task.ID(strings.ToUpper(f.after)), Limit: f.limit}, nil
}

// instant parses a time, or a duration before now.
func instant(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q: want a time such as 2026-01-31T08:00:00Z or 2026-01-31, or how long ago such as 24h", text)
}

// listTasks reads one page, or all. The host answers in bounded time with what it has
// found so far, so a page may take several calls; an error comes with the tasks before it.
func (a *app) listTasks(ctx context.Context, s host.Service, f host.Filter, p host.Page, all bool) (found []host.Summary, next task.ID, err error) {
	said, limit := false, p.Limit
	for {
		page, next, err := s.ListTasks(ctx, f, p)
		if err != nil {
			return found, p.After, err
		}
		found = append(found, page...)
		full := !all && len(found) >= limit
		if next == "" || full {
			return found, next, nil
		}
		if len(page) < p.Limit && !said {
			said = true
			a.note("few tasks match; looking on, Ctrl-C shows what was found so far")
		}
		if p.After = next; !all {
			p.Limit = limit - len(found)
		}
	}
}

func (a *app) printTasks(found []host.Summary, next task.ID) {
	if len(found) == 0 {
		a.note("no tasks")
		return
	}
	t := table{head: []string{"ID", "STATUS", "TEMPLATE", "CREATED", "TIME", "TAGS", "ERROR"}}
	for i := range found {
		s := &found[i]
		end := s.CompletedAt
		if end.IsZero() {
			end = a.now()
		}
		failure := ""
		if s.Failure != nil {
			failure = cut(oneLine(s.Failure.Error()), 60)
		}
		t.add(string(s.Spec.ID), string(s.Status), s.Spec.Template.String(), clock(s.Spec.CreatedAt),
			seconds(end.Sub(s.Spec.CreatedAt)), strings.Join(s.Spec.Tags, ","), failure)
	}
	t.print(a.out)
	if next != "" {
		a.note("more follow: add --after %s, or --all", next)
	}
}
