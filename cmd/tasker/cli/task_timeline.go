package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/cmd/tasker/cli/timeline"
	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// timelineJSON is what `task timeline --json` prints.
type timelineJSON struct {
	ID            string         `json:"id"`
	Template      string         `json:"template"`
	Status        string         `json:"status"`
	From          *string        `json:"from"`
	To            *string        `json:"to"`
	Open          bool           `json:"open"`
	MissingEvents uint64         `json:"missing_events"`
	Paused        []spanJSON     `json:"paused"`
	Steps         []timedRowJSON `json:"steps"`
}

type timedRowJSON struct {
	Name    string    `json:"name"`
	Handler *string   `json:"handler"`
	Status  string    `json:"status"`
	Reason  *string   `json:"reason"`
	Bars    []barJSON `json:"bars"`
}

type spanJSON struct {
	From *string `json:"from"`
	To   *string `json:"to"`
	Open bool    `json:"open"`
}

type barJSON struct {
	Kind string `json:"kind"`
	spanJSON

	Attempt  *uint32 `json:"attempt"`
	Outcome  *string `json:"outcome"`
	Error    *string `json:"error"`
	Instance *string `json:"instance"`
}

func newTimelineJSON(v *task.View, t *timeline.Timeline) timelineJSON {
	out := timelineJSON{
		ID: string(v.ID), Template: v.Template.String(), Status: string(v.Status), From: stamp(t.From), To: stamp(t.To),
		Open: t.Open, MissingEvents: t.Missing, Paused: []spanJSON{}, Steps: []timedRowJSON{},
	}
	for _, p := range t.Pauses {
		out.Paused = append(out.Paused, spanJSON{stamp(p.From), stamp(p.To), p.Open})
	}
	for i := range t.Rows {
		r := &t.Rows[i]
		row := timedRowJSON{Name: r.Step, Handler: optional(r.Handler), Status: string(r.Status), Reason: optional(r.Reason), Bars: []barJSON{}}
		for j := range r.Bars {
			b := &r.Bars[j]
			bar := barJSON{Kind: string(b.Kind), spanJSON: spanJSON{stamp(b.From), stamp(b.To), b.Open}}
			if b.Kind == timeline.Running {
				bar.Attempt, bar.Outcome = &b.Attempt, optional(string(b.Outcome))
				bar.Error, bar.Instance = optional(b.Note), optional(b.Instance)
			}
			row.Bars = append(row.Bars, bar)
		}
		out.Steps = append(out.Steps, row)
	}
	return out
}

func (a *app) taskTimelineCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "timeline ID",
		Short: "Draw what the steps of a task did when",
		Long: `Draw what the steps of a task did when, from its events: when each waited for others or
for a slot, ran, or stood back before its next attempt. Attempts carry their numbers. What
goes on ends at the present. The drawing is as wide as the terminal, or 80 columns; where
the locale is not UTF-8, and with --ascii, it is plain ASCII. ID may be shortened as long
as it is unambiguous.

--json prints {"id", "template", "status", "from", "to", "open", "missing_events",
"paused", "steps"} with exact times: "steps" are {"name", "handler", "status", "reason",
"bars"}, and bars {"kind", "from", "to", "open", "attempt", "outcome", "error",
"instance"}, where "kind" is blocked, ready, waiting, running, backoff or parked.`,
		Example: `  tasker task timeline 01JD
  tasker task timeline 01JD --json | jq '.steps[] | {name, bars: [.bars[].kind]}'`,
		Args:              args(1, 1),
		ValidArgsFunction: a.completeTasks,
	}
	ascii := c.Flags().Bool("ascii", false, "draw with ASCII characters only")
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, given []string) error {
		return a.ask(c, func(ctx context.Context, _ *config, s host.Service) error {
			v, err := s.Task(ctx, given[0])
			if err != nil {
				return err
			}
			past, err := pastEvents(ctx, s, host.EventQuery{Task: string(v.ID)})
			if err != nil {
				return err
			}
			log := make([]*eventv1.Event, len(past))
			for i, p := range past {
				log[i] = p.event
			}
			t, err := timeline.Of(log, shapeOf(v), a.now())
			if err != nil {
				return err
			}
			if *asJSON {
				return a.printJSON(newTimelineJSON(v, t))
			}
			a.printTimeline(v, t, *ascii || !a.unicode())
			return nil
		})
	}
	return c
}

// shapeOf is what a timeline needs of a task beside its events: what never changes, and how
// the steps stand whose events are gone.
func shapeOf(v *task.View) []timeline.Step {
	shape := make([]timeline.Step, len(v.Steps))
	for i := range v.Steps {
		s := &v.Steps[i]
		shape[i] = timeline.Step{Name: string(s.Name), Handler: s.Handler.String(), Status: s.Status}
		for _, dep := range s.DependsOn {
			shape[i].DependsOn = append(shape[i].DependsOn, string(dep))
		}
	}
	return shape
}

// unicode reports whether the locale says that texts are UTF-8.
func (a *app) unicode() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if value, ok := a.lookup(name); ok && value != "" {
			value = strings.ToLower(value)
			return strings.Contains(value, "utf-8") || strings.Contains(value, "utf8")
		}
	}
	return false
}

func (a *app) printTimeline(v *task.View, t *timeline.Timeline, ascii bool) {
	a.out.printf("task %s  %s  %s  %s\n", v.ID, v.Template, v.Status, seconds(t.To.Sub(t.From)))
	if len(t.Rows) == 0 {
		a.out.printf("its events are no longer in the log: tasker task show %s tells how it stands\n", v.ID)
		return
	}
	if t.Missing > 0 {
		a.out.printf("the log has lost the first %s of the task: what was before them is not drawn\n", plural(t.Missing, "event"))
	}
	const noTerminal = 80
	width := noTerminal
	if screen := a.terminal(a.out); screen != nil {
		width, _ = screen.size()
		width-- // a full line would wrap on some terminals
	}
	for _, line := range drawGantt(t, width, ascii) {
		a.out.printf("%s\n", line)
	}
}
