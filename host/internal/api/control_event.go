package api

import (
	"context"

	"google.golang.org/grpc"

	"github.com/tasker-engine/tasker/host/internal/store"
	hostv1 "github.com/tasker-engine/tasker/proto/tasker/host/v1"
)

// maxLetters is the size in bytes at which a page of dead letters ends, so that it fits
// into one message whatever the events hold.
const maxLetters = maxMessage / 4

// TailEvents implements the RPC.
func (c *control) TailEvents(r *hostv1.TailEventsRequest, stream grpc.ServerStreamingServer[hostv1.TailEventsResponse]) error {
	ctx, release, explain := c.untilStop(stream.Context())
	defer release()
	q := queryFromWire(r)
	err := c.service.Events(ctx, q, func(e store.LogEntry) error {
		return stream.Send(&hostv1.TailEventsResponse{
			Entries: []*hostv1.LogEntry{{Seq: e.Seq, Encoded: e.Encoded}},
		})
	})
	if err == nil && !q.Follow {
		return nil
	}
	return explain(err)
}

// ListCatalog implements the RPC.
func (c *control) ListCatalog(ctx context.Context, _ *hostv1.ListCatalogRequest) (*hostv1.ListCatalogResponse, error) {
	entries, err := c.service.Catalog(ctx)
	if err != nil {
		return nil, toWire(err)
	}
	return &hostv1.ListCatalogResponse{Entries: each(entries, entryToWire)}, nil
}

// ListSubscriptions implements the RPC.
func (c *control) ListSubscriptions(ctx context.Context, _ *hostv1.ListSubscriptionsRequest) (*hostv1.ListSubscriptionsResponse, error) {
	list, err := c.service.Subscriptions(ctx)
	if err != nil {
		return nil, toWire(err)
	}
	return &hostv1.ListSubscriptionsResponse{Subscriptions: each(list, statusToWire)}, nil
}

// PauseSubscription implements the RPC.
func (c *control) PauseSubscription(ctx context.Context, r *hostv1.PauseSubscriptionRequest) (*hostv1.PauseSubscriptionResponse, error) {
	return &hostv1.PauseSubscriptionResponse{}, operate(ctx, r.GetOperation(), c.service.PauseSubscription)
}

// ResumeSubscription implements the RPC.
func (c *control) ResumeSubscription(ctx context.Context, r *hostv1.ResumeSubscriptionRequest) (*hostv1.ResumeSubscriptionResponse, error) {
	return &hostv1.ResumeSubscriptionResponse{}, toWire(c.service.ResumeSubscription(ctx, r.GetName()))
}

// RewindSubscription implements the RPC.
func (c *control) RewindSubscription(ctx context.Context, r *hostv1.RewindSubscriptionRequest) (*hostv1.RewindSubscriptionResponse, error) {
	next, err := c.service.RewindSubscription(ctx, r.GetName(), positionFromWire(r.GetTo()))
	if err != nil {
		return nil, toWire(err)
	}
	return &hostv1.RewindSubscriptionResponse{Next: next}, nil
}

// ReplaySubscription implements the RPC.
func (c *control) ReplaySubscription(ctx context.Context, r *hostv1.ReplaySubscriptionRequest) (*hostv1.ReplaySubscriptionResponse, error) {
	err := c.service.ReplaySubscription(ctx, r.GetName(), Replay{
		From: positionFromWire(r.GetFrom()), To: positionFromWire(r.GetTo()), Types: r.GetTypes(),
	})
	return &hostv1.ReplaySubscriptionResponse{}, toWire(err)
}

// ForgetSubscription implements the RPC.
func (c *control) ForgetSubscription(ctx context.Context, r *hostv1.ForgetSubscriptionRequest) (*hostv1.ForgetSubscriptionResponse, error) {
	return &hostv1.ForgetSubscriptionResponse{}, toWire(c.service.ForgetSubscription(ctx, r.GetName()))
}

// ListDeadLetters implements the RPC. A page whose events are large ends early.
func (c *control) ListDeadLetters(ctx context.Context, r *hostv1.ListDeadLettersRequest) (*hostv1.ListDeadLettersResponse, error) {
	page, more, err := c.service.DeadLetters(ctx, r.GetName(), r.GetAfter(), int(r.GetLimit()))
	if err != nil {
		return nil, toWire(err)
	}
	for i, size := 0, 0; i < len(page); i++ {
		// Several subscriptions may have the same event: the next page begins after it.
		if size += len(page[i].Encoded); size > maxLetters && i > 0 && page[i].Seq != page[i-1].Seq {
			page, more = page[:i], true
		}
	}
	return &hostv1.ListDeadLettersResponse{Letters: each(page, letterToWire), More: more}, nil
}

// RetryDeadLetters implements the RPC.
func (c *control) RetryDeadLetters(ctx context.Context, r *hostv1.RetryDeadLettersRequest) (*hostv1.RetryDeadLettersResponse, error) {
	n, err := c.service.RetryDeadLetters(ctx, r.GetName(), r.GetSeqs())
	if err != nil {
		return nil, toWire(err)
	}
	return &hostv1.RetryDeadLettersResponse{Count: count(n)}, nil
}

// DiscardDeadLetters implements the RPC.
func (c *control) DiscardDeadLetters(ctx context.Context, r *hostv1.DiscardDeadLettersRequest) (*hostv1.DiscardDeadLettersResponse, error) {
	n, err := c.service.DiscardDeadLetters(ctx, r.GetName(), r.GetSeqs())
	if err != nil {
		return nil, toWire(err)
	}
	return &hostv1.DiscardDeadLettersResponse{Count: count(n)}, nil
}

// TryEvent implements the RPC.
func (c *control) TryEvent(ctx context.Context, r *hostv1.TryEventRequest) (*hostv1.TryEventResponse, error) {
	ctx, release, explain := c.untilStop(ctx)
	defer release()
	result, err := c.service.TryEvent(ctx, tryFromWire(r))
	if err != nil {
		return nil, explain(err)
	}
	return resultToWire(*result), nil
}
