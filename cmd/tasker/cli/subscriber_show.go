package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

func (a *app) subscriberShowCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "show SUBSCRIBER",
		Short: "Show all about one subscription",
		Long: `Show what a subscription asks for and how it is doing: its events, filter and order, the
bindings that apply with the file that each comes from, the events that fail with the
reason and the time of the next try, what it needs and cannot reach since when, who
paused it, and what is replayed.` + subscriberNames + `

--json prints one object with the keys of ` + "`subscriber list --json`" + `; "bindings" are
{"source", "template", "events", "filter", "config", "enabled", "problem"}, "failing" are
{"seq", "failures", "kills", "reason", "retry_at"}, "unavailable" are {"since", "reason",
"next_try", "tries", "binding"}.`,
		Example: `  tasker subscriber show mail/failures
  tasker subscriber show mail --json | jq .failing`,
		Args:              args(1, 1),
		ValidArgsFunction: a.completeSubscriptions,
	}
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, given []string) error {
		return a.askEvents(c, func(ctx context.Context, service host.Service) error {
			all, err := service.Subscriptions(ctx)
			if err != nil {
				return err
			}
			s, err := subscription(all, given[0])
			if err != nil {
				return err
			}
			if *asJSON {
				return a.printJSON(newSubscriberJSON(s))
			}
			var plugins []host.PluginInfo
			_, running := service.(*host.Client)
			if running && s.State == subscriptionAbsent {
				if plugins, err = service.Plugins(ctx); err != nil {
					return err
				}
			}
			a.printSubscriber(s, nextOfSubscriber(s, running, plugins))
			return nil
		})
	}
	return c
}

// printSubscriber prints a subscription and what one would type next; "" = all is well.
func (a *app) printSubscriber(s *host.SubscriptionStatus, do string) {
	line := func(name, value string) {
		if value != "" && value != "-" {
			a.out.printf("%-13s %s\n", name, oneLine(value))
		}
	}
	line("subscriber", s.Name)
	line("does", s.Description)
	line("state", s.State)
	if s.Paused != nil {
		line("paused", byWhom("", s.Paused.By, s.Paused.Reason)+" since "+clock(s.Paused.At))
	}
	for _, o := range s.Unavailable {
		line("unavailable", a.outage(&o))
	}
	line("instance", s.Instance)
	line("events", strings.Join(s.Events, ", "))
	line("filter", s.Filter)
	line("order", s.Order)
	if s.Bound {
		line("bound", "gets events through bindings only")
	}
	if s.MaxAttempts > 0 {
		line("limits", fmt.Sprintf("attempts per event: %d; time per event: %s; batches unanswered: %d", s.MaxAttempts, s.Timeout, s.Window))
	}
	line("through", fmt.Sprintf("%s of %s", number(s.Through), number(s.LastSeq)))
	line("behind", behind(s))
	line("unacked", number(s.Unacked))
	line("delivered", number(s.Delivered))
	line("last ack", clock(s.AckedAt))
	line("known since", clock(s.CreatedAt))
	line("dead letters", number(s.DeadLetters))
	for _, r := range s.Replays {
		line("replay", fmt.Sprintf("from %s to %s of %s", number(r.Next), number(r.To), replayed(r.Types)))
	}
	a.printBindings(s)
	a.printFailing(s)
	if do != "" {
		a.out.printf("\ndo: %s\n", a.remedy(do))
	}
}

func replayed(types []string) string {
	if len(types) == 0 {
		return "all that it wants"
	}
	return strings.Join(types, ", ")
}

func (a *app) printBindings(s *host.SubscriptionStatus) {
	for i := range s.Bindings {
		b := &s.Bindings[i]
		a.out.printf("\nbound by %s%s\n", b.Source, disabled(b))
		sub := func(name, value string) {
			if value != "" {
				a.out.printf("  %-8s %s\n", name, cut(oneLine(value), maxShownResult))
			}
		}
		if b.Template != nil && !strings.HasPrefix(b.Source, "template ") {
			sub("template", b.Template.String())
		}
		sub("events", eventPatterns(b.Events))
		sub("filter", b.Filter)
		sub("config", string(b.Config))
		sub("problem", b.Problem)
	}
}

func disabled(b *host.BindingInfo) string {
	if b.Enabled {
		return ""
	}
	return " (not enabled)"
}

// maxShownFailing is how many failing events are shown.
const maxShownFailing = 20

func (a *app) printFailing(s *host.SubscriptionStatus) {
	if len(s.Failing) == 0 {
		return
	}
	a.out.printf("\nfailing\n")
	t := table{head: []string{"SEQ", "FAILURES", "KILLS", "NEXT TRY", "REASON"}}
	for _, f := range s.Failing[:min(len(s.Failing), maxShownFailing)] {
		next := "-"
		if !f.RetryAt.IsZero() {
			next = "in " + seconds(f.RetryAt.Sub(a.now()))
		}
		t.add(fmt.Sprint(f.Seq), number(f.Failures), number(f.Kills), next, cut(oneLine(f.Reason), maxShownCause))
	}
	t.print(a.out)
	if more := len(s.Failing) - maxShownFailing; more > 0 {
		a.out.printf("... and %s more\n", number(more))
	}
}

// nextOfSubscriber is what one would type next, empty when all is well. The plugins are
// those of the running host; only an absent subscription needs them.
func nextOfSubscriber(s *host.SubscriptionStatus, running bool, plugins []host.PluginInfo) string {
	plugin, _, _ := strings.Cut(s.Name, "/")
	switch {
	case s.Paused != nil:
		return "tasker subscriber resume " + s.Name
	case s.State == subscriptionAbsent && !running:
		return "tasker serve"
	case s.State == subscriptionAbsent:
		return nextOfAbsent(s.Name, plugins)
	case s.State == subscriptionRetrying:
		return "tasker plugin logs " + plugin
	case s.DeadLetters > 0:
		return "tasker subscriber dead-letters list " + s.Name
	default:
		return ""
	}
}

// nextOfAbsent is what brings an absent subscription back: that depends on how its plugin
// is. What is kept of it is only worth forgetting when nothing declares it.
func nextOfAbsent(name string, plugins []host.PluginInfo) string {
	plugin, of, _ := strings.Cut(name, "/")
	i := slices.IndexFunc(plugins, func(p host.PluginInfo) bool { return p.Name == plugin })
	if i < 0 {
		return "put plugin " + plugin + " back and start the host again; when it is gone for good: tasker subscriber forget " + name
	}
	p := &plugins[i]
	declared := false
	for _, s := range p.Subscriptions {
		declared = declared || s.Name == of
	}
	switch {
	case p.State == task.PluginQuarantined:
		return "tasker plugin crashes " + plugin + "; when the cause is mended: tasker plugin resume " + plugin
	case p.State == task.PluginBackoff:
		return "tasker plugin crashes " + plugin
	case p.State == task.PluginReady && !declared:
		return "plugin " + plugin + " declares it no more; when that is for good: tasker subscriber forget " + name
	default:
		return "tasker plugin describe " + plugin
	}
}
