package host

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/supervisor"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// world is what a handshake looks at, in a test.
type world struct {
	*handshake

	mu     sync.Mutex
	infos  []supervisor.PluginInfo
	stored []store.CustomEvent
}

var worldTime = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func newWorld(t *testing.T, plugins ...supervisor.PluginInfo) *world {
	t.Helper()
	published := map[string]event.Custom{
		"order.paid": {Name: "order.paid", On: event.NameStepCompleted, Step: "charge", FiredBy: []string{"template default/order"}},
	}
	discovered := make(chan struct{})
	close(discovered)
	w := &world{infos: plugins}
	w.handshake = &handshake{
		plugins: w.list, discovered: discovered, settled: newBell(), registered: published, unknown: make(map[string][]string),
		published: func() map[string]event.Custom { return published }, recall: func(context.Context) error { return nil },
		now:      func() time.Time { return worldTime },
		accepted: func(context.Context) ([]store.CustomEvent, error) { return w.stored, nil },
		accept: func(_ context.Context, events []store.CustomEvent) error {
			w.stored = append(w.stored, events...)
			return nil
		},
	}
	return w
}

func (w *world) list() []supervisor.PluginInfo {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.infos)
}

// set replaces what is known of a plugin.
func (w *world) set(p supervisor.PluginInfo) {
	w.mu.Lock()
	w.infos = append(slices.DeleteFunc(w.infos, func(q supervisor.PluginInfo) bool { return q.Name == p.Name }), p)
	w.mu.Unlock()
	w.settled.ring()
}

// subscriber is a manifest with one subscription.
func subscriber(name string, events ...string) *supervisor.Manifest {
	return &supervisor.Manifest{Name: name, Version: "1.0.0", Subscriptions: []supervisor.Subscription{{Name: "all", Events: events}}}
}

// emitter is a manifest with custom events of one schema.
func emitter(name, schema string, events ...string) *supervisor.Manifest {
	m := &supervisor.Manifest{Name: name, Version: "1.0.0"}
	for _, e := range events {
		m.Emits = append(m.Emits, supervisor.Emitted{Name: e, Version: 1, Schema: json.RawMessage(schema)})
	}
	return m
}

func ready(m *supervisor.Manifest) supervisor.PluginInfo {
	return supervisor.PluginInfo{Name: m.Name, State: task.PluginReady, Instance: m.Name + "#1", Manifest: m}
}

func TestHandshake(t *testing.T) {
	const was = `{"type":"object","properties":{"id":{"type":"string"},"total":{"type":"number"}}}`
	const is = `{"type":"object","properties":{"id":{"type":"string"}}}`
	shipped := []store.CustomEvent{{Name: "shipping.shipped", Plugin: "shipping", Version: 1, Schema: json.RawMessage(was), Since: worldTime.Add(-time.Hour)}}
	filtered := subscriber("notify", "step.failed")
	filtered.Subscriptions[0].Filter = "event.stp == 'x'"
	blind := subscriber("notify", "step.failed")
	blind.Subscriptions[0].Filter = "payload.finl"
	bound := subscriber("notify", "task.*", "step.failed")
	bound.Subscriptions[0].Bound = true
	tests := []struct {
		name     string
		m        *supervisor.Manifest
		plugins  []supervisor.PluginInfo
		stored   []store.CustomEvent
		workflow bool
		refused  []string // parts of the error, none = accepted
		warned   string
		notes    []string
	}{
		{name: "events of the catalog", m: bound, notes: []string{"subscription all: task.*, step.failed, through bindings alone"}},
		{
			name: "a misspelt event", m: subscriber("notify", "step.faild", "task.finished"),
			refused: []string{
				`subscription all: there is no event "step.faild": did you mean step.failed`,
				"subscription all: there is no event \"task.finished\": ",
			},
		},
		{
			name: "an event of no plugin", m: subscriber("notify", "warehouse.packed"),
			refused: []string{`there is no event "warehouse.packed": install plugin warehouse, or the template warehouse, whichever publishes it`},
		},
		{
			name: "an event of a plugin that is gone", m: subscriber("notify", "shipping.shipped"), stored: shipped,
			refused: []string{`there is no event "shipping.shipped": plugin shipping emitted it, which is not installed: install it`},
		},
		{
			name: "an event of a plugin that is there and did not start", m: subscriber("notify", "shipping.shipped"), stored: shipped,
			plugins: []supervisor.PluginInfo{{Name: "shipping", State: task.PluginQuarantined}},
			notes:   []string{"subscription all: shipping.shipped"},
		},
		{
			name: "an event that may be of a plugin that did not start", m: subscriber("notify", "shipping.shipped"),
			plugins: []supervisor.PluginInfo{{Name: "shipping", State: task.PluginBackoff}},
			refused: []string{"not yet known is what is emitted by shipping, which did not start"},
		},
		{
			name: "an event of another plugin", m: subscriber("notify", "shipping.shipped"),
			plugins: []supervisor.PluginInfo{ready(emitter("shipping", was, "shipping.shipped"))},
			notes:   []string{"subscription all: shipping.shipped"},
		},
		{name: "an event of a template", m: subscriber("notify", "order.paid", "order.*"), notes: []string{"subscription all: order.paid, order.*"}},
		{
			name: "a wildcard that matches nothing", m: subscriber("notify", "orders.*"),
			warned: "subscription all: orders.* matches no event that there is: see `tasker event list`",
		},
		{
			name: "a workflow event while they are off", m: subscriber("notify", "workflow.no_viable_steps"),
			refused: []string{"event workflow.no_viable_steps is not recorded, because events.workflow is off: set events.workflow: true in tasker.yaml"},
		},
		{name: "workflow events while they are off", m: subscriber("notify", "workflow.*"), warned: "set events.workflow: true"},
		{
			name: "an unknown workflow event while they are off", m: subscriber("notify", "workflow.no_viable_step"),
			refused: []string{"did you mean workflow.no_viable_steps?"},
		},
		{
			name: "workflow events", m: subscriber("notify", "workflow.no_viable_steps"), workflow: true,
			notes: []string{"subscription all: workflow.no_viable_steps"},
		},
		{
			name: "a filter that does not compile", m: filtered,
			refused: []string{`subscription all: filter "event.stp == 'x'": 1:7: an event has no field "stp": did you mean "step"?`},
		},
		{
			name: "a filter of a field that no payload has", m: blind,
			warned: `subscription all: filter "payload.finl": 1:8: no event that comes here has "finl" in its payload: did you mean "final"?`,
		},
		{
			name: "an event of a reserved family", m: emitter("step", was, "step.shipped"),
			refused: []string{`event step.shipped: the family "step" is Tasker's own: give the plugin another name`},
		},
		{
			name: "an event of Tasker's", m: emitter("shipping", was, "step.completed"),
			refused: []string{`event step.completed: the family "step" is Tasker's own: name it shipping.completed`},
		},
		{
			name: "an event of another family", m: emitter("shipping", was, "orders.shipped"),
			refused: []string{"event orders.shipped: a plugin emits events of its own family: name it shipping.shipped"},
		},
		{
			name: "an event that another plugin emits", m: emitter("shipping", was, "orders.shipped"),
			plugins: []supervisor.PluginInfo{ready(emitter("orders", was, "orders.shipped"))},
			refused: []string{"event orders.shipped: a plugin emits events of its own family, and plugin orders emits this one too: name it shipping.shipped"},
		},
		{
			name: "an event that a template publishes", m: emitter("order", was, "order.paid"),
			refused: []string{"event order.paid: the template default/order publishes it too: rename one of them"},
		},
		{
			name: "a schema that breaks a reader", m: emitter("shipping", is, "shipping.shipped"), stored: shipped,
			plugins: []supervisor.PluginInfo{ready(subscriber("notify", "shipping.*")), ready(subscriber("journal", "*"))},
			refused: []string{`event shipping.shipped: property "total" was removed, and subscription notify/all reads it: keep the property as it was and optional ones optional, or emit the new shape under a new name`},
		},
		{
			name: "a schema that changes for nobody", m: emitter("shipping", is, "shipping.shipped"), stored: shipped,
			plugins: []supervisor.PluginInfo{ready(subscriber("journal", "*"))},
			notes:   []string{"event shipping.shipped@1"},
		},
		{
			name: "everything at once", m: &supervisor.Manifest{
				Name: "shipping", Subscriptions: []supervisor.Subscription{{Name: "all", Events: []string{"step.faild"}, Filter: "1"}},
				Emits: []supervisor.Emitted{{Name: "task.shipped"}},
			},
			refused: []string{"event task.shipped: ", "filter \"1\": 1:1: ", `no event "step.faild"`},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, append(tt.plugins, supervisor.PluginInfo{Name: tt.m.Name, State: task.PluginConfiguring, Manifest: tt.m})...)
			w.stored, w.workflow = tt.stored, tt.workflow
			notes, warnings, err := w.check(t.Context(), tt.m)
			if len(tt.refused) == 0 && err != nil || len(tt.refused) > 0 && !errors.Is(err, task.ErrInvalid) {
				t.Fatalf("check: %v, want %q", err, tt.refused)
			}
			for _, want := range tt.refused {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("check: %v\nwant %q in it", err, want)
				}
			}
			if got := strings.Join(warnings, "; "); tt.warned == "" && got != "" || !strings.Contains(got, tt.warned) {
				t.Errorf("warnings %q, want %q", got, tt.warned)
			}
			if tt.notes != nil && !cmp.Equal(notes, tt.notes) {
				t.Errorf("notes %q, want %q", notes, tt.notes)
			}
		})
	}
}

// TestHandshakeKeepsWhatItAccepts: once, with the time of the first declaration.
func TestHandshakeKeepsWhatItAccepts(t *testing.T) {
	w := newWorld(t)
	m := emitter("shipping", `{"type":"object"}`, "shipping.shipped")
	for range 2 {
		if _, _, err := w.check(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	want := []store.CustomEvent{{Name: "shipping.shipped", Plugin: "shipping", Version: 1, Schema: json.RawMessage(`{"type":"object"}`), Since: worldTime}}
	if diff := cmp.Diff(want, w.stored); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
	m.Emits[0].Version, w.now = 2, func() time.Time { return worldTime.Add(time.Hour) }
	if _, _, err := w.check(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if got := w.stored[len(w.stored)-1]; got.Version != 2 || !got.Since.Equal(worldTime) {
		t.Errorf("stored %+v, want version 2 since %s", got, worldTime)
	}
}

// TestHandshakeWaitsForEmitters: a plugin that may still say that it emits an event is
// waited for; when it does not get there, its subscriber is refused until it does.
func TestHandshakeWaitsForEmitters(t *testing.T) {
	starting := supervisor.PluginInfo{Name: "shipping", State: task.PluginHandshaking, Instance: "shipping#1"}
	m := subscriber("notify", "shipping.shipped")
	begin := func(ctx context.Context, w *world) <-chan error {
		checked := make(chan error, 1)
		go func() {
			_, _, err := w.check(ctx, m)
			checked <- err
		}()
		synctest.Wait()
		select {
		case err := <-checked:
			t.Errorf("checked before the emitter was there: %v", err)
		default:
		}
		return checked
	}
	t.Run("it comes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, starting)
			checked := begin(t.Context(), w)
			w.set(ready(emitter("shipping", `{}`, "shipping.shipped")))
			if err := <-checked; err != nil {
				t.Errorf("check: %v, want none", err)
			}
		})
	})
	t.Run("it fails, and comes later", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, starting)
			checked := begin(t.Context(), w)
			w.set(supervisor.PluginInfo{Name: "shipping", State: task.PluginQuarantined, Instance: "shipping#1"})
			if err := <-checked; err == nil {
				t.Error("check: no error")
			}
			w.set(supervisor.PluginInfo{Name: "notify", State: task.PluginRefused, Manifest: m})
			if got := w.mended(); len(got) > 0 {
				t.Errorf("mended %q, want none", got)
			}
			w.set(ready(emitter("shipping", `{}`, "shipping.shipped")))
			if diff := cmp.Diff([]string{"notify"}, w.mended()); diff != "" {
				t.Errorf("mended (-want +got):\n%s", diff)
			}
			if got := w.mended(); len(got) > 0 {
				t.Errorf("mended again: %q", got)
			}
		})
	})
	t.Run("it takes too long", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, starting)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			err := <-begin(ctx, w)
			if want := "waited for what is emitted by shipping"; !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), want) {
				t.Errorf("check: %v, want %q", err, want)
			}
		})
	})
}
