package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/tasker-engine/tasker/host/internal/telemetry"
	hostv1 "github.com/tasker-engine/tasker/proto/tasker/host/v1"
)

// ErrNoMetrics is returned for the metrics of a host that measures none.
var ErrNoMetrics = &noMetricsError{}

type noMetricsError struct{}

func (*noMetricsError) Error() string { return "the host measures nothing, because nobody looks at it" }

// Hint returns the remedy.
func (*noMetricsError) Hint() string {
	return "set metrics.listen, for example to 127.0.0.1:9464, or OTEL_METRICS_EXPORTER, and start the host again"
}

// debugger serves the RPCs that look into a host.
type debugger struct {
	hostv1.UnimplementedDebugServiceServer

	metrics  func(w io.Writer) error
	stopping context.Context //nolint:containedctx // the server's own end, for streams
}

// GetMetrics implements hostv1.DebugServiceServer.
func (d *debugger) GetMetrics(_ *hostv1.GetMetricsRequest, stream grpc.ServerStreamingServer[hostv1.GetMetricsResponse]) error {
	var text bytes.Buffer
	if err := d.metrics(&text); err != nil {
		return toWire(err)
	}
	return inParts(text.Bytes(), func(part []byte) error { return stream.Send(&hostv1.GetMetricsResponse{Text: part}) })
}

// Profile implements hostv1.DebugServiceServer. The profile is kept until it is complete:
// what is profiled must not wait for who reads it.
func (d *debugger) Profile(r *hostv1.ProfileRequest, stream grpc.ServerStreamingServer[hostv1.ProfileResponse]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(d.stopping, cancel)()
	var profile bytes.Buffer
	err := telemetry.Profile(ctx, r.GetKind(), r.GetLength().AsDuration(), &profile, func(elapsed time.Duration) error {
		return stream.Send(&hostv1.ProfileResponse{Elapsed: durationpb.New(elapsed)})
	})
	if err != nil {
		return toWire(err)
	}
	return inParts(profile.Bytes(), func(part []byte) error { return stream.Send(&hostv1.ProfileResponse{Data: part}) })
}

// inParts sends data in parts of limited size.
func inParts(data []byte, send func(part []byte) error) error {
	for part := range slices.Chunk(data, partTarget) {
		if err := send(part); err != nil {
			return err
		}
	}
	return nil
}

// Metrics writes the metrics of the host in the text format of Prometheus.
func (c *Client) Metrics(ctx context.Context, w io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.debug.GetMetrics(ctx, &hostv1.GetMetricsRequest{})
	for err == nil {
		var part *hostv1.GetMetricsResponse
		if part, err = stream.Recv(); err == nil {
			_, err = w.Write(part.GetText())
		}
	}
	return ended(err)
}

// Profile profiles the host: kind is cpu, heap, goroutine or trace, of which cpu and trace
// watch for a length of time. progress is called every second of it. The profile goes to w.
// Error: task.ErrInvalid.
func (c *Client) Profile(ctx context.Context, kind string, length time.Duration, w io.Writer, progress func(elapsed time.Duration)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.debug.Profile(ctx, &hostv1.ProfileRequest{Kind: kind, Length: durationpb.New(length)})
	for err == nil {
		var part *hostv1.ProfileResponse
		if part, err = stream.Recv(); err != nil {
			break
		}
		if part.GetElapsed() != nil {
			progress(part.GetElapsed().AsDuration())
		}
		_, err = w.Write(part.GetData())
	}
	return ended(err)
}

// ended returns why a stream ended, nil for its proper end.
func ended(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return fromWire(err)
}
