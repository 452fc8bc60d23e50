package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
)

// exportMode keeps inputs and results from other users.
const exportMode = 0o600

func (a *app) taskExportCommand() *cobra.Command {
	flags := listFlags{limit: host.MaxPage, all: true, oldestFirst: true}
	var output string
	c := &cobra.Command{
		Use:   "export",
		Short: "Write tasks as JSON Lines",
		Long: `Write tasks as JSON Lines, oldest first: each line is a document as ` + "`task show --json`" + `
prints it, with the results of its steps. Without filters all tasks are written. With
` + "`retention.export`" + ` in the configuration tasks are written so before they are removed.`,
		Example: `  tasker task export --status complete --until 720h -o old.jsonl
  tasker task export --template shop/order | jq -r .id`,
		Args: args(0, 0),
	}
	flags.addFilters(c)
	c.Flags().StringVarP(&output, "output", "o", "", "`FILE` to write, which must not exist (default stdout)")
	c.RunE = func(c *cobra.Command, _ []string) error {
		filter, page, err := flags.query(a.now())
		if err != nil {
			return usageOf(c, err)
		}
		return a.ask(c, func(ctx context.Context, _ *config, s host.Service) error {
			if output == "" {
				_, err := exportTasks(ctx, s, filter, page, a.out)
				return err
			}
			file, err := os.OpenFile(output, os.O_CREATE|os.O_EXCL|os.O_WRONLY, exportMode)
			if err != nil {
				return fmt.Errorf("export: %w", err)
			}
			n, err := exportTasks(ctx, s, filter, page, file)
			if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
				return fmt.Errorf("export, of which %s holds %s: %w", output, plural(n, "task"), err)
			}
			a.note("%s: %s", output, plural(n, "task"))
			return nil
		})
	}
	return c
}

// exportTasks writes tasks and returns how many. One that is removed meanwhile is left out.
func exportTasks(ctx context.Context, s host.Service, f host.Filter, p host.Page, to io.Writer) (n int, err error) {
	w := bufio.NewWriter(to)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for {
		page, next, err := s.ListTasks(ctx, f, p)
		if err != nil {
			return n, errors.Join(err, w.Flush())
		}
		for i := range page {
			v, err := s.Task(ctx, string(page[i].Spec.ID))
			if isGone(err) {
				continue
			}
			if err == nil {
				err = enc.Encode(newTaskJSON(v))
			}
			if err != nil {
				return n, errors.Join(err, w.Flush())
			}
			n++
		}
		if next == "" {
			return n, w.Flush()
		}
		p.After = next
	}
}
