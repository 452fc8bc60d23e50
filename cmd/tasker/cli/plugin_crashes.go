package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
)

// crashJSON is one report of `plugin crashes --json`.
type crashJSON struct {
	Plugin   string   `json:"plugin"`
	Version  *string  `json:"version"`
	Instance string   `json:"instance"`
	At       *string  `json:"at"`
	Phase    string   `json:"phase"`
	Cause    string   `json:"cause"`
	ExitCode int      `json:"exit_code"` // -1 when a signal ended it
	Signal   *string  `json:"signal"`
	Panic    *string  `json:"panic"`
	Stderr   []string `json:"stderr"`
	Attempts []string `json:"attempts"`
}

func (a *app) pluginCrashesCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "crashes [PLUGIN]",
		Short: "Show the crash reports of plugins",
		Long: `Show the crash reports of a plugin, or of all, newest first: exit code or signal, the
attempts it held, the panic if there was one, and the last lines it wrote. The reports
are kept in the store and are there without a running host.

--json prints an array of {"plugin", "version", "instance", "at", "phase", "cause",
"exit_code", "signal", "panic", "stderr", "attempts"}.`,
		Example:           "  tasker plugin crashes mock --last 1",
		Args:              args(0, 1),
		ValidArgsFunction: a.completePlugins,
	}
	last := c.Flags().Int("last", 0, "only the newest so many (default all that are kept)")
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, given []string) error {
		return a.ask(c, func(ctx context.Context, _ *config, s host.Service) error {
			found, err := s.Crashes(ctx, strings.Join(given, ""))
			if err != nil {
				return err
			}
			if *last > 0 {
				found = found[:min(*last, len(found))]
			}
			if *asJSON {
				out := make([]crashJSON, len(found))
				for i := range found {
					out[i] = newCrashJSON(&found[i])
				}
				return a.printJSON(out)
			}
			if len(found) == 0 {
				a.note("no crashes are on record")
			}
			for i := range found {
				a.printCrash(&found[i])
			}
			return nil
		})
	}
	return c
}

func newCrashJSON(c *host.Crash) crashJSON {
	return crashJSON{
		Plugin: c.Plugin, Version: optional(c.Version), Instance: c.Instance, At: stamp(c.At), Phase: c.Phase, Cause: c.Cause,
		ExitCode: c.ExitCode, Signal: optional(c.Signal), Panic: optional(c.Panic), Stderr: list(c.Stderr), Attempts: list(c.Attempts),
	}
}

func (a *app) printCrash(c *host.Crash) {
	end := fmt.Sprintf("exit code %d", c.ExitCode)
	if c.Signal != "" {
		end = "signal " + c.Signal
	}
	a.out.printf("%s  %s %s  %s while %s: %s\n", clock(c.At), c.Instance, c.Version, end, c.Phase, oneLine(c.Cause))
	for _, attempt := range c.Attempts {
		a.out.printf("  held    %s\n", attempt)
	}
	for line := range strings.Lines(c.Panic) {
		a.out.printf("  panic   %s\n", strings.TrimRight(printable(line, false), " "))
	}
	for _, line := range c.Stderr {
		a.out.printf("  stderr  %s\n", strings.TrimRight(printable(line, false), " "))
	}
	a.out.printf("\n")
}
