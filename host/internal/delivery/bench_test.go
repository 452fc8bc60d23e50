//go:build unix

package delivery_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tasker-engine/tasker/host/internal/boltstore"
	"github.com/tasker-engine/tasker/host/internal/boltstore/bolttest"
	"github.com/tasker-engine/tasker/host/internal/delivery"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

const (
	benchEvents = 200_000
	benchTasks  = 64 // at work at the same time
	benchBatch  = delivery.MaxBatchEvents
)

// prepareLog fills a log with what runs of five steps record, of many tasks in turn.
func prepareLog(tb testing.TB, s *boltstore.Store) {
	tb.Helper()
	started, _ := event.Lookup(event.NameStepStarted)
	completed, _ := event.Lookup(event.NameStepCompleted)
	errs := make(chan error, benchEvents)
	sets := 0
	for n := 0; n < benchEvents; {
		ws := &store.WriteSet{}
		for range 10 {
			entry := started
			if n%2 == 1 {
				entry = completed
			}
			id := fmt.Sprintf("01J%023d", n%benchTasks+n/(10*benchTasks)*benchTasks)
			ws.Events = append(ws.Events, store.Event{Type: entry.Name, Encoded: encode(&eventv1.Event{
				Id: fmt.Sprintf("%s/%d", id, n), Type: entry.Name, At: time.Now().UnixNano(), TaskId: id, TaskSeq: uint64(n),
				Step: "charge_card", Namespace: "shop", Template: "order", Version: "1.2.0", CorrelationId: "order-4711",
				Payload: entry.Example,
			})})
			n++
		}
		sets++
		s.Submit(ws, func(_ store.Commit, err error) { errs <- err })
	}
	for range sets {
		if err := <-errs; err != nil {
			tb.Fatal(err)
		}
	}
}

// openLog opens a store with a prepared log. It is not verified: its tasks do not exist.
func openLog(tb testing.TB) *boltstore.Store {
	tb.Helper()
	s, err := boltstore.Open(filepath.Join(tb.TempDir(), bolttest.FileName), boltstore.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = s.Close() })
	prepareLog(tb, s)
	return s
}

// dialPeer starts a subscriber in a process of its own.
func dialPeer(tb testing.TB) pluginv1.EventServiceClient {
	tb.Helper()
	socket := filepath.Join(tb.TempDir(), "s")
	cmd := exec.CommandContext(tb.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), peerEnv+"="+socket)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		tb.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true), grpc.MaxCallRecvMsgSize(16<<20)))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = conn.Close() })
	return pluginv1.NewEventServiceClient(conn)
}

// cpu returns what this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// floor reads the log and sends its bytes over a raw stream, with as many frames under
// way as a subscription has. echo says whether the bytes come back.
func floor(tb testing.TB, s *boltstore.Store, client pluginv1.EventServiceClient, echo bool) time.Duration {
	tb.Helper()
	ctx, cancel := context.WithCancel(tb.Context())
	defer cancel()
	stream, err := client.Deliver(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	begin := time.Now()
	window := make(chan struct{}, delivery.DefaultWindow)
	received := make(chan error, 1)
	frames := make(chan int, 1)
	go func() {
		for n, total := 0, -1; n != total; n++ {
			if _, err := stream.Recv(); err != nil {
				received <- err
				return
			}
			<-window
			select {
			case total = <-frames:
			default:
			}
		}
		received <- nil
	}()
	sent := 0
	for from := uint64(1); from <= benchEvents; {
		page, err := s.Events(ctx, from, 2*benchBatch)
		if err != nil {
			tb.Fatal(err)
		}
		from += uint64(len(page))
		for len(page) > 0 {
			n := min(len(page), benchBatch)
			var data []byte
			for _, e := range page[:n] {
				data = append(data, e.Encoded...)
			}
			page = page[n:]
			if sent++; from > benchEvents && len(page) == 0 {
				frames <- sent - 1
			}
			window <- struct{}{}
			err := stream.Send(&pluginv1.DeliverRequest{Kind: &pluginv1.DeliverRequest_Chunk{
				Chunk: &pluginv1.EventChunk{Data: data, Last: !echo},
			}})
			if err != nil {
				tb.Fatal(err)
			}
		}
	}
	if err := <-received; err != nil {
		tb.Fatal(err)
	}
	return time.Since(begin)
}

// grpcStreams opens streams to the peer.
type grpcStreams struct{ client pluginv1.EventServiceClient }

func (g grpcStreams) OpenStream(ctx context.Context, _ string) (delivery.Stream, error) {
	stream, err := g.client.Deliver(ctx)
	return roomy{stream}, err
}

func (g grpcStreams) FailInstance(string, string) {}

// drain delivers the whole log to new subscriptions and returns how long it took.
func drain(tb testing.TB, s *boltstore.Store, client pluginv1.EventServiceClient, names ...string) time.Duration {
	tb.Helper()
	w := newWorld(tb, s, func(o *delivery.Options) { o.Streams = grpcStreams{client} })
	stop := w.run()
	defer stop()
	begin := time.Now()
	for _, name := range names {
		w.Connect(name+"#1", []delivery.Subscription{sub(name+"/all", func(s *delivery.Subscription) { s.Events = []string{"step.*"} })})
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		done := 0
		for _, name := range names {
			if w.status(name+"/all").Cursor.Through >= benchEvents {
				done++
			}
		}
		if done == len(names) {
			break
		}
	}
	return time.Since(begin)
}

// BenchmarkDrain drains a prepared log through a real stream to a subscriber that
// acknowledges at once, and compares it with the floor: reading the log, and a raw stream
// of the same bytes.
func BenchmarkDrain(b *testing.B) {
	s := openLog(b)
	client := dialPeer(b)
	stream, err := client.Deliver(b.Context()) // waits until the peer is there
	if err != nil {
		b.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		b.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		b.Fatal(err)
	}
	var took, echo, oneWay, used time.Duration
	runs := 0
	for b.Loop() {
		echo += floor(b, s, client, true)
		oneWay += floor(b, s, client, false)
		before := cpu()
		took += drain(b, s, client, fmt.Sprintf("drain%d", runs))
		used += cpu() - before
		runs++
	}
	n := float64(runs) * benchEvents
	b.ReportMetric(n/took.Seconds(), "events/s")
	b.ReportMetric(echo.Seconds()/took.Seconds(), "of-floor")
	b.ReportMetric(oneWay.Seconds()/took.Seconds(), "of-one-way-floor")
	b.ReportMetric(float64(used.Microseconds())/n, "cpu-us/event")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkDrainThree is the same for three subscribers at once: they read the log
// together.
func BenchmarkDrainThree(b *testing.B) {
	s := openLog(b)
	client := dialPeer(b)
	var took, used time.Duration
	runs := 0
	for b.Loop() {
		before := cpu()
		took += drain(b, s, client, fmt.Sprintf("a%d", runs), fmt.Sprintf("b%d", runs), fmt.Sprintf("c%d", runs))
		used += cpu() - before
		runs++
	}
	n := float64(runs) * benchEvents * 3
	b.ReportMetric(n/took.Seconds(), "events/s")
	b.ReportMetric(float64(used.Microseconds())/n, "cpu-us/event")
	b.ReportMetric(0, "ns/op")
}
