package host

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/tasker-engine/tasker/host/internal/delivery"
	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/supervisor"
	"github.com/tasker-engine/tasker/host/task"
)

// wakePace is the shortest time between two looks at the log for those who rest: they take
// longer to start.
const wakePace = 50 * time.Millisecond

// wakeSubscribers has plugins started that have no process, for the events that their
// subscriptions want. What plugins, subscribers and the host do themselves wakes nobody: a
// plugin that is told of its own end would never rest.
func (h *Host) wakeSubscribers(ctx context.Context) error {
	if len(h.opts.PluginRests) == 0 {
		return nil
	}
	looked := make(map[string]uint64) // by plugin that rests: the last event that was looked at
	pace := time.NewTimer(wakePace)
	defer pace.Stop()
	for {
		settled, grown := h.settled.next(), h.journal.bell.next()
		resting := h.resting(looked)
		for _, p := range resting {
			if err := h.wakeFor(ctx, p, looked); err != nil && ctx.Err() == nil {
				h.log.Error("nobody looks whether events wait for a plugin that is idle", logkeys.Plugin, p.Name, logkeys.Error, err)
			}
		}
		if len(resting) == 0 {
			grown = nil
		}
		select {
		case <-grown:
		case <-settled:
		case <-ctx.Done():
			return nil
		}
		pace.Reset(wakePace)
		select {
		case <-pace.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// resting returns the subscribers that rest, and forgets what is known of others.
func (h *Host) resting(looked map[string]uint64) (out []supervisor.PluginInfo) {
	for _, p := range h.supervisor.Plugins() {
		if p.State == task.PluginIdle && p.Manifest != nil && len(p.Manifest.Subscriptions) > 0 {
			out = append(out, p)
		} else {
			delete(looked, p.Name)
		}
	}
	return out
}

// wakeFor wakes a plugin if an event is in the log that it has not been looked at for, and
// that one of its subscriptions wants. Its subscriptions are not behind with what they do
// not want.
func (h *Host) wakeFor(ctx context.Context, p supervisor.PluginInfo, looked map[string]uint64) error {
	next, known := looked[p.Name]
	if !known {
		statuses, err := h.delivery.List(ctx)
		if err != nil {
			return err
		}
		if next = firstWaiting(statuses, p.Name); next == 0 {
			return nil // it never subscribed
		}
		next--
	}
	for {
		entries, err := h.store.EventsWithin(ctx, next+1, eventsPage, delivery.MaxBatchBytes)
		if err != nil || len(entries) == 0 {
			looked[p.Name] = next
			return err
		}
		wanted, err := h.passOver(p, next+1, entries)
		if err != nil {
			return err
		}
		next = entries[len(entries)-1].Seq
		if wanted {
			looked[p.Name] = next
			h.supervisor.Wake(p.Name)
			return nil
		}
	}
}

// passOver has the subscriptions of a plugin that rests pass over the events before the
// first that they may want. It reports whether one is among them that the plugin is started
// for. Where the log has lost the first sequence they have to be told of it.
func (h *Host) passOver(p supervisor.PluginInfo, first uint64, entries []store.LogEntry) (wanted bool, err error) {
	kinds := make([]string, len(entries))
	for i, e := range entries {
		head, err := eventHeadOf(e)
		if err != nil {
			return false, err
		}
		kinds[i] = string(head.kind)
	}
	for i := range p.Manifest.Subscriptions {
		s := &p.Manifest.Subscriptions[i]
		wants := func(kind string) bool { return matchesAny(s.Events, kind) }
		wanted = wanted || slices.ContainsFunc(kinds, func(kind string) bool { return !ofTheHost(kind) && wants(kind) })
		before := slices.IndexFunc(kinds, wants)
		if before < 0 {
			before = len(kinds)
		}
		if before > 0 && entries[0].Seq == first {
			h.delivery.PassOver(p.Name+"/"+s.Name, first, entries[before-1].Seq)
		}
	}
	return wanted, nil
}

// firstWaiting returns the first event that a subscription of a plugin may wait for, 0 = it
// has none that is not paused.
func firstWaiting(statuses []delivery.Status, plugin string) (first uint64) {
	for i := range statuses {
		name, _, _ := strings.Cut(statuses[i].Cursor.Subscription, "/")
		if name != plugin || statuses[i].State == delivery.StatePaused {
			continue
		}
		if from := statuses[i].Cursor.Through + 1; first == 0 || from < first {
			first = from
		}
	}
	return first
}

// ofTheHost reports whether an event tells of what runs tasks, and not of tasks.
func ofTheHost(kind string) bool {
	family, _, _ := strings.Cut(kind, ".")
	return family == "plugin" || family == "subscriber" || family == "host"
}
