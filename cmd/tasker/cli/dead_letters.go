package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// deadLetterJSON is one of `subscriber dead-letters list --json` and `show --json`.
type deadLetterJSON struct {
	Subscription string    `json:"subscription"`
	At           *string   `json:"at"`
	Reason       string    `json:"reason"`
	Deliveries   uint32    `json:"deliveries"`
	Retry        bool      `json:"retry"`
	Event        eventJSON `json:"event"`
}

// letter is a dead letter with its event.
type letter struct {
	host.DeadLetter

	event *eventv1.Event
}

func (l *letter) json() deadLetterJSON {
	return deadLetterJSON{
		Subscription: l.Subscription, At: stamp(l.At), Reason: l.Reason, Deliveries: l.Deliveries, Retry: l.Retry,
		Event: newEventJSON(l.Seq, l.event),
	}
}

func (a *app) deadLettersCommand() *cobra.Command {
	return a.noun("dead-letters", "See events that subscribers could not handle, and deal with them",
		a.deadLettersListCommand(), a.deadLettersShowCommand(), a.deadLettersRetryCommand(), a.deadLettersDiscardCommand(),
	)
}

// lettersOf reads the dead letters of a subscription that have some numbers, and returns the numbers that none has.
func lettersOf(ctx context.Context, s host.Service, name string, seqs []uint64) (found []letter, unknown []uint64, err error) {
	for _, seq := range seqs {
		page, _, err := s.DeadLetters(ctx, name, seq-1, 1)
		if err != nil {
			return nil, nil, err
		}
		if len(page) == 0 || page[0].Seq != seq {
			unknown = append(unknown, seq)
			continue
		}
		l, err := newLetter(page[0])
		if err != nil {
			return nil, nil, err
		}
		found = append(found, l)
	}
	return found, unknown, nil
}

// noLetters says of numbers that they are none of dead letters; nil when there are no such numbers.
func noLetters(name string, unknown []uint64) error {
	if len(unknown) == 0 {
		return nil
	}
	texts := make([]string, len(unknown))
	for i, seq := range unknown {
		texts[i] = strconv.FormatUint(seq, 10)
	}
	return withHint(fmt.Errorf("dead letter %s of %s: %w", strings.Join(texts, ", "), name, task.ErrNotFound),
		"tasker subscriber dead-letters list "+name)
}

func newLetter(l host.DeadLetter) (letter, error) {
	event := &eventv1.Event{}
	if err := proto.Unmarshal(l.Encoded, event); err != nil {
		return letter{}, fmt.Errorf("dead letter %d of %s: %w", l.Seq, l.Subscription, err)
	}
	return letter{l, event}, nil
}

// allLetters reads dead letters, page by page: those of a subscription, or all.
func allLetters(ctx context.Context, s host.Service, name string) ([]letter, error) {
	var found []letter
	var after uint64
	for {
		page, more, err := s.DeadLetters(ctx, name, after, host.MaxPage)
		if err != nil {
			return nil, err
		}
		for i := range page {
			l, err := newLetter(page[i])
			if err != nil {
				return nil, err
			}
			found = append(found, l)
			after = l.Seq
		}
		if !more || len(page) == 0 {
			return found, nil
		}
	}
}

func (a *app) deadLettersListCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "list [SUBSCRIBER]",
		Short: "List dead letters",
		Long: `List the events that a subscriber, or any, could not handle: after its last attempt, or
because it rejected them. They are kept until they are retried with success or discarded,
also when the log has lost them.` + subscriberNames + `

--json prints an array of {"subscription", "at", "reason", "deliveries", "retry", "event"};
"event" has the keys of ` + "`event tail --json`" + `.`,
		Example: `  tasker subscriber dead-letters list
  tasker subscriber dead-letters list mail/failures --json | jq '.[].event.payload'`,
		Args:              args(0, 1),
		ValidArgsFunction: a.completeSubscriptions,
	}
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, given []string) error {
		return a.askEvents(c, func(ctx context.Context, s host.Service) error {
			found, err := allLetters(ctx, s, strings.Join(given, ""))
			if err != nil {
				return err
			}
			if *asJSON {
				out := make([]deadLetterJSON, len(found))
				for i := range found {
					out[i] = found[i].json()
				}
				return a.printJSON(out)
			}
			a.printLetters(found)
			return nil
		})
	}
	return c
}

func (a *app) printLetters(found []letter) {
	if len(found) == 0 {
		a.note("no dead letters")
		return
	}
	t := table{head: []string{"SUBSCRIBER", "SEQ", "EVENT", "TASK", "SINCE", "TRIES", "REASON"}}
	for i := range found {
		l := &found[i]
		reason := cut(oneLine(l.Reason), maxShownCause)
		if l.Retry {
			reason = "(being retried) " + reason
		}
		t.add(l.Subscription, fmt.Sprint(l.Seq), l.event.GetType(), orDash(l.event.GetTaskId()), clock(l.At), number(l.Deliveries), reason)
	}
	t.print(a.out)
	first := &found[0]
	a.note("next: %s", a.remedy(fmt.Sprintf("tasker subscriber dead-letters show %s %d", first.Subscription, first.Seq)))
}

func (a *app) deadLettersShowCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "show SUBSCRIBER SEQ...",
		Short: "Show dead letters with their events",
		Long: `Show dead letters with their events and why they were given up. SEQ is the number of the
event. A number that no dead letter has is told of, and the exit code is 1.` + subscriberNames + `

--json prints an array of the objects of ` + "`dead-letters list --json`" + `.`,
		Example:           "  tasker subscriber dead-letters show mail/failures 4711",
		Args:              args(2, -1),
		ValidArgsFunction: a.completeSubscriptions,
	}
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, given []string) error {
		seqs, err := sequences(given[1:])
		if err != nil {
			return usageOf(c, err)
		}
		return a.askEvents(c, func(ctx context.Context, s host.Service) error {
			found, unknown, err := lettersOf(ctx, s, given[0], seqs)
			if err != nil {
				return err
			}
			if len(found) > 0 {
				if err := a.showLetters(found, *asJSON); err != nil {
					return err
				}
			}
			return noLetters(given[0], unknown)
		})
	}
	return c
}

func (a *app) showLetters(found []letter, asJSON bool) error {
	if asJSON {
		out := make([]deadLetterJSON, len(found))
		for i := range found {
			out[i] = found[i].json()
		}
		return a.printJSON(out)
	}
	for i := range found {
		l := &found[i]
		if i > 0 {
			a.out.printf("\n")
		}
		a.out.printf("subscriber  %s\nevent       %d  %s  %s\n", l.Subscription, l.Seq, l.event.GetType(), clock(eventTime(l.event)))
		if id := l.event.GetTaskId(); id != "" {
			a.out.printf("task        %s  %s\n", id, l.event.GetStep())
		}
		a.out.printf("given up    %s after %s: %s\n", clock(l.At), counted(l.Deliveries), oneLine(l.Reason))
		doc, err := json.MarshalIndent(json.RawMessage(l.event.GetPayload()), "", "  ")
		if err != nil {
			return fmt.Errorf("payload of event %d: %w", l.Seq, err)
		}
		a.out.printf("payload\n%s\n", printable(string(doc), true))
		a.out.printf("do          %s\n", a.remedy(fmt.Sprintf(
			"mend what the reason names, then: tasker subscriber dead-letters retry %s %d; or discard it in the same way", l.Subscription, l.Seq)))
	}
	return nil
}

// counted is "1 delivery", "2 deliveries".
func counted(deliveries uint32) string {
	if deliveries == 1 {
		return "1 delivery"
	}
	return number(deliveries) + " deliveries"
}

// sequences parses the numbers of events, each of which is wanted once.
func sequences(texts []string) ([]uint64, error) {
	var seqs []uint64
	for _, text := range texts {
		seq, err := strconv.ParseUint(text, 10, 64)
		if err != nil || seq == 0 {
			return nil, fmt.Errorf("%q is not the number of an event", text)
		}
		if !slices.Contains(seqs, seq) {
			seqs = append(seqs, seq)
		}
	}
	return seqs, nil
}

func (a *app) deadLettersRetryCommand() *cobra.Command {
	return a.settle(&settling{
		verb: "retry", short: "Deliver dead letters again", done: "will be delivered again",
		long: `Deliver dead letters again, before what is new: those with the numbers SEQ, or all. Each
has as many attempts as any event; one that fails again stays a dead letter.`,
		do: (*host.Client).RetryDeadLetters,
	})
}

func (a *app) deadLettersDiscardCommand() *cobra.Command {
	return a.settle(&settling{
		verb: "discard", short: "Remove dead letters", done: "discarded",
		long: `Remove dead letters: those with the numbers SEQ, or all. The events themselves stay in the
log as long as others do.`,
		do: (*host.Client).DiscardDeadLetters,
	})
}

// settling is a command that deals with dead letters.
type settling struct {
	verb, short, long, done string
	do                      func(*host.Client, context.Context, string, []uint64) (int, error)
}

// settle builds the command.
func (a *app) settle(o *settling) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use: o.verb + " SUBSCRIBER [SEQ...]", Short: o.short,
		Long: o.long + "\n\nA number that no dead letter has is told of, and the exit code is 1." + subscriberNames,
		Example: "  tasker subscriber dead-letters " + o.verb + " mail/failures 4711 4715\n" +
			"  tasker subscriber dead-letters " + o.verb + " mail/failures --all",
		Args:              args(1, -1),
		ValidArgsFunction: a.completeSubscriptions,
	}
	c.Flags().BoolVar(&all, "all", false, "all dead letters of the subscriber")
	c.RunE = func(c *cobra.Command, given []string) error {
		seqs, err := sequences(given[1:])
		switch {
		case err != nil:
			return usageOf(c, err)
		case all == (len(seqs) > 0):
			return usageOf(c, errors.New("say which: the numbers of events, or --all"))
		}
		return a.tell(c, func(ctx context.Context, _ *config, client *host.Client) error {
			found, unknown, err := lettersOf(ctx, client, given[0], seqs)
			if err != nil {
				return err
			}
			if all || len(found) > 0 {
				n, err := o.do(client, ctx, given[0], seqs)
				if err != nil {
					return err
				}
				a.note("%s: %s %s", given[0], plural(n, "dead letter"), o.done)
			}
			return noLetters(given[0], unknown)
		})
	}
	return c
}
