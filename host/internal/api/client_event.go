package api

import (
	"context"
	"errors"
	"io"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	hostv1 "github.com/tasker-engine/tasker/proto/tasker/host/v1"
)

var _ EventService = (*Client)(nil)

// Events implements [Service].
func (c *Client) Events(ctx context.Context, q EventQuery, fn func(store.LogEntry) error) error {
	outer := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.rpc.TailEvents(ctx, queryToWire(q))
	if err != nil {
		return fromWire(err)
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) || (q.Follow && outer.Err() != nil) {
			return nil
		}
		if err != nil {
			return fromWire(err)
		}
		for _, e := range m.GetEntries() {
			if err := fn(store.LogEntry{Seq: e.GetSeq(), Encoded: e.GetEncoded()}); err != nil {
				return err
			}
		}
	}
}

// Catalog implements [EventService].
func (c *Client) Catalog(ctx context.Context) ([]CatalogEntry, error) {
	out, err := c.rpc.ListCatalog(ctx, &hostv1.ListCatalogRequest{})
	return each(out.GetEntries(), entryFromWire), fromWire(err)
}

// Subscriptions implements [EventService].
func (c *Client) Subscriptions(ctx context.Context) ([]SubscriptionStatus, error) {
	out, err := c.rpc.ListSubscriptions(ctx, &hostv1.ListSubscriptionsRequest{})
	return each(out.GetSubscriptions(), statusFromWire), fromWire(err)
}

// PauseSubscription implements [EventService].
func (c *Client) PauseSubscription(ctx context.Context, name string, op task.Operation) error {
	_, err := c.rpc.PauseSubscription(ctx, &hostv1.PauseSubscriptionRequest{Operation: operationToWire(name, op)})
	return fromWire(err)
}

// ResumeSubscription implements [EventService].
func (c *Client) ResumeSubscription(ctx context.Context, name string) error {
	_, err := c.rpc.ResumeSubscription(ctx, &hostv1.ResumeSubscriptionRequest{Name: name})
	return fromWire(err)
}

// RewindSubscription implements [EventService].
func (c *Client) RewindSubscription(ctx context.Context, name string, to Position) (uint64, error) {
	out, err := c.rpc.RewindSubscription(ctx, &hostv1.RewindSubscriptionRequest{Name: name, To: positionToWire(to)})
	return out.GetNext(), fromWire(err)
}

// ReplaySubscription implements [EventService].
func (c *Client) ReplaySubscription(ctx context.Context, name string, r Replay) error {
	_, err := c.rpc.ReplaySubscription(ctx, &hostv1.ReplaySubscriptionRequest{
		Name: name, From: positionToWire(r.From), To: positionToWire(r.To), Types: r.Types,
	})
	return fromWire(err)
}

// ForgetSubscription implements [EventService].
func (c *Client) ForgetSubscription(ctx context.Context, name string) error {
	_, err := c.rpc.ForgetSubscription(ctx, &hostv1.ForgetSubscriptionRequest{Name: name})
	return fromWire(err)
}

// DeadLetters implements [EventService].
func (c *Client) DeadLetters(ctx context.Context, name string, after uint64, limit int) (page []store.DeadLetter, more bool, err error) {
	out, err := c.rpc.ListDeadLetters(ctx, &hostv1.ListDeadLettersRequest{Name: name, After: after, Limit: count(limit)})
	return each(out.GetLetters(), letterFromWire), out.GetMore(), fromWire(err)
}

// RetryDeadLetters implements [EventService].
func (c *Client) RetryDeadLetters(ctx context.Context, name string, seqs []uint64) (int, error) {
	out, err := c.rpc.RetryDeadLetters(ctx, &hostv1.RetryDeadLettersRequest{Name: name, Seqs: seqs})
	return int(out.GetCount()), fromWire(err)
}

// DiscardDeadLetters implements [EventService].
func (c *Client) DiscardDeadLetters(ctx context.Context, name string, seqs []uint64) (int, error) {
	out, err := c.rpc.DiscardDeadLetters(ctx, &hostv1.DiscardDeadLettersRequest{Name: name, Seqs: seqs})
	return int(out.GetCount()), fromWire(err)
}

// TryEvent implements [EventService].
func (c *Client) TryEvent(ctx context.Context, r TryRequest) (*TryResult, error) {
	out, err := c.rpc.TryEvent(ctx, tryToWire(r))
	if err != nil {
		return nil, fromWire(err)
	}
	result := resultFromWire(out)
	return &result, nil
}
