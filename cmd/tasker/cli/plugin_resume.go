package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
)

func (a *app) pluginResumeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "resume PLUGIN",
		Short: "Start a quarantined or waiting plugin again, now",
		Long: `Start a plugin again, now: one that crashed too often and is quarantined, or one that
waits for its next start. Its steps have waited meanwhile and burnt no attempts. An installed
plugin that was refused is compared with the lock again.`,
		Example:           "  tasker plugin resume mock",
		Args:              args(1, 1),
		ValidArgsFunction: a.completePlugins,
		RunE: func(c *cobra.Command, given []string) error {
			return a.tell(c, func(ctx context.Context, _ *config, client *host.Client) error {
				if err := client.ResumePlugin(ctx, given[0]); err != nil {
					return err
				}
				a.note("%s: being started", given[0])
				return nil
			})
		},
	}
}
