package delivery_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tasker-engine/tasker/host/internal/delivery"
)

// TestLag is told once per time that a subscription falls behind, and not of the time
// that its plugin was absent.
func TestLag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, w := bubble(t)

		w.add("task.started")
		wait(time.Hour) // absent
		release := make(chan struct{})
		w.instance("p#1", func(_ context.Context, p *plugin) {
			for r := p.next(); r != nil; r = p.next() {
				p.pong(r)
				for _, e := range r.GetBatch().GetEvents() {
					go func() {
						select {
						case <-release:
							p.ack(e.GetSeq())
						case <-p.ctx.Done():
						}
					}()
				}
			}
		})
		w.Connect("p#1", []delivery.Subscription{sub("p/all", func(s *delivery.Subscription) { s.Timeout = time.Hour })})
		wait(59 * time.Second)
		expect(t, "after 59 s", strings.Join(w.told(), "\n"), "")
		wait(10 * time.Minute)
		expect(t, "after 10 min", strings.Join(w.told(), "\n"), "lagging p/all 1 1m0s")
		if st := w.status("p/all"); st.BehindFor < time.Hour || st.Behind != 1 || st.Unacked != 1 {
			t.Errorf("got status %+v", st)
		}
		close(release)
		synctest.Wait()
		release = make(chan struct{})
		w.add("task.started")
		wait(2 * time.Minute)
		if got := len(w.told()); got != 2 {
			t.Errorf("it lags a second time: told %d times, want 2", got)
		}
		close(release)
		synctest.Wait()
	})
}

// TestLagOfReplay: what waits for a replay to end is late, too.
func TestLagOfReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, w := bubble(t)
		w.add(slices.Repeat([]string{"task.started"}, 600)...)
		var slow atomic.Bool
		deliveries := 0
		w.instance("p#1", func(ctx context.Context, p *plugin) {
			work := make(chan uint64, 2_000)
			go func() { // the reader goes on while the handler works
				for {
					select {
					case seq := <-work:
						if slow.Load() {
							<-time.After(time.Second)
						}
						p.ack(seq)
					case <-ctx.Done():
						return
					}
				}
			}()
			for r := p.next(); r != nil; r = p.next() {
				p.pong(r)
				for _, e := range r.GetBatch().GetEvents() {
					deliveries++
					work <- e.GetSeq()
				}
			}
		})
		w.Connect("p#1", []delivery.Subscription{sub("p/all", func(s *delivery.Subscription) { s.Events = []string{"task.*"} })})
		synctest.Wait()
		slow.Store(true)
		want(t, "replay", w.Replay(t.Context(), "p/all", delivery.Position{Seq: 1}, delivery.Position{}, nil), nil)
		w.add("step.started") // is not wanted
		wait(2 * time.Minute)
		expect(t, "told of nothing", strings.Join(w.told(), "\n"), "")
		w.add("task.failed")
		wait(70 * time.Second)
		expect(t, "told of a new event", strings.Join(w.told(), "\n"), "lagging p/all 2 1m0s")
		wait(10 * time.Minute)
		if n := len(w.told()); n != 1 || deliveries != 1201 {
			t.Errorf("it was told %d times after %d deliveries, want once after 1201", n, deliveries)
		}
	})
}

// TestPassOver: a subscription that nobody serves is not behind with what it does not want,
// and gets all that follows.
func TestPassOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, w := bubble(t)
		w.add("task.started")
		var j journal
		w.instance("p#1", good(&j))
		failed := sub("p/failed", func(s *delivery.Subscription) { s.Events = []string{"task.failed"} })
		connect := func() {
			w.Connect("p#1", []delivery.Subscription{failed})
			wait(pause)
		}
		behind := func(what string, want uint64) {
			t.Helper()
			if got := w.status("p/failed").Behind; got != want {
				t.Errorf("%s: %d behind, want %d", what, got, want)
			}
		}
		connect()
		w.PassOver("p/failed", 2, 9) // it is served
		w.Disconnect("p#1")
		synctest.Wait()
		w.add("task.started", "step.started", "task.failed", "task.started")
		behind("idle", 4)
		w.PassOver("p/failed", 3, 3) // not what is next
		behind("with a hole before", 4)
		w.PassOver("p/failed", 1, 3)
		behind("with what is not wanted", 2)
		w.PassOver("p/failed", 2, 3)
		w.PassOver("p/nobody", 1, 9)
		behind("again", 2)
		connect()
		behind("served", 0)
		expect(t, "events", j.all(), "4/1")
	})
}
