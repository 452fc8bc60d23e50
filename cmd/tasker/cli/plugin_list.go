package cli

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

// pluginJSON is one plugin in `plugin list --json` and `plugin describe --json`.
type pluginJSON struct {
	Name          string             `json:"name"`
	Version       *string            `json:"version"`
	State         string             `json:"state"`
	Cause         *string            `json:"cause"`
	Since         *string            `json:"since"`
	RetryAt       *string            `json:"retry_at"`
	Path          string             `json:"path"`
	Instance      *string            `json:"instance"`
	PID           *int               `json:"pid"`
	Restarts      int                `json:"restarts"`
	Capacity      int                `json:"capacity"`
	InFlight      int                `json:"in_flight"`
	Leaked        int                `json:"leaked"`
	Handlers      []handlerJSON      `json:"handlers"`
	Subscriptions []subscriptionJSON `json:"subscriptions"`
	Emits         []emitJSON         `json:"emits"`
	Notes         []string           `json:"notes"`
	Upgrade       *pluginUpgradeJSON `json:"upgrade"` // null when none is under way
	Locked        *lockedJSON        `json:"locked"`  // null for what was not installed
}

// pluginUpgradeJSON is an upgrade that is under way.
type pluginUpgradeJSON struct {
	Phase    string  `json:"phase"` // starting, canary, probing or draining
	Share    float64 `json:"share"` // of the tasks, 0 to 1, that goes to the successor
	From     *string `json:"from"`
	To       *string `json:"to"` // null before it described itself
	Path     string  `json:"path"`
	Instance *string `json:"instance"`
	PID      *int    `json:"pid"`
	State    string  `json:"state"`
	InFlight int     `json:"in_flight"`
}

func newPluginUpgradeJSON(u *host.PluginUpgrade) *pluginUpgradeJSON {
	if u == nil {
		return nil
	}
	out := &pluginUpgradeJSON{
		Phase: u.Phase, Share: u.Share, From: optional(u.From), To: optional(u.To), Path: u.Path, Instance: optional(u.Instance),
		State: string(u.State), InFlight: u.InFlight,
	}
	if u.PID > 0 {
		out.PID = &u.PID
	}
	return out
}

// upgradeText says how an upgrade stands, empty for none.
func upgradeText(u *host.PluginUpgrade) string {
	if u == nil {
		return ""
	}
	to := u.To
	if to == "" {
		to = u.Path
	}
	if u.Phase == host.UpgradeCanary {
		return fmt.Sprintf("%s: %.0f %% of the tasks go to %s", u.Phase, u.Share*100, to)
	}
	return u.Phase + ": to " + to
}

type handlerJSON struct {
	Name           string          `json:"name"` // plugin/handler
	Version        uint32          `json:"version"`
	Description    *string         `json:"description"`
	Idempotent     string          `json:"idempotent"`
	MaxConcurrency int             `json:"max_concurrency"` // 0 = the plugin's
	InputSchema    json.RawMessage `json:"input_schema"`
	ConfigSchema   json.RawMessage `json:"config_schema"`
	OutputSchema   json.RawMessage `json:"output_schema"`
}

type subscriptionJSON struct {
	Name   string   `json:"name"`
	Events []string `json:"events"`
	Bound  bool     `json:"bound"`
	State  *string  `json:"state"` // null when no host runs
	Cause  *string  `json:"cause"` // why it is refused or unbound
}

type emitJSON struct {
	Name        string  `json:"name"`
	Version     uint32  `json:"version"`
	Description *string `json:"description"`
	State       *string `json:"state"` // null when no host runs
	Cause       *string `json:"cause"` // why it is refused
}

func newPluginJSON(p *host.PluginInfo, known traffic, locked *lockedJSON) pluginJSON {
	out := pluginJSON{
		Name: p.Name, Version: optional(p.Version), State: string(p.State), Cause: optional(p.Cause), Since: stamp(p.Since),
		RetryAt: stamp(p.RetryAt), Path: p.Path, Instance: optional(p.Instance), Restarts: p.Restarts, Capacity: p.Capacity,
		InFlight: p.InFlight, Leaked: p.Leaked, Handlers: []handlerJSON{}, Subscriptions: []subscriptionJSON{},
		Emits: []emitJSON{}, Notes: list(p.Notes), Locked: locked, Upgrade: newPluginUpgradeJSON(p.Upgrade),
	}
	if p.PID > 0 {
		out.PID = &p.PID
	}
	for i := range p.Handlers {
		h := &p.Handlers[i]
		out.Handlers = append(out.Handlers, handlerJSON{
			Name: p.Name + "/" + h.Name, Version: h.Version, Description: optional(h.Description), Idempotent: string(h.Idempotent),
			MaxConcurrency: h.MaxConcurrency, InputSchema: h.InputSchema, ConfigSchema: h.ConfigSchema, OutputSchema: h.OutputSchema,
		})
	}
	for _, s := range p.Subscriptions {
		state, cause := known.subscription(p, s.Name)
		out.Subscriptions = append(out.Subscriptions, subscriptionJSON{s.Name, list(s.Events), s.Bound, optional(state), optional(cause)})
	}
	for _, e := range p.Emits {
		state, cause := known.emit(p)
		out.Emits = append(out.Emits, emitJSON{e.Name, e.Version, optional(e.Description), optional(state), optional(cause)})
	}
	return out
}

func (a *app) pluginListCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "list",
		Short: "List plugins, their state, handlers and events",
		Long: `List the plugins of the running host: their state and what their handshakes declared.
Without a host the executables in the plugin directories are asked for their manifests, and
of installed plugins their packages tell. "locked" is what the lock says of an installed one.
On a terminal the events of a plugin are shortened to fit its width, elsewhere they are not.
Of a subscription "state" is that of ` + "`subscriber list`" + `, refused with its plugin, or unbound when
only bindings would give it events and there are none; custom events are live or refused.

--json prints an array of {"name", "version", "state", "cause", "since", "retry_at",
"path", "instance", "pid", "restarts", "capacity", "in_flight", "leaked", "handlers",
"subscriptions", "emits", "notes", "upgrade", "locked": {"version", "previous", "versions",
"signer", "source", "permissions", "platforms", "commands": [{"name", "description",
"approved"}]}}.`,
		Example: `  tasker plugin list
  tasker plugin list --json | jq -r '.[].handlers[].name'`,
		Args: args(0, 0),
	}
	pluginFlags(c)
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		cfg, err := a.config(c)
		if err != nil {
			return err
		}
		found, err := a.plugins(c.Context(), cfg)
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
			out := make([]pluginJSON, len(found))
			for i := range found {
				out[i] = newPluginJSON(&found[i], known, locked[found[i].Name])
			}
			return a.printJSON(out)
		}
		if len(found) == 0 {
			a.note("no plugins; install one (tasker plugin install), or name their directory with --plugin-dir")
			return nil
		}
		a.printPlugins(found, known, locked)
		return nil
	}
	return c
}

// pluginFlags adds the flags of commands that may look at plugins themselves.
func pluginFlags(c *cobra.Command) {
	c.Flags().StringArray("plugin-dir", nil, "`DIR` with plugins, when no host is running (may be repeated)")
}

// maxShownCause is how much of a cause the list shows.
const maxShownCause = 200

func (a *app) printPlugins(found []host.PluginInfo, known traffic, locked map[string]*lockedJSON) {
	t := table{head: []string{"NAME", "VERSION", "STATE", "BUSY", "HANDLERS", "EVENTS", "CAUSE"}}
	for i := range found {
		p := &found[i]
		var handlers, events []string
		for _, h := range p.Handlers {
			handlers = append(handlers, fmt.Sprintf("%s@%d", h.Name, h.Version))
		}
		for _, s := range p.Subscriptions {
			events = append(events, "on "+strings.Join(s.Events, "+")+inBrackets(known.subscription(p, s.Name)))
		}
		for _, e := range p.Emits {
			events = append(events, "emits "+e.Name+inBrackets(known.emit(p)))
		}
		busy := "-"
		if p.Instance != "" {
			busy = fmt.Sprintf("%d/%d", p.InFlight, p.Capacity)
		}
		cause := strings.TrimPrefix(oneLine(p.Cause), p.Path+": ")
		if p.State == task.PluginReady {
			cause = ""
		}
		state := string(p.State)
		if text := upgradeText(p.Upgrade); text != "" {
			state += " (" + text + ")"
		}
		t.add(p.Name, versionCell(p, locked[p.Name]), state, busy, orDash(names(handlers)), orDash(strings.Join(events, ", ")), cut(cause, maxShownCause))
	}
	if screen := a.terminal(a.out); screen != nil { // elsewhere all is told: it may be searched
		width, _ := screen.size()
		fitEvents(&t, width)
	}
	t.print(a.out)
}

// columnEvents is the column of events in the list of plugins.
const columnEvents = 5

// fitEvents shortens the events in a list of plugins so that a line fits a terminal of so
// many columns, causes apart; a few are always shown.
func fitEvents(t *table, width int) {
	const least = 24
	for column := range columnEvents {
		widest := columns(t.head[column])
		for _, r := range t.rows {
			widest = max(widest, columns(r[column]))
		}
		width -= widest + 2
	}
	for _, r := range t.rows {
		r[columnEvents] = fewer(r[columnEvents], max(width, least))
	}
}

// fewer cuts a list whose items stand between + and commas to so many columns, and counts
// the rest. The first item always stays.
func fewer(list string, width int) string {
	if columns(list) <= width {
		return list
	}
	places := regexp.MustCompile(`\+|, `).FindAllStringIndex(list, -1)
	for i, place := range slices.Backward(places) {
		short := fmt.Sprintf("%s, +%d", list[:place[0]], len(places)-i)
		if columns(short) <= width || i == 0 {
			return short
		}
	}
	return list
}

// inBrackets is a state that is not what one expects, in brackets.
func inBrackets(state, _ string) string {
	switch state {
	case stateRefused, stateUnbound, subscriptionPaused, subscriptionRetrying:
		return " (" + state + ")"
	default:
		return ""
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
