package delivery_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tasker-engine/tasker/host/internal/delivery"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

func want(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: got error %v, want %v", what, got, want)
	}
}

// TestUnknown: every verb refuses a subscription that is not there.
func TestUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, w := bubble(t)

		ctx := t.Context()
		_, rewind := w.Rewind(ctx, "p/x", delivery.Position{Seq: 1})
		_, retry := w.RetryDead(ctx, "p/x", nil)
		_, discard := w.DiscardDead(ctx, "p/x", nil)
		_, try := w.Try(ctx, "p/x", encode(&eventv1.Event{}), 0)
		_, _, route := w.Route(ctx, "p/x", encode(&eventv1.Event{}))
		for name, err := range map[string]error{
			"pause": w.Pause(ctx, "p/x", task.Operation{}), "resume": w.Resume(ctx, "p/x"), "forget": w.Forget(ctx, "p/x"),
			"replay": w.Replay(ctx, "p/x", delivery.Position{}, delivery.Position{}, nil),
			"rewind": rewind, "retry": retry, "discard": discard, "try": try, "route": route,
		} {
			want(t, name, err, task.ErrNotFound)
		}
	})
}

// TestPause holds a subscription over restarts of the host, until it is resumed.
func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		var j journal
		w := newWorld(t, m)
		stop := w.run()
		w.instance("p#1", good(&j))
		w.Connect("p#1", []delivery.Subscription{sub("p/all")})
		w.add("task.started")
		synctest.Wait()
		want(t, "resume", w.Resume(t.Context(), "p/all"), task.ErrTransition)
		want(t, "pause", w.Pause(t.Context(), "p/all", task.Operation{By: "ann", Reason: "the sink moves"}), nil)
		again := w.Pause(t.Context(), "p/all", task.Operation{By: "bob"})
		want(t, "pause again", again, task.ErrTransition)
		if !strings.Contains(again.Error(), `by "ann", for "the sink moves"`) {
			t.Errorf("pause again: %v; want it to say who paused, and why", again)
		}
		synctest.Wait()
		w.add("task.failed")
		wait(time.Hour)
		expect(t, "while paused", j.all(), "1/1")
		if st := w.status("p/all"); st.State != delivery.StatePaused || st.Cursor.Paused.By != "ann" || st.Instance != "" {
			t.Errorf("got status %+v, want paused", st)
		}
		stop()

		w = newWorld(t, m)
		stop = w.run()
		defer stop()
		w.instance("p#1", good(&j))
		w.Connect("p#1", []delivery.Subscription{sub("p/all")})
		synctest.Wait()
		expect(t, "after a restart", j.all(), "1/1")
		want(t, "resume", w.Resume(t.Context(), "p/all"), nil)
		synctest.Wait()
		expect(t, "resumed", j.all(), "1/1 2/1")
	})
}

// TestShortPause: a pause that ends before the stream does leaves nothing behind: what
// is not answered counts.
func TestShortPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, w := bubble(t)
		w.add("task.started")
		w.instance("p#1", silent)
		w.Connect("p#1", []delivery.Subscription{sub("p/all", func(s *delivery.Subscription) { s.Timeout = 10 * time.Second })})
		synctest.Wait()
		want(t, "pause", w.Pause(t.Context(), "p/all", task.Operation{}), nil)
		wait(time.Second)
		want(t, "resume", w.Resume(t.Context(), "p/all"), nil)
		wait(19*time.Second + 500*time.Millisecond)
		if f := w.status("p/all").Cursor.Failing; len(f) != 1 || f[0].Failures != 1 {
			t.Errorf("after twice the timeout there are failures %+v, want one", f)
		}
	})
}

// TestRewind delivers from another place, back or forward.
func TestRewind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := bubble(t)

		w.add("task.started", "task.failed")
		wait(time.Minute)
		later := time.Now()
		w.add("task.completed")
		var j journal
		w.instance("p#1", good(&j))
		w.Connect("p#1", []delivery.Subscription{sub("p/all")})
		synctest.Wait()
		next, err := w.Rewind(t.Context(), "p/all", delivery.Position{Seq: 2})
		want(t, "rewind", err, nil)
		if c := m.cursor("p/all"); next != 2 || c.Through != 1 {
			t.Errorf("next is %d, the cursor %+v, want 2 to be next", next, c)
		}
		synctest.Wait()
		expect(t, "rewound to 2", j.all(), "1/1 2/1 3/1 2/1 3/1")
		next, err = w.Rewind(t.Context(), "p/all", delivery.Position{At: later})
		want(t, "rewind to a time", err, nil)
		synctest.Wait()
		if got := j.all(); next != 3 || !strings.HasSuffix(got, " 3/1 3/1") {
			t.Errorf("next is %d, the events are %s", next, got)
		}
		_, err = w.Rewind(t.Context(), "p/all", delivery.Position{Seq: 99})
		want(t, "rewind beyond the log", err, task.ErrInvalid)

		w.Disconnect("p#1")
		w.Lost("p#1")
		synctest.Wait()
		w.add("task.started", "task.started")
		next, err = w.Rewind(t.Context(), "p/all", delivery.Position{Seq: 6})
		want(t, "rewind while absent", err, nil)
		if c := m.cursor("p/all"); next != 6 || c.Through != 5 {
			t.Errorf("next is %d, the cursor %+v, want everything to be skipped", next, c)
		}
	})
}

// TestRewindWhileInFlight: what the subscriber holds does not move the new cursor.
func TestRewindWhileInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := bubble(t)

		w.add("task.started", "task.failed", "task.started")
		var j journal
		var calls atomic.Int32
		w.instance("p#1", handler(&j, func(p *plugin, _ *pluginv1.SequencedEvent) bool {
			if calls.Add(1) == 1 {
				<-p.ctx.Done()
				return false
			}
			return true
		}))
		w.Connect("p#1", []delivery.Subscription{sub("p/all")})
		synctest.Wait()
		_, err := w.Rewind(t.Context(), "p/all", delivery.Position{Seq: 3})
		want(t, "rewind", err, nil)
		wait(2 * time.Second)
		expect(t, "events", j.all(), "1/1 3/1")
		if c := m.cursor("p/all"); c.Through != 3 || c.Delivered != 1 {
			t.Errorf("the cursor is %+v", c)
		}
	})
}

// TestReplay delivers a part of the log once more and then goes on; it outlives the host.
func TestReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		w := newWorld(t, m)
		w.add("task.started", "step.started", "step.failed", "task.failed")
		stop := w.run()
		var j journal
		w.instance("p#1", good(&j))
		w.Connect("p#1", []delivery.Subscription{sub("p/all")})
		synctest.Wait()
		ctx := t.Context()
		want(t, "an empty replay", w.Replay(ctx, "p/all", delivery.Position{Seq: 4}, delivery.Position{Seq: 2}, nil), task.ErrInvalid)
		want(t, "replay", w.Replay(ctx, "p/all", delivery.Position{Seq: 2}, delivery.Position{Seq: 4}, []string{"step.*"}), nil)
		synctest.Wait()
		expect(t, "replayed", j.all(), "1/1 2/1 3/1 4/1 2/1 3/1")
		w.Lost("p#1")
		synctest.Wait()
		want(t, "replay while absent", w.Replay(ctx, "p/all", delivery.Position{Seq: 1}, delivery.Position{}, nil), nil)
		if c := m.cursor("p/all"); len(c.Replays) != 1 || c.Replays[0].Next != 1 || c.Replays[0].To != 4 {
			t.Errorf("the cursor is %+v, want a replay", c)
		}
		stop()

		w = newWorld(t, m)
		stop = w.run()
		defer stop()
		var again journal
		w.instance("p#1", good(&again))
		w.add("task.started")
		w.Connect("p#1", []delivery.Subscription{sub("p/all")})
		wait(2 * time.Second)
		expect(t, "after a restart", again.all(), "1/1 2/1 3/1 4/1 5/1")
		if c := m.cursor("p/all"); len(c.Replays) != 0 || c.Through != 5 {
			t.Errorf("the cursor is %+v, want the replay to be over", c)
		}
	})
}

// TestDeadLetters: they are delivered again on request, settled by success, kept by
// failure, and removed on request.
func TestDeadLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := bubble(t)

		w.add("task.started", "task.failed", "task.started", "task.failed")
		var j journal
		healed := false
		w.instance("p#1", handler(&j, func(p *plugin, e *pluginv1.SequencedEvent) bool {
			if e.GetSeq()%2 == 0 && (!healed || e.GetSeq() == 4) {
				p.reject(e.GetSeq(), "no")
			}
			return true
		}))
		only := func(s *delivery.Subscription) { s.Events = []string{"task.*"} }
		w.Connect("p#1", []delivery.Subscription{sub("p/all", only)})
		synctest.Wait()
		if st := w.status("p/all"); st.Dead != 2 || len(m.letters) != 2 {
			t.Fatalf("%d dead letters are told of, %d stored, want 2", st.Dead, len(m.letters))
		}
		healed = true
		n, err := w.RetryDead(t.Context(), "p/all", nil)
		want(t, "retry", err, nil)
		wait(2 * time.Second)
		expect(t, "events", j.all(), "1/1 2/1 3/1 4/1 2/2 4/2")
		if st := w.status("p/all"); n != 2 || st.Dead != 1 || len(m.letters) != 1 {
			t.Errorf("%d were retried, %d dead letters are told of, %d stored, want one to be left", n, st.Dead, len(m.letters))
		}
		for _, l := range m.letters {
			if l.Retry || l.Deliveries != 2 {
				t.Errorf("the letter that failed again is %+v", l)
			}
		}
		n, err = w.RetryDead(t.Context(), "p/all", []uint64{2})
		if n != 0 || err != nil {
			t.Errorf("retry of one that is gone: %d, %v", n, err)
		}
		n, err = w.DiscardDead(t.Context(), "p/all", []uint64{4})
		want(t, "discard", err, nil)
		if st := w.status("p/all"); n != 1 || st.Dead != 0 || len(m.letters) != 0 {
			t.Errorf("%d were discarded, %d are left", n, len(m.letters))
		}
		expect(t, "told", strings.Join(w.told(), "\n"),
			"dead p/all 2 task.failed 1: no\ndead p/all 4 task.failed 1: no\ndead p/all 4 task.failed 2: no")
	})
}

// TestLettersWaitForTheirPlugin: a retry that was asked for outlives the host.
func TestLettersWaitForTheirPlugin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		w := newWorld(t, m)
		stop := w.run()
		w.add("task.started")
		var j journal
		w.instance("p#1", handler(&j, func(p *plugin, _ *pluginv1.SequencedEvent) bool { p.reject(1, "no"); return true }))
		w.Connect("p#1", []delivery.Subscription{sub("p/all", func(s *delivery.Subscription) { s.Events = []string{"task.*"} })})
		synctest.Wait()
		w.Lost("p#1")
		synctest.Wait()
		if n, err := w.RetryDead(t.Context(), "p/all", []uint64{1}); n != 1 || err != nil {
			t.Fatalf("retry: %d, %v", n, err)
		}
		stop()
		w = newWorld(t, m)
		stop = w.run()
		defer stop()
		var again journal
		w.instance("p#1", good(&again))
		w.Connect("p#1", []delivery.Subscription{sub("p/all", func(s *delivery.Subscription) { s.Events = []string{"task.*"} })})
		wait(2 * time.Second)
		expect(t, "events", again.all(), "1/2")
		if len(m.letters) != 0 {
			t.Errorf("%d dead letters are left", len(m.letters))
		}
	})
}

// TestForget removes what is kept of a subscription that nobody declares.
func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := bubble(t)

		w.add("task.started")
		var j journal
		w.instance("p#1", good(&j))
		w.Connect("p#1", []delivery.Subscription{sub("p/all")})
		synctest.Wait()
		want(t, "forget one that is declared", w.Forget(t.Context(), "p/all"), task.ErrTransition)
		w.Lost("p#1")
		synctest.Wait()
		want(t, "forget", w.Forget(t.Context(), "p/all"), nil)
		if _, ok := m.cursors["p/all"]; ok {
			t.Error("the cursor is still there")
		}
		want(t, "forget again", w.Forget(t.Context(), "p/all"), task.ErrNotFound)
		w.instance("p#2", good(&j))
		w.Connect("p#2", []delivery.Subscription{sub("p/all")})
		synctest.Wait()
		expect(t, "events", j.all(), "1/1 1/1")
	})
}

// TestTry delivers an event that is in no log, and says what came of it.
func TestTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, w := bubble(t)

		w.add("task.started")
		var j journal
		verdict := ""
		w.instance("p#1", handler(&j, func(p *plugin, e *pluginv1.SequencedEvent) bool {
			switch {
			case e.GetSeq() < delivery.FirstTrial || verdict == "":
				return true
			case verdict == "retry":
				p.retry(e.GetSeq(), "later")
				return false
			case verdict == "reject":
				p.reject(e.GetSeq(), "never")
				return true
			case verdict == "die":
				p.err = errDied
				return false
			}
			<-p.ctx.Done()
			return false
		}))
		trial := encode(&eventv1.Event{Type: "task.failed", Payload: []byte(`{}`)})
		_, err := w.Try(t.Context(), "p/all", trial, 0)
		want(t, "before it is known", err, task.ErrNotFound)
		w.Connect("p#1", []delivery.Subscription{sub("p/all")})
		synctest.Wait()
		for _, tt := range []struct{ verdict, want string }{
			{"", "acked "}, {"retry", "retry later"}, {"reject", "rejected never"}, {"", "acked "},
		} {
			verdict = tt.verdict
			got, err := w.Try(t.Context(), "p/all", trial, 0)
			want(t, "try", err, nil)
			expect(t, "outcome", got.Verdict+" "+got.Reason, tt.want)
		}
		_, err = w.Try(t.Context(), "p/all", []byte{0xff}, 0)
		want(t, "no event", err, task.ErrInvalid)
		verdict = "die"
		if _, err = w.Try(t.Context(), "p/all", trial, 0); err == nil || !strings.Contains(err.Error(), "closing") {
			t.Errorf("the stream breaks: got error %v", err)
		}
		verdict = "wait"
		_, err = w.Try(t.Context(), "p/all", trial, 10*time.Second)
		want(t, "no answer", err, context.DeadlineExceeded)
		w.Disconnect("p#1")
		wait(10 * time.Second)
		_, err = w.Try(t.Context(), "p/all", trial, 0)
		want(t, "while absent", err, task.ErrTransition)
		if c := m.cursor("p/all"); c.Through != 1 || c.Delivered != 1 || len(m.letters) != 0 {
			t.Errorf("a trial moved the cursor to %+v", c)
		}
	})
}

// TestStart: a new subscription begins with the run, with the log, or at a time.
func TestStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		before := newWorld(t, m)
		before.add("task.started")
		wait(time.Hour)
		at := time.Now()
		before.add("task.failed")
		w := newWorld(t, m)
		w.add("task.started") // of this run, before the plugin is ready
		stop := w.run()
		defer stop()
		for name, tt := range map[string]struct {
			start delivery.Start
			want  string
		}{
			"now":       {delivery.Start{}, "3/1"},
			"beginning": {delivery.Start{Beginning: true}, "1/1 2/1 3/1"},
			"time":      {delivery.Start{At: at}, "2/1 3/1"},
		} {
			var j journal
			w.instance(name+"#1", good(&j))
			w.Connect(name+"#1", []delivery.Subscription{sub(name+"/all", func(s *delivery.Subscription) { s.Start = tt.start })})
			synctest.Wait()
			expect(t, name, j.all(), tt.want)
		}
	})
}

// TestDrain lets subscribers that get ahead catch up, and waits for no others.
func TestDrain(t *testing.T) {
	tests := []struct {
		name  string
		slow  time.Duration // per event
		want  uint64        // the cursor in the end
		limit time.Duration
	}{
		{"catches up", 10 * time.Millisecond, 100, 2 * time.Second},
		{"takes too long", 100 * time.Millisecond, 50, 6 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				w := newWorld(t, m)
				stop := w.run()
				var j journal
				w.instance("p#1", handler(&j, func(p *plugin, _ *pluginv1.SequencedEvent) bool {
					select {
					case <-time.After(tt.slow):
						return true
					case <-p.ctx.Done():
						return false
					}
				}))
				w.instance("q#1", silent)
				w.instance("r#1", handler(&journal{}, func(p *plugin, e *pluginv1.SequencedEvent) bool { p.retry(e.GetSeq(), "no"); return false }))
				w.Connect("p#1", []delivery.Subscription{sub("p/all")})
				w.Connect("r#1", []delivery.Subscription{sub("r/all")})
				var kinds []string
				for range 100 {
					kinds = append(kinds, "task.started")
				}
				w.add(kinds...)
				synctest.Wait()
				begin := time.Now()
				if err := w.Drain(t.Context()); err != nil {
					t.Errorf("Drain: %v", err)
				}
				if took := time.Since(begin); took > tt.limit {
					t.Errorf("it took %s", took)
				}
				if c := m.cursor("p/all"); c.Through+1 < tt.want || c.Through > tt.want {
					t.Errorf("the cursor is %+v, want through about %d", c, tt.want)
				}
				stop()
			})
		})
	}
}

// TestFetch sends documents in parts.
func TestFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, w := bubble(t)

		got, parts, failure := 0, 0, ""
		w.instance("p#1", func(_ context.Context, p *plugin) {
			for id, ref := range map[uint64]string{1: "input", 2: "result/7"} {
				p.say(&pluginv1.DeliverResponse{Kind: &pluginv1.DeliverResponse_Fetch{Fetch: &pluginv1.EventFetch{Id: id, TaskId: taskA, Ref: ref}}})
			}
			for r := p.next(); r != nil; r = p.next() {
				c := r.GetChunk()
				switch c.GetFetchId() {
				case 1:
					got += len(c.GetData())
					parts++
				case 2:
					failure = c.GetError()
				}
			}
		})
		w.Connect("p#1", []delivery.Subscription{sub("p/all")})
		synctest.Wait()
		if want := len(taskA) * 20_000; got != want || parts != 2 {
			t.Errorf("got %d bytes in %d parts, want %d in 2", got, parts, want)
		}
		expect(t, "failure", failure, "not found")
	})
}

// TestManyFetches: documents that are asked for at once are all answered.
func TestManyFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const documents = 1_000
		_, w := bubble(t)
		var got []uint64
		w.instance("p#1", func(_ context.Context, p *plugin) {
			for id := range uint64(documents) {
				p.say(&pluginv1.DeliverResponse{Kind: &pluginv1.DeliverResponse_Fetch{Fetch: &pluginv1.EventFetch{Id: id, TaskId: taskA, Ref: "gone"}}})
			}
			for r := p.next(); r != nil; r = p.next() {
				if c := r.GetChunk(); c != nil {
					got = append(got, c.GetFetchId())
				}
			}
		})
		w.Connect("p#1", []delivery.Subscription{sub("p/all")})
		synctest.Wait()
		if len(got) != documents || !slices.IsSorted(got) {
			t.Errorf("got %d documents, want %d in their order", len(got), documents)
		}
	})
}

// slow is a store whose writes take their time.
type slow struct{ *memory }

func (s slow) Submit(ws *store.WriteSet, done func(store.Commit, error)) {
	time.AfterFunc(50*time.Millisecond, func() { s.memory.Submit(ws, done) })
}

// TestRetryManyLetters: of many letters that are retried each is delivered once, while
// the writes of others are under way, and while none succeeds.
func TestRetryManyLetters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const letters = 200
		m := newMemory()
		w := newWorld(t, slow{m})
		t.Cleanup(w.run())
		w.add(slices.Repeat([]string{"task.started"}, letters)...)
		wait(time.Second)
		var refusing atomic.Bool
		refusing.Store(true)
		deliveries := make(map[uint64]int)
		w.instance("p#1", handler(&journal{}, func(p *plugin, e *pluginv1.SequencedEvent) bool {
			deliveries[e.GetSeq()]++
			if refusing.Load() {
				p.reject(e.GetSeq(), "no")
			}
			return true
		}))
		w.Connect("p#1", []delivery.Subscription{sub("p/all", func(s *delivery.Subscription) { s.Events = []string{"task.*"} })})
		wait(time.Minute)
		refusing.Store(false)
		retried := func(when string, times int) {
			t.Helper()
			for seq := range uint64(letters) {
				if n := deliveries[seq+1]; n != times {
					t.Errorf("%s: event %d was delivered %d times, want %d", when, seq+1, n, times)
				}
			}
			if n := w.status("p/all").Dead; n != 0 {
				t.Errorf("%s: %d dead letters are counted, want none", when, n)
			}
		}
		if n, err := w.RetryDead(t.Context(), "p/all", nil); n != letters || err != nil {
			t.Fatalf("retry: %d, %v", n, err)
		}
		m.fail(errors.New("the disk is full"))
		wait(time.Minute)
		retried("while nothing is written", 2)
		m.fail(nil)
		wait(time.Minute)
		retried("in the end", 2)
		if len(m.letters) != 0 {
			t.Errorf("the store has %d letters, want none", len(m.letters))
		}
	})
}

// TestRetryLettersAnew: letters are retried while others are under way.
func TestRetryLettersAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const letters = 150
		m := newMemory()
		w := newWorld(t, slow{m})
		t.Cleanup(w.run())
		w.add(slices.Repeat([]string{"task.started"}, letters)...)
		wait(time.Second)
		var j journal
		w.instance("p#1", handler(&j, func(p *plugin, e *pluginv1.SequencedEvent) bool {
			if e.GetDelivery() == 1 {
				p.reject(e.GetSeq(), "no")
			}
			<-time.After(10 * time.Millisecond)
			return true
		}))
		w.Connect("p#1", []delivery.Subscription{sub("p/all", func(s *delivery.Subscription) { s.Events = []string{"task.*"} })})
		wait(time.Minute)
		for _, seqs := range [][]uint64{{150}, {100, 3}, {1}, nil} {
			if _, err := w.RetryDead(t.Context(), "p/all", seqs); err != nil {
				t.Error(err)
			}
		}
		wait(time.Minute)
		if n := j.count(); n != 2*letters || len(m.letters) != 0 || w.status("p/all").Dead != 0 {
			t.Errorf("%d deliveries, %d letters are left, %d are counted; want each event twice", n, len(m.letters), w.status("p/all").Dead)
		}
	})
}
