package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

// healthJSON is what `health --json` prints.
type healthJSON struct {
	Ready    bool                     `json:"ready"`
	Live     bool                     `json:"live"`
	Problems []string                 `json:"problems"`
	Mode     string                   `json:"mode"` // serve, run, or none without a host
	Version  *string                  `json:"version"`
	PID      *int                     `json:"pid"`
	Home     string                   `json:"home"`
	HostID   string                   `json:"host_id"`
	Since    *string                  `json:"since"`
	Store    storeHealthJSON          `json:"store"`
	Plugins  map[task.PluginState]int `json:"plugins"`
	Tasks    map[task.Status]uint64   `json:"tasks"`
}

type storeHealthJSON struct {
	OK            bool   `json:"ok"`
	Path          string `json:"path"`
	SchemaVersion int    `json:"schema_version"`
	Epoch         uint64 `json:"epoch"`
	FileBytes     int64  `json:"file_bytes"`
	LastSeq       uint64 `json:"last_seq"`
}

func (a *app) healthCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "health",
		Short: "Say how the host is doing",
		Long: `Say how the host of the home is doing: whether it takes work, its store, its plugins by
state and its tasks by status; then the subscribers that are more than a minute behind or
have dead letters. The same answers are at /livez and /readyz of the
optional health port (see --health-addr of ` + "`tasker serve`" + `).

--json prints {"ready", "live", "problems", "mode", "version", "pid", "home", "host_id",
"since", "store", "plugins", "tasks"}.

The exit code is 0 when the host is ready, 1 when it is not or none is running.`,
		Example: "  tasker health --json | jq .problems",
		Args:    args(0, 0),
	}
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error { return a.showHealth(c, *asJSON) }
	return c
}

// showHealth asks the host that runs, even when the configuration cannot be read: that host has the one before.
func (a *app) showHealth(c *cobra.Command, asJSON bool) error {
	show := func(ctx context.Context, s host.Service) error {
		h, err := s.Health(ctx)
		if err != nil {
			return err
		}
		if asJSON {
			err = a.printJSON(newHealthJSON(h))
		} else {
			a.printHealth(h)
			a.printTroubled(ctx, s)
		}
		if err == nil && !h.Ready {
			return exit(exitFailed)
		}
		return err
	}
	_, unread := a.config(c)
	if unread == nil {
		return a.ask(c, func(ctx context.Context, _ *config, s host.Service) error { return show(ctx, s) })
	}
	cfg, err := a.homeConfig(c)
	if err != nil {
		return err
	}
	client, err := a.running(c.Context(), cfg)
	if err != nil {
		return unread
	}
	defer func() { _ = client.Close() }() // nothing was written
	a.note("the configuration would be refused at the next start: %v", unread)
	return show(c.Context(), client)
}

func newHealthJSON(h *host.Health) healthJSON {
	out := healthJSON{
		Ready: h.Ready, Live: h.Live, Problems: list(h.Problems), Mode: string(h.Mode), Version: optional(h.Version),
		Home: h.Home, HostID: h.HostID, Since: stamp(h.Since), Plugins: h.Plugins, Tasks: h.Tasks,
		Store: storeHealthJSON{
			OK: h.Store.OK, Path: h.Store.Path, SchemaVersion: h.Store.SchemaVersion, Epoch: h.Store.Epoch,
			FileBytes: h.Store.FileBytes, LastSeq: h.Store.LastSeq,
		},
	}
	if h.PID > 0 {
		out.PID = &h.PID
	}
	if out.Plugins == nil {
		out.Plugins = map[task.PluginState]int{}
	}
	return out
}

func (a *app) printHealth(h *host.Health) {
	state := "not ready"
	if h.Ready {
		state = "ready"
	}
	a.out.printf("%-9s %s\n", "state", state)
	for _, p := range h.Problems {
		a.out.printf("%-9s %s\n", "problem", oneLine(p))
	}
	if h.Mode != host.ModeNone {
		a.out.printf("%-9s %s, process %d, version %s, since %s (%s)\n", "host", h.Mode, h.PID, h.Version,
			clock(h.Since), seconds(a.now().Sub(h.Since)))
	}
	a.out.printf("%-9s %s\n", "home", h.Home)
	a.out.printf("%-9s %s, schema %d, last event %s\n", "store", size(h.Store.FileBytes), h.Store.SchemaVersion, number(h.Store.LastSeq))
	a.out.printf("%-9s %s\n", "plugins", counts(h.Plugins))
	a.out.printf("%-9s %s\n", "tasks", counts(h.Tasks))
}

// lagging is how far a subscriber may be behind before that is told.
const lagging = time.Minute

// printTroubled names the subscribers that are late or have dead letters.
func (a *app) printTroubled(ctx context.Context, s host.Service) {
	all, err := s.Subscriptions(ctx)
	if err != nil {
		return // how the host is has been said
	}
	for i := range all {
		sub := &all[i]
		var parts []string
		if sub.BehindFor > lagging {
			parts = append(parts, sub.State+", behind "+behind(sub))
		}
		if sub.DeadLetters > 0 {
			parts = append(parts, plural(sub.DeadLetters, "dead letter"))
		}
		if len(parts) > 0 {
			a.out.printf("%-9s %s: %s; %s\n", "events", sub.Name, strings.Join(parts, ", "), a.remedy("tasker subscriber show "+sub.Name))
		}
	}
}

// counts is "3 ready, 1 quarantined", in the order of the words.
func counts[K ~string, N int | uint64](m map[K]N) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if m[k] > 0 {
			parts = append(parts, fmt.Sprintf("%s %s", number(m[k]), k))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}
