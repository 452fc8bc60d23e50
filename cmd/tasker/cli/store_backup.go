package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
)

// backupJSON is what `store backup --json` prints.
type backupJSON struct {
	Path    string `json:"path"`
	Bytes   int64  `json:"bytes"`
	SHA256  string `json:"sha256"`
	Seconds string `json:"took"`
	LastSeq uint64 `json:"last_seq"`
	Tasks   uint64 `json:"tasks"`
}

func (a *app) storeBackupCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a consistent copy of the store to a new file",
		Long: `Write a consistent copy of the store to a new file. A running host goes on meanwhile.

--json prints {"path", "bytes", "sha256", "took", "last_seq", "tasks"}.`,
		Example: `  tasker store backup backups/$(date +%F).db
  tasker store verify backups/2026-01-31.db`,
		Args: args(1, 1),
	}
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, given []string) error {
		path, err := filepath.Abs(given[0])
		if err != nil {
			return fmt.Errorf("backup: %w", err)
		}
		return a.ask(c, func(ctx context.Context, _ *config, s host.Service) error {
			b, err := s.Backup(ctx, path)
			if errors.Is(err, fs.ErrExist) {
				return withHint(err, "name a file that does not exist yet")
			}
			if err != nil {
				return err
			}
			if *asJSON {
				return a.printJSON(backupJSON{b.Path, b.Bytes, b.SHA256, b.Took.String(), b.LastSeq, b.Tasks})
			}
			a.out.printf("%s: %s, %s, last event %s, sha256 %s\n", b.Path, size(b.Bytes), plural(b.Tasks, "task"), number(b.LastSeq), b.SHA256)
			return nil
		})
	}
	return c
}
