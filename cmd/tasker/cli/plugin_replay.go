package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/plugin/sdk/recording"
)

// replayedJSON is one file of `plugin replay --json`.
type replayedJSON struct {
	File        string                 `json:"file"`
	Handler     string                 `json:"handler"` // "plugin/handler@version"
	Step        string                 `json:"step"`
	Same        bool                   `json:"same"`
	Lost        *string                `json:"lost"` // why nothing came
	Differences []recording.Difference `json:"differences"`
}

func (a *app) pluginReplayCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "replay FILE|DIR...",
		Short: "Ask a plugin what was recorded, and compare",
		Long: `Start a plugin's executable as a host does, ask it what was recorded by ` + "`tasker plugin record`" + `,
and compare what comes: output, error, and the events that were emitted. Values that a
recording names as volatile are not compared. The configuration of the plugin is that of
the home. What handlers call outside of the plugin they call in earnest.

--json prints an array of {"file", "handler", "step", "same", "lost", "differences":
[{"pointer", "want", "got"}]}; lost says why nothing came.

The exit code is 1 when anything is not as recorded.`,
		Example: `  tasker plugin replay testdata/attempts --plugin bin/tasker-plugin-shop
  tasker plugin replay recordings/shop-charge-01JD-pay-1.json --plugin ./tasker-plugin-shop`,
		Args: args(1, -1),
	}
	binary := c.Flags().String("plugin", "", "the plugin's executable `BIN`")
	timeout := c.Flags().Duration("timeout", 30*time.Second, "how long an attempt may take")
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, given []string) error {
		if *binary == "" {
			return usageOf(c, errors.New("--plugin: want the path of the executable"))
		}
		cfg, err := a.config(c)
		if err != nil {
			return err
		}
		files, attempts, err := readRecordings(given)
		if err != nil {
			return err
		}
		o := cfg.hostOptions()
		name := attempts[0].Plugin
		replayed, err := host.ReplayAttempts(c.Context(), *binary, host.ReplayOptions{
			Config: o.PluginConfigs[name], Env: o.PluginEnv[name], Timeout: *timeout,
		}, attempts)
		if err != nil {
			return err
		}
		return a.replayVerdict(newReplayedJSON(files, replayed), *asJSON)
	}
	return c
}

// readRecordings reads recordings of one plugin.
func readRecordings(paths []string) (files []string, attempts []*recording.Attempt, err error) {
	files, err = recording.Files(paths...)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("recordings: %w", err)
	}
	if err != nil {
		return nil, nil, err
	}
	for _, file := range files {
		attempt, err := recording.Read(file)
		if err != nil {
			return nil, nil, err
		}
		if len(attempts) > 0 && attempt.Plugin != attempts[0].Plugin {
			return nil, nil, fmt.Errorf("%s is of plugin %s, %s of plugin %s: replay one plugin at a time", files[0], attempts[0].Plugin, file, attempt.Plugin)
		}
		attempts = append(attempts, attempt)
	}
	if len(files) == 0 {
		return nil, nil, withHint(errors.New("there are no recordings"), "tasker plugin record TASK makes some")
	}
	return files, attempts, nil
}

func newReplayedJSON(files []string, replayed []host.Replayed) []replayedJSON {
	out := make([]replayedJSON, len(replayed))
	for i := range replayed {
		r := &replayed[i]
		out[i] = replayedJSON{
			File: files[i], Handler: fmt.Sprintf("%s/%s@%d", r.Attempt.Plugin, r.Attempt.Handler, r.Attempt.Version), Step: r.Attempt.Step,
			Same: r.Same(), Lost: optional(r.Lost), Differences: list(r.Differences),
		}
	}
	return out
}

// replayVerdict prints what came and decides on the exit code.
func (a *app) replayVerdict(replayed []replayedJSON, asJSON bool) error {
	other := 0
	for _, r := range replayed {
		if !r.Same {
			other++
		}
	}
	if asJSON {
		if err := a.printJSON(replayed); err != nil {
			return err
		}
	} else {
		a.printReplayed(replayed)
		a.note("%s replayed, %d not as recorded", plural(len(replayed), "attempt"), other)
	}
	if other > 0 {
		return exit(exitFailed)
	}
	return nil
}

func (a *app) printReplayed(replayed []replayedJSON) {
	for _, r := range replayed {
		switch {
		case r.Same:
			a.out.printf("same   %s: %s\n", r.File, r.Handler)
		case r.Lost != nil:
			a.out.printf("LOST   %s: %s: %s\n", r.File, r.Handler, oneLine(*r.Lost))
		default:
			a.out.printf("OTHER  %s: %s\n", r.File, r.Handler)
			for _, d := range r.Differences {
				a.out.printf("       %s\n       - want %s\n       + got  %s\n", d.Pointer, orNothing(d.Want), orNothing(d.Got))
			}
		}
	}
}
