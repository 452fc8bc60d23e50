package hosttest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// recorderPlugin is the plugin that writes down every event that it gets. Its
// subscriptions begin with the log: "all" gets everything in the order of the log,
// "lanes" the events of tasks in the order of each task, and "bound" those of tasks that
// bindings give it.
const recorderPlugin = "github.com/tasker-engine/tasker/host/testdata/recorder"

// Recorder offers, beside the other plugins, one under each of the names that writes down
// every event that it gets; see [Host.Received].
func Recorder(names ...string) Option {
	return func(c *config) { c.recorders = append(c.recorders, names...) }
}

// InstallRecorder puts a recorder of a name into a directory of plugins.
func InstallRecorder(tb testing.TB, dir, name string) {
	tb.Helper()
	built, err := filepath.Glob(filepath.Join(BuildPlugin(tb, recorderPlugin), "*"))
	if err != nil || len(built) != 1 {
		tb.Fatalf("recorder: built %q, %v", built, err)
	}
	binary, err := os.ReadFile(built[0])
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "tasker-plugin-"+name+filepath.Ext(built[0])), binary, 0o700) //nolint:gosec // it is to be executed
	}
	if err != nil {
		tb.Fatalf("recorder: %v", err)
	}
}

// Received is an event as a recorder wrote it down.
type Received struct {
	Seq      uint64  `json:"seq"`
	ID       string  `json:"id"`
	Type     string  `json:"type"`
	Task     task.ID `json:"task"`
	TaskSeq  uint64  `json:"task_seq"`
	Delivery int     `json:"delivery"`
	Label    string  `json:"label"` // of the binding's config
	PID      int     `json:"pid"`
}

// Behaviour makes a recorder misbehave at events of a type.
type Behaviour struct {
	Type  string `json:"type"`
	Do    string `json:"do"`    // retry, reject, exit or hang; empty = nothing
	Times int    `json:"times"` // deliveries of an event that go wrong; 0 = all
	After int    `json:"after"` // so many milliseconds later
}

// Behave makes a recorder of the home misbehave from now on; none = it behaves.
func (h *Host) Behave(recorder string, all ...Behaviour) {
	h.t.Helper()
	dir := filepath.Join(h.opts.Home, "data", recorder)
	text, err := json.Marshal(all)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "behaviour.new"), text, 0o600)
	}
	if err == nil {
		err = os.Rename(filepath.Join(dir, "behaviour.new"), filepath.Join(dir, "behaviour.json"))
	}
	if err != nil {
		h.t.Fatalf("behaviour of %s: %v", recorder, err)
	}
}

// Declare makes a recorder of a home declare more from its next start on: a subscription
// "more" to these events, with a filter, and the custom event shipping.shipped in the
// shape "shipped" or, with a property less, "shipped_less".
func Declare(tb testing.TB, home, recorder string, events []string, filter, emits string) {
	tb.Helper()
	dir := filepath.Join(home, "data", recorder)
	text, err := json.Marshal(map[string]any{"events": events, "filter": filter, "emits": emits})
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "declare.json"), text, 0o600)
	}
	if err != nil {
		tb.Fatalf("declare %s: %v", recorder, err)
	}
}

// Received returns what a subscription of a recorder of the home got, in that order.
func (h *Host) Received(recorder, subscription string) []Received {
	h.t.Helper()
	found, err := ReadReceived(h.opts.Home, recorder, subscription)
	if err != nil {
		h.t.Fatal(err)
	}
	return found
}

// ReadReceived is [Host.Received] for a home without a host. A line that a kill cut short
// is left out.
func ReadReceived(home, recorder, subscription string) ([]Received, error) {
	text, err := os.ReadFile(filepath.Join(home, "data", recorder, subscription+".jsonl"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("recorder: %w", err)
	}
	var found []Received
	for line := range bytes.Lines(text) {
		var r Received
		if err := json.Unmarshal(line, &r); err == nil {
			found = append(found, r)
		}
	}
	return found, nil
}

// Subscription returns how a subscription is doing.
func (h *Host) Subscription(name string) host.SubscriptionStatus {
	h.t.Helper()
	ctx, cancel := h.context()
	defer cancel()
	all, err := h.Subscriptions(ctx)
	if err != nil {
		h.t.Fatalf("subscriptions: %v", err)
	}
	for _, s := range all {
		if s.Name == name {
			return s
		}
	}
	return host.SubscriptionStatus{Name: name}
}

// AwaitSubscription waits until a subscription is as wanted, and returns it.
func (h *Host) AwaitSubscription(name, what string, wanted func(host.SubscriptionStatus) bool) host.SubscriptionStatus {
	h.t.Helper()
	ctx, cancel := h.context()
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		s := h.Subscription(name)
		if wanted(s) {
			return s
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			h.t.Fatalf("waited in vain for %s to be %s: %+v", name, what, s)
		}
	}
}

// AwaitDelivered waits until subscriptions are done with every event that the log holds
// now.
func (h *Host) AwaitDelivered(names ...string) {
	h.t.Helper()
	health, err := h.Health(context.Background())
	if err != nil {
		h.t.Fatalf("health: %v", err)
	}
	for _, name := range names {
		h.AwaitSubscription(name, fmt.Sprintf("done with %d", health.Store.LastSeq), func(s host.SubscriptionStatus) bool {
			return s.Through >= health.Store.LastSeq
		})
	}
}

// Wanted returns the events of a log that a subscription to names and wildcards gets: all
// that match but those about itself.
func Wanted(log []Event, subscription string, patterns ...string) []Event {
	var wanted []Event
	for _, e := range log {
		var about struct {
			Subscription string `json:"subscription"`
		}
		if event.Match("subscriber.*", e.Type) {
			_ = json.Unmarshal(e.Payload, &about)
		}
		if about.Subscription == subscription {
			continue
		}
		if slices.ContainsFunc(patterns, func(p string) bool { return event.Match(p, e.Type) }) {
			wanted = append(wanted, e)
		}
	}
	return wanted
}

// CheckDelivery compares what a subscription got with what it wanted: every event is
// there at least once, and none comes before all that precede it have come. Where all
// events of the tasks were wanted, they come numbered without gaps.
func CheckDelivery(got []Received, wanted []Event) error {
	next := 0
	numbers := make(map[task.ID]uint64) // the last task_seq that came
	complete := denseTasks(wanted)
	places := make(map[uint64]int, len(wanted))
	for i, e := range wanted {
		places[e.Seq] = i
	}
	for _, r := range got {
		place, ok := places[r.Seq]
		switch {
		case !ok:
			return fmt.Errorf("got event %d %s %s, which it did not want", r.Seq, r.ID, r.Type)
		case wanted[place].ID != r.ID || wanted[place].Type != r.Type:
			return fmt.Errorf("got event %d as %s %s, which is %s %s", r.Seq, r.ID, r.Type, wanted[place].ID, wanted[place])
		case place > next:
			return fmt.Errorf("got event %d %s before %d %s", r.Seq, r.Type, wanted[next].Seq, wanted[next])
		case place == next:
			next++
			if r.Task != "" && complete && r.TaskSeq != numbers[r.Task]+1 {
				return fmt.Errorf("got task_seq %d of task %s after %d", r.TaskSeq, r.Task, numbers[r.Task])
			}
			numbers[r.Task] = r.TaskSeq
		}
	}
	if next < len(wanted) {
		return fmt.Errorf("got %d of %d events; the first that is missing is %d %s", next, len(wanted), wanted[next].Seq, wanted[next])
	}
	return nil
}

// denseTasks reports whether events are all that their tasks have had.
func denseTasks(events []Event) bool {
	last := make(map[task.ID]uint64)
	for _, e := range events {
		if e.TaskID != "" && e.TaskSeq != last[e.TaskID]+1 {
			return false
		}
		last[e.TaskID] = e.TaskSeq
	}
	return true
}

// CheckLanes is [CheckDelivery] for a subscription in the order of tasks.
func CheckLanes(got []Received, wanted []Event) error {
	received, byTask := make(map[task.ID][]Received), make(map[task.ID][]Event)
	for _, r := range got {
		received[r.Task] = append(received[r.Task], r)
	}
	for _, e := range wanted {
		byTask[e.TaskID] = append(byTask[e.TaskID], e)
	}
	var faults []error
	for id, unwanted := range received {
		if _, ok := byTask[id]; !ok {
			faults = append(faults, fmt.Errorf("task %s: got %d events that it did not want", id, len(unwanted)))
		}
	}
	for id, events := range byTask {
		if err := CheckDelivery(received[id], events); err != nil {
			faults = append(faults, fmt.Errorf("task %s: %w", id, err))
		}
	}
	return errors.Join(faults...)
}

// AwaitLog waits until the log holds so many of the events that a query selects, and
// returns them.
func (h *Host) AwaitLog(q host.EventQuery, n int) []Event {
	h.t.Helper()
	ctx, cancel := h.context()
	defer cancel()
	var events []Event
	q.Follow = true
	err := h.Events(ctx, q, func(entry host.LogEntry) error {
		e, err := DecodeEvent(entry)
		if events = append(events, e); err == nil && len(events) == n {
			err = errEnough
		}
		return err
	})
	if !errors.Is(err, errEnough) {
		h.t.Fatalf("waited in vain for %d events %+v, got %d: %v", n, q, len(events), err)
	}
	return events
}
