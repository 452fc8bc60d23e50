package sdk_test

import (
	"context"
	"fmt"
	"net"
	"testing"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/tasker-engine/tasker/plugin/sdk"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// BenchmarkAttempts runs attempts over the wire within one process, 1,024 in flight, in frames of 64: what the SDK
// costs per attempt, both sides of gRPC included.
func BenchmarkAttempts(b *testing.B) {
	handlers := map[string]sdk.Handler{
		"raw":   raw{},
		"typed": sdk.Func(increment),
		"checked config": sdk.Func(func(ctx context.Context, in number) (number, error) {
			_, err := sdk.Config[stepConfig](ctx)
			return in, err
		}, sdk.Options{Config: stepConfig{}}),
	}
	for name, h := range handlers {
		b.Run(name, func(b *testing.B) {
			client := dial(b, sdk.Plugin{Name: "test", Version: "1.0.0", Handlers: sdk.Handlers{"h": h}})
			b.ReportAllocs()
			b.ResetTimer()
			if err := blast(b, client, b.N); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "attempts/s")
		})
	}
}

// dial serves a plugin without anything around it.
func dial(b *testing.B, p sdk.Plugin) pluginv1.StepServiceClient {
	b.Helper()
	server, err := sdk.NewServer(p, hclog.NewNullLogger())
	if err != nil {
		b.Fatal(err)
	}
	lis := bufconn.Listen(1 << 20)
	g := grpc.NewServer()
	server.Register(g)
	go func() { _ = g.Serve(lis) }()
	conn, err := grpc.NewClient("passthrough:///plugin", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = conn.Close()
		g.Stop()
	})
	return pluginv1.NewStepServiceClient(conn)
}

// blast runs n attempts on a stream of its own.
func blast(b *testing.B, client pluginv1.StepServiceClient, n int) error {
	b.Helper()
	const frame, inFlight = 64, 1024
	stream, err := client.Work(b.Context())
	if err != nil {
		return err
	}
	credit := make(chan struct{}, inFlight)
	failed := make(chan error, 1)
	go func() {
		for sent := 0; sent < n; {
			req := &pluginv1.WorkRequest{}
			for len(req.GetAttempts()) < frame && sent < n {
				credit <- struct{}{}
				req.Attempts = append(req.Attempts, &pluginv1.Attempt{
					AttemptId: fmt.Sprintf("01JD0000000000000000000000/%d/1", sent), Handler: "h", Step: "step", Number: 1,
					Input: &pluginv1.Value{Inline: []byte(`{"n":1}`)}, Config: []byte(`{"region":"eu"}`),
				})
				sent++
			}
			if err := stream.Send(req); err != nil {
				failed <- err
				return
			}
		}
	}()
	for got := 0; got < n; {
		resp, err := stream.Recv()
		if err != nil {
			return err
		}
		for _, u := range resp.GetUpdates() {
			if r := u.GetResult(); r != nil {
				if r.GetError() != nil {
					return fmt.Errorf("attempt failed: %v", r.GetError())
				}
				got++
				<-credit
			}
		}
	}
	select {
	case err := <-failed:
		return err
	default:
		return stream.CloseSend()
	}
}
