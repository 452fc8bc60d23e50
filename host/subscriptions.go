package host

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/tasker-engine/tasker/host/internal/api"
	"github.com/tasker-engine/tasker/host/internal/delivery"
	"github.com/tasker-engine/tasker/host/internal/publish"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/supervisor"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// Catalog implements [EventService].
func (h *Host) Catalog(ctx context.Context) ([]api.CatalogEntry, error) {
	plugins, catalog, err := h.eventCatalogNow(ctx)
	if err != nil {
		return nil, err
	}
	entries := catalog.list()
	bindings := h.allBindings(plugins, catalog)
	for i := range entries {
		entries[i].Subscribers = wantedBy(entries[i].Name, plugins, bindings)
	}
	return entries, nil
}

// wantedBy returns the subscriptions that may get an event, by name.
func wantedBy(name string, plugins []supervisor.PluginInfo, bindings []*binding) []string {
	var wanted []string
	for i := range plugins {
		p := &plugins[i]
		if p.Manifest == nil || p.State == task.PluginRefused {
			continue
		}
		for j := range p.Manifest.Subscriptions {
			s := &p.Manifest.Subscriptions[j]
			full := p.Name + "/" + s.Name
			if matchesAny(s.Events, name) && (!s.Bound || slices.ContainsFunc(bindings, func(b *binding) bool { return b.gives(full, name) })) {
				wanted = append(wanted, full)
			}
		}
	}
	slices.Sort(wanted)
	return wanted
}

// gives reports whether a binding lets an event through to a subscription.
func (b *binding) gives(subscription, name string) bool {
	return b.name == subscription && !b.Disabled && len(b.problems) == 0 && (b.Events == nil || matchesAny(b.Events, name))
}

func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return event.Match(p, name) })
}

// allBindings returns the bindings of the registered templates and of the configuration,
// resolved, in the order in which they apply.
func (h *Host) allBindings(plugins []supervisor.PluginInfo, catalog *eventCatalog) []*binding {
	var bindings []*binding
	for _, e := range h.templates.List() {
		bindings = append(bindings, templateBindings(e.Template, plugins, catalog)...)
	}
	return append(bindings, hostBindings(h.opts.Subscriptions, plugins, catalog)...)
}

// Subscriptions implements [EventService].
func (h *Host) Subscriptions(ctx context.Context) ([]api.SubscriptionStatus, error) {
	list, err := h.delivery.List(ctx)
	if err != nil {
		return nil, err
	}
	plugins, catalog, err := h.eventCatalogNow(ctx)
	if err != nil {
		return nil, err
	}
	bindings := h.allBindings(plugins, catalog)
	out := make([]api.SubscriptionStatus, len(list))
	for i := range list {
		out[i] = subscriptionStatus(&list[i])
		describeSubscription(&out[i], plugins)
		for _, b := range bindings {
			if b.name == out[i].Name {
				out[i].Bindings = append(out[i].Bindings, b.info())
			}
		}
	}
	return out, nil
}

func subscriptionStatus(s *delivery.Status) api.SubscriptionStatus {
	out := cursorStatus(&s.Cursor)
	out.State, out.Instance = string(s.State), s.Instance
	out.LastSeq, out.Behind, out.BehindFor = s.LastSeq, s.Behind, s.BehindFor
	out.Unacked, out.DeadLetters = s.Unacked, s.Dead
	for _, o := range s.Unavailable {
		out.Unavailable = append(out.Unavailable, api.Outage(o))
	}
	return out
}

// cursorStatus is what a cursor says of its subscription.
func cursorStatus(c *store.Cursor) api.SubscriptionStatus {
	return api.SubscriptionStatus{
		Name: c.Subscription, Through: c.Through, Delivered: c.Delivered, Paused: c.Paused, Failing: c.Failing, Replays: c.Replays,
		CreatedAt: c.CreatedAt, AckedAt: c.AckedAt,
	}
}

// describeSubscription adds what the plugin declares, with the defaults that apply.
func describeSubscription(out *api.SubscriptionStatus, plugins []supervisor.PluginInfo) {
	plugin, name := subscriberName(out.Name)
	p := findPlugin(plugins, plugin)
	if p == nil || p.Manifest == nil {
		return
	}
	s, _ := subscriptionOf(p.Manifest, name)
	if s == nil {
		return
	}
	out.Description, out.Events, out.Filter, out.Order, out.Bound = s.Description, s.Events, s.Filter, string(s.Order), s.Bound
	out.Window = cmp.Or(s.Window, delivery.DefaultWindow)
	out.MaxAttempts = cmp.Or(s.MaxAttempts, delivery.DefaultMaxAttempts)
	out.Timeout = cmp.Or(s.Timeout.Std(), delivery.DefaultTimeout)
}

// subscriptionName returns the full name of a subscription among those that there are.
func subscriptionName(name string, names []string) (string, error) {
	if slices.Contains(names, name) {
		return name, nil
	}
	var of, plugins []string
	for _, n := range names {
		plugin, _ := subscriberName(n)
		plugins = append(plugins, plugin)
		if plugin == name {
			of = append(of, n)
		}
	}
	candidates := names
	if !strings.Contains(name, "/") {
		candidates = plugins
	}
	switch near := nearest(name, candidates); {
	case len(of) == 1:
		return of[0], nil
	case len(of) > 1:
		return "", fmt.Errorf("plugin %s has %d subscriptions: name one of %s: %w", name, len(of), strings.Join(of, ", "), task.ErrNotFound)
	case near != "":
		return "", fmt.Errorf("there is no subscription %q: did you mean %q? %w", name, near, task.ErrNotFound)
	case len(names) == 0:
		return "", fmt.Errorf("there is no subscription %q, nor any other: %w", name, task.ErrNotFound)
	default:
		return "", fmt.Errorf("there is no subscription %q; there are %s: %w", name, strings.Join(names, ", "), task.ErrNotFound)
	}
}

// subscription returns the full name of a subscription.
func (h *Host) subscription(ctx context.Context, name string) (string, error) {
	list, err := h.delivery.List(ctx)
	if err != nil {
		return "", err
	}
	names := make([]string, len(list))
	for i := range list {
		names[i] = list[i].Cursor.Subscription
	}
	return subscriptionName(name, names)
}

// PauseSubscription implements [EventService].
func (h *Host) PauseSubscription(ctx context.Context, name string, op task.Operation) error {
	name, err := h.subscription(ctx, name)
	if err != nil {
		return err
	}
	return h.delivery.Pause(ctx, name, op)
}

// ResumeSubscription implements [EventService].
func (h *Host) ResumeSubscription(ctx context.Context, name string) error {
	name, err := h.subscription(ctx, name)
	if err != nil {
		return err
	}
	return h.delivery.Resume(ctx, name)
}

// RewindSubscription implements [EventService].
func (h *Host) RewindSubscription(ctx context.Context, name string, to api.Position) (uint64, error) {
	name, err := h.subscription(ctx, name)
	if err != nil {
		return 0, err
	}
	return h.delivery.Rewind(ctx, name, delivery.Position(to))
}

// ReplaySubscription implements [EventService].
func (h *Host) ReplaySubscription(ctx context.Context, name string, r api.Replay) error {
	name, err := h.subscription(ctx, name)
	if err != nil {
		return err
	}
	return h.delivery.Replay(ctx, name, delivery.Position(r.From), delivery.Position(r.To), r.Types)
}

// ForgetSubscription implements [EventService].
func (h *Host) ForgetSubscription(ctx context.Context, name string) error {
	name, err := h.subscription(ctx, name)
	if err != nil {
		return err
	}
	return h.delivery.Forget(ctx, name)
}

// RetryDeadLetters implements [EventService].
func (h *Host) RetryDeadLetters(ctx context.Context, name string, seqs []uint64) (int, error) {
	name, err := h.subscription(ctx, name)
	if err != nil {
		return 0, err
	}
	return h.delivery.RetryDead(ctx, name, seqs)
}

// DiscardDeadLetters implements [EventService].
func (h *Host) DiscardDeadLetters(ctx context.Context, name string, seqs []uint64) (int, error) {
	name, err := h.subscription(ctx, name)
	if err != nil {
		return 0, err
	}
	return h.delivery.DiscardDead(ctx, name, seqs)
}

// DeadLetters implements [EventService].
func (r reading) DeadLetters(ctx context.Context, name string, after uint64, limit int) (page []store.DeadLetter, more bool, err error) {
	cursors, err := r.store.Cursors(ctx)
	if err != nil {
		return nil, false, err
	}
	names := make([]string, len(cursors))
	for i := range cursors {
		names[i] = cursors[i].Subscription
	}
	if name != "" {
		if name, err = subscriptionName(name, names); err != nil {
			return nil, false, err
		}
		names = []string{name}
	}
	if limit <= 0 {
		limit = store.DefaultPage
	}
	limit = min(limit, store.MaxPage)
	for _, n := range names {
		part, err := r.store.DeadLetters(ctx, n, after, limit+1)
		if err != nil {
			return nil, false, err
		}
		page = append(page, part...)
	}
	slices.SortStableFunc(page, func(a, b store.DeadLetter) int { return cmp.Compare(a.Seq, b.Seq) })
	// The page ends with a sequence, because the next one begins after it: several
	// subscriptions may have given up on the same event.
	for limit < len(page) && limit > 0 && page[limit].Seq == page[limit-1].Seq {
		limit++
	}
	if len(page) > limit {
		return page[:limit], true, nil
	}
	return page, false, nil
}

// TryEvent implements [EventService].
func (h *Host) TryEvent(ctx context.Context, r api.TryRequest) (*api.TryResult, error) {
	name, err := h.subscription(ctx, r.Subscription)
	if err != nil {
		return nil, err
	}
	encoded, err := h.trialEvent(ctx, r)
	if err != nil {
		return nil, err
	}
	out, err := h.delivery.Try(ctx, name, encoded, r.Timeout)
	if err != nil {
		return nil, err
	}
	result := api.TryResult(out)
	return &result, nil
}

// trialEvent returns the encoded event of a trial.
func (h *Host) trialEvent(ctx context.Context, r api.TryRequest) ([]byte, error) {
	_, catalog, err := h.eventCatalogNow(ctx)
	if err != nil {
		return nil, err
	}
	entry, ok := catalog.entry(r.Type)
	if !ok {
		text := fmt.Sprintf("there is no event %q", r.Type)
		if near := nearestNames(r.Type, catalog.names()); len(near) > 0 {
			text += ": did you mean " + strings.Join(near, ", ") + "?"
		}
		return nil, fmt.Errorf("%s: %w", text, task.ErrInvalid)
	}
	if r.FromTask != "" {
		return h.lastEvent(ctx, r.FromTask, r.Type)
	}
	payload := r.Payload
	if payload == nil {
		if payload = entry.Example; payload == nil {
			return nil, fmt.Errorf("event %s is declared without an example: give a payload: %w", r.Type, task.ErrInvalid)
		}
	}
	if err := supervisor.CheckPayload(entry.PayloadSchema, payload); err != nil {
		return nil, fmt.Errorf("event %s: %w", r.Type, err)
	}
	id := "trial/" + ulid.Make().String()
	return publish.Trial(id, r.Type, payload, h.opts.Now())
}

// lastEvent returns the last event of a type of a task, as stored.
func (r reading) lastEvent(ctx context.Context, idOrPrefix, name string) ([]byte, error) {
	id, err := r.store.Resolve(ctx, idOrPrefix)
	if err != nil {
		return nil, err
	}
	entries, err := r.store.TaskEvents(ctx, id)
	if err != nil {
		return nil, err
	}
	for _, e := range slices.Backward(entries) {
		if head, err := decodeEvent(e); err != nil {
			return nil, err
		} else if head.GetType() == name {
			return e.Encoded, nil
		}
	}
	return nil, fmt.Errorf("task %s has no event %s: %w", id, name, task.ErrInvalid)
}

// Catalog implements [EventService]: without a host nobody knows which plugins are there.
func (r *Reader) Catalog(ctx context.Context) ([]api.CatalogEntry, error) {
	catalog, err := r.eventCatalog(ctx)
	if err != nil {
		return nil, err
	}
	return catalog.list(), nil
}

// Subscriptions implements [EventService]: without a host every subscriber is absent.
func (r *Reader) Subscriptions(ctx context.Context) ([]api.SubscriptionStatus, error) {
	cursors, err := r.store.Cursors(ctx)
	if err != nil {
		return nil, err
	}
	last, err := r.store.LastSeq(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]api.SubscriptionStatus, len(cursors))
	for i := range cursors {
		s := cursorStatus(&cursors[i])
		s.State, s.LastSeq = string(delivery.StateAbsent), last
		if s.Paused != nil {
			s.State = string(delivery.StatePaused)
		}
		if s.Through < last {
			s.Behind = last - s.Through
			if s.BehindFor, err = r.ageAfter(ctx, s.Through); err != nil {
				return nil, err
			}
		}
		if s.DeadLetters, err = r.countDead(ctx, s.Name); err != nil {
			return nil, err
		}
		out[i] = s
	}
	return out, nil
}

// ageAfter returns how long ago the first event after a sequence was recorded.
func (r reading) ageAfter(ctx context.Context, seq uint64) (time.Duration, error) {
	page, err := r.store.Events(ctx, seq+1, 1)
	if err != nil || len(page) == 0 {
		return 0, err
	}
	head, err := decodeEvent(page[0])
	return max(r.now().Sub(time.Unix(0, head.GetAt())), 0), err
}

// countDead counts the dead letters of a subscription.
func (r reading) countDead(ctx context.Context, name string) (n int, err error) {
	for after := uint64(0); ; {
		page, err := r.store.DeadLetters(ctx, name, after, store.MaxPage)
		if n += len(page); err != nil || len(page) < store.MaxPage {
			return n, err
		}
		after = page[len(page)-1].Seq
	}
}

// PauseSubscription implements [EventService].
func (r *Reader) PauseSubscription(context.Context, string, task.Operation) error {
	return r.noHost()
}

// ResumeSubscription implements [EventService].
func (r *Reader) ResumeSubscription(context.Context, string) error { return r.noHost() }

// RewindSubscription implements [EventService].
func (r *Reader) RewindSubscription(context.Context, string, api.Position) (uint64, error) {
	return 0, r.noHost()
}

// ReplaySubscription implements [EventService].
func (r *Reader) ReplaySubscription(context.Context, string, api.Replay) error { return r.noHost() }

// ForgetSubscription implements [EventService].
func (r *Reader) ForgetSubscription(context.Context, string) error { return r.noHost() }

// RetryDeadLetters implements [EventService].
func (r *Reader) RetryDeadLetters(context.Context, string, []uint64) (int, error) {
	return 0, r.noHost()
}

// DiscardDeadLetters implements [EventService].
func (r *Reader) DiscardDeadLetters(context.Context, string, []uint64) (int, error) {
	return 0, r.noHost()
}

// TryEvent implements [EventService].
func (r *Reader) TryEvent(context.Context, api.TryRequest) (*api.TryResult, error) {
	return nil, r.noHost()
}

var (
	_ EventService = (*Host)(nil)
	_ EventService = (*Reader)(nil)
)
