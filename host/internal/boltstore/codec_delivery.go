package boltstore

import (
	"github.com/tasker-engine/tasker/host/internal/store"
	storev1 "github.com/tasker-engine/tasker/proto/tasker/store/v1"
)

func cursorToRecord(c *store.Cursor) *storev1.CursorRecord {
	r := &storev1.CursorRecord{
		Through: c.Through, Careful: c.Careful, Delivered: c.Delivered,
		CreatedAt: nanos(c.CreatedAt), AckedAt: nanos(c.AckedAt),
	}
	for i := range c.Failing {
		f := &c.Failing[i]
		r.Failing = append(r.Failing, &storev1.FailingEvent{
			Seq: f.Seq, Failures: f.Failures, Kills: f.Kills, Reason: text(f.Reason), RetryAt: nanos(f.RetryAt),
		})
	}
	if p := c.Paused; p != nil {
		r.Pause = &storev1.Pause{At: nanos(p.At), By: text(p.By), Reason: text(p.Reason)}
	}
	for _, replay := range c.Replays {
		r.Replays = append(r.Replays, &storev1.Replay{Next: replay.Next, To: replay.To, Types: texts(replay.Types)})
	}
	return r
}

func cursorFromRecord(subscription string, r *storev1.CursorRecord) store.Cursor {
	c := store.Cursor{
		Subscription: subscription, Through: r.GetThrough(), Careful: r.GetCareful(), Delivered: r.GetDelivered(),
		CreatedAt: fromNanos(r.GetCreatedAt()), AckedAt: fromNanos(r.GetAckedAt()),
	}
	for _, f := range r.GetFailing() {
		c.Failing = append(c.Failing, store.Failing{
			Seq: f.GetSeq(), Failures: f.GetFailures(), Kills: f.GetKills(), Reason: f.GetReason(), RetryAt: fromNanos(f.GetRetryAt()),
		})
	}
	if p := r.GetPause(); p != nil {
		c.Paused = &store.Pause{At: fromNanos(p.GetAt()), By: p.GetBy(), Reason: p.GetReason()}
	}
	for _, replay := range r.GetReplays() {
		c.Replays = append(c.Replays, store.Replay{Next: replay.GetNext(), To: replay.GetTo(), Types: replay.GetTypes()})
	}
	return c
}

func deadLetterToRecord(l *store.DeadLetter) *storev1.DeadLetterRecord {
	return &storev1.DeadLetterRecord{
		Event: l.Encoded, At: nanos(l.At), Reason: text(l.Reason), Deliveries: l.Deliveries, Retry: l.Retry,
	}
}

func deadLetterFromRecord(id store.DeadLetterID, r *storev1.DeadLetterRecord) store.DeadLetter {
	return store.DeadLetter{
		DeadLetterID: id, Encoded: r.GetEvent(), At: fromNanos(r.GetAt()), Reason: r.GetReason(),
		Deliveries: r.GetDeliveries(), Retry: r.GetRetry(),
	}
}

func customEventToRecord(e *store.CustomEvent) *storev1.CustomEventRecord {
	return &storev1.CustomEventRecord{
		Plugin: text(e.Plugin), Version: e.Version, Schema: e.Schema, Example: e.Example,
		Description: text(e.Description), Immediate: e.Immediate, Since: nanos(e.Since),
	}
}

func customEventFromRecord(name string, r *storev1.CustomEventRecord) store.CustomEvent {
	return store.CustomEvent{
		Name: name, Plugin: r.GetPlugin(), Version: r.GetVersion(), Schema: rawJSON(r.GetSchema()), Example: rawJSON(r.GetExample()),
		Description: r.GetDescription(), Immediate: r.GetImmediate(), Since: fromNanos(r.GetSince()),
	}
}
