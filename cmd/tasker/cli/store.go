package cli

import "github.com/spf13/cobra"

func (a *app) storeCommand() *cobra.Command {
	return a.noun("store", "Back up, restore, check and shrink the store",
		a.storeBackupCommand(), a.storeRestoreCommand(), a.storeVerifyCommand(), a.storeStatsCommand(), a.storeSizeCommand(),
		a.storePruneCommand(), a.storeCompactCommand(),
	)
}
