package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
)

// upgradeJSON is what `plugin upgrade --json`, `rollback --json` and `reload --json` print.
type upgradeJSON struct {
	Plugin   string  `json:"plugin"`
	Phase    string  `json:"phase"` // done, canary or rolled_back
	From     *string `json:"from"`
	To       *string `json:"to"`
	Instance *string `json:"instance"`
	Why      *string `json:"why"` // of a roll-back
}

// howUpgraded tells what every replacement of a plugin does.
const howUpgraded = `

The successor is started beside the plugin. Once it is ready, new attempts go to it, and
subscriptions are handed over between two batches; what the plugin holds it finishes. If
the successor does not get ready, or crashes, ends or is degraded within --probe, the
plugin is back, and the exit code is 1. Until the command ends, an interrupt rolls back.

--json prints {"plugin", "phase", "from", "to", "instance", "why"}.`

func (a *app) pluginUpgradeCommand() *cobra.Command {
	var r host.UpgradeRequest
	var canary string
	var promote, abort, dryRun bool
	var recordings []string
	c := &cobra.Command{
		Use:   "upgrade PLUGIN",
		Short: "Replace a plugin by another version while it works",
		Long: `Replace a plugin by another version while it works, on the host that runs. --to names an
installed version, --from an executable, which the host runs until it ends. With --canary
a share of the tasks goes to the successor, all steps of a task alike, and subscriptions
stay where they are, until --promote or --abort.

An upgrade is refused that takes away handlers which unfinished tasks still need, or which
templates name; --force does it nevertheless, and such steps wait.

--dry-run upgrades nothing: it tells what would change for templates, unfinished tasks and
subscriptions, as far as schemas, events and permissions say it, and with --replay asks
the successor what was recorded (see ` + "`tasker plugin record`" + `). Neither a host nor a store is
needed; it says what it cannot compare then. The
exit code is 1 when something would break; --json then prints {"plugin", "from", "to",
"breaking", "findings": [{"breaking", "kind", "subject", "text"}], "replayed"}, the last
as ` + "`plugin replay --json`" + `.` + howUpgraded,
		Example: `  tasker plugin upgrade greeter --to 1.3.0
  tasker plugin upgrade greeter --to 1.3.0 --canary 10%
  tasker plugin upgrade greeter --promote
  tasker plugin upgrade greeter --from ./bin/tasker-plugin-greeter
  tasker plugin upgrade greeter --to 1.3.0 --dry-run --replay recordings`,
		Args:              args(1, 1),
		ValidArgsFunction: a.completePlugins,
	}
	f := c.Flags()
	f.StringVar(&r.Version, "to", "", "installed `VERSION` (default the one that the lock names)")
	f.StringVar(&r.Path, "from", "", "`FILE` to run instead of an installed version, approved by nobody")
	f.StringVar(&canary, "canary", "", "`SHARE` of the tasks, such as 10%, that go to it until it is promoted")
	f.BoolVar(&promote, "promote", false, "let the canary take over")
	f.BoolVar(&abort, "abort", false, "end the upgrade that is under way: the plugin is what it was")
	f.BoolVar(&dryRun, "dry-run", false, "only tell what would change")
	f.StringArrayVar(&recordings, "replay", nil, "with --dry-run: recordings, a `FILE` or directory (may be repeated)")
	c.MarkFlagsMutuallyExclusive("to", "from", "promote", "abort")
	c.MarkFlagsMutuallyExclusive("dry-run", "promote", "abort")
	c.MarkFlagsMutuallyExclusive("dry-run", "canary")
	c.MarkFlagsMutuallyExclusive("canary", "promote", "abort")
	run := a.upgradeFlags(c, &r)
	c.RunE = func(c *cobra.Command, given []string) error {
		r.Plugin, r.Action = given[0], host.ActionUpgrade
		switch {
		case promote:
			r.Action = host.ActionPromote
		case abort:
			r.Action = host.ActionAbort
		}
		var err error
		if r.Canary, err = readShare(canary); err != nil {
			return usageOf(c, fmt.Errorf("--canary: %w", err))
		}
		if r.Path != "" {
			if r.Path, err = filepath.Abs(r.Path); err != nil {
				return fmt.Errorf("--from: %w", err)
			}
		}
		if dryRun {
			return a.dryRunUpgrade(c, &r, recordings)
		}
		if len(recordings) > 0 {
			return usageOf(c, errors.New("--replay: want --dry-run, too"))
		}
		return run(c)
	}
	return c
}

func (a *app) pluginRollbackCommand() *cobra.Command {
	r := host.UpgradeRequest{Action: host.ActionRollback}
	c := &cobra.Command{
		Use:   "rollback PLUGIN",
		Short: "Replace a plugin by what it was before its last upgrade",
		Long: `Replace a plugin by what it was before its last upgrade or reload while this host runs;
when there was none, by the version that was current before in the lock.` + howUpgraded,
		Example:           "  tasker plugin rollback greeter",
		Args:              args(1, 1),
		ValidArgsFunction: a.completePlugins,
	}
	run := a.upgradeFlags(c, &r)
	c.RunE = func(c *cobra.Command, given []string) error {
		r.Plugin = given[0]
		return run(c)
	}
	return c
}

func (a *app) pluginReloadCommand() *cobra.Command {
	r := host.UpgradeRequest{Action: host.ActionReload}
	c := &cobra.Command{
		Use:   "reload PLUGIN",
		Short: "Give a plugin its configuration as it is now, while it works",
		Long: `Give a plugin its configuration as it is now in tasker.yaml, while it works: another
process of the same executable takes over. SIGHUP has the host do so for every plugin
whose configuration has changed. What else has changed in tasker.yaml counts from the
next start of the host.` + howUpgraded,
		Example:           "  tasker plugin reload greeter",
		Args:              args(1, 1),
		ValidArgsFunction: a.completePlugins,
	}
	run := a.upgradeFlags(c, &r)
	c.RunE = func(c *cobra.Command, given []string) error {
		r.Plugin = given[0]
		return run(c)
	}
	return c
}

// upgradeFlags adds what all replacements of plugins have in common, and returns what
// carries one out.
func (a *app) upgradeFlags(c *cobra.Command, r *host.UpgradeRequest) func(*cobra.Command) error {
	var probe string
	c.Flags().StringVar(&probe, "probe", "10s", "how long (`DURATION`) the successor has to be fine")
	c.Flags().BoolVar(&r.Force, "force", false, "even if tasks or templates need what it offers no more")
	asJSON := jsonFlag(c)
	return func(c *cobra.Command) error {
		var err error
		if r.Probe, err = time.ParseDuration(probe); err == nil && r.Probe <= 0 {
			err = errors.New("want more than 0")
		}
		if err != nil {
			return usageOf(c, fmt.Errorf("--probe: %w", err))
		}
		return a.tell(c, func(ctx context.Context, _ *config, client *host.Client) error {
			result, err := client.UpgradePlugin(ctx, *r, func(p host.UpgradeProgress) {
				if !isLast(p.Phase) { // what stands at the end is told below
					a.note("%s", p.Text)
				}
			})
			if err != nil {
				return err
			}
			return a.showUpgrade(r, &result, *asJSON)
		})
	}
}

func isLast(phase string) bool {
	return phase == host.UpgradeDone || phase == host.UpgradeCanary || phase == host.UpgradeRolled
}

// showUpgrade tells how the replacement of a plugin stands.
func (a *app) showUpgrade(r *host.UpgradeRequest, p *host.UpgradeProgress, asJSON bool) error {
	if asJSON {
		if err := a.printJSON(upgradeJSON{
			Plugin: r.Plugin, Phase: p.Phase, From: optional(p.From), To: optional(p.To), Instance: optional(p.Instance), Why: optional(p.Why),
		}); err != nil {
			return err
		}
	}
	switch {
	case p.Phase == host.UpgradeRolled && r.Action == host.ActionAbort:
		a.note("%s: the upgrade is ended; the plugin is what it was", r.Plugin)
	case p.Phase == host.UpgradeRolled:
		return withHint(fmt.Errorf("plugin %s is what it was: %s", r.Plugin, p.Why), upgradeHint(r))
	case p.Phase == host.UpgradeCanary:
		a.note("%s: %.4g %% of the tasks go to %s; go on with: %s", r.Plugin, 100*r.Canary, p.Instance,
			a.remedy("tasker plugin upgrade "+r.Plugin+" --promote, or --abort"))
	default:
		a.note("%s: %s serves", r.Plugin, strings.TrimSpace(p.Instance+" "+p.To))
	}
	return nil
}

// upgradeHint says where to see why a plugin was not replaced.
func upgradeHint(r *host.UpgradeRequest) string {
	hint := "tasker plugin logs " + r.Plugin
	switch {
	case r.Action != host.ActionUpgrade:
	case r.Path != "":
		hint += "; what it would break: tasker plugin upgrade " + r.Plugin + " --from " + shellWord(r.Path) + " --dry-run"
	case r.Version != "":
		hint += "; what it would break: tasker plugin upgrade " + r.Plugin + " --to " + r.Version + " --dry-run"
	}
	return hint
}

// readShare reads "10%" or "0.1"; empty is 0.
func readShare(text string) (float64, error) {
	if text == "" {
		return 0, nil
	}
	number, percent := strings.CutSuffix(text, "%")
	share, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if percent {
		share /= 100
	}
	if err != nil || !(share > 0 && share < 1) {
		return 0, fmt.Errorf("%q: want a share above 0%% and below 100%%, such as 10%%", text)
	}
	return share, nil
}
