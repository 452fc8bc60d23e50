package delivery_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host/internal/delivery"
	"github.com/tasker-engine/tasker/host/task"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// TestUnavailable: what needs something that is not there waits, for longer and longer,
// and never becomes a dead letter; one event tries at a time.
func TestUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := bubble(t)
		w.add("task.started", "step.started", "step.failed", "task.failed")
		var j journal
		var back atomic.Bool
		w.instance("p#1", handler(&j, func(p *plugin, e *pluginv1.SequencedEvent) bool {
			if back.Load() {
				return true
			}
			p.away(e.GetSeq(), 0, "no server")
			return false
		}))
		begin := time.Now()
		w.Connect("p#1", []delivery.Subscription{sub("p/all", func(s *delivery.Subscription) { s.MaxAttempts = 2 })})
		wait(55 * time.Second) // 1 + 2 + 4 + 8 + 16 + 32 seconds, and a tenth
		expect(t, "events", j.all(), "1/1 1/2 1/3 1/4 1/5 1/6")
		st := w.status("p/all")
		if len(st.Unavailable) != 1 || st.State != delivery.StateRetrying {
			t.Fatalf("status %s, unavailable %+v, want that it is told of", st.State, st.Unavailable)
		}
		u := st.Unavailable[0]
		if !u.Since.Equal(begin) || u.Reason != "no server" || u.Tries < 6 || !u.NextTry.After(begin) || u.Binding != "" {
			t.Errorf("outage %+v since %s", u, begin)
		}
		wait(10 * time.Minute)
		if n := j.count(); n < 14 || n > 19 {
			t.Errorf("%d deliveries in eleven minutes, want one a minute: %s", n, j.all())
		}
		back.Store(true)
		want(t, "resume", w.Resume(t.Context(), "p/all"), nil) // and it tries at once
		synctest.Wait()
		st = w.status("p/all")
		if len(st.Unavailable) > 0 || st.State != delivery.StateCurrent {
			t.Errorf("once resumed it is %s, unavailable %+v", st.State, st.Unavailable)
		}
		wait(2 * time.Minute)
		st = w.status("p/all")
		if c := m.cursor("p/all"); c.Through < 4 || len(c.Failing) > 0 || len(m.letters) > 0 {
			t.Errorf("in the end the cursor is %+v, there are %d dead letters", c, len(m.letters))
		}
		if len(st.Unavailable) > 0 || st.State != delivery.StateCurrent {
			t.Errorf("in the end it is %s, unavailable %+v", st.State, st.Unavailable)
		}
		expect(t, "told", strings.Join(w.told(), "\n"), "lagging p/all 4 1m0s")
		expect(t, "log", w.text(), "[WARN]  what the subscriber needs is not there; its events wait: subscription=p/all reason=\"no server\"\n"+
			"[WARN]  the subscriber lags: subscription=p/all events=4 behind=1m0s\n")
	})
}

// lanes plays a plugin with a lane per task. judge returns how long an event has to wait,
// negative = it is done, zero = the host decides.
func lanes(j *journal, judge func(e *pluginv1.SequencedEvent) time.Duration) func(context.Context, *plugin) {
	return func(_ context.Context, p *plugin) {
		held := make(map[string]bool)
		for r := p.next(); r != nil; r = p.next() {
			p.pong(r)
			if r.GetRestart() != nil {
				delete(held, r.GetRestart().GetTaskId())
			}
			for _, e := range r.GetBatch().GetEvents() {
				var is eventv1.Event
				if err := proto.Unmarshal(e.GetEvent(), &is); err != nil || held[is.GetTaskId()] {
					continue
				}
				j.note(e)
				if after := judge(e); after >= 0 {
					held[is.GetTaskId()] = true
					p.away(e.GetSeq(), after, "no endpoint")
				} else {
					p.ackSeqs(e.GetSeq())
				}
			}
		}
	}
}

func taskOf(n int) string { return fmt.Sprintf("01J000000000000000000%05d", n) }

// TestUnavailableBinding: in the order of tasks, what one binding needs holds up that
// binding's events: one try at a time, however many tasks wait. Other bindings go on.
func TestUnavailableBinding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := bubble(t, func(o *delivery.Options) {
			o.Bindings = []delivery.Binding{
				{Subscription: "p/all", Source: "failures", Events: []string{"task.failed"}, Config: []byte(`{}`), Enabled: true},
				{Subscription: "p/all", Source: "rest", Enabled: true},
			}
		})
		var kinds []string
		for i := range 20 {
			kinds = append(kinds, "task.failed@"+taskOf(i), "task.started@"+taskOf(100+i))
		}
		var j journal
		var mu sync.Mutex
		var back bool
		tries := make(map[time.Time]int)
		w.instance("p#1", lanes(&j, func(e *pluginv1.SequencedEvent) time.Duration {
			mu.Lock()
			defer mu.Unlock()
			if back || e.GetSeq()%2 == 0 {
				return -1
			}
			tries[time.Now()]++
			return 7 * time.Second
		}))
		w.Connect("p#1", []delivery.Subscription{sub("p/all", func(s *delivery.Subscription) { s.Order = delivery.OrderTask })})
		synctest.Wait()
		w.add(kinds[0])
		synctest.Wait()
		w.add(kinds[1:]...)
		wait(time.Second)
		if n := j.count(); n != 21 {
			t.Errorf("%d deliveries, want one try and 20 of the other binding: %s", n, j.all())
		}
		wait(30 * time.Second)
		mu.Lock()
		for at, n := range tries {
			if n != 1 {
				t.Errorf("%d events tried at %s, want one", n, at)
			}
		}
		if len(tries) != 5 {
			t.Errorf("there were %d tries, want one every 7 s", len(tries))
		}
		back = true
		mu.Unlock()
		st := w.status("p/all")
		if len(st.Unavailable) != 1 || st.Unavailable[0].Binding != "failures" || st.Unavailable[0].Tries != 5 {
			t.Errorf("unavailable %+v, want the binding failures", st.Unavailable)
		}
		wait(8 * time.Second)
		if c := m.cursor("p/all"); c.Through != 40 || len(m.letters) > 0 {
			t.Errorf("in the end the cursor is %+v, there are %d dead letters", c, len(m.letters))
		}
	})
}

// TestMendedBinding: changed bindings are tried at once, and so is a new process.
func TestMendedBinding(t *testing.T) {
	for name, mend := range map[string]func(*world){
		"rebind": func(w *world) {
			w.Rebind([]delivery.Binding{{Subscription: "p/all", Source: "mended", Enabled: true}})
		},
		"new process": func(w *world) {
			w.instance("p#2", good(&journal{}))
			w.Connect("p#2", []delivery.Subscription{sub("p/all")})
		},
		"trial": func(w *world) {
			e := encode(&eventv1.Event{Id: "x/2", Type: "task.failed", At: 1, Payload: []byte(`{}`)})
			if o, err := w.Try(w.tb.Context(), "p/all", e, 0); err != nil || o.Verdict != delivery.VerdictAcked {
				w.tb.Errorf("trial: %+v, %v", o, err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, w := bubble(t, func(o *delivery.Options) {
					o.Bindings = []delivery.Binding{{Subscription: "p/all", Source: "broken", Enabled: true}}
				})
				w.add("task.started", "task.failed")
				var j journal
				var mended atomic.Bool
				w.instance("p#1", handler(&j, func(p *plugin, e *pluginv1.SequencedEvent) bool {
					if !mended.Load() {
						p.away(e.GetSeq(), time.Hour, "no such endpoint")
					}
					return mended.Load()
				}))
				w.Connect("p#1", []delivery.Subscription{sub("p/all")})
				wait(time.Minute)
				expect(t, "events", j.all(), "1/1")
				mended.Store(true)
				mend(w)
				wait(2 * time.Second)
				if c := m.cursor("p/all"); c.Through < 2 || len(w.status("p/all").Unavailable) > 0 {
					t.Errorf("the cursor is %+v, want that it went on; %s", c, j.all())
				}
			})
		})
	}
}

// TestUnavailableLetter: retried dead letters wait like any other event, and one of them
// tries.
func TestUnavailableLetter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := bubble(t)
		w.add("task.started", "task.failed", "step.failed")
		var j journal
		var mood atomic.Int32
		w.instance("p#1", handler(&j, func(p *plugin, e *pluginv1.SequencedEvent) bool {
			switch mood.Load() {
			case 0:
				p.reject(e.GetSeq(), "no")
				return true
			case 1:
				p.away(e.GetSeq(), 0, "no server")
				return false
			}
			return true
		}))
		w.Connect("p#1", []delivery.Subscription{sub("p/all", func(s *delivery.Subscription) {
			s.Events, s.MaxAttempts = []string{"task.*", "step.*"}, 1
		})})
		synctest.Wait()
		mood.Store(1)
		_, err := w.RetryDead(t.Context(), "p/all", nil)
		want(t, "retry", err, nil)
		wait(16 * time.Second) // 1 + 2 + 4 + 8 seconds, and a tenth
		expect(t, "events", j.all(), "1/1 2/1 3/1 1/2 2/2 3/2 1/3 2/3")
		mood.Store(2)
		wait(20 * time.Second)
		if len(m.letters) > 0 {
			t.Errorf("%d dead letters are left, want none: %s", len(m.letters), j.all())
		}
		o, err := w.Try(t.Context(), "p/all", encode(&eventv1.Event{Id: "x/9", Type: "task.failed", At: 1}), 0)
		want(t, "trial", err, nil)
		expect(t, "trial", o.Verdict, delivery.VerdictAcked)
		_, err = w.RetryDead(t.Context(), "p/other", nil)
		want(t, "retry of another", err, task.ErrNotFound)
	})
}

// TestManyTasksWait: of more tasks than may wait, the others are not read before some go
// on; all get their events in the end.
func TestManyTasksWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := bubble(t)
		var kinds []string
		for i := range delivery.MaxHeld + 100 {
			kinds = append(kinds, "task.started@"+taskOf(i), "task.failed@"+taskOf(i))
		}
		w.add(kinds...)
		var j journal
		var back atomic.Bool
		w.instance("p#1", lanes(&j, func(*pluginv1.SequencedEvent) time.Duration {
			if back.Load() {
				return -1
			}
			return 0
		}))
		w.Connect("p#1", []delivery.Subscription{sub("p/all", func(s *delivery.Subscription) { s.Order = delivery.OrderTask })})
		wait(20 * time.Second)
		if n := j.count(); n > 5*16+delivery.MaxBatchEvents*delivery.DefaultWindow {
			t.Errorf("%d deliveries in 20 s, want what was in flight, and then one at a time", n)
		}
		back.Store(true)
		wait(time.Minute)
		if c := m.cursor("p/all"); c.Through < uint64(len(kinds)) || len(m.letters) > 0 {
			t.Errorf("in the end the cursor is %+v of %d, there are %d dead letters", c, len(kinds), len(m.letters))
		}
	})
}
