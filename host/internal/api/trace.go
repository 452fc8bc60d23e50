package api

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"

	hostv1 "github.com/tasker-engine/tasker/proto/tasker/host/v1"
)

// traceChunk is the size of the parts in which a trace goes.
const traceChunk = 1 << 20

// GetTaskTrace implements the RPC.
func (c *control) GetTaskTrace(r *hostv1.GetTaskTraceRequest, stream grpc.ServerStreamingServer[hostv1.GetTaskTraceResponse]) error {
	otlp, err := c.service.Trace(stream.Context(), r.GetId())
	if err != nil {
		return toWire(err)
	}
	for len(otlp) > 0 {
		n := min(len(otlp), traceChunk)
		if err := stream.Send(&hostv1.GetTaskTraceResponse{Otlp: otlp[:n]}); err != nil {
			return err
		}
		otlp = otlp[n:]
	}
	return nil
}

// Trace implements [Service].
func (c *Client) Trace(ctx context.Context, id string) (otlp []byte, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.rpc.GetTaskTrace(ctx, &hostv1.GetTaskTraceRequest{Id: id})
	if err != nil {
		return nil, fromWire(err)
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return otlp, nil
		}
		if err != nil {
			return nil, fromWire(err)
		}
		otlp = append(otlp, m.GetOtlp()...)
	}
}
