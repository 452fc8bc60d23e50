package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

// dryRunJSON is what `plugin upgrade --dry-run --json` prints.
type dryRunJSON struct {
	Plugin   string                `json:"plugin"`
	From     string                `json:"from"`
	To       string                `json:"to"`
	Breaking bool                  `json:"breaking"`
	Findings []host.UpgradeFinding `json:"findings"`
	Replayed []replayedJSON        `json:"replayed"`
}

// dryRunUpgrade tells what an upgrade would change for templates, unfinished tasks and subscriptions, and replays
// recordings on the new version. Nothing is upgraded.
func (a *app) dryRunUpgrade(c *cobra.Command, r *host.UpgradeRequest, recordings []string) error {
	asJSON, err := c.Flags().GetBool("json")
	if err != nil {
		return err
	}
	return a.ask(c, func(ctx context.Context, cfg *config, s host.Service) error {
		out, err := a.compareUpgrade(ctx, cfg, s, r)
		if err != nil {
			return err
		}
		if len(recordings) > 0 {
			if err := a.replayUpgrade(ctx, cfg, out, r.Path, recordings); err != nil {
				return err
			}
		}
		if asJSON {
			err = a.printJSON(out)
		} else {
			a.printDryRun(out)
		}
		if err == nil && out.Breaking {
			return exit(exitFailed)
		}
		return err
	})
}

// compareUpgrade compares what is with what would be. It completes the path of the request.
func (a *app) compareUpgrade(ctx context.Context, cfg *config, s host.Service, r *host.UpgradeRequest) (*dryRunJSON, error) {
	plugins, err := s.Plugins(ctx)
	if errors.Is(err, host.ErrNoHost) {
		plugins, err = a.executables(ctx, cfg)
	}
	if err != nil {
		return nil, err
	}
	var older *host.PluginInfo
	var known []string
	for i := range plugins {
		known = append(known, plugins[i].Name)
		if plugins[i].Name == r.Plugin {
			older = &plugins[i]
		}
	}
	if older == nil {
		return nil, withHint(fmt.Errorf("plugin %q: %w%s", r.Plugin, task.ErrNotFound, didYouMean(r.Plugin, known)), "tasker plugin list")
	}
	if r.Path == "" {
		d, err := host.OpenDepot(cfg.Home)
		if err != nil {
			return nil, err
		}
		binary, err := d.Binary(r.Plugin, r.Version)
		if err != nil {
			return nil, err
		}
		r.Path = binary.Path
	}
	ctx, cancel := context.WithTimeout(ctx, describeTimeout)
	defer cancel()
	newer, err := host.DescribePlugin(ctx, r.Path)
	if err != nil {
		return nil, err
	}
	if newer.Name != r.Plugin {
		return nil, fmt.Errorf("%s is plugin %s, not %s: %w", r.Path, newer.Name, r.Plugin, task.ErrInvalid)
	}
	use, err := host.FindUpgradeUse(ctx, s, r.Plugin)
	if err != nil {
		return nil, err
	}
	use.Plugins = plugins
	findings, err := host.CheckUpgrade(older, &newer, use)
	if err != nil {
		return nil, err
	}
	out := &dryRunJSON{Plugin: r.Plugin, From: older.Version, To: newer.Version, Findings: list(findings), Replayed: []replayedJSON{}}
	for _, f := range findings {
		out.Breaking = out.Breaking || f.Breaking
	}
	return out, nil
}

// replayUpgrade replays recordings on the new version.
func (a *app) replayUpgrade(ctx context.Context, cfg *config, out *dryRunJSON, binary string, paths []string) error {
	files, attempts, err := readRecordings(paths)
	if err != nil {
		return err
	}
	if attempts[0].Plugin != out.Plugin {
		return fmt.Errorf("--replay: %s is of plugin %s, not of %s", files[0], attempts[0].Plugin, out.Plugin)
	}
	o := cfg.hostOptions()
	replayed, err := host.ReplayAttempts(ctx, binary, host.ReplayOptions{Config: o.PluginConfigs[out.Plugin], Env: o.PluginEnv[out.Plugin]}, attempts)
	if err != nil {
		return err
	}
	out.Replayed = newReplayedJSON(files, replayed)
	for _, r := range out.Replayed {
		out.Breaking = out.Breaking || !r.Same
	}
	return nil
}

func (a *app) printDryRun(out *dryRunJSON) {
	t := table{head: []string{"", "WHAT", "SUBJECT", "CHANGE"}}
	for _, f := range out.Findings {
		mark := "note"
		if f.Breaking {
			mark = "BREAKS"
		}
		t.add(mark, f.Kind, f.Subject, oneLine(f.Text))
	}
	if len(out.Findings) > 0 {
		t.print(a.out)
	}
	a.printReplayed(out.Replayed)
	verdict := "nothing that is used would break"
	if out.Breaking {
		verdict = "what is marked would break"
	}
	a.note("plugin %s %s -> %s: %s; nothing was upgraded", out.Plugin, out.From, out.To, verdict)
}
