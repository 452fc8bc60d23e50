package cli

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
)

// problemJSON is one finding of `store verify --json`.
type problemJSON struct {
	Place  string `json:"place"`
	What   string `json:"what"`
	Remedy string `json:"remedy"`
}

func (a *app) storeVerifyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "verify [FILE]",
		Short: "Check the store, or a backup",
		Long: `Check the store of a home in which no host is running, or a backup: pages, records, and
that they agree with each other.

--json prints an array of {"place", "what", "remedy"}, empty when all is well.

The exit code is 1 when anything is wrong.`,
		Example: `  tasker store verify
  tasker store verify backups/2026-01-31.db`,
		Args: args(0, 1),
	}
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, given []string) error {
		cfg, err := a.config(c)
		if err != nil {
			return err
		}
		path := host.StorePath(cfg.Home)
		if len(given) > 0 {
			path = given[0]
		}
		problems, err := host.VerifyFile(c.Context(), path)
		if errors.Is(err, fs.ErrNotExist) {
			if len(given) > 0 {
				return fmt.Errorf("there is no backup at %s", path)
			}
			return noStore(path)
		}
		if err != nil {
			return err
		}
		out := []problemJSON{}
		for _, p := range problems {
			out = append(out, problemJSON{p.Place, p.What, p.Remedy})
			if !*asJSON {
				a.note("%s", p.String())
			}
		}
		if *asJSON {
			if err := a.printJSON(out); err != nil {
				return err
			}
		}
		if len(problems) > 0 {
			return exit(exitFailed)
		}
		if !*asJSON {
			a.out.printf("%s: all is well\n", path)
		}
		return nil
	}
	return c
}

// noStore says that a home's store is not there.
func noStore(path string) error {
	return withHint(fmt.Errorf("there is no store at %s", path), "name its home with --home")
}
