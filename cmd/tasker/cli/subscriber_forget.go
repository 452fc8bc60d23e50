package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
)

func (a *app) subscriberForgetCommand() *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "forget SUBSCRIBER",
		Short: "Remove what is kept of a subscriber that is gone",
		Long: `Remove the cursor and the dead letters of a subscription that no plugin declares any more.
It asks before, on a terminal; elsewhere --yes is needed. When a plugin declares the
subscription again, it begins anew.` + subscriberNames,
		Example: `  tasker subscriber forget mail/failures
  tasker subscriber forget mail/failures --yes`,
		Args:              args(1, 1),
		ValidArgsFunction: a.completeSubscriptions,
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.RunE = func(c *cobra.Command, given []string) error {
		return a.tell(c, func(ctx context.Context, _ *config, client *host.Client) error {
			all, err := client.Subscriptions(ctx)
			if err != nil {
				return err
			}
			s, err := subscription(all, given[0])
			if err != nil {
				return err
			}
			if !yes && s.State == subscriptionAbsent {
				question := fmt.Sprintf("forget %s, its cursor at event %s and %s?", s.Name, number(s.Through), plural(s.DeadLetters, "dead letter"))
				if err := a.confirm(c, question); err != nil {
					return err
				}
			}
			if err := client.ForgetSubscription(ctx, s.Name); err != nil {
				return err
			}
			a.note("%s: forgotten", s.Name)
			return nil
		})
	}
	return c
}

// errDeclined is returned when somebody does not say yes.
var errDeclined = errors.New("nothing was changed")

// confirm asks the person at the terminal; without one it wants --yes.
func (a *app) confirm(c *cobra.Command, question string) error {
	f, ok := a.stdin.(*os.File)
	if !ok || !isTerminal(f) {
		return usageError{err: fmt.Errorf("%s stdin is no terminal to ask at", question), hint: "add --yes: " + a.remedy(c.CommandPath()) + " ... --yes"}
	}
	_, _ = fmt.Fprintf(a.stderr, "%s [y/N] ", question) // the answer decides, not the question
	text, err := bufio.NewReader(f).ReadString('\n')
	if err != nil && text == "" {
		return errDeclined
	}
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "y", "yes":
		return nil
	default:
		return errDeclined
	}
}
