package delivery_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tasker-engine/tasker/host/internal/delivery"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// TestDelivers: a subscriber gets what was there and what comes, its cursor follows after
// a second, and then nothing happens any more.
func TestDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		w := newWorld(t, m)
		w.add("task.started", "step.started")
		stop := w.run()
		defer stop()
		var j journal
		w.instance("p#1", good(&j))
		w.Connect("p#1", []delivery.Subscription{sub("p/all")})
		synctest.Wait()
		if got, want := j.all(), "1/1 2/1"; got != want {
			t.Errorf("got events %s, want %s", got, want)
		}
		w.add("step.completed")
		synctest.Wait()
		if got, want := j.all(), "1/1 2/1 3/1"; got != want {
			t.Errorf("got events %s, want %s", got, want)
		}
		wait(2 * time.Second)
		if got := m.cursor("p/all"); got.Through != 3 || got.Delivered != 3 || got.AckedAt.IsZero() {
			t.Errorf("the cursor is %+v, want everything through 3", got)
		}
		reads, writes := m.counts()
		wait(24 * time.Hour)
		if r, wr := m.counts(); r != reads || wr != writes {
			t.Errorf("a day without events took %d reads and %d writes", r-reads, wr-writes)
		}
		if got := w.status("p/all"); got.State != delivery.StateCurrent || got.Instance != "p#1" || got.Behind != 0 {
			t.Errorf("got status %+v, want current", got)
		}
	})
}

// TestPace: while the log grows on and on a subscription gets many events in few batches,
// and the first after a pause at once.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, w := bubble(t)
		batches, events := 0, 0
		w.instance("p#1", func(_ context.Context, p *plugin) {
			for r := p.next(); r != nil; r = p.next() {
				if got := r.GetBatch().GetEvents(); len(got) > 0 {
					batches++
					events += len(got)
					p.ack(got[len(got)-1].GetSeq())
				}
			}
		})
		w.Connect("p#1", []delivery.Subscription{sub("p/all")})
		wait(time.Second)
		w.add("task.started")
		synctest.Wait()
		if batches != 1 {
			t.Errorf("%d batches after the first event, want 1", batches)
		}
		for range 1000 {
			wait(time.Millisecond)
			w.add("step.started")
		}
		wait(pause)
		if events != 1001 || batches > 102 {
			t.Errorf("%d events in %d batches, want 1001 in 102", events, batches)
		}
	})
}

// TestPoison: an event that is refused again and again is put aside, and the next come.
func TestPoison(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		w := newWorld(t, m)
		w.add("task.started", "step.failed", "step.started")
		stop := w.run()
		defer stop()
		var j journal
		w.instance("p#1", handler(&j, func(p *plugin, e *pluginv1.SequencedEvent) bool {
			if e.GetSeq() == 2 {
				p.retry(2, "no such channel")
				return false
			}
			return true
		}))
		w.Connect("p#1", []delivery.Subscription{sub("p/all")})
		wait(2 * time.Minute)
		if got, want := j.all(), "1/1 2/1 2/2 2/3 2/4 2/5 3/6"; got != want {
			t.Errorf("got events %s, want %s", got, want)
		}
		if got, want := strings.Join(w.told(), "\n"), "dead p/all 2 step.failed 5: no such channel"; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		st := w.status("p/all")
		if st.Dead != 1 || len(st.Cursor.Failing) != 0 || st.Cursor.Through != 4 {
			t.Errorf("got %d dead letters, cursor %+v", st.Dead, st.Cursor)
		}
	})
}
