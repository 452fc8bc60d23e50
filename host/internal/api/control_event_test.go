package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// TestEventRoundTrip: what a host says of events and subscriptions arrives as it was said.
func TestEventRoundTrip(t *testing.T) {
	t.Run("catalog entry", func(t *testing.T) {
		roundTrip(t, filled[CatalogEntry](t), func(v CatalogEntry) CatalogEntry { return entryFromWire(entryToWire(v)) })
	})
	t.Run("subscription", func(t *testing.T) {
		roundTrip(t, filled[SubscriptionStatus](t), func(v SubscriptionStatus) SubscriptionStatus {
			return statusFromWire(statusToWire(v))
		})
	})
	t.Run("binding", func(t *testing.T) {
		roundTrip(t, filled[BindingInfo](t), func(v BindingInfo) BindingInfo { return bindingFromWire(bindingToWire(v)) })
	})
	t.Run("position", func(t *testing.T) {
		roundTrip(t, filled[Position](t), func(v Position) Position { return positionFromWire(positionToWire(v)) })
	})
	t.Run("dead letter", func(t *testing.T) {
		roundTrip(t, filled[store.DeadLetter](t), func(v store.DeadLetter) store.DeadLetter { return letterFromWire(letterToWire(v)) })
	})
	t.Run("trial", func(t *testing.T) {
		roundTrip(t, filled[TryRequest](t), func(v TryRequest) TryRequest { return tryFromWire(tryToWire(v)) })
	})
	t.Run("result of a trial", func(t *testing.T) {
		roundTrip(t, filled[TryResult](t), func(v TryResult) TryResult { return resultFromWire(resultToWire(v)) })
	})
}

// recorder is a service that notes how it was called and answers what a test wants.
type recorder struct {
	Service

	calls   []string
	err     error
	catalog []CatalogEntry
	list    []SubscriptionStatus
	letters []store.DeadLetter
	result  TryResult
}

var _ EventService = (*recorder)(nil)

func (r *recorder) note(format string, args ...any) error {
	r.calls = append(r.calls, fmt.Sprintf(format, args...))
	return r.err
}

func (r *recorder) Catalog(context.Context) ([]CatalogEntry, error) {
	return r.catalog, r.note("catalog")
}

func (r *recorder) Subscriptions(context.Context) ([]SubscriptionStatus, error) {
	return r.list, r.note("subscriptions")
}

func (r *recorder) PauseSubscription(_ context.Context, name string, op task.Operation) error {
	return r.note("pause %s by %s: %s", name, op.By, op.Reason)
}

func (r *recorder) ResumeSubscription(_ context.Context, name string) error {
	return r.note("resume %s", name)
}

func (r *recorder) RewindSubscription(_ context.Context, name string, to Position) (uint64, error) {
	return 17, r.note("rewind %s to %d", name, to.Seq)
}

func (r *recorder) ReplaySubscription(_ context.Context, name string, p Replay) error {
	return r.note("replay %s from %d to %s of %v", name, p.From.Seq, p.To.At.Format(time.RFC3339), p.Types)
}

func (r *recorder) ForgetSubscription(_ context.Context, name string) error {
	return r.note("forget %s", name)
}

func (r *recorder) DeadLetters(_ context.Context, name string, after uint64, limit int) ([]store.DeadLetter, bool, error) {
	return r.letters, false, r.note("letters of %q after %d, %d", name, after, limit)
}

func (r *recorder) RetryDeadLetters(_ context.Context, name string, seqs []uint64) (int, error) {
	return 2, r.note("retry %s %v", name, seqs)
}

func (r *recorder) DiscardDeadLetters(_ context.Context, name string, seqs []uint64) (int, error) {
	return 3, r.note("discard %s %v", name, seqs)
}

func (r *recorder) TryEvent(_ context.Context, q TryRequest) (*TryResult, error) {
	return &r.result, r.note("try %s of %s with %s within %s", q.Type, q.Subscription, q.Payload, q.Timeout)
}

// eventCalls are all calls of an [EventService], each with what the recorder notes of it.
func eventCalls() []struct {
	note string
	call func(context.Context, EventService) (any, error)
} {
	until := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return []struct {
		note string
		call func(context.Context, EventService) (any, error)
	}{
		{"catalog", func(ctx context.Context, s EventService) (any, error) { return s.Catalog(ctx) }},
		{"subscriptions", func(ctx context.Context, s EventService) (any, error) { return s.Subscriptions(ctx) }},
		{"pause p/a by me: lunch", func(ctx context.Context, s EventService) (any, error) {
			return nil, s.PauseSubscription(ctx, "p/a", task.Operation{By: "me", Reason: "lunch"})
		}},
		{"resume p/a", func(ctx context.Context, s EventService) (any, error) { return nil, s.ResumeSubscription(ctx, "p/a") }},
		{"rewind p/a to 7", func(ctx context.Context, s EventService) (any, error) {
			return s.RewindSubscription(ctx, "p/a", Position{Seq: 7})
		}},
		{"replay p/a from 7 to 2026-01-02T03:04:05Z of [step.*]", func(ctx context.Context, s EventService) (any, error) {
			return nil, s.ReplaySubscription(ctx, "p/a", Replay{From: Position{Seq: 7}, To: Position{At: until}, Types: []string{"step.*"}})
		}},
		{"forget p/a", func(ctx context.Context, s EventService) (any, error) { return nil, s.ForgetSubscription(ctx, "p/a") }},
		{`letters of "p/a" after 5, 50`, func(ctx context.Context, s EventService) (any, error) {
			page, _, err := s.DeadLetters(ctx, "p/a", 5, 50)
			return page, err
		}},
		{"retry p/a [3 4]", func(ctx context.Context, s EventService) (any, error) {
			return s.RetryDeadLetters(ctx, "p/a", []uint64{3, 4})
		}},
		{"discard p/a []", func(ctx context.Context, s EventService) (any, error) { return s.DiscardDeadLetters(ctx, "p/a", nil) }},
		{"try step.failed of p/a with {} within 1s", func(ctx context.Context, s EventService) (any, error) {
			return s.TryEvent(ctx, TryRequest{Subscription: "p/a", Type: "step.failed", Payload: []byte("{}"), Timeout: time.Second})
		}},
	}
}

// TestEventCalls: each call reaches the service as it was made, and its answer comes back.
func TestEventCalls(t *testing.T) {
	r := &recorder{
		catalog: []CatalogEntry{filled[CatalogEntry](t)}, list: []SubscriptionStatus{filled[SubscriptionStatus](t)},
		letters: []store.DeadLetter{filled[store.DeadLetter](t)}, result: filled[TryResult](t),
	}
	client := startService(t, r)
	for _, c := range eventCalls() {
		t.Run(c.note, func(t *testing.T) {
			r.calls = nil
			got, err := c.call(t.Context(), client)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{c.note}, r.calls); diff != "" {
				t.Errorf("the service was called otherwise (-want +got):\n%s", diff)
			}
			want, _ := c.call(t.Context(), r) // what the service says without a socket
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("the answer changed on the way (-sent +received):\n%s", diff)
			}
		})
	}
}

// TestEventErrors: errors of all calls cross the socket with their kinds and hints.
func TestEventErrors(t *testing.T) {
	sent := hinted{fmt.Errorf("subscription \"mial\": %w", task.ErrNotFound)}
	r := &recorder{err: sent}
	client := startService(t, r)
	for _, c := range eventCalls() {
		t.Run(c.note, func(t *testing.T) {
			_, err := c.call(t.Context(), client)
			if !errors.Is(err, task.ErrNotFound) || err.Error() != sent.Error() {
				t.Errorf("got %v, want %v", err, sent)
			}
			if h, ok := errors.AsType[Hinter](err); !ok || h.Hint() != sent.Hint() {
				t.Errorf("the hint of %v was lost", err)
			}
		})
	}
}

// TestLargeDeadLetters: a page that does not fit into a message ends early, and nothing is
// lost at its end.
func TestLargeDeadLetters(t *testing.T) {
	letter := func(subscription string, seq uint64) store.DeadLetter {
		return store.DeadLetter{
			DeadLetterID: store.DeadLetterID{Subscription: subscription, Seq: seq}, Encoded: []byte(strings.Repeat("x", maxLetters/2)),
		}
	}
	r := &recorder{letters: []store.DeadLetter{letter("a", 1), letter("a", 2), letter("b", 2), letter("a", 3), letter("b", 3)}}
	page, more, err := startService(t, r).DeadLetters(t.Context(), "", 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	if len(page) != 3 || !more {
		t.Errorf("got %d letters, more %t; want 3, those of event 2 together, and more", len(page), more)
	}
}
