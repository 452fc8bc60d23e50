package sdk_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"testing"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// BenchmarkDeliver delivers events over a unix socket within one process, in batches of 256 with a window of 4: what
// the SDK costs per event, both sides of gRPC included. The floor receives the same bytes and acks each batch.
func BenchmarkDeliver(b *testing.B) {
	raw := func(_ context.Context, _ sdk.Event[json.RawMessage]) error { return nil }
	lanes := sdk.SubscriberOptions{Order: sdk.TaskOrder}
	for _, bench := range []struct {
		name string
		sub  sdk.Subscriber // nil: the floor
	}{
		{"floor", nil},
		{"raw", sdk.OnNamed("*", raw)},
		{"raw lanes", sdk.Subscribe(sdk.OnNamed("*", raw), lanes)},
		{"method", &completed{}},
		{"typed", sdk.On(func(context.Context, sdk.Event[event.StepCompleted]) error { return nil })},
		{"typed lanes", sdk.Subscribe(sdk.On(func(context.Context, sdk.Event[event.StepCompleted]) error { return nil }), lanes)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			var service pluginv1.EventServiceServer
			if bench.sub == nil {
				service = echo{}
			}
			client := serveEvents(b, bench.sub, service)
			events := encodedEvents(b)
			b.ReportAllocs()
			b.ResetTimer()
			if err := shower(b, client, events, b.N); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// completed receives an event by a method.
type completed struct{ sdk.BaseSubscriber }

func (*completed) OnStepCompleted(context.Context, sdk.Event[json.RawMessage]) error { return nil }

// echo acks what comes.
type echo struct {
	pluginv1.UnimplementedEventServiceServer
}

func (echo) Deliver(stream grpc.BidiStreamingServer[pluginv1.DeliverRequest, pluginv1.DeliverResponse]) error {
	for {
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		events := req.GetBatch().GetEvents()
		if len(events) == 0 {
			continue
		}
		ack := &pluginv1.Ack{Through: events[len(events)-1].GetSeq()}
		if err := stream.Send(&pluginv1.DeliverResponse{Kind: &pluginv1.DeliverResponse_Ack{Ack: ack}}); err != nil {
			return err
		}
	}
}

// serveEvents serves a subscriber, or else a service, on a unix socket.
func serveEvents(b *testing.B, sub sdk.Subscriber, service pluginv1.EventServiceServer) pluginv1.EventServiceClient {
	b.Helper()
	g := grpc.NewServer()
	if service != nil {
		pluginv1.RegisterEventServiceServer(g, service)
	} else {
		server, err := sdk.NewServer(sdk.Plugin{Name: "test", Version: "1.0.0", Subscribers: sdk.Subscribers{"s": sub}}, hclog.NewNullLogger())
		if err != nil {
			b.Fatal(err)
		}
		server.Register(g)
	}
	path := filepath.Join(b.TempDir(), "s")
	lis, err := new(net.ListenConfig).Listen(b.Context(), "unix", path)
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = g.Serve(lis) }()
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = conn.Close()
		g.Stop()
	})
	return pluginv1.NewEventServiceClient(conn)
}

// encodedEvents are events of 64 tasks as the log has them.
func encodedEvents(b *testing.B) [][]byte {
	b.Helper()
	entry, _ := event.Lookup(event.NameStepCompleted)
	events := make([][]byte, 1024)
	for i := range events {
		task := fmt.Sprintf("01JD3Z9Q7V8T4K2M6N1P5R3S%02d", i%64)
		doc, err := proto.Marshal(&eventv1.Event{
			Id: fmt.Sprintf("%s/%d", task, i/64+1), Type: entry.Name, At: 1, TaskId: task, TaskSeq: uint64(i/64 + 1), Step: "charge",
			Namespace: "shop", Template: "order", Version: "1.2.0", CorrelationId: "web-8842", Payload: entry.Example,
		})
		if err != nil {
			b.Fatal(err)
		}
		events[i] = doc
	}
	return events
}

// shower delivers n events and waits until all are acked.
func shower(b *testing.B, client pluginv1.EventServiceClient, events [][]byte, n int) error {
	b.Helper()
	const perBatch, window = 256, 4
	stream, err := client.Deliver(b.Context())
	if err != nil {
		return err
	}
	if err := stream.Send(&pluginv1.DeliverRequest{Kind: &pluginv1.DeliverRequest_Open{Open: &pluginv1.Open{Subscription: "s"}}}); err != nil {
		return err
	}
	credit := make(chan struct{}, window)
	failed := make(chan error, 1)
	go func() {
		for sent := 0; sent < n; {
			credit <- struct{}{}
			batch := &pluginv1.Batch{}
			for len(batch.GetEvents()) < perBatch && sent < n {
				batch.Events = append(batch.Events, &pluginv1.SequencedEvent{Seq: uint64(sent + 1), Event: events[sent%len(events)], Delivery: 1})
				sent++
			}
			if err := stream.Send(&pluginv1.DeliverRequest{Kind: &pluginv1.DeliverRequest_Batch{Batch: batch}}); err != nil {
				failed <- err
				return
			}
		}
		failed <- nil
	}()
	frames := 0
	for through, acked, batches := uint64(0), 0, 0; acked < n; {
		resp, err := stream.Recv()
		if err != nil {
			return err
		}
		frames++
		ack := resp.GetAck()
		acked += len(ack.GetSeqs())
		if ack.GetThrough() > 0 {
			acked += int(ack.GetThrough() - through)
			through = ack.GetThrough()
		}
		for ; batches < acked/perBatch; batches++ {
			<-credit
		}
	}
	b.ReportMetric(float64(frames)/float64(n)*256, "acks/batch")
	if err := <-failed; err != nil {
		return err
	}
	return stream.CloseSend()
}
