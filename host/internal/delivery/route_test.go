package delivery_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tasker-engine/tasker/host/internal/delivery"
	"github.com/tasker-engine/tasker/host/internal/expr"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

func filter(tb testing.TB, source string) *expr.Filter {
	tb.Helper()
	f, err := expr.Compile(source)
	if err != nil {
		tb.Fatal(err)
	}
	return f
}

// TestRoute: the first rule that applies decides, and bindings only narrow.
func TestRoute(t *testing.T) {
	order := &task.TemplateRef{Namespace: "shop", Name: "order"}
	tests := []struct {
		name     string
		declared func(*delivery.Subscription)
		template []delivery.Binding
		host     []delivery.Binding
		event    *eventv1.Event // default: step.failed of shop/order@1.0.0
		want     string         // binding, "declared" or "no"
	}{
		{name: "declared", want: "declared"},
		{name: "not declared", declared: func(s *delivery.Subscription) { s.Events = []string{"task.*"} }, want: "no"},
		{name: "bound", declared: func(s *delivery.Subscription) { s.Bound = true }, want: "no"},
		{name: "declared filter", declared: func(s *delivery.Subscription) { s.Filter = filter(t, `payload.n > 1`) }, want: "no"},
		{
			name: "template", template: []delivery.Binding{{Source: "t1", Enabled: true}}, host: []delivery.Binding{{Source: "h", Enabled: true}},
			want: "t1",
		},
		{name: "disabled in the template", template: []delivery.Binding{{Source: "t1"}}, host: []delivery.Binding{{Source: "h", Enabled: true}}, want: "no"},
		{
			name: "first match of the template", want: "t3",
			template: []delivery.Binding{
				{Source: "t1", Enabled: true, Events: []string{"task.*"}},
				{Source: "t2", Enabled: true, Filter: filter(t, `payload.n == 2`)},
				{Source: "t3", Enabled: true, Filter: filter(t, `payload.n == 1`)},
				{Source: "t4", Enabled: true},
			},
		},
		{
			name: "other subscriptions of the template", want: "h",
			template: []delivery.Binding{{Source: "t", Subscription: "q/other", Enabled: true}}, host: []delivery.Binding{{Source: "h", Enabled: true}},
		},
		{
			name: "host narrows", want: "no",
			declared: func(s *delivery.Subscription) { s.Events = []string{"task.*"} }, host: []delivery.Binding{{Source: "h", Enabled: true}},
		},
		{
			name: "host lets a bound one live", want: "h",
			declared: func(s *delivery.Subscription) { s.Bound = true }, host: []delivery.Binding{{Source: "h", Template: order, Enabled: true}},
		},
		{
			name: "host for another template", want: "declared",
			host: []delivery.Binding{{Source: "h", Template: &task.TemplateRef{Namespace: "shop", Name: "order", Version: "2.0.0"}}},
		},
		{
			name: "an event of no template", event: &eventv1.Event{Type: "plugin.crashed"}, want: "declared",
			template: []delivery.Binding{{Source: "t", Enabled: true}}, host: []delivery.Binding{{Source: "h", Template: order, Enabled: true}},
		},
		{name: "workflow is not implied", event: &eventv1.Event{Type: "workflow.no_viable_steps"}, want: "no"},
		{
			name: "about itself", want: "no",
			event: &eventv1.Event{Type: "subscriber.lagging", Payload: []byte(`{"subscription":"p/all"}`)},
		},
		{
			name: "about another", want: "declared",
			event: &eventv1.Event{Type: "subscriber.lagging", Payload: []byte(`{"subscription":"p/other"}`)},
		},
		{name: "a filter that fails", declared: func(s *delivery.Subscription) { s.Filter = filter(t, `payload.n > "x"`) }, want: "no"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, list := range [][]delivery.Binding{tt.template, tt.host} {
				for i := range list {
					if list[i].Subscription == "" {
						list[i].Subscription = "p/all"
					}
				}
			}
			w := newWorld(t, newMemory(), func(o *delivery.Options) {
				o.Bindings = tt.host
				o.Template = func(_ context.Context, ref task.TemplateRef, id task.ID) ([]delivery.Binding, error) {
					if ref.String() != "shop/order@1.0.0" || id != taskA {
						return nil, fmt.Errorf("asked for %s of %s", ref, id)
					}
					return tt.template, nil
				}
			})
			declared := []func(*delivery.Subscription){}
			if tt.declared != nil {
				declared = append(declared, tt.declared)
			}
			e := tt.event
			if e == nil {
				e = &eventv1.Event{
					Type: "step.failed", TaskId: taskA, Namespace: "shop", Template: "order", Version: "1.0.0", Payload: []byte(`{"n":1}`),
				}
			}
			if _, _, err := w.Route(t.Context(), "p/all", encode(e)); !errors.Is(err, task.ErrNotFound) {
				t.Errorf("before it is connected: %v", err)
			}
			w.Connect("p#1", []delivery.Subscription{sub("p/all", declared...)})
			through, wanted, err := w.Route(t.Context(), "p/all", encode(e))
			if err != nil {
				t.Fatal(err)
			}
			got := "no"
			switch {
			case wanted && through == nil:
				got = "declared"
			case wanted:
				got = through.Source
			}
			expect(t, "route", got, tt.want)
		})
	}
}

// TestBindingsOnTheWire: a binding is announced before its first event, under a number of
// its own; one that changes gets another.
func TestBindingsOnTheWire(t *testing.T) {
	var mu sync.Mutex
	var trouble error
	template := []delivery.Binding{{Subscription: "p/all", Source: "template", Config: []byte(`{"to":"t"}`), Enabled: true, Events: []string{"step.*"}}}
	calls := 0
	synctest.Test(t, func(t *testing.T) {
		_, w := bubble(t, func(o *delivery.Options) {
			o.Bindings = []delivery.Binding{
				{Subscription: "p/all", Source: "tasker.yaml", Config: []byte(`{"to":"h"}`), Enabled: true},
				{Subscription: "p/all", Source: "tasker.yaml", Config: []byte(`{"to":"off"}`)},
			}
			o.Template = func(context.Context, task.TemplateRef, task.ID) ([]delivery.Binding, error) {
				mu.Lock()
				defer mu.Unlock()
				calls++
				return template, trouble
			}
		})

		var lines []string
		w.instance("p#1", func(_ context.Context, p *plugin) {
			tell := func(what string, b *pluginv1.Bindings) {
				for _, b := range b.GetBindings() {
					what += fmt.Sprintf(" %d=%s", b.GetId(), b.GetConfig())
				}
				lines = append(lines, what)
			}
			for r := p.next(); r != nil; r = p.next() {
				if r.GetOpen() != nil {
					tell("open "+r.GetOpen().GetSubscription(), r.GetOpen().GetBindings())
				}
				if r.GetBindings() != nil {
					tell("bindings", r.GetBindings())
				}
				for _, e := range r.GetBatch().GetEvents() {
					lines = append(lines, fmt.Sprintf("event %d through %d", e.GetSeq(), e.GetBinding()))
					p.ack(e.GetSeq())
				}
			}
		})
		w.Connect("p#1", []delivery.Subscription{sub("p/all")})
		w.add("step.failed@"+taskA, "plugin.ready", "task.failed@"+taskA, "step.failed@"+taskA)
		synctest.Wait()
		mu.Lock()
		if calls != 1 {
			t.Errorf("the template was asked for %d times, want once", calls)
		}
		template = []delivery.Binding{{Subscription: "p/all", Source: "template", Config: []byte(`{"to":"new"}`), Enabled: true}}
		trouble = errors.New("the store is busy")
		mu.Unlock()
		w.Rebind([]delivery.Binding{{Subscription: "p/all", Source: "tasker.yaml", Config: []byte(`{"to":"H"}`), Enabled: true}})
		w.add("plugin.ready", "task.failed@"+taskA)
		synctest.Wait()
		mu.Lock()
		trouble = nil
		mu.Unlock()
		wait(2 * time.Second)
		expect(t, "frames", strings.Join(lines, "\n"), strings.Join([]string{
			`open all 1={"to":"h"}`,
			`bindings 1={"to":"h"} 2={"to":"t"}`, "event 1 through 2", "event 2 through 1", "event 4 through 2",
			`bindings 3={"to":"H"} 4={"to":"new"}`, "event 5 through 3", "event 6 through 4",
		}, "\n"))
		if got := w.text(); !strings.Contains(got, "the store is busy") {
			t.Errorf("the log says %q", got)
		}
	})
}

// TestFeedback: what is recorded about a subscription does not come to it.
func TestFeedback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := bubble(t)

		w.add("task.started")
		w.instance("p#1", handler(&journal{}, func(p *plugin, e *pluginv1.SequencedEvent) bool { p.reject(e.GetSeq(), "no"); return true }))
		var other journal
		w.instance("q#1", good(&other))
		w.Connect("q#1", []delivery.Subscription{sub("q/all")})
		w.Connect("p#1", []delivery.Subscription{sub("p/all")})
		wait(time.Minute)
		expect(t, "told", strings.Join(w.told(), "\n"), "dead p/all 1 task.started 1: no")
		expect(t, "the other", other.all(), "1/1 2/1")
		if c := m.cursor("p/all"); c.Through != 2 {
			t.Errorf("the cursor is %+v", c)
		}
	})
}

// TestNoEcho: two subscribers that refuse everything, and with it what is recorded of each
// other, come to rest; so do two that are slow.
func TestNoEcho(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := bubble(t)
		w.add("task.started")
		for _, name := range []string{"p", "q"} {
			w.instance(name+"#1", handler(&journal{}, func(p *plugin, e *pluginv1.SequencedEvent) bool { p.reject(e.GetSeq(), "no"); return true }))
			w.Connect(name+"#1", []delivery.Subscription{sub(name + "/all")})
		}
		wait(time.Minute)
		told := w.told()
		slices.Sort(told)
		expect(t, "told", strings.Join(told, "\n"), "dead p/all 1 task.started 1: no\ndead q/all 1 task.started 1: no")
		if len(m.letters) != 4 || w.status("p/all").Dead != 2 || m.last() != 3 {
			t.Errorf("%d dead letters, status %+v, the log ends with %d; want 4 and 3", len(m.letters), w.status("p/all"), m.last())
		}
	})
}

// TestLateEcho: an event about another subscription makes none late.
func TestLateEcho(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, w := bubble(t)
		w.instance("p#1", silent)
		w.Connect("p#1", []delivery.Subscription{sub("p/all", func(s *delivery.Subscription) { s.Timeout = time.Hour })})
		w.publish("subscriber.lagging", "q/all", &store.WriteSet{}, func(error) {})
		wait(10 * time.Minute)
		expect(t, "told", strings.Join(w.told(), "\n"), "")
		w.add("task.started")
		wait(2 * time.Minute)
		expect(t, "told of another event", strings.Join(w.told(), "\n"), "lagging p/all 2 1m0s")
	})
}

// TestReadsAreShared: subscriptions that stand near each other read the log once.
func TestReadsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := bubble(t)

		const subscribers, events = 20, 1_500
		var kinds []string
		for range events {
			kinds = append(kinds, "step.started@"+taskA)
		}
		w.add(kinds...)
		journals := make([]journal, subscribers)
		for i := range journals {
			name := fmt.Sprintf("p%d", i)
			w.instance(name+"#1", good(&journals[i]))
			w.Connect(name+"#1", []delivery.Subscription{sub(name + "/all")})
		}
		synctest.Wait()
		for range 10 {
			w.add("step.started@" + taskA)
			wait(pause)
		}
		for i := range journals {
			if got := journals[i].count(); got != events+10 {
				t.Errorf("subscriber %d got %d events, want %d", i, got, events+10)
			}
		}
		if reads, _ := m.counts(); reads > events/512+1+subscribers+10+5 {
			t.Errorf("the log was read %d times, want about %d", reads, events/512+10)
		}
	})
}

// TestRebindInFrame: bindings that change while a batch is being put together take none
// from its events, and are those of what follows.
func TestRebindInFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *world
		var once sync.Once
		bindings := func(config string) []delivery.Binding {
			return []delivery.Binding{{Subscription: "p/all", Events: []string{"task.started"}, Config: []byte(config), Enabled: true}}
		}
		_, w = bubble(t, func(o *delivery.Options) {
			o.Bindings = bindings("old")
			o.Template = func(context.Context, task.TemplateRef, task.ID) ([]delivery.Binding, error) {
				once.Do(func() { w.Rebind(bindings("new")) })
				return nil, nil
			}
		})
		kinds := slices.Repeat([]string{"step.started"}, 2*delivery.MaxBatchEvents+2)
		kinds[0] = "task.started"
		kinds[delivery.MaxBatchEvents] = "step.started@" + taskA // asks for its template
		kinds[2*delivery.MaxBatchEvents+1] = "task.started"
		w.add(kinds...)
		var got []string
		w.instance("p#1", func(_ context.Context, p *plugin) {
			known := make(map[uint32]string)
			for r := p.next(); r != nil; r = p.next() {
				if told := cmp.Or(r.GetBindings(), r.GetOpen().GetBindings()); told != nil {
					clear(known)
					for _, b := range told.GetBindings() {
						known[b.GetId()] = string(b.GetConfig())
					}
				}
				for _, e := range r.GetBatch().GetEvents() {
					got = append(got, fmt.Sprintf("%d:%s", e.GetSeq(), known[e.GetBinding()]))
					p.ack(e.GetSeq())
				}
			}
		})
		w.Connect("p#1", []delivery.Subscription{sub("p/all", func(s *delivery.Subscription) { s.Bound = true })})
		synctest.Wait()
		expect(t, "events and their configs", strings.Join(got, " "), "1:old 514:new")
	})
}
