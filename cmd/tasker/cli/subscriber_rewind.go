package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
)

// rewoundJSON is what `subscriber rewind --json` prints.
type rewoundJSON struct {
	Subscription string `json:"subscription"`
	Next         uint64 `json:"next"`
}

func (a *app) subscriberRewindCommand() *cobra.Command {
	var to string
	c := &cobra.Command{
		Use:   "rewind SUBSCRIBER --to WHERE",
		Short: "Move the cursor of a subscriber, back or forward",
		Long: `Move the cursor of a subscriber to a place in the log: it gets everything from there on,
what it had before included. WHERE is the number of an event, a time such as
2026-01-31T08:00:00Z, how long ago such as 10m, beginning, or end, which passes over what
it has not got yet. What was failing is forgotten; dead letters stay.` + subscriberNames + `

--json prints {"subscription", "next"}: the number of the event that comes next.`,
		Example: `  tasker subscriber rewind mail/failures --to 4711
  tasker subscriber rewind mail/failures --to 1h
  tasker subscriber rewind metrics --to end`,
		Args:              args(1, 1),
		ValidArgsFunction: a.completeSubscriptions,
	}
	c.Flags().StringVar(&to, "to", "", "`WHERE` to go on: number of an event, time, how long ago, beginning or end")
	_ = c.RegisterFlagCompletionFunc("to", completePositions)
	asJSON := jsonFlag(c)
	c.RunE = func(c *cobra.Command, given []string) error {
		if to == "" {
			return usageOf(c, errors.New("--to is missing: it says where to go on"))
		}
		where, err := position(to, a.now())
		if err != nil {
			return usageOf(c, fmt.Errorf("--to: %w", err))
		}
		return a.tell(c, func(ctx context.Context, _ *config, client *host.Client) error {
			all, err := client.Subscriptions(ctx)
			if err != nil {
				return err
			}
			s, err := subscription(all, given[0])
			if err != nil {
				return err
			}
			next, err := client.RewindSubscription(ctx, s.Name, where)
			if err != nil {
				return err
			}
			if *asJSON {
				return a.printJSON(rewoundJSON{s.Name, next})
			}
			a.note("%s: goes on with event %d", given[0], next) // to be pasted
			return nil
		})
	}
	return c
}
