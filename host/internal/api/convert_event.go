package api

import (
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	hostv1 "github.com/tasker-engine/tasker/proto/tasker/host/v1"
)

func queryToWire(q EventQuery) *hostv1.TailEventsRequest {
	return &hostv1.TailEventsRequest{
		From: q.From, Last: count(q.Last), Task: q.Task, Type: q.Type, Follow: q.Follow,
		Since: timeToWire(q.Since), Filter: q.Filter, Subscription: q.Subscription,
	}
}

func queryFromWire(q *hostv1.TailEventsRequest) EventQuery {
	return EventQuery{
		From: q.GetFrom(), Last: int(q.GetLast()), Task: q.GetTask(), Type: q.GetType(), Follow: q.GetFollow(),
		Since: timeFromWire(q.GetSince()), Filter: q.GetFilter(), Subscription: q.GetSubscription(),
	}
}

func entryToWire(e CatalogEntry) *hostv1.CatalogEntry {
	return &hostv1.CatalogEntry{
		Name:          e.Name,
		Category:      e.Category,
		Description:   e.Description,
		PayloadSchema: e.PayloadSchema,
		Example:       e.Example,
		FiredBy:       e.FiredBy,
		Frequency:     e.Frequency,
		Since:         e.Since,
		DeprecatedBy:  e.DeprecatedBy,
		Custom:        e.Custom,
		Version:       e.Version,
		Installed:     e.Installed,
		Subscribers:   e.Subscribers,
	}
}

func entryFromWire(e *hostv1.CatalogEntry) CatalogEntry {
	return CatalogEntry{
		Entry: event.Entry{
			Name:          e.GetName(),
			Category:      e.GetCategory(),
			Description:   e.GetDescription(),
			PayloadSchema: rawJSON(e.GetPayloadSchema()),
			Example:       rawJSON(e.GetExample()),
			FiredBy:       e.GetFiredBy(),
			Frequency:     e.GetFrequency(),
			Since:         e.GetSince(),
			DeprecatedBy:  e.DeprecatedBy,
			Version:       e.GetVersion(),
		},
		Custom:      e.GetCustom(),
		Installed:   e.GetInstalled(),
		Subscribers: e.GetSubscribers(),
	}
}

func statusToWire(s SubscriptionStatus) *hostv1.SubscriptionStatus {
	return &hostv1.SubscriptionStatus{
		Name:        s.Name,
		Description: s.Description,
		State:       s.State,
		Events:      s.Events,
		Filter:      s.Filter,
		Order:       s.Order,
		Bound:       s.Bound,
		Window:      count(s.Window),
		MaxAttempts: count(s.MaxAttempts),
		Timeout:     durationToWire(s.Timeout),
		Instance:    s.Instance,
		Through:     s.Through,
		LastSeq:     s.LastSeq,
		Behind:      s.Behind,
		BehindFor:   durationToWire(s.BehindFor),
		Unacked:     count(s.Unacked),
		Delivered:   s.Delivered,
		DeadLetters: count(s.DeadLetters),
		Paused:      pauseToWire(s.Paused),
		Failing:     each(s.Failing, failingToWire),
		Replays:     each(s.Replays, replayToWire),
		Bindings:    each(s.Bindings, bindingToWire),
		CreatedAt:   timeToWire(s.CreatedAt),
		AckedAt:     timeToWire(s.AckedAt),
		Unavailable: each(s.Unavailable, outageToWire),
	}
}

func statusFromWire(s *hostv1.SubscriptionStatus) SubscriptionStatus {
	return SubscriptionStatus{
		Name:        s.GetName(),
		Description: s.GetDescription(),
		State:       s.GetState(),
		Events:      s.GetEvents(),
		Filter:      s.GetFilter(),
		Order:       s.GetOrder(),
		Bound:       s.GetBound(),
		Window:      int(s.GetWindow()),
		MaxAttempts: int(s.GetMaxAttempts()),
		Timeout:     s.GetTimeout().AsDuration(),
		Instance:    s.GetInstance(),
		Through:     s.GetThrough(),
		LastSeq:     s.GetLastSeq(),
		Behind:      s.GetBehind(),
		BehindFor:   s.GetBehindFor().AsDuration(),
		Unacked:     int(s.GetUnacked()),
		Delivered:   s.GetDelivered(),
		DeadLetters: int(s.GetDeadLetters()),
		Paused:      pauseFromWire(s.GetPaused()),
		Failing:     each(s.GetFailing(), failingFromWire),
		Replays:     each(s.GetReplays(), replayFromWire),
		Bindings:    each(s.GetBindings(), bindingFromWire),
		CreatedAt:   timeFromWire(s.GetCreatedAt()),
		AckedAt:     timeFromWire(s.GetAckedAt()),
		Unavailable: each(s.GetUnavailable(), outageFromWire),
	}
}

func pauseToWire(p *store.Pause) *hostv1.SubscriptionPause {
	if p == nil {
		return nil
	}
	return &hostv1.SubscriptionPause{At: timeToWire(p.At), By: p.By, Reason: p.Reason}
}

func pauseFromWire(p *hostv1.SubscriptionPause) *store.Pause {
	if p == nil {
		return nil
	}
	return &store.Pause{At: timeFromWire(p.GetAt()), By: p.GetBy(), Reason: p.GetReason()}
}

func outageToWire(o Outage) *hostv1.Outage {
	return &hostv1.Outage{
		Since: timeToWire(o.Since), Reason: o.Reason, NextTry: timeToWire(o.NextTry), Tries: count(o.Tries), Binding: o.Binding,
	}
}

func outageFromWire(o *hostv1.Outage) Outage {
	return Outage{
		Since: timeFromWire(o.GetSince()), Reason: o.GetReason(), NextTry: timeFromWire(o.GetNextTry()), Tries: int(o.GetTries()), Binding: o.GetBinding(),
	}
}

func failingToWire(f store.Failing) *hostv1.FailingEvent {
	return &hostv1.FailingEvent{
		Seq: f.Seq, Failures: f.Failures, Kills: f.Kills, Reason: f.Reason, RetryAt: timeToWire(f.RetryAt),
	}
}

func failingFromWire(f *hostv1.FailingEvent) store.Failing {
	return store.Failing{
		Seq: f.GetSeq(), Failures: f.GetFailures(), Kills: f.GetKills(), Reason: f.GetReason(), RetryAt: timeFromWire(f.GetRetryAt()),
	}
}

func replayToWire(r store.Replay) *hostv1.ReplayPart {
	return &hostv1.ReplayPart{Next: r.Next, To: r.To, Types: r.Types}
}

func replayFromWire(r *hostv1.ReplayPart) store.Replay {
	return store.Replay{Next: r.GetNext(), To: r.GetTo(), Types: r.GetTypes()}
}

func bindingToWire(b BindingInfo) *hostv1.Binding {
	out := &hostv1.Binding{
		Source: b.Source, Events: b.Events, Filter: b.Filter, Config: b.Config, Enabled: b.Enabled, Problem: b.Problem,
	}
	if b.Template != nil {
		out.Template = refToWire(*b.Template)
	}
	return out
}

func bindingFromWire(b *hostv1.Binding) BindingInfo {
	out := BindingInfo{
		Source: b.GetSource(), Events: b.GetEvents(), Filter: b.GetFilter(), Config: rawJSON(b.GetConfig()),
		Enabled: b.GetEnabled(), Problem: b.GetProblem(),
	}
	if b.GetTemplate() != nil {
		ref := refFromWire(b.GetTemplate())
		out.Template = &ref
	}
	return out
}

func positionToWire(p Position) *hostv1.Position {
	if p.Seq == 0 && p.At.IsZero() {
		return nil
	}
	return &hostv1.Position{Seq: p.Seq, At: timeToWire(p.At)}
}

func positionFromWire(p *hostv1.Position) Position {
	return Position{Seq: p.GetSeq(), At: timeFromWire(p.GetAt())}
}

func letterToWire(l store.DeadLetter) *hostv1.DeadLetter {
	return &hostv1.DeadLetter{
		Subscription: l.Subscription, Seq: l.Seq, Encoded: l.Encoded, At: timeToWire(l.At), Reason: l.Reason,
		Deliveries: l.Deliveries, Retry: l.Retry,
	}
}

func letterFromWire(l *hostv1.DeadLetter) store.DeadLetter {
	return store.DeadLetter{
		DeadLetterID: store.DeadLetterID{Subscription: l.GetSubscription(), Seq: l.GetSeq()},
		Encoded:      l.GetEncoded(), At: timeFromWire(l.GetAt()), Reason: l.GetReason(),
		Deliveries: l.GetDeliveries(), Retry: l.GetRetry(),
	}
}

func tryToWire(r TryRequest) *hostv1.TryEventRequest {
	return &hostv1.TryEventRequest{
		Subscription: r.Subscription, Type: r.Type, Payload: r.Payload, FromTask: r.FromTask, Timeout: durationToWire(r.Timeout),
	}
}

func tryFromWire(r *hostv1.TryEventRequest) TryRequest {
	return TryRequest{
		Subscription: r.GetSubscription(), Type: r.GetType(), Payload: rawJSON(r.GetPayload()), FromTask: r.GetFromTask(),
		Timeout: r.GetTimeout().AsDuration(),
	}
}

func resultToWire(r TryResult) *hostv1.TryEventResponse {
	return &hostv1.TryEventResponse{Verdict: r.Verdict, Reason: r.Reason, Took: durationToWire(r.Took), Binding: r.Binding}
}

func resultFromWire(r *hostv1.TryEventResponse) TryResult {
	return TryResult{Verdict: r.GetVerdict(), Reason: r.GetReason(), Took: r.GetTook().AsDuration(), Binding: r.GetBinding()}
}
