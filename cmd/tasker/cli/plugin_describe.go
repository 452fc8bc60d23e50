package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
)

func (a *app) pluginDescribeCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "describe PLUGIN",
		Aliases: []string{"show"},
		Short:   "Show all that a plugin declares",
		Long: `Show all that a plugin declares: its handlers with their schemas, its subscriptions and
events, and what the host accepted and refused of that.

--json prints the keys of ` + "`plugin list --json`" + ` and "manifest", the declaration as a whole.`,
		Example: `  tasker plugin describe mock
  tasker plugin describe mock --json | jq '.handlers[] | {name, input_schema}'`,
		Args:              args(1, 1),
		ValidArgsFunction: a.completePlugins,
	}
	pluginFlags(c)
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, given []string) error {
		cfg, err := a.config(c)
		if err != nil {
			return err
		}
		p, err := a.plugin(c.Context(), cfg, given[0])
		if err != nil {
			return err
		}
		known, err := a.traffic(c.Context(), cfg)
		if err != nil {
			return err
		}
		locked, err := lockOf(cfg)
		if err != nil {
			return err
		}
		if *asJSON {
			return a.printJSON(struct {
				pluginJSON

				Manifest json.RawMessage `json:"manifest"`
			}{newPluginJSON(p, known, locked[p.Name]), p.Manifest})
		}
		a.printPlugin(p, locked[p.Name])
		a.printTraffic(p, known)
		return nil
	}
	return c
}

// compactJSON is JSON without the blanks that it may have in a file.
func compactJSON(raw json.RawMessage) string {
	var out bytes.Buffer
	if err := json.Compact(&out, raw); err != nil {
		return string(raw)
	}
	return out.String()
}

func (a *app) printPlugin(p *host.PluginInfo, locked *lockedJSON) {
	line := func(name, value string) {
		if value != "" {
			a.out.printf("%-10s %s\n", name, oneLine(value))
		}
	}
	line("plugin", strings.TrimSpace(p.Name+" "+p.Version))
	line("state", string(p.State))
	line("cause", p.Cause)
	if !p.Since.IsZero() {
		line("since", clock(p.Since))
	}
	if !p.RetryAt.IsZero() {
		line("retry at", clock(p.RetryAt))
	}
	line("file", p.Path)
	if p.PID > 0 {
		line("process", fmt.Sprintf("%d (%s), %s of %s busy", p.PID, p.Instance, number(p.InFlight), plural(p.Capacity, "slot")))
	}
	line("upgrade", upgradeText(p.Upgrade))
	line("upgraded", p.Upgraded)
	a.printLocked(p.Name, locked)
	for _, n := range p.Notes {
		line("note", n)
	}
	for i := range p.Handlers {
		h := &p.Handlers[i]
		a.out.printf("\n%s/%s@%d\n", p.Name, h.Name, h.Version)
		sub := func(name, value string) {
			if value != "" {
				a.out.printf("  %-12s %s\n", name, cut(oneLine(value), maxShownResult))
			}
		}
		sub("does", h.Description)
		sub("idempotent", string(h.Idempotent))
		if h.Timeout > 0 {
			sub("timeout", h.Timeout.String())
		}
		if h.MaxConcurrency > 0 {
			sub("at once", number(h.MaxConcurrency))
		}
		sub("input", compactJSON(h.InputSchema))
		sub("config", compactJSON(h.ConfigSchema))
		sub("results", compactJSON(h.OutputSchema))
	}
}
