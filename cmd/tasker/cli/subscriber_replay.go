package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
)

func (a *app) subscriberReplayCommand() *cobra.Command {
	var from, to string
	var types []string
	c := &cobra.Command{
		Use:   "replay SUBSCRIBER",
		Short: "Deliver a part of the log to a subscriber once more",
		Long: `Deliver a part of the log to a subscriber once more. The cursor stays where it is: what is
new waits until the replay is through. --from and --to are the number of an event, a time
such as 2026-01-31T08:00:00Z, or how long ago such as 10m.` + subscriberNames,
		Example: `  tasker subscriber replay mail/failures --from 1h
  tasker subscriber replay metrics --from 4711 --to 5200 --type 'step.*'`,
		Args:              args(1, 1),
		ValidArgsFunction: a.completeSubscriptions,
	}
	f := c.Flags()
	f.StringVar(&from, "from", "", "first event (default the beginning of the log)")
	f.StringVar(&to, "to", "", "last event (default the end of the log now)")
	f.StringArrayVar(&types, "type", nil, "only of this type, or pattern such as 'step.*' (may be repeated)")
	_ = c.RegisterFlagCompletionFunc("from", completePositions)
	_ = c.RegisterFlagCompletionFunc("to", completePositions)
	_ = c.RegisterFlagCompletionFunc("type", a.completeEventTypes)
	c.RunE = func(c *cobra.Command, given []string) error {
		r := host.Replay{Types: types}
		var err error
		if r.From, err = position(from, a.now()); err != nil {
			return usageOf(c, fmt.Errorf("--from: %w", err))
		}
		if r.From == (host.Position{}) {
			r.From.Seq = 1
		}
		if to != logEnd { // which is the default
			if r.To, err = position(to, a.now()); err != nil {
				return usageOf(c, fmt.Errorf("--to: %w", err))
			}
		}
		if r.To.Seq > 0 && r.To.Seq < r.From.Seq {
			return usageOf(c, fmt.Errorf("--to: event %d is before --from %d", r.To.Seq, r.From.Seq))
		}
		if err := unknownTypes(types...); err != nil {
			return err
		}
		return a.tell(c, func(ctx context.Context, _ *config, client *host.Client) error {
			if err := client.ReplaySubscription(ctx, given[0], r); err != nil {
				return err
			}
			a.note("%s: replaying; see how far it is: %s", given[0], a.remedy("tasker subscriber show "+given[0]))
			return nil
		})
	}
	return c
}
