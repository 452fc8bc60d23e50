package publish

import (
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// Host publishes the events that are about no task: those of plugins, of subscriptions
// and of the host itself. Each is committed as soon as it is published: on its own, or
// with what delivery changes at the same time.
type Host struct {
	id     string
	epoch  uint64
	submit func(*store.WriteSet, func(store.Commit, error))
	done   func(error)

	mu sync.Mutex
	n  uint64 // events so far in this epoch
}

// ForHost returns the publisher of a host. submit commits a write set as
// [store.Store.Submit] does; done is told how each commit ended.
func ForHost(
	id string, epoch uint64, submit func(*store.WriteSet, func(store.Commit, error)), done func(error),
) *Host {
	return &Host{id: id, epoch: epoch, submit: submit, done: done}
}

// PluginStarted publishes [event.PluginStarted].
func (h *Host) PluginStarted(l task.PluginLife) {
	h.record(event.PluginStarted{Plugin: plugin(l)}, l.At)
}

// PluginReady publishes [event.PluginReady].
func (h *Host) PluginReady(l task.PluginLife) {
	handlers := append([]string{}, l.Handlers...) // a list also when there are none
	h.record(event.PluginReady{Plugin: plugin(l), Handlers: handlers}, l.At)
}

// PluginCrashed publishes [event.PluginCrashed].
func (h *Host) PluginCrashed(l task.PluginLife) {
	h.record(event.PluginCrashed{Plugin: plugin(l), RetryAt: l.RetryAt.UTC()}, l.At)
}

// PluginQuarantined publishes [event.PluginQuarantined].
func (h *Host) PluginQuarantined(l task.PluginLife) {
	h.record(event.PluginQuarantined{Plugin: plugin(l), Crashes: l.Crashes}, l.At)
}

// PluginStopped publishes [event.PluginStopped].
func (h *Host) PluginStopped(l task.PluginLife) {
	h.record(event.PluginStopped{Plugin: plugin(l)}, l.At)
}

// HostStarted publishes [event.HostStarted].
func (h *Host) HostStarted(version string, at time.Time) {
	h.record(event.HostStarted{HostID: h.id, Epoch: h.epoch, Version: version}, at)
}

// HostStopping publishes [event.HostStopping].
func (h *Host) HostStopping(reason string, at time.Time) {
	h.record(event.HostStopping{HostID: h.id, Epoch: h.epoch, Reason: reason}, at)
}

// SubscriberDeadLettered publishes [event.SubscriberDeadLettered] in one transaction with
// the changes of ws, nil for none; done is told how it ended.
func (h *Host) SubscriberDeadLettered(l task.DeadLetter, at time.Time, ws *store.WriteSet, done func(error)) {
	h.recordWith(event.SubscriberDeadLettered{
		Subscriber: event.Subscriber{Subscription: l.Subscription}, Seq: l.Seq, EventID: l.EventID, EventType: l.EventType,
		TaskID: string(l.Task), Reason: l.Reason, Deliveries: l.Deliveries,
	}, at, ws, done)
}

// SubscriberGap publishes [event.SubscriberGap] in one transaction with the changes of
// ws, nil for none; done is told how it ended.
func (h *Host) SubscriberGap(subscription string, from, through uint64, at time.Time, ws *store.WriteSet, done func(error)) {
	h.recordWith(event.SubscriberGap{
		Subscriber: event.Subscriber{Subscription: subscription}, FromSeq: from, ThroughSeq: through,
	}, at, ws, done)
}

// SubscriberLagging publishes [event.SubscriberLagging].
func (h *Host) SubscriberLagging(subscription string, events uint64, behind time.Duration, at time.Time) {
	h.record(event.SubscriberLagging{
		Subscriber: event.Subscriber{Subscription: subscription}, EventsBehind: events, SecondsBehind: event.SecondsOf(behind),
	}, at)
}

func (h *Host) record(payload event.Payload, at time.Time) { h.recordWith(payload, at, nil, h.done) }

// recordWith adds an event to a write set without a task, and commits it.
func (h *Host) recordWith(payload event.Payload, at time.Time, ws *store.WriteSet, done func(error)) {
	h.mu.Lock()
	defer h.mu.Unlock() // held over submit: the log keeps the order of n
	h.n++
	id := h.id + "/" + strconv.FormatUint(h.epoch, 10) + "/" + strconv.FormatUint(h.n, 10)
	name := payload.EventName()
	body, err := encodePayload(nil, payload)
	if err != nil {
		done(fmt.Errorf("publish %s: %w", name, err))
		return
	}
	if ws == nil {
		ws = &store.WriteSet{}
	}
	envelope := appendEnvelope(nil, []byte(id), &eventv1.Event{Type: name, At: at.UnixNano(), Payload: body})
	ws.Events = append(ws.Events, store.Event{Type: name, Encoded: envelope})
	h.submit(ws, func(_ store.Commit, err error) { done(err) })
}

func plugin(l task.PluginLife) event.Plugin {
	return event.Plugin{Plugin: l.Plugin, Version: l.Version, Instance: l.Instance, Cause: l.Cause}
}
