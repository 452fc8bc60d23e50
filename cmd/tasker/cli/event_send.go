package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// trialJSON is what `event send --json` prints.
type trialJSON struct {
	Subscription string  `json:"subscription"`
	Event        string  `json:"event"`
	Verdict      string  `json:"verdict"`
	Reason       *string `json:"reason"`
	Took         float64 `json:"took"` // seconds
	Binding      *string `json:"binding"`
}

// pastJSON is one event of `event send --dry-run --json`.
type pastJSON struct {
	eventJSON

	Binding *string `json:"binding"`
}

// verdictAcked is how a subscriber answers an event that it has handled.
const verdictAcked = "acked"

// sendFlags are the flags of `event send`.
type sendFlags struct {
	example  bool
	payload  string
	fromTask string
	timeout  time.Duration
	dryRun   bool
	from     string
	last     int
	filter   string
}

func (a *app) eventSendCommand() *cobra.Command {
	var flags sendFlags
	c := &cobra.Command{
		Use:   "send SUBSCRIBER [EVENT]",
		Short: "Try a subscriber with one event, or see what it would get",
		Long: `Deliver one event to a subscriber, outside of the log and of its cursor, and say how it
answered and how long that took. The event is the example of the catalog, one with a
payload of yours, or the last one of its type that a task has recorded. It is sent once:
no answer is a reason to send it again.

With --dry-run nothing is delivered: the events of the log are listed that the subscriber
would get, the last 20 or those from a place on, each with the binding through which it
would go. EVENT, a name or a pattern such as 'step.*', and --filter, an expression (CEL),
narrow that: so a filter is tried before it is written down.` + subscriberNames + `

--json prints {"subscription", "event", "verdict", "reason", "took", "binding"}, where
"verdict" is acked, retry or rejected and "took" is in seconds; with --dry-run an array of
the objects of ` + "`event tail --json`" + ` with "binding".

The exit code is 0 when the event was acked, 1 when it was not.`,
		Example: `  tasker event send mail/failures step.failed --example
  tasker event send mail/failures step.failed --from-task 01JD
  tasker event send mail/failures --dry-run --from 24h --filter 'payload.final'`,
		Args: args(1, 2),
	}
	c.ValidArgsFunction = func(c *cobra.Command, done []string, typed string) ([]string, cobra.ShellCompDirective) {
		switch len(done) {
		case 0:
			return a.completeSubscriptions(c, nil, typed)
		case 1:
			return a.completeEvents(c, nil, typed)
		default:
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
	}
	f := c.Flags()
	f.BoolVar(&flags.example, "example", false, "send the example of the catalog")
	f.StringVar(&flags.payload, "payload", "", "send this payload: `JSON`, @FILE, or @- for stdin")
	f.StringVar(&flags.fromTask, "from-task", "", "send the last such event of the task with this `ID`")
	f.DurationVar(&flags.timeout, "timeout", 0, "how long to wait for the answer (default as long as the subscriber has)")
	f.BoolVar(&flags.dryRun, "dry-run", false, "deliver nothing; list the past events that the subscriber would get")
	f.StringVar(&flags.from, "from", "", "with --dry-run: `WHERE` to begin: number of an event, time, or how long ago")
	f.IntVar(&flags.last, "last", 0, fmt.Sprintf("with --dry-run: only the last so many (default %d, without --from)", defaultTail))
	f.StringVar(&flags.filter, "filter", "", "with --dry-run: for which this `EXPRESSION` (CEL) is true")
	_ = c.RegisterFlagCompletionFunc("from-task", a.completeTasks)
	_ = c.RegisterFlagCompletionFunc("from", completePositions)
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, given []string) error {
		if err := flags.check(c, given); err != nil {
			return usageOf(c, err)
		}
		if flags.dryRun {
			return a.dryRun(c, &flags, given, *asJSON)
		}
		return a.send(c, &flags, given, *asJSON)
	}
	return c
}

// check finds flags that do not go together.
func (f *sendFlags) check(c *cobra.Command, given []string) error {
	sources := 0
	for _, set := range []bool{f.example, f.payload != "", f.fromTask != ""} {
		if set {
			sources++
		}
	}
	for _, name := range []string{"from", "last", "filter"} {
		if !f.dryRun && c.Flags().Changed(name) {
			return fmt.Errorf("--%s needs --dry-run", name)
		}
	}
	switch {
	case f.dryRun && (sources > 0 || f.timeout != 0):
		return errors.New("--dry-run delivers nothing, so --example, --payload, --from-task and --timeout do not go with it")
	case f.dryRun:
		return nil
	case len(given) < 2:
		return fmt.Errorf("an argument is missing: the event to send: %s", c.UseLine())
	case sources != 1:
		return errors.New("say what to send: one of --example, --payload and --from-task")
	case f.timeout < 0:
		return fmt.Errorf("--timeout: %s: want more than 0", f.timeout)
	default:
		return nil
	}
}

func (a *app) send(c *cobra.Command, flags *sendFlags, given []string, asJSON bool) error {
	payload, err := a.document(flags.payload)
	if err != nil {
		return usageOf(c, fmt.Errorf("--payload: %w", err))
	}
	return a.tell(c, func(ctx context.Context, _ *config, client *host.Client) error {
		entries, err := client.Catalog(ctx)
		if err != nil {
			return err
		}
		known := &catalog{entries: entries}
		if _, ok := known.lookup(given[1]); !ok {
			return known.unknownEvent(given[1])
		}
		all, err := client.Subscriptions(ctx)
		if err != nil {
			return err
		}
		sub, err := subscription(all, given[0])
		if err != nil {
			return err
		}
		r, err := client.TryEvent(ctx, host.TryRequest{
			Subscription: sub.Name, Type: given[1], Payload: payload, FromTask: flags.fromTask, Timeout: flags.timeout,
		})
		if err != nil {
			return err
		}
		if err := a.printTrial(r, sub, given, asJSON); err != nil {
			return err
		}
		if r.Verdict != verdictAcked {
			return exit(exitFailed)
		}
		return nil
	})
}

func (a *app) printTrial(r *host.TryResult, sub *host.SubscriptionStatus, given []string, asJSON bool) error {
	if asJSON {
		return a.printJSON(trialJSON{sub.Name, given[1], r.Verdict, optional(r.Reason), r.Took.Seconds(), optional(r.Binding)})
	}
	text := fmt.Sprintf("%s  %s  ", given[0], given[1])
	if r.Verdict == verdictAcked {
		text += "acked after " + milliseconds(r.Took)
	} else { // "retry after 5 ms" would be a promise
		text += "answered " + r.Verdict + ", in " + milliseconds(r.Took)
	}
	if r.Binding != "" {
		text += ", bound by " + r.Binding
	}
	if r.Reason != "" {
		text += ": " + oneLine(r.Reason)
	}
	a.out.printf("%s\n", text)
	if sub.Bound && r.Binding == "" {
		a.note("sent without a binding, so without what the config of one says: no binding is about this event")
	}
	if r.Verdict != verdictAcked {
		plugin, _, _ := strings.Cut(given[0], "/")
		a.note("next: %s", a.remedy("tasker plugin logs "+plugin))
	}
	return nil
}

// milliseconds prints a short duration for people.
func milliseconds(d time.Duration) string {
	if d >= time.Second {
		return seconds(d)
	}
	return fmt.Sprintf("%.2f ms", float64(d)/float64(time.Millisecond))
}

// dryRun lists the past events that a subscription would get.
func (a *app) dryRun(c *cobra.Command, flags *sendFlags, given []string, asJSON bool) error {
	q := host.EventQuery{Last: flags.last, Filter: flags.filter, Subscription: given[0], Type: strings.Join(given[1:], "")}
	if err := beginAt(&q, flags.from, a.now()); err != nil {
		return usageOf(c, err)
	}
	return a.tell(c, func(ctx context.Context, _ *config, s *host.Client) error {
		all, err := s.Subscriptions(ctx)
		if err != nil {
			return err
		}
		sub, err := subscription(all, given[0])
		if err != nil {
			return err
		}
		q.Subscription = sub.Name
		past, err := pastEvents(ctx, s, q)
		if err != nil {
			return err
		}
		if err := attribute(ctx, s, q, sub, past); err != nil {
			return err
		}
		return a.printPast(past, asJSON)
	})
}

// pastEvent is an event that a subscription would get, and how.
type pastEvent struct {
	seq     uint64
	event   *eventv1.Event
	binding string // source, empty = as declared
}

func pastEvents(ctx context.Context, s host.Service, q host.EventQuery) ([]pastEvent, error) {
	var past []pastEvent
	err := eachEvent(ctx, s, q, func(seq uint64, e *eventv1.Event) error {
		past = append(past, pastEvent{seq: seq, event: e})
		return nil
	})
	return past, err
}

// attribute finds the binding through which each event would go: the first one that
// matches. What a binding's filter says of them is asked of the host, which compiles it.
func attribute(ctx context.Context, s host.Service, q host.EventQuery, sub *host.SubscriptionStatus, past []pastEvent) error {
	taken := make([]bool, len(past))
	for i := range sub.Bindings {
		b := &sub.Bindings[i]
		if !b.Enabled || b.Problem != "" || !slices.ContainsFunc(past, func(p pastEvent) bool { return inReach(b, p.event) }) {
			continue
		}
		var passes map[uint64]bool // nil = no filter
		if b.Filter != "" {
			passes = make(map[uint64]bool)
			narrow := q
			narrow.Last, narrow.From, narrow.Since, narrow.Filter = 0, past[0].seq, time.Time{}, b.Filter
			found, err := pastEvents(ctx, s, narrow)
			if err != nil {
				return err
			}
			for _, p := range found {
				passes[p.seq] = true
			}
		}
		for j := range past {
			p := &past[j]
			if !taken[j] && inReach(b, p.event) && (passes == nil || passes[p.seq]) {
				taken[j], p.binding = true, b.Source
			}
		}
	}
	return nil
}

// inReach reports whether a binding is about an event, its filter apart.
func inReach(b *host.BindingInfo, e *eventv1.Event) bool {
	if t := b.Template; t != nil && (t.Namespace != e.GetNamespace() || t.Name != e.GetTemplate() || (t.Version != "" && t.Version != e.GetVersion())) {
		return false
	}
	return len(b.Events) == 0 || slices.ContainsFunc(b.Events, func(pattern string) bool { return event.Match(pattern, e.GetType()) })
}

func (a *app) printPast(past []pastEvent, asJSON bool) error {
	if asJSON {
		out := make([]pastJSON, len(past))
		for i, p := range past {
			out[i] = pastJSON{newEventJSON(p.seq, p.event), optional(p.binding)}
		}
		return a.printJSON(out)
	}
	if len(past) == 0 {
		a.note("it would get none of the events that were looked at")
		return nil
	}
	t := table{head: []string{"SEQ", "AT", "EVENT", "SUBJECT", "BOUND BY", "PAYLOAD"}}
	for _, p := range past {
		t.add(fmt.Sprint(p.seq), clock(eventTime(p.event)), p.event.GetType(), strings.TrimSpace(p.event.GetTaskId()+" "+p.event.GetStep()),
			orDash(p.binding), cut(brief(p.event.GetPayload()), maxShownPayload))
	}
	t.print(a.out)
	return nil
}
