package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
)

// topInterval is how often `plugin top` looks unless it is told otherwise, and topShortest
// how often it may.
const (
	topInterval = time.Second
	topShortest = 100 * time.Millisecond
)

// topJSON is one plugin in `plugin top --json`.
type topJSON struct {
	Name            string   `json:"name"`
	Version         *string  `json:"version"`
	State           string   `json:"state"`
	PID             *int     `json:"pid"`
	InFlight        int      `json:"in_flight"`
	Capacity        int      `json:"capacity"`
	StepsPerSecond  float64  `json:"steps_per_second"`
	EventsPerSecond float64  `json:"events_per_second"`
	MemoryBytes     *int64   `json:"memory_bytes"`
	CPUPercent      *float64 `json:"cpu_percent"`
	OpenFiles       *int     `json:"open_files"`
	Threads         *int     `json:"threads"`
	Restarts        int      `json:"restarts"`
	BehindEvents    uint64   `json:"behind_events"`
}

func (a *app) pluginTopCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "top",
		Short: "Show what plugins do and what they use",
		Long: `Show each plugin of the running host: the attempts that it holds of those that it may hold,
the steps and events that it is done with per second, memory, processors (100 is one of
them), open files, threads, restarts, and how many events its subscriptions are behind.
Who uses most of the processors stands first.

On a terminal the table is drawn again and again, until Ctrl-C. With --once, with --json
and where no terminal is, it is printed once, after one interval. Memory, processors, files
and threads are those of the plugin's process, on Linux.

--json prints an array of {"name", "version", "state", "pid", "in_flight", "capacity",
"steps_per_second", "events_per_second", "memory_bytes", "cpu_percent", "open_files",
"threads", "restarts", "behind_events"}.`,
		Example: `  tasker plugin top
  tasker plugin top --once --interval 5s
  tasker plugin top --json | jq '.[] | select(.memory_bytes > 1e9)'`,
		Args: args(0, 0),
	}
	once := c.Flags().Bool("once", false, "print the table once")
	interval := c.Flags().Duration("interval", topInterval, "`TIME` between two looks")
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if *interval < topShortest {
			return usageOf(c, fmt.Errorf("--interval %s: want at least %s", *interval, topShortest))
		}
		return a.tell(c, func(ctx context.Context, _ *config, client *host.Client) error {
			t := &top{client: client, interval: *interval, now: a.now}
			screen := a.terminal(a.out)
			if *once || *asJSON || screen == nil {
				return a.topOnce(ctx, t, *asJSON)
			}
			return a.topLive(ctx, t, screen)
		})
	}
	return c
}

func (a *app) topOnce(ctx context.Context, t *top, asJSON bool) error {
	if err := t.look(ctx); err != nil {
		return err
	}
	rows, err := t.next(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(rows)
	}
	if len(rows) == 0 {
		a.note("the host has no plugins")
		return nil
	}
	topTable(rows).print(a.out)
	return nil
}

// topLive draws the table in the same place until somebody has seen enough.
func (a *app) topLive(ctx context.Context, t *top, s *screen) error {
	if err := t.look(ctx); err != nil {
		return err
	}
	for {
		rows, err := t.next(ctx)
		if errors.Is(err, context.Canceled) {
			return nil
		}
		if err != nil {
			return err
		}
		a.out.printf("%s", topFrame(rows, s, a.now()))
	}
}

// topFrame is a screen full: the cursor goes to its beginning, each line and what is below
// is cleared. Lines are cut, lest they wrap.
func topFrame(rows []topJSON, s *screen, now time.Time) string {
	const home, clearLine, clearRest = "\x1b[H", "\x1b[K", "\x1b[J"
	width, height := s.size()
	var text bytes.Buffer
	fmt.Fprintf(&text, "%s  %s; Ctrl-C ends\n\n", clock(now), plural(len(rows), "plugin"))
	topTable(rows).print(&text)
	lines := strings.Split(strings.TrimRight(text.String(), "\n"), "\n")
	var b strings.Builder
	b.WriteString(home)
	for _, line := range lines[:min(len(lines), max(height-1, 1))] {
		b.WriteString(cut(line, width) + clearLine + "\r\n")
	}
	b.WriteString(clearRest)
	return b.String()
}

// top looks at the plugins of a host again and again.
type top struct {
	client interface {
		Plugins(ctx context.Context) ([]host.PluginInfo, error)
		Subscriptions(ctx context.Context) ([]host.SubscriptionStatus, error)
	}
	interval time.Duration
	now      func() time.Time
	last     glance
}

// glance is what was seen at one time.
type glance struct {
	at      time.Time
	plugins []host.PluginInfo
	events  map[string]eventCount // by plugin
}

// eventCount sums up the subscriptions of a plugin.
type eventCount struct{ delivered, behind uint64 }

// look takes a glance that the next one is compared with.
func (t *top) look(ctx context.Context) error {
	plugins, err := t.client.Plugins(ctx)
	if err != nil {
		return err
	}
	subscriptions, err := t.client.Subscriptions(ctx)
	if err != nil {
		return err
	}
	g := glance{at: t.now(), plugins: plugins, events: make(map[string]eventCount)}
	for i := range subscriptions {
		s := &subscriptions[i]
		plugin, _, _ := strings.Cut(s.Name, "/")
		n := g.events[plugin]
		g.events[plugin] = eventCount{n.delivered + s.Delivered, max(n.behind, s.Behind)}
	}
	t.last = g
	return nil
}

// next waits for the interval, looks again, and says what went on in between.
func (t *top) next(ctx context.Context) ([]topJSON, error) {
	timer := time.NewTimer(t.interval)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	before := t.last
	if err := t.look(ctx); err != nil {
		return nil, cmp.Or(ctx.Err(), err)
	}
	return between(before, t.last), nil
}

// between compares two glances; who used most of the processors stands first.
func between(before, now glance) []topJSON {
	took := max(now.at.Sub(before.at).Seconds(), 1e-3)
	rows := make([]topJSON, 0, len(now.plugins))
	for i := range now.plugins {
		p := &now.plugins[i]
		row := topJSON{
			Name: p.Name, Version: optional(p.Version), State: string(p.State), InFlight: p.InFlight, Capacity: p.Capacity,
			Restarts: p.Restarts, BehindEvents: now.events[p.Name].behind,
		}
		if p.PID != 0 {
			row.PID = &p.PID
		}
		var old host.PluginInfo
		if at := slices.IndexFunc(before.plugins, func(o host.PluginInfo) bool { return o.Name == p.Name && o.Path == p.Path }); at >= 0 {
			old = before.plugins[at]
			row.StepsPerSecond = rate(old.Finished, p.Finished, took)
		}
		if b, ok := before.events[p.Name]; ok {
			row.EventsPerSecond = rate(b.delivered, now.events[p.Name].delivered, took)
		}
		if u := p.Usage; u != nil {
			row.MemoryBytes, row.OpenFiles, row.Threads = &u.Memory, &u.OpenFiles, &u.Threads
			percent := u.CPUTime.Seconds() / took * 100
			if old.Usage != nil && old.PID == p.PID {
				percent = max(u.CPUTime-old.Usage.CPUTime, 0).Seconds() / took * 100
			}
			row.CPUPercent = &percent
		}
		rows = append(rows, row)
	}
	slices.SortStableFunc(rows, func(a, b topJSON) int {
		return cmp.Or(cmp.Compare(value(b.CPUPercent), value(a.CPUPercent)), strings.Compare(a.Name, b.Name))
	})
	return rows
}

// rate is what was counted per second; a counter that began anew counts from 0.
func rate(before, now uint64, seconds float64) float64 {
	if now < before {
		before = 0
	}
	return float64(now-before) / seconds
}

// value is what a pointer points to, 0 for nil.
func value(p *float64) float64 {
	if p == nil {
		return 0
	}
	return *p
}

func topTable(rows []topJSON) *table {
	t := &table{head: []string{
		"NAME", "VERSION", "STATE", "PID", "BUSY", "STEPS/S", "EVENTS/S", "MEMORY", "CPU%", "FILES", "THREADS", "CRASHES", "LAG",
	}}
	for i := range rows {
		r := &rows[i]
		version, pid, busy, memory, cpu, files, threads := "-", "-", "-", "-", "-", "-", "-"
		if r.Version != nil {
			version = *r.Version
		}
		if r.PID != nil {
			pid, busy = strconv.Itoa(*r.PID), fmt.Sprintf("%d/%d", r.InFlight, r.Capacity)
		}
		if r.MemoryBytes != nil {
			memory, files, threads = size(*r.MemoryBytes), strconv.Itoa(*r.OpenFiles), strconv.Itoa(*r.Threads)
			cpu = strconv.FormatFloat(*r.CPUPercent, 'f', 1, 64)
		}
		t.add(r.Name, version, r.State, pid, busy, perSecond(r.StepsPerSecond), perSecond(r.EventsPerSecond),
			memory, cpu, files, threads, strconv.Itoa(r.Restarts), number(r.BehindEvents))
	}
	return t
}

// perSecond prints a rate: small ones with a digit behind the point.
func perSecond(v float64) string {
	if v == 0 || v >= 100 {
		return number(int64(v))
	}
	return strconv.FormatFloat(v, 'f', 1, 64)
}
