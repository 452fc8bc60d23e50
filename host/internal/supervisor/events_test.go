//go:build unix

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"

	"github.com/tasker-engine/tasker/host/task"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// Deliver acknowledges what it gets, with a line for the log and spans before. An event of
// one byte ends the process, a ping is never answered.
func (p *testPlugin) Deliver(stream grpc.BidiStreamingServer[pluginv1.DeliverRequest, pluginv1.DeliverResponse]) error {
	for {
		frame, err := stream.Recv()
		if err != nil {
			return err
		}
		for _, e := range frame.GetBatch().GetEvents() {
			if len(e.GetEvent()) == 1 {
				quit(5)
			}
			for _, answer := range []*pluginv1.DeliverResponse{
				{Kind: &pluginv1.DeliverResponse_Log{Log: &pluginv1.Log{Level: "warn", Message: "heard of it", Fields: fmt.Appendf(nil, `{"seq":%d}`, e.GetSeq())}}},
				{Kind: &pluginv1.DeliverResponse_Spans{Spans: &pluginv1.Spans{}}},
				{Kind: &pluginv1.DeliverResponse_Ack{Ack: &pluginv1.Ack{Through: e.GetSeq()}}},
			} {
				if err := stream.Send(answer); err != nil {
					return err
				}
			}
		}
	}
}

func batch(seq uint64, encoded string) *pluginv1.DeliverRequest {
	return &pluginv1.DeliverRequest{Kind: &pluginv1.DeliverRequest_Batch{Batch: &pluginv1.Batch{
		Events: []*pluginv1.SequencedEvent{{Seq: seq, Event: []byte(encoded)}},
	}}}
}

func TestEventStream(t *testing.T) {
	h := startHost(t, func(o *Options) { o.Restart.MaxCrashes = 1 }, "events")
	in := h.instanceOf("events", 1)
	s, err := h.OpenStream(t.Context(), in.ID)
	if err != nil {
		t.Fatal(err)
	}
	for seq := uint64(7); seq < 9; seq++ {
		if err := s.Send(batch(seq, "an event")); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Recv(); err != nil || got.GetSpans() == nil {
			t.Fatalf("frame = %v, %v; want the spans", got, err)
		}
		if got, err := s.Recv(); err != nil || got.GetAck().GetThrough() != seq {
			t.Fatalf("answer = %v, %v; want an ack of %d", got, err, seq)
		}
	}
	lines, err := h.Logs("events", 1)
	if err != nil || len(lines) != 1 {
		t.Fatalf("Logs = %v, %v; want one line", lines, err)
	}
	want := LogLine{At: lines[0].At, Level: "warn", Source: "subscriber", Instance: in.ID, Message: "heard of it", Fields: []byte(`{"seq":8}`)}
	if diff := cmp.Diff(want, lines[0]); diff != "" {
		t.Errorf("line (-want +got):\n%s", diff)
	}
	t.Run("ends with its context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		other, err := h.OpenStream(ctx, in.ID)
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		if got, err := other.Recv(); err == nil {
			t.Errorf("frame %v, want an error", got)
		}
	})
	t.Run("ends with the process, whose crash does not count", func(t *testing.T) {
		h := h.within(t)
		if err := s.Send(batch(9, "!")); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Recv(); err == nil {
			t.Errorf("frame %v, want an error", got)
		}
		h.instanceOf("events", 2) // one crash that counted would quarantine it
	})
	if _, err := h.OpenStream(t.Context(), in.ID); !errors.Is(err, task.ErrNotFound) {
		t.Errorf("OpenStream to an instance that is gone: %v, want %v", err, task.ErrNotFound)
	}
}

func TestFailInstance(t *testing.T) {
	h := startHost(t, nil, "events")
	in := h.instanceOf("events", 1)
	h.FailInstance("events#9", "nobody is there")
	h.FailInstance(in.ID, "no answer to a ping for 15s")
	if got := h.lost(in.ID); got != task.LossHung {
		t.Errorf("cause = %s, want %s", got, task.LossHung)
	}
	c := h.crash(in.ID)
	if c.Cause != "hung: no answer to a ping for 15s" || !strings.Contains(c.Panic, "goroutine ") {
		t.Errorf("crash = %q with the dump %.60q, want the reason and goroutines", c.Cause, c.Panic)
	}
	h.instanceOf("events", 2)
}

// TestCheckManifest: what it says is kept, and while it waits others start, whatever the
// number of parallel starts.
func TestCheckManifest(t *testing.T) {
	started := make(chan string, 8)
	check := func(ctx context.Context, m *Manifest) (notes, warnings []string, err error) {
		switch m.Name {
		case "good-waits":
			select {
			case name := <-started:
				return []string{"waited for " + name}, []string{"it took a while"}, nil
			case <-ctx.Done():
				return nil, nil, ctx.Err()
			}
		case "good-refused":
			return nil, nil, errors.New("nobody emits what it reads")
		default:
			started <- m.Name
			return nil, nil, nil
		}
	}
	h := startHost(t, func(o *Options) { o.CheckManifest, o.MaxParallelStarts = check, 1 }, "good-refused", "good-waits", "late")
	h.instanceOf("good-waits", 1)
	l := h.inState("good-refused", task.PluginRefused)
	if want := "check: plugin good-refused: nobody emits what it reads"; !strings.HasSuffix(l.Cause, want) {
		t.Errorf("cause = %q, want %q at its end", l.Cause, want)
	}
	for _, p := range h.Plugins() {
		if p.Name != "good-waits" {
			continue
		}
		if n := len(p.Accepted); n == 0 || p.Accepted[n-1] != "waited for late" || !cmp.Equal(p.Warnings, []string{"it took a while"}) {
			t.Errorf("accepted %q, warnings %q; want what the check said", p.Accepted, p.Warnings)
		}
	}
	if !strings.Contains(h.log.String(), "it took a while") {
		t.Errorf("log %s\nlacks the warning", h.log)
	}
}

// TestCheckManifestTakesTooLong: then the plugin is started again, and the error names
// what it waited for.
func TestCheckManifestTakesTooLong(t *testing.T) {
	var again bool
	check := func(ctx context.Context, _ *Manifest) (notes, warnings []string, err error) {
		if again {
			return nil, nil, nil
		}
		again = true
		<-ctx.Done()
		return nil, nil, errors.New("plugin other has not said what it emits")
	}
	h := startHost(t, func(o *Options) {
		o.CheckManifest, o.StartTimeouts = check, map[string]time.Duration{"good": 2 * time.Second}
	}, "good")
	l := h.inState("good", task.PluginBackoff)
	for _, want := range []string{"check: not done within the start timeout of 2s", "plugin other has not said what it emits"} {
		if !strings.Contains(l.Cause, want) {
			t.Errorf("cause = %q, want %q in it", l.Cause, want)
		}
	}
	h.instanceOf("good", 1)
}

// TestDrainWaitsForStreams: an instance that is to be replaced is not stopped while
// events are being delivered to it.
func TestDrainWaitsForStreams(t *testing.T) {
	h := startHost(t, nil, "events")
	in := h.instanceOf("events", 1)
	s, err := h.OpenStream(t.Context(), in.ID)
	if err != nil {
		t.Fatal(err)
	}
	retire := attempt(1, "retire", `1`)
	h.Dispatch(in.ID, []*task.Assignment{retire})
	h.final(retire.ID)
	h.inState("events", task.PluginDraining)
	if err := s.Send(batch(1, "the last one")); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Recv(); err != nil || got.GetSpans() == nil {
		t.Fatalf("frame = %v, %v; want the spans", got, err)
	}
	if got, err := s.Recv(); err != nil || got.GetAck().GetThrough() != 1 {
		t.Fatalf("answer = %v, %v; want an ack", got, err)
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Recv(); err == nil {
		t.Errorf("frame %v, want an error", got)
	}
	if got := h.lost(in.ID); got != task.LossDrained {
		t.Errorf("cause = %s, want %s", got, task.LossDrained)
	}
	h.instanceOf("events", 2)
}
