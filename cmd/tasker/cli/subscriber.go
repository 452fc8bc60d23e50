package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

func (a *app) subscriberCommand() *cobra.Command {
	return a.noun("subscriber", "See who gets events, and steer that",
		a.subscriberListCommand(), a.subscriberShowCommand(), a.subscriberPauseCommand(), a.subscriberResumeCommand(),
		a.subscriberRewindCommand(), a.subscriberReplayCommand(), a.subscriberForgetCommand(), a.deadLettersCommand(),
	)
}

// subscriberNames is the paragraph that the help of every command about one has.
const subscriberNames = `

SUBSCRIBER is plugin/name, or the plugin alone when it has one subscription only.`

// states of a subscription, as the host names them.
const (
	subscriptionPaused   = "paused"
	subscriptionAbsent   = "absent"
	subscriptionRetrying = "retrying"
)

// askEvents is [app.ask] for what is asked about events; it says when the answer comes
// from the store alone.
func (a *app) askEvents(c *cobra.Command, f func(ctx context.Context, s host.Service) error) error {
	return a.ask(c, func(ctx context.Context, cfg *config, s host.Service) error {
		if _, running := s.(*host.Client); !running {
			a.note("no host is running in %s: this is what the store says", cfg.Home)
		}
		return f(ctx, s)
	})
}

// subscription finds a subscription by its name, or by its plugin's.
func subscription(all []host.SubscriptionStatus, name string) (*host.SubscriptionStatus, error) {
	var known []string
	var of []*host.SubscriptionStatus
	for i := range all {
		s := &all[i]
		if s.Name == name {
			return s, nil
		}
		plugin, _, _ := strings.Cut(s.Name, "/")
		if plugin == name {
			of = append(of, s)
		}
		if strings.Contains(name, "/") {
			known = append(known, s.Name)
		} else {
			known = append(known, plugin)
		}
	}
	switch len(of) {
	case 0:
		return nil, fmt.Errorf("subscription %q: %w%s", name, task.ErrNotFound, didYouMean(name, known))
	case 1:
		return of[0], nil
	default:
		known = known[:0]
		for _, s := range of {
			known = append(known, s.Name)
		}
		return nil, withHint(fmt.Errorf("plugin %s has %s: %s: %w", name, plural(len(of), "subscription"),
			strings.Join(known, ", "), task.ErrAmbiguous), "name one of them")
	}
}

// subscriptionHint is what to do when a subscription is not in the state that is needed.
func subscriptionHint(err error) string {
	switch text := err.Error(); {
	case !strings.Contains(text, "subscription"):
		return ""
	case strings.Contains(text, "is declared by"):
		return "its plugin goes first: take it out of the plugin directories and restart the host"
	case strings.Contains(text, "not paused"):
		return "tasker subscriber list"
	default:
		return "see how its plugin is: tasker plugin list"
	}
}

// completeSubscriptions proposes subscriptions, with how they are doing.
func (a *app) completeSubscriptions(c *cobra.Command, done []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.completion(c, done, func(ctx context.Context, cfg *config) []string {
		s, release, err := a.reading(ctx, cfg)
		if err != nil {
			return nil
		}
		defer release()
		all, err := s.Subscriptions(ctx)
		var names []string
		for i := range all {
			if err == nil {
				names = append(names, all[i].Name+"\t"+all[i].State)
			}
		}
		return names
	}), cobra.ShellCompDirectiveNoFileComp
}

// The words for places in the log.
const (
	logBeginning = "beginning"
	logEnd       = "end"
)

// position parses a place in the log: a sequence number, a time, how long ago, or one of
// the words. An empty text is the zero position.
func position(text string, now time.Time) (host.Position, error) {
	const longerThanAnyLog = 100 * 365 * 24 * time.Hour
	switch text {
	case "":
		return host.Position{}, nil
	case logBeginning:
		return host.Position{Seq: 1}, nil
	case logEnd:
		return host.Position{At: now.Add(longerThanAnyLog)}, nil
	}
	seq, err := strconv.ParseUint(text, 10, 64)
	if err != nil { // as people are shown it: 2,298
		if seq, err = strconv.ParseUint(strings.ReplaceAll(text, ",", ""), 10, 64); err == nil && number(seq) != text {
			err = strconv.ErrSyntax
		}
	}
	if err == nil {
		return host.Position{Seq: max(seq, 1)}, nil
	}
	at, err := instant(strings.TrimSuffix(text, " ago"), now)
	if err != nil {
		return host.Position{}, fmt.Errorf("%q: want the number of an event, a time such as 2026-01-31T08:00:00Z, or how long ago such as 10m", text)
	}
	if at.After(now) { // a slip of the pen would pass over everything that waits
		return host.Position{}, fmt.Errorf("%q is in the future; for the end of the log write %s", text, logEnd)
	}
	return host.Position{At: at}, nil
}

// completePositions proposes the words for places in the log.
func completePositions(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{logBeginning + "\tof the log", logEnd + "\tof the log: only what is new", "1h\tago"}, cobra.ShellCompDirectiveNoFileComp
}
