package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
)

// defaultLogLines is how many lines `plugin logs` prints.
const defaultLogLines = 100

func (a *app) pluginLogsCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "logs PLUGIN",
		Short: "Print the last lines that a plugin wrote",
		Long: `Print the last lines that a plugin wrote to its log, stdout and stderr, oldest first.

--json prints an array of texts.`,
		Example:           "  tasker plugin logs mock --lines 500",
		Args:              args(1, 1),
		ValidArgsFunction: a.completePlugins,
	}
	lines := c.Flags().Int("lines", defaultLogLines, "how many lines")
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, given []string) error {
		if *lines < 1 {
			return usageOf(c, fmt.Errorf("--lines: %d: want at least 1", *lines))
		}
		return a.ask(c, func(ctx context.Context, _ *config, s host.Service) error {
			found, err := s.PluginLogs(ctx, given[0], *lines)
			if err != nil {
				return err
			}
			if *asJSON {
				return a.printJSON(list(found))
			}
			if len(found) == 0 {
				a.note("nothing is logged of a plugin %q", given[0])
			}
			for _, l := range found {
				a.out.printf("%s\n", oneLine(l))
			}
			return nil
		})
	}
	return c
}
