package sdk

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"

	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// said is a status and when it came.
type said struct {
	At       time.Duration
	State    string
	InFlight int
}

// after lets time pass in a bubble.
func after(d time.Duration) { <-time.After(d) }

// TestWatch reports at once, at changes, while attempts run, and never when idle.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDispatcher(&declaration{}, hclog.NewNullLogger())
		ctx, stop := context.WithCancel(t.Context())
		start := time.Now()
		var got []said
		ended := make(chan error)
		go func() {
			ended <- d.watch(ctx, func(s *pluginv1.Status) error {
				got = append(got, said{time.Since(start), s.GetState().String(), int(s.GetInFlight())})
				return nil
			})
		}()
		a := &attempt{wire: &pluginv1.Attempt{AttemptId: "a"}, work: &workStream{d: d, ended: true}}

		after(time.Hour) // idle: silence
		d.begin(a)
		after(7 * time.Second) // two ticks
		a.work.running.Add(1)
		a.work.finish(a, nil)
		after(time.Hour) // idle again
		d.begin(a)
		after(4 * time.Second) // one tick
		d.drain()
		after(time.Second)
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}

		const h = time.Hour
		want := []said{
			{0, "STATE_READY", 0},
			{h, "STATE_READY", 1},
			{h + 3*time.Second, "STATE_READY", 1},
			{h + 6*time.Second, "STATE_READY", 1},
			{2*h + 7*time.Second, "STATE_READY", 1},
			{2*h + 10*time.Second, "STATE_READY", 1},
			{2*h + 11*time.Second, "STATE_DRAINING", 1},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("statuses (-want +got):\n%s", diff)
		}
	})
}

// TestFrames bounds frames by items and by bytes, and lets one large item through alone.
func TestFrames(t *testing.T) {
	d := newDispatcher(&declaration{}, hclog.NewNullLogger())
	w := &workStream{d: d, wake: make(chan struct{}, 1)}
	push := func(n, size int) {
		for range n {
			w.push("a", &pluginv1.Update{Kind: &pluginv1.Update_Result{Result: &pluginv1.Result{Outcome: &pluginv1.Result_Output{Output: make([]byte, size)}}}})
		}
	}
	push(pluginv1.MaxFrameItems+1, 1) // 64, 1 with the next ones
	push(3, 400<<10)                  // 2, then 1
	push(1, 5<<20)                    // alone
	push(1, 1)
	w.closing = true
	var got []int
	for last := false; !last; {
		var frame []*pluginv1.Update
		frame, last = w.frame()
		got = append(got, len(frame))
	}
	if diff := cmp.Diff([]int{64, 3, 1, 1, 1}, got); diff != "" {
		t.Errorf("items per frame (-want +got):\n%s", diff)
	}
}

// TestHeartbeatsMerge keeps one heartbeat per attempt in the queue, with the last checkpoint.
func TestHeartbeatsMerge(t *testing.T) {
	d := newDispatcher(&declaration{}, hclog.NewNullLogger())
	w := &workStream{d: d, wake: make(chan struct{}, 1)}
	a := &attempt{wire: &pluginv1.Attempt{AttemptId: "a"}, work: w}
	d.begin(a)
	half, full, note := 0.5, 7.0, "note"
	a.heartbeat(&half, &note, nil)
	a.heartbeat(nil, nil, []byte("1"))
	a.heartbeat(nil, nil, []byte("2"))
	a.heartbeat(&full, nil, nil)
	first, _ := w.frame()
	a.heartbeat(nil, nil, nil)
	w.running.Add(1)
	w.finish(a, &pluginv1.Result{})
	a.heartbeat(nil, nil, []byte("late")) // after the result: dropped
	second, _ := w.frame()
	if h := first[0].GetHeartbeat(); len(first) != 1 || h.GetProgress() != 1 || h.GetNote() != note || string(h.GetCheckpoint()) != "2" {
		t.Errorf("first frame %v, want one heartbeat with all that was said", first)
	}
	if len(second) != 2 || second[0].GetHeartbeat().GetCheckpoint() != nil || second[1].GetResult() == nil {
		t.Errorf("second frame %v, want a heartbeat and the result", second)
	}
}

// FuzzCut shortens any bytes to valid text of at most the limit.
func FuzzCut(f *testing.F) {
	f.Add("text", 100)
	f.Add("\xff\u00e4\u20ac", 8)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		if limit < 8 {
			return
		}
		got := cut(s, limit)
		if len(got) > limit || !utf8.ValidString(got) {
			t.Errorf("cut(%q, %d) = %q", s, limit, got)
		}
		if len(s) <= limit && utf8.ValidString(s) && got != s {
			t.Errorf("cut(%q, %d) = %q, want it as it is", s, limit, got)
		}
	})
}

// TestDroppedLogs counts what is dropped and says so with the next line.
func TestDroppedLogs(t *testing.T) {
	d := newDispatcher(&declaration{}, hclog.NewNullLogger())
	w := &workStream{d: d, wake: make(chan struct{}, 1)}
	a := &attempt{wire: &pluginv1.Attempt{AttemptId: "a"}, work: w}
	for range maxQueuedLogs + 5 {
		a.log(hclog.Info, "line", nil)
	}
	if len(w.queue) != maxQueuedLogs {
		t.Fatalf("%d lines queued, want %d", len(w.queue), maxQueuedLogs)
	}
	for len(w.queue) > 0 {
		w.frame()
	}
	a.log(hclog.Info, "line", nil)
	frame, _ := w.frame()
	if len(frame) != 2 || frame[0].GetLog().GetMessage() != "5 log lines of this process were dropped: the host did not keep up" {
		t.Errorf("frame %v, want the count and the line", frame)
	}
}
