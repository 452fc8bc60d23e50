package api

import (
	"context"

	hostv1 "github.com/tasker-engine/tasker/proto/tasker/host/v1"
)

// StopHost implements the RPC.
func (c *control) StopHost(ctx context.Context, r *hostv1.StopHostRequest) (*hostv1.StopHostResponse, error) {
	if c.embedded {
		return nil, toWire(embeddedError{})
	}
	return &hostv1.StopHostResponse{}, toWire(c.service.StopHost(ctx, r.GetBy()))
}

// StopHost implements [Service].
func (c *Client) StopHost(ctx context.Context, by string) error {
	_, err := c.rpc.StopHost(ctx, &hostv1.StopHostRequest{By: by})
	return fromWire(err)
}

func drainingToWire(d *Draining) *hostv1.Draining {
	if d == nil {
		return nil
	}
	return &hostv1.Draining{Attempts: count(d.Attempts), Until: timeToWire(d.Until)}
}

func drainingFromWire(d *hostv1.Draining) *Draining {
	if d == nil {
		return nil
	}
	return &Draining{Attempts: int(d.GetAttempts()), Until: timeFromWire(d.GetUntil())}
}
