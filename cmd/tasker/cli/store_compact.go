package cli

import (
	"errors"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
)

func (a *app) storeCompactCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "compact",
		Short: "Give free space of the store back to the file system",
		Long: `Give free space of the store back to the file system. No host may be running in the
home. The store is written anew beside the old one and then put in its place.`,
		Example: "  tasker store compact --home /var/lib/tasker",
		Args:    args(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := a.config(c)
			if err != nil {
				return err
			}
			before, after, err := host.Compact(cfg.Home)
			if errors.Is(err, fs.ErrNotExist) {
				return noStore(host.StorePath(cfg.Home))
			}
			if err != nil {
				return err
			}
			a.note("%s became %s", size(before), size(after))
			return nil
		},
	}
}
