package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

func (a *app) subscriberPauseCommand() *cobra.Command {
	var op task.Operation
	c := &cobra.Command{
		Use:   "pause SUBSCRIBER",
		Short: "Hold the delivery of events to a subscriber",
		Long: `Hold the delivery of events to a subscriber until it is resumed, also over restarts of
the host. Its cursor stays where it is, so that nothing is lost as long as the log goes
back that far. One that is paused already keeps its pause, with who asked first and why.` + subscriberNames,
		Example:           "  tasker subscriber pause mail/failures --reason 'mail server is down'",
		Args:              args(1, 1),
		ValidArgsFunction: a.completeSubscriptions,
	}
	c.Flags().StringVar(&op.By, "by", "", "who asks (default the user)")
	c.Flags().StringVar(&op.Reason, "reason", "", "why, kept with the pause")
	c.RunE = func(c *cobra.Command, given []string) error {
		if op.By == "" {
			op.By = operator()
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
			if p := s.Paused; p != nil { // who did it first said why
				a.note("%s: already %s since %s", given[0], byWhom("paused", p.By, p.Reason), clock(p.At))
				return nil
			}
			if err := client.PauseSubscription(ctx, s.Name, op); err != nil {
				return err
			}
			a.note("%s: paused; go on with: %s", given[0], a.remedy("tasker subscriber resume "+given[0]))
			return nil
		})
	}
	return c
}

func (a *app) subscriberResumeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "resume SUBSCRIBER",
		Short: "Let a paused subscriber go on",
		Long: `Let a paused subscriber go on: it gets what was recorded meanwhile, from its cursor on.
One that waits for something that is not there tries at once.` +
			subscriberNames,
		Example:           "  tasker subscriber resume mail/failures",
		Args:              args(1, 1),
		ValidArgsFunction: a.completeSubscriptions,
		RunE: func(c *cobra.Command, given []string) error {
			return a.tell(c, func(ctx context.Context, _ *config, client *host.Client) error {
				if err := client.ResumeSubscription(ctx, given[0]); err != nil {
					return err
				}
				a.note("%s: resumed", given[0])
				return nil
			})
		},
	}
}
