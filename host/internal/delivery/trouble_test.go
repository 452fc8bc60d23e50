package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tasker-engine/tasker/host/internal/delivery"
	"github.com/tasker-engine/tasker/host/internal/store"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// bubble makes a delivery on a store in memory and runs it until the test ends.
func bubble(t *testing.T, opts ...option) (*memory, *world) {
	t.Helper()
	m := newMemory()
	w := newWorld(t, m, opts...)
	t.Cleanup(w.run())
	return m, w
}

// wait lets time pass, and what it wakes come to rest.
// pause is longer than events wait for further ones.
const pause = 20 * time.Millisecond

func wait(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got\n%s\nwant\n%s", what, got, want)
	}
}

// TestKiller: an event that ends its process three times is put aside, and an event that
// merely shared its last batch with it is not.
func TestKiller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := bubble(t)

		w.add("task.started", "step.failed", "step.started", "task.failed")
		var j journal
		n := 0
		play := handler(&j, func(p *plugin, e *pluginv1.SequencedEvent) bool {
			if e.GetSeq() == 3 {
				p.err = errDied
				return false
			}
			return true
		})
		connect := func() {
			n++
			name := fmt.Sprintf("p#%d", n)
			w.instance(name, play)
			w.Connect(name, []delivery.Subscription{sub("p/all")})
			synctest.Wait()
			w.Lost(name)
			synctest.Wait()
		}
		connect() // 3 and 4 are in flight: nobody knows which it was
		if c := m.cursor("p/all"); c.Careful != 4 || len(c.Failing) != 0 {
			t.Errorf("after the first end the cursor is %+v, want to be careful up to 4", c)
		}
		connect()
		if c := m.cursor("p/all"); len(c.Failing) != 1 || c.Failing[0].Seq != 3 || c.Failing[0].Kills != 1 {
			t.Errorf("after the second end the cursor is %+v, want one kill of 3", c)
		}
		connect()
		connect()
		expect(t, "told", strings.Join(w.told(), "\n"), "dead p/all 3 step.started 4: the process ended 3 times while it held this event")
		connect()
		wait(2 * time.Second)
		expect(t, "events", j.all(), "1/1 2/1 3/1 3/2 3/3 3/4 4/2")
		if c := m.cursor("p/all"); c.Through != 5 || c.Careful != 0 || len(c.Failing) != 0 {
			t.Errorf("in the end the cursor is %+v", c)
		}
	})
}

// TestKillerBesideOthers: an event that another subscription has in hand when a killer ends
// the process is not blamed for it, and the killer is put aside all the same.
func TestKillerBesideOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := bubble(t)
		w.add("task.started")
		play := func(ctx context.Context, p *plugin) {
			open := p.next()
			killer := open.GetOpen().GetSubscription() == "killer"
			for r := p.next(); r != nil; r = p.next() {
				p.pong(r)
				for _, e := range r.GetBatch().GetEvents() {
					if killer {
						p.err = errDied
						return
					}
					select {
					case <-time.After(3 * time.Second):
						p.ack(e.GetSeq())
					case <-ctx.Done():
						return
					}
				}
			}
		}
		for n := range 30 {
			name := fmt.Sprintf("p#%d", n)
			w.instance(name, play)
			w.Connect(name, []delivery.Subscription{sub("p/killer"), sub("p/slow")})
			wait(20 * time.Second) // the killer comes within it, unless it is put aside
			if len(w.told()) > 0 {
				break
			}
			w.Lost(name)
			synctest.Wait()
		}
		wait(20 * time.Second)
		told := strings.Join(w.told(), "\n")
		if !strings.HasPrefix(told, "dead p/killer 1 ") || strings.Contains(told, "p/slow") {
			t.Errorf("told %q, want the killer's event put aside and no other", told)
		}
		if c := m.cursor("p/slow"); c.Delivered != 2 {
			t.Errorf("the cursor beside the killer is %+v, want both events delivered: that of the dead letter, too", c)
		}
	})
}

// TestKillsOutliveTheHost: what is known of a killer is not forgotten with the host.
func TestKillsOutliveTheHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		var j journal
		for n := 1; n <= 4; n++ {
			w := newWorld(t, m)
			if n == 1 {
				w.add("task.started")
			}
			stop := w.run()
			w.instance("p#1", handler(&j, func(p *plugin, _ *pluginv1.SequencedEvent) bool { p.err = errDied; return false }))
			w.Connect("p#1", []delivery.Subscription{sub("p/all")})
			synctest.Wait()
			w.Lost("p#1")
			synctest.Wait()
			stop()
		}
		expect(t, "events", j.all(), "1/1 1/2 1/3")
		if len(m.letters) != 1 {
			t.Errorf("%d dead letters, want 1", len(m.letters))
		}
	})
}

// TestHang: a plugin that does not answer pings is ended, one that does not even read too.
func TestHang(t *testing.T) {
	tests := []struct {
		name string
		play func(context.Context, *plugin)
		want string
	}{
		{"answers nothing", func(_ context.Context, p *plugin) {
			for p.next() != nil {
			}
		}, "p#1: subscription p/all: no answer to a ping for 15s"},
		{
			"reads nothing", func(ctx context.Context, _ *plugin) { <-ctx.Done() },
			"p#1: subscription p/all: it takes no events: a frame is being sent for more than 15s",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, w := bubble(t)

				w.instance("p#1", tt.play)
				w.Connect("p#1", []delivery.Subscription{sub("p/all", func(s *delivery.Subscription) { s.Window = 64; s.Order = delivery.OrderTask })})
				for range 12 {
					w.add("task.started@" + taskA)
					wait(pause)
				}
				wait(30 * time.Second)
				w.mu.Lock()
				defer w.mu.Unlock()
				expect(t, "failed", strings.Join(w.failed, "\n"), tt.want)
			})
		})
	}
}

// TestIdleIsNotPinged: nothing is sent while nothing is unanswered.
func TestIdleIsNotPinged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, w := bubble(t)

		frames := 0
		w.instance("p#1", func(_ context.Context, p *plugin) {
			for r := p.next(); r != nil; r = p.next() {
				frames++
				for _, e := range r.GetBatch().GetEvents() {
					p.ack(e.GetSeq())
				}
			}
		})
		w.Connect("p#1", []delivery.Subscription{sub("p/all")})
		w.add("task.started")
		wait(time.Hour)
		if frames != 2 {
			t.Errorf("%d frames were sent, want the first one and a batch", frames)
		}
	})
}

// TestStall: an event without an answer counts as a failure, and the stream is opened
// again.
func TestStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, w := bubble(t)

		w.add("task.started")
		w.instance("p#1", silent)
		w.Connect("p#1", []delivery.Subscription{sub("p/all", func(s *delivery.Subscription) { s.Timeout = 30 * time.Second; s.MaxAttempts = 2 })})
		wait(60*time.Second + 500*time.Millisecond) // less than the backoff
		st := w.status("p/all")
		if len(st.Cursor.Failing) != 1 || st.Cursor.Failing[0].Failures != 1 || st.State != delivery.StateRetrying {
			t.Errorf("after 60.5 s: %s, cursor %+v", st.State, st.Cursor)
		}
		wait(90 * time.Second)
		expect(t, "told", strings.Join(w.told(), "\n"), "dead p/all 1 task.started 2: no answer within 1m0s")
	})
}

// TestSlowIsNoStall: a subscriber may take its time for each event of a batch.
func TestSlowIsNoStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, w := bubble(t)

		var kinds []string
		for range 100 {
			kinds = append(kinds, "task.started")
		}
		w.add(kinds...)
		var j journal
		w.instance("p#1", func(ctx context.Context, p *plugin) {
			work := make(chan uint64, 1000)
			go func() { // the reader goes on while the handler works
				for {
					select {
					case seq := <-work:
						<-time.After(50 * time.Second)
						p.ack(seq)
					case <-ctx.Done():
						return
					}
				}
			}()
			for r := p.next(); r != nil; r = p.next() {
				p.pong(r)
				for _, e := range r.GetBatch().GetEvents() {
					j.note(e)
					work <- e.GetSeq()
				}
			}
		})
		w.Connect("p#1", []delivery.Subscription{sub("p/all", func(s *delivery.Subscription) { s.Timeout = 50 * time.Second })})
		wait(100*50*time.Second + time.Minute)
		if st := w.status("p/all"); st.State != delivery.StateCurrent || j.count() != 100 {
			t.Errorf("got %s after %d deliveries, want each event once", st.State, j.count())
		}
		wait(time.Minute)
	})
}

// TestHandover: a new instance takes over at the end of what the old one holds, and an
// end that was wanted counts nothing.
func TestHandover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := bubble(t)

		w.add("task.started", "task.failed")
		var first, second journal
		go1 := make(chan struct{})
		w.instance("p#1", handler(&first, func(p *plugin, e *pluginv1.SequencedEvent) bool {
			if e.GetSeq() == 2 {
				select {
				case <-go1:
				case <-p.ctx.Done():
				}
			}
			return true
		}))
		w.instance("p#2", good(&second))
		w.Connect("p#1", []delivery.Subscription{sub("p/all")})
		synctest.Wait()
		w.Connect("p#2", []delivery.Subscription{sub("p/all")})
		synctest.Wait()
		w.add("step.failed")
		synctest.Wait()
		expect(t, "the second before the answer", second.all(), "")
		close(go1)
		synctest.Wait()
		w.Disconnect("p#1")
		w.Lost("p#1")
		synctest.Wait()
		expect(t, "the first", first.all(), "1/1 2/1")
		expect(t, "the second", second.all(), "3/1")

		w.instance("p#3", silent)
		w.Connect("p#3", []delivery.Subscription{sub("p/all")})
		synctest.Wait()
		w.add("task.failed")
		wait(pause)
		w.Disconnect("p#3")
		wait(6 * time.Second) // it does not answer: what it holds goes to the one before
		expect(t, "the second after the third", second.all(), "3/1 4/2")
		wait(2 * time.Second)
		if c := m.cursor("p/all"); c.Careful != 0 || len(c.Failing) != 0 || c.Through != 4 {
			t.Errorf("the cursor is %+v, want nothing to be counted", c)
		}
	})
}

// TestDrainCountsNothing: what a process held that was told to drain counts against no
// event, even when it dies with it.
func TestDrainCountsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := bubble(t)
		w.add("task.started")
		die := make(chan struct{})
		w.instance("p#1", func(_ context.Context, p *plugin) {
			<-die
			p.err = errDied
		})
		w.Connect("p#1", []delivery.Subscription{sub("p/all")})
		synctest.Wait()
		w.Disconnect("p#1")
		synctest.Wait()
		close(die)
		synctest.Wait()
		w.Lost("p#1")
		wait(2 * time.Second)
		if c := m.cursor("p/all"); c.Careful != 0 || len(c.Failing) != 0 {
			t.Errorf("the cursor is %+v, want nothing to be counted", c)
		}
	})
}

// TestStreamIsOpenedAgain: a plugin that closes its stream, or cannot open one, is asked
// again.
func TestStreamIsOpenedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := bubble(t)

		w.Connect("p#1", []delivery.Subscription{sub("p/all")}) // there is no such instance
		wait(3 * time.Second)
		if got := w.text(); !strings.Contains(got, "instance p#1: not found") {
			t.Errorf("the log says %q, want why the stream is not there", got)
		}
		if st := w.status("p/all"); st.State != delivery.StateRetrying {
			t.Errorf("got state %s, want retrying", st.State)
		}
		var j journal
		closing := true
		w.instance("p#1", func(ctx context.Context, p *plugin) {
			if closing {
				closing = false
				return
			}
			good(&j)(ctx, p)
		})
		w.add("task.started")
		wait(3 * time.Minute)
		if j.count() != 1 {
			t.Errorf("got events %s, want the one", j.all())
		}
		if c := m.cursor("p/all"); c.Careful != 0 {
			t.Errorf("an orderly end makes careful: %+v", c)
		}
	})
}

// TestLanes: in the order of tasks a retry holds up its task alone.
func TestLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := bubble(t)

		w.add("task.started@"+taskA, "task.started@"+taskB, "step.started@"+taskA, "step.started@"+taskB)
		var j journal
		var restarts []string
		refused := false
		w.instance("p#1", func(_ context.Context, p *plugin) {
			for r := p.next(); r != nil; r = p.next() {
				if r.GetRestart() != nil {
					restarts = append(restarts, r.GetRestart().GetTaskId())
				}
				for _, e := range r.GetBatch().GetEvents() {
					j.note(e)
					switch {
					case e.GetSeq() == 1 && !refused:
						refused = true
						p.retry(1, "not now")
					case e.GetSeq() == 3 && e.GetDelivery() == 1: // dropped, like the protocol wants it
					default:
						p.ackSeqs(e.GetSeq())
					}
				}
			}
		})
		w.Connect("p#1", []delivery.Subscription{sub("p/all", func(s *delivery.Subscription) { s.Order = delivery.OrderTask })})
		synctest.Wait()
		w.add("task.completed@"+taskA, "task.completed@"+taskB)
		synctest.Wait()
		expect(t, "at first", j.all(), "1/1 2/1 3/1 4/1 6/1")
		if st := w.status("p/all"); st.State != delivery.StateRetrying || st.Cursor.Through != 0 {
			t.Errorf("got %s through %d, want retrying from the begin", st.State, st.Cursor.Through)
		}
		wait(3 * time.Second)
		expect(t, "in the end", j.all(), "1/1 2/1 3/1 4/1 6/1 1/2 3/2 5/1")
		expect(t, "restarts", strings.Join(restarts, " "), taskA)
		if c := m.cursor("p/all"); c.Through != 6 {
			t.Errorf("the cursor is %+v, want all done", c)
		}
	})
}

// TestGap: events that were cut before they could be delivered are told of, and delivery
// goes on.
func TestGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := bubble(t)

		w.add("task.started", "task.started")
		var j journal
		var gaps []uint64
		play := func(_ context.Context, p *plugin) {
			for r := p.next(); r != nil; r = p.next() {
				if g := r.GetBatch().GetGapThrough(); g > 0 {
					gaps = append(gaps, g)
				}
				for _, e := range r.GetBatch().GetEvents() {
					j.note(e)
					p.ack(e.GetSeq())
				}
			}
		}
		w.instance("p#1", play)
		w.Connect("p#1", []delivery.Subscription{sub("p/all")})
		synctest.Wait()
		w.Lost("p#1")
		synctest.Wait()
		w.add("task.started", "task.started", "task.started")
		m.cut(5)
		w.instance("p#2", play)
		w.Connect("p#2", []delivery.Subscription{sub("p/all")})
		wait(2 * time.Second)
		expect(t, "events", j.all(), "1/1 2/1 5/1")
		expect(t, "told", strings.Join(w.told(), "\n"), "gap p/all 3-4")
		if !slices.Equal(gaps, []uint64{4}) {
			t.Errorf("got gaps %v, want 4", gaps)
		}
		if c := m.cursor("p/all"); c.Through != 6 {
			t.Errorf("the cursor is %+v", c)
		}
	})
}

// TestGapIsToldAgain: a gap is told of until the plugin has answered something of the
// batch that told of it.
func TestGapIsToldAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		m.cursors["p/all"] = store.Cursor{Subscription: "p/all", CreatedAt: time.Now()}
		w := newWorld(t, m)
		defer w.run()()
		w.add("task.started", "task.started", "task.started", "task.started")
		m.cut(3)
		var lines []string
		play := func(_ context.Context, p *plugin) {
			for r := p.next(); r != nil; r = p.next() {
				b := r.GetBatch()
				if b == nil {
					continue
				}
				lines = append(lines, fmt.Sprintf("%d events, gap through %d", len(b.GetEvents()), b.GetGapThrough()))
				if len(lines) == 1 {
					p.err = errDied // before it has looked at anything
					return
				}
				p.ack(b.GetEvents()[len(b.GetEvents())-1].GetSeq())
			}
		}
		w.instance("p#1", play)
		w.Connect("p#1", []delivery.Subscription{sub("p/all")})
		wait(10 * time.Second)
		w.add("task.started")
		synctest.Wait()
		expect(t, "batches", strings.Join(lines, "\n"), strings.Join([]string{
			"2 events, gap through 2", "1 events, gap through 2", "1 events, gap through 0", "1 events, gap through 0",
		}, "\n"))
	})
}

// TestClockWasWrong: a retry that was noted while the clock was ahead comes, if not soon.
func TestClockWasWrong(t *testing.T) {
	tests := []struct {
		name             string
		ahead, not, then time.Duration
	}{
		{"by a year", 365 * 24 * time.Hour, 59 * time.Second, 2 * time.Second},
		{"as far as a plugin may ask for", 24 * time.Hour, 24*time.Hour - time.Second, 2 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				m.cursors["p/all"] = store.Cursor{
					Subscription: "p/all", CreatedAt: time.Now(),
					Failing: []store.Failing{{Seq: 1, Failures: 1, Reason: "no", RetryAt: time.Now().Add(tt.ahead)}},
				}
				w := newWorld(t, m)
				defer w.run()()
				w.add("task.started")
				var j journal
				w.instance("p#1", good(&j))
				w.Connect("p#1", []delivery.Subscription{sub("p/all")})
				wait(tt.not)
				expect(t, "before its time", j.all(), "")
				wait(tt.then)
				expect(t, "then", j.all(), "1/2")
			})
		})
	}
}

// TestWritesFail: what cannot be written is written later, and nothing is lost meanwhile.
func TestWritesFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := bubble(t)

		w.add("task.started", "task.failed", "task.started")
		var j journal
		w.instance("p#1", handler(&j, func(p *plugin, e *pluginv1.SequencedEvent) bool {
			if e.GetSeq() == 2 {
				p.reject(2, "no")
				return true
			}
			return true
		}))
		m.fail(errors.New("the disk is full"))
		w.Connect("p#1", []delivery.Subscription{sub("p/all", func(s *delivery.Subscription) { s.Events = []string{"task.*"} })})
		wait(10 * time.Second)
		if c := m.cursor("p/all"); c.Through != 0 || len(m.letters) != 0 {
			t.Errorf("something was written: %+v", c)
		}
		m.fail(nil)
		wait(10 * time.Second)
		if c := m.cursor("p/all"); c.Through != 4 || len(m.letters) != 1 || c.Delivered != 2 {
			t.Errorf("got %d dead letters and the cursor %+v", len(m.letters), c)
		}
		if got := w.text(); !strings.Contains(got, "a dead letter is not written") || !strings.Contains(got, "cursors are not written") {
			t.Errorf("the log says %q", got)
		}
	})
}

// TestCursorIsWrittenLater: a cursor that could not be written is, without another event;
// and so is a dead letter that was settled meanwhile.
func TestCursorIsWrittenLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := bubble(t)
		w.add("task.started", "task.failed")
		healed := false
		w.instance("p#1", handler(&journal{}, func(p *plugin, e *pluginv1.SequencedEvent) bool {
			if e.GetSeq() == 2 && !healed {
				p.reject(2, "no")
			}
			return true
		}))
		w.Connect("p#1", []delivery.Subscription{sub("p/all", func(s *delivery.Subscription) { s.Events = []string{"task.*"} })})
		wait(2 * time.Second)
		healed = true
		if n, err := w.RetryDead(t.Context(), "p/all", nil); n != 1 || err != nil {
			t.Fatalf("retry: %d, %v", n, err)
		}
		m.fail(errors.New("the disk is full"))
		synctest.Wait()
		wait(5 * time.Second)
		m.fail(nil)
		wait(2 * time.Second)
		if c := m.cursor("p/all"); c.Delivered != 2 || len(m.letters) != 0 {
			t.Errorf("got %d dead letters and the cursor %+v", len(m.letters), c)
		}
	})
}
