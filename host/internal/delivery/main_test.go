package delivery_test

import (
	"net"
	"os"
	"testing"

	"go.uber.org/goleak"
	"google.golang.org/grpc"

	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// peerEnv makes the test binary a subscriber in a process of its own: it serves at the
// socket that the variable names until its standard input ends.
const peerEnv = "TASKER_DELIVERY_PEER"

func TestMain(m *testing.M) {
	if socket := os.Getenv(peerEnv); socket != "" {
		if err := runPeer(socket); err != nil {
			panic(err) // the benchmark that started it shows it
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func runPeer(socket string) error {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(16 << 20))
	pluginv1.RegisterEventServiceServer(server, peer{})
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1)) // ends with the benchmark
		server.Stop()
	}()
	return server.Serve(l)
}

// peer acknowledges batches at once, and answers chunks with what is in them, or with
// nothing.
type peer struct {
	pluginv1.UnimplementedEventServiceServer
}

func (peer) Deliver(stream grpc.BidiStreamingServer[pluginv1.DeliverRequest, pluginv1.DeliverResponse]) error {
	for {
		r, err := stream.Recv()
		if err != nil {
			return nil //nolint:nilerr // the host is done
		}
		var answer *pluginv1.DeliverResponse
		switch k := r.GetKind().(type) {
		case *pluginv1.DeliverRequest_Batch:
			events := k.Batch.GetEvents()
			answer = &pluginv1.DeliverResponse{Kind: &pluginv1.DeliverResponse_Ack{
				Ack: &pluginv1.Ack{Through: events[len(events)-1].GetSeq()},
			}}
		case *pluginv1.DeliverRequest_Chunk:
			log := &pluginv1.Log{}
			if !k.Chunk.GetLast() {
				log.Fields = k.Chunk.GetData()
			}
			answer = &pluginv1.DeliverResponse{Kind: &pluginv1.DeliverResponse_Log{Log: log}}
		default:
			continue
		}
		if err := stream.Send(answer); err != nil {
			return nil //nolint:nilerr // the host is done
		}
	}
}
