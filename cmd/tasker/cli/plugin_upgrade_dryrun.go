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
	cfg, err := a.config(c)
	if err != nil {
		return err
	}
	ctx := c.Context()
	out, err := a.compareUpgrade(ctx, cfg, r)
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
}

// compareUpgrade compares what is with what would be. It completes the path of the request.
func (a *app) compareUpgrade(ctx context.Context, cfg *config, r *host.UpgradeRequest) (*dryRunJSON, error) {
	use, err := a.upgradeUse(ctx, cfg, r.Plugin)
	if err != nil {
		return nil, err
	}
	older, err := pluginOf(use.Plugins, r.Plugin)
	if err != nil {
		return nil, err
	}
	named := r.Path != "" || r.Version != ""
	if r.Path == "" {
		d, err := host.OpenDepot(cfg.Home)
		if err != nil {
			return nil, err
		}
		binary, err := d.Binary(r.Plugin, r.Version)
		if errors.Is(err, host.ErrNotInstalled) && r.Version == "" {
			return nil, withHint(fmt.Errorf("the new version of %s: %w", r.Plugin, err), "name its executable (--from FILE), or install it: tasker plugin install --help")
		}
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
	if !named && newer.Version == older.Version {
		return nil, withHint(fmt.Errorf("%s %s is what the lock names and what is in use: there is nothing to compare", r.Plugin, newer.Version),
			"name another version, or its executable: tasker plugin upgrade "+r.Plugin+" --dry-run --to VERSION, or --from FILE")
	}
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

// upgradeUse gathers who uses a plugin, as far as that can be known without a host and without a store; what cannot
// be is said.
func (a *app) upgradeUse(ctx context.Context, cfg *config, plugin string) (*host.UpgradeUse, error) {
	s, done, err := a.reading(ctx, cfg)
	if errors.Is(err, task.ErrNotFound) {
		a.note("home %s holds no tasks: only templates and plugins are compared", cfg.Home)
		use, err := host.FindTemplateUse(cfg.hostOptions())
		if err == nil {
			use.Plugins, err = a.atRest(ctx, cfg)
		}
		return use, err
	}
	if err != nil {
		return nil, err
	}
	defer done()
	use, err := host.FindUpgradeUse(ctx, s, plugin)
	if err != nil {
		return nil, err
	}
	use.Plugins, err = s.Plugins(ctx)
	switch {
	case errors.Is(err, host.ErrNoHost):
		a.note("no host is running in %s: subscriptions are what the plugins here declare", cfg.Home)
		use.Plugins, err = a.atRest(ctx, cfg)
	case err == nil:
		use.Plugins, err = a.withInstalled(cfg, use.Plugins, "")
	}
	return use, err
}

// atRest returns what the plugins of a home declare in which no host runs.
func (a *app) atRest(ctx context.Context, cfg *config) ([]host.PluginInfo, error) {
	found, err := a.executables(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return a.withInstalled(cfg, found, "")
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
