package cli

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
)

// subscriberJSON is a subscription in `subscriber list --json` and `subscriber show --json`.
type subscriberJSON struct {
	Name          string        `json:"name"`
	Description   *string       `json:"description"`
	State         string        `json:"state"`
	Events        []string      `json:"events"`
	Filter        *string       `json:"filter"`
	Order         string        `json:"order"`
	Bound         bool          `json:"bound"`
	Window        int           `json:"window"`
	MaxAttempts   int           `json:"max_attempts"`
	Timeout       float64       `json:"timeout"` // seconds
	Instance      *string       `json:"instance"`
	Through       uint64        `json:"through"`
	LastSeq       uint64        `json:"last_seq"`
	BehindEvents  uint64        `json:"behind_events"`
	BehindSeconds float64       `json:"behind_seconds"`
	Unacked       int           `json:"unacked"`
	Delivered     uint64        `json:"delivered"`
	DeadLetters   int           `json:"dead_letters"`
	Paused        *pauseJSON    `json:"paused"`
	Failing       []failingJSON `json:"failing"`
	Replays       []replayJSON  `json:"replays"`
	Bindings      []bindingJSON `json:"bindings"`
	CreatedAt     *string       `json:"created_at"`
	AckedAt       *string       `json:"acked_at"`
	Unavailable   []outageJSON  `json:"unavailable"`
}

type outageJSON struct {
	Since   *string `json:"since"`
	Reason  string  `json:"reason"`
	NextTry *string `json:"next_try"`
	Tries   int     `json:"tries"`
	Binding *string `json:"binding"`
}

type pauseJSON struct {
	At     *string `json:"at"`
	By     *string `json:"by"`
	Reason *string `json:"reason"`
}

type failingJSON struct {
	Seq      uint64  `json:"seq"`
	Failures uint32  `json:"failures"`
	Kills    uint32  `json:"kills"`
	Reason   string  `json:"reason"`
	RetryAt  *string `json:"retry_at"`
}

type replayJSON struct {
	Next  uint64   `json:"next"`
	To    uint64   `json:"to"`
	Types []string `json:"types"`
}

type bindingJSON struct {
	Source   string          `json:"source"`
	Template *string         `json:"template"`
	Events   []string        `json:"events"`
	Filter   *string         `json:"filter"`
	Config   json.RawMessage `json:"config"`
	Enabled  bool            `json:"enabled"`
	Problem  *string         `json:"problem"`
}

func newSubscriberJSON(s *host.SubscriptionStatus) subscriberJSON {
	out := subscriberJSON{
		Name: s.Name, Description: optional(s.Description), State: s.State, Events: list(s.Events), Filter: optional(s.Filter),
		Order: s.Order, Bound: s.Bound, Window: s.Window, MaxAttempts: s.MaxAttempts, Timeout: s.Timeout.Seconds(),
		Instance: optional(s.Instance), Through: s.Through, LastSeq: s.LastSeq, BehindEvents: s.Behind,
		BehindSeconds: s.BehindFor.Seconds(), Unacked: s.Unacked, Delivered: s.Delivered, DeadLetters: s.DeadLetters,
		Failing: []failingJSON{}, Replays: []replayJSON{}, Bindings: []bindingJSON{},
		CreatedAt: stamp(s.CreatedAt), AckedAt: stamp(s.AckedAt), Unavailable: []outageJSON{},
	}
	for _, o := range s.Unavailable {
		out.Unavailable = append(out.Unavailable, outageJSON{stamp(o.Since), o.Reason, stamp(o.NextTry), o.Tries, optional(o.Binding)})
	}
	if p := s.Paused; p != nil {
		out.Paused = &pauseJSON{At: stamp(p.At), By: optional(p.By), Reason: optional(p.Reason)}
	}
	for _, f := range s.Failing {
		out.Failing = append(out.Failing, failingJSON{f.Seq, f.Failures, f.Kills, f.Reason, stamp(f.RetryAt)})
	}
	for _, r := range s.Replays {
		out.Replays = append(out.Replays, replayJSON{r.Next, r.To, list(r.Types)})
	}
	for i := range s.Bindings {
		b := &s.Bindings[i]
		j := bindingJSON{
			Source: b.Source, Events: list(b.Events), Filter: optional(b.Filter), Config: b.Config, Enabled: b.Enabled,
			Problem: optional(b.Problem),
		}
		if b.Template != nil {
			j.Template = optional(b.Template.String())
		}
		out.Bindings = append(out.Bindings, j)
	}
	return out
}

func (a *app) subscriberListCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "list",
		Short: "List subscriptions and how far they have got",
		Long: `List the subscriptions of plugins: their state (current, delivering, retrying, paused,
absent), how far they are behind the log in events and in time, how many events are sent
and not yet answered, how many were delivered, and how many are dead letters. Those of
plugins that are not there now are listed as long as their cursor is kept.

--json prints an array of {"name", "description", "state", "events", "filter", "order",
"bound", "window", "max_attempts", "timeout", "instance", "through", "last_seq",
"behind_events", "behind_seconds", "unacked", "delivered", "dead_letters", "paused",
"failing", "replays", "bindings", "created_at", "acked_at", "unavailable"}; durations are
seconds.`,
		Example: `  tasker subscriber list
  tasker subscriber list --json | jq -r '.[] | select(.dead_letters > 0) | .name'`,
		Args: args(0, 0),
	}
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		return a.askEvents(c, func(ctx context.Context, s host.Service) error {
			found, err := s.Subscriptions(ctx)
			if err != nil {
				return err
			}
			if *asJSON {
				out := make([]subscriberJSON, len(found))
				for i := range found {
					out[i] = newSubscriberJSON(&found[i])
				}
				return a.printJSON(out)
			}
			a.printSubscribers(found)
			return nil
		})
	}
	return c
}

func (a *app) printSubscribers(found []host.SubscriptionStatus) {
	if len(found) == 0 {
		a.note("no plugin subscribes to events")
		return
	}
	t := table{head: []string{"SUBSCRIBER", "STATE", "BEHIND", "UNACKED", "DELIVERED", "DEAD", "INSTANCE", "EVENTS"}}
	dead := 0
	for i := range found {
		s := &found[i]
		dead += s.DeadLetters
		t.add(s.Name, s.State, behind(s), number(s.Unacked), number(s.Delivered), number(s.DeadLetters), orDash(s.Instance),
			orDash(names(s.Events)))
	}
	t.print(a.out)
	for i := range found {
		s := &found[i]
		for j := range s.Unavailable {
			a.note("%s: unavailable %s", s.Name, a.outage(&s.Unavailable[j]))
		}
	}
	if dead > 0 {
		a.note("%s: %s", plural(dead, "dead letter"), a.remedy("tasker subscriber dead-letters list"))
	}
}

// outage says since when something is not there, what is done about it, and why.
func (a *app) outage(o *host.Outage) string {
	next := "an event tries now"
	if wait := o.NextTry.Sub(a.now()); wait > 0 {
		next = "next try in " + seconds(wait)
	}
	through := ""
	if o.Binding != "" {
		through = " for " + o.Binding
	}
	return "since " + clock(o.Since) + through + ", " + next + ": " + cut(oneLine(o.Reason), maxShownCause)
}

// behind is how far a subscription is behind the log.
func behind(s *host.SubscriptionStatus) string {
	if s.Behind == 0 {
		return "0"
	}
	return number(s.Behind) + " (" + seconds(s.BehindFor) + ")"
}

// eventPatterns is a list of names and patterns as people read it; none means what is
// declared.
func eventPatterns(patterns []string) string {
	if len(patterns) == 0 {
		return "as declared"
	}
	return strings.Join(patterns, ", ")
}
