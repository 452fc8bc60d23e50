package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tasker-engine/tasker/host/internal/delivery"
	"github.com/tasker-engine/tasker/host/internal/expr"
	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/supervisor"
	"github.com/tasker-engine/tasker/host/task"
)

// streams are the Deliver streams as delivery wants them.
type streams struct{ h *Host }

var _ delivery.Streams = streams{}

func (s streams) OpenStream(ctx context.Context, instance string) (delivery.Stream, error) {
	stream, err := s.h.supervisor.OpenStream(ctx, instance)
	if err != nil {
		return nil, err
	}
	return stream, nil
}

func (s streams) FailInstance(instance, why string) { s.h.supervisor.FailInstance(instance, why) }

// subscribe connects an instance that is ready with what its plugin subscribes to.
func (h *Host) subscribe(in task.Instance) {
	// What a template says of "plugin" is known now, whether or not it subscribes.
	if err := h.binder.rebind(context.Background()); err != nil {
		h.log.Error("bindings are not up to date", logkeys.Error, err)
	}
	m := h.supervisor.Declared(in.ID)
	if m == nil || len(m.Subscriptions) == 0 {
		return
	}
	subs, err := subscriptions(m)
	if err != nil {
		h.log.Error("subscriptions are not served", logkeys.Plugin, in.Plugin, logkeys.Error, err)
		return
	}
	h.delivery.Connect(in.ID, subs)
}

// subscriptions converts what a manifest declares; its handshake was accepted.
func subscriptions(m *supervisor.Manifest) ([]delivery.Subscription, error) {
	subs := make([]delivery.Subscription, len(m.Subscriptions))
	for i := range m.Subscriptions {
		s := &m.Subscriptions[i]
		subs[i] = delivery.Subscription{
			Name: m.Name + "/" + s.Name, Description: s.Description, Events: s.Events, Bound: s.Bound,
			Window: s.Window, MaxAttempts: s.MaxAttempts, Timeout: s.Timeout.Std(),
		}
		if s.Order == supervisor.OrderTask {
			subs[i].Order = delivery.OrderTask
		}
		var err error
		if s.Filter != "" {
			if subs[i].Filter, err = expr.Compile(s.Filter); err != nil {
				return nil, fmt.Errorf("subscription %s: filter: %w", s.Name, err)
			}
		}
		switch s.Start {
		case "", "now":
		case "beginning":
			subs[i].Start.Beginning = true
		default:
			if subs[i].Start.At, err = time.Parse(time.RFC3339, s.Start); err != nil {
				return nil, fmt.Errorf("subscription %s: start: %w", s.Name, err)
			}
		}
	}
	return subs, nil
}

// acceptEvents keeps declarations of custom events.
func (h *Host) acceptEvents(ctx context.Context, events []store.CustomEvent) error {
	if len(events) == 0 {
		return nil
	}
	return submitAndWait(ctx, h.journal, &store.WriteSet{Delivery: &store.DeliverySet{Events: events}})
}

// letSubscribersStart waits for the plugins that are being started, as long as
// subscribers may take to catch up: a host that ran one task may be done before they are
// there.
func (h *Host) letSubscribersStart(ctx context.Context) {
	grace := cmp.Or(h.opts.DeliveryGrace, delivery.DefaultDrainTimeout)
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	select {
	case <-h.supervisor.Discovered():
	case <-ctx.Done():
		return
	}
	for {
		rung := h.settled.next()
		if !slices.ContainsFunc(h.supervisor.Plugins(), h.subscribesSoon) {
			return
		}
		select {
		case <-rung:
		case <-ctx.Done():
			return
		}
	}
}

// subscribesSoon reports whether a plugin is about to get events. One that is ready is
// connected a moment later.
func (h *Host) subscribesSoon(p supervisor.PluginInfo) bool {
	switch {
	case p.Manifest != nil && len(p.Manifest.Subscriptions) == 0, p.State == task.PluginBackoff:
		return false
	case p.State == task.PluginReady, p.State == task.PluginDegraded:
		return !h.delivery.Connected(p.Instance)
	default:
		return isStarting(&p)
	}
}

// Cutting the log: how often it is looked at, and how much goes in one step.
const (
	cutEvery = time.Hour // or a tenth of the time that events are kept, if that is less
	cutStep  = 4096      // log values
)

// cutLog removes events that are older than they are kept, at once and then every hour, or sooner when
// they are kept for less than ten.
func (h *Host) cutLog(ctx context.Context) error {
	if h.opts.EventsKeep == 0 {
		return nil
	}
	tick := time.NewTicker(max(min(cutEvery, h.opts.EventsKeep/retainShare), retainFloor))
	defer tick.Stop()
	for {
		if err := h.cutOnce(ctx); err != nil && !errors.Is(err, context.Canceled) {
			h.log.Error("old events are not removed", logkeys.Error, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (h *Host) cutOnce(ctx context.Context) error {
	before := h.opts.Now().Add(-h.opts.EventsKeep)
	total := 0
	for more := true; more; {
		var removed int
		var err error
		if removed, more, err = h.store.TrimLog(ctx, before, cutStep); err != nil {
			return err
		}
		total += removed
	}
	if total > 0 {
		h.log.Info("removed old events", logkeys.Events, total, logkeys.Before, before.UTC().Format(time.RFC3339))
	}
	return nil
}
