package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
)

func (a *app) storeRestoreCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "restore FILE",
		Short: "Put a backup into the home",
		Long: `Put a backup into the home, after checking it. No host may be running there. An existing
store is only replaced with --force. Unfinished tasks of the backup go on when a host is
started: what was done since the backup was written is done again.`,
		Example: "  tasker store restore backups/2026-01-31.db --home /var/lib/tasker",
		Args:    args(1, 1),
	}
	force := c.Flags().Bool("force", false, "replace the store that is there")
	c.RunE = func(c *cobra.Command, given []string) error {
		cfg, err := a.config(c)
		if err != nil {
			return err
		}
		if _, err := os.Stat(given[0]); errors.Is(err, fs.ErrNotExist) { // before the home is made or minded
			return fmt.Errorf("there is no backup at %s", given[0])
		}
		n, err := host.Restore(c.Context(), given[0], cfg.Home, *force)
		if errors.Is(err, fs.ErrExist) {
			return withHint(err, "back up what is there, then add --force to replace it")
		}
		if err != nil {
			return err
		}
		a.note("restored %s into %s", size(n), cfg.Home)
		return nil
	}
	return c
}
