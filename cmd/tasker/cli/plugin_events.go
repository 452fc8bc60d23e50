package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

// States of what a plugin declares of events, beside those of subscriptions.
const (
	stateLive    = "live"    // a custom event that can be emitted
	stateRefused = "refused" // its plugin is
	stateUnbound = "unbound" // a subscription that only bindings give events to, and there are none
)

// traffic is what is known of subscriptions and custom events beside what plugins declare
// of them.
type traffic struct {
	running       bool // a host runs
	subscriptions []host.SubscriptionStatus
	entries       []host.CatalogEntry
}

// traffic asks the host that runs in the home; without one nothing is known.
func (a *app) traffic(ctx context.Context, cfg *config) (traffic, error) {
	client, err := a.running(ctx, cfg)
	if errors.Is(err, host.ErrNoHost) {
		return traffic{}, nil
	}
	if err != nil {
		return traffic{}, err
	}
	defer func() { _ = client.Close() }() // nothing was written
	out := traffic{running: true}
	if out.subscriptions, err = client.Subscriptions(ctx); err != nil {
		return traffic{}, err
	}
	out.entries, err = client.Catalog(ctx)
	return out, err
}

// status finds how a subscription is doing; nil when that is not known.
func (t *traffic) status(p *host.PluginInfo, name string) *host.SubscriptionStatus {
	for i := range t.subscriptions {
		if t.subscriptions[i].Name == p.Name+"/"+name {
			return &t.subscriptions[i]
		}
	}
	return nil
}

// subscription is the state of a subscription and why it is in it; both are empty when
// they are not known.
func (t *traffic) subscription(p *host.PluginInfo, name string) (state, cause string) {
	s := t.status(p, name)
	switch {
	case p.State == task.PluginRefused:
		return stateRefused, p.Cause
	case s == nil:
		return "", ""
	case s.Bound && !hasBinding(s):
		return stateUnbound, "it gets events through bindings only, and none is in force: add it to subscriptions: of a template or of tasker.yaml"
	default:
		return s.State, ""
	}
}

func hasBinding(s *host.SubscriptionStatus) bool {
	for i := range s.Bindings {
		if s.Bindings[i].Enabled && s.Bindings[i].Problem == "" {
			return true
		}
	}
	return false
}

// emit is the state of a plugin's custom events and why they are in it.
func (t *traffic) emit(p *host.PluginInfo) (state, cause string) {
	switch {
	case p.State == task.PluginRefused:
		return stateRefused, p.Cause
	case t.running:
		return stateLive, ""
	default:
		return "", ""
	}
}

// printTraffic prints what a plugin subscribes to and what it emits, and what became of it.
func (a *app) printTraffic(p *host.PluginInfo, known traffic) {
	sub := func(name, value string) {
		if value != "" {
			a.out.printf("  %-12s %s\n", name, cut(oneLine(value), maxShownResult))
		}
	}
	for _, s := range p.Subscriptions {
		a.out.printf("\nsubscribes %s to %s\n", s.Name, strings.Join(s.Events, ", "))
		state, cause := known.subscription(p, s.Name)
		if status := known.status(p, s.Name); status != nil && state != stateRefused && status.Behind > 0 {
			state += ", behind " + behind(status)
		}
		sub("state", state)
		sub("cause", cause)
		if status := known.status(p, s.Name); status != nil {
			sub("does", status.Description)
			for i := range status.Bindings {
				b := &status.Bindings[i]
				sub("bound by", b.Source+disabled(b))
				sub("problem", b.Problem)
			}
		}
	}
	for _, e := range p.Emits {
		a.out.printf("\nemits %s: %s\n", e.Name, oneLine(e.Description))
		state, cause := known.emit(p)
		sub("state", state)
		sub("cause", cause)
		c := catalog{entries: known.entries}
		if entry, ok := c.lookup(e.Name); ok {
			sub("goes to", strings.Join(entry.Subscribers, ", "))
		}
	}
}
