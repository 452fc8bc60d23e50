package conform

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// eachFeed starts the plugin and does something with each subscription.
func (t *trial) eachFeed(ctx context.Context, do func(s *session, f feed) error) error {
	if len(t.manifest.GetSubscriptions()) == 0 {
		return skipf("the plugin has no subscriptions")
	}
	feeds := t.feeds()
	if len(feeds) == 0 {
		return skipf("there is no example of what its subscriptions receive")
	}
	s, err := t.ready(ctx, launch{})
	if err != nil {
		return err
	}
	for _, f := range feeds {
		if err := do(s, f); err != nil {
			return err
		}
	}
	return nil
}

// eachStream opens a stream for each subscription and ends it in order.
func (t *trial) eachStream(ctx context.Context, do func(d *deliverStream, f feed) error) error {
	return t.eachFeed(ctx, func(s *session, f feed) error {
		d, err := s.deliver(ctx, f)
		if err != nil {
			return err
		}
		if err := do(d, f); err != nil {
			return err
		}
		return d.finish()
	})
}

// checkAnswers delivers many events ahead.
func checkAnswers(ctx context.Context, t *trial) error {
	return t.eachStream(ctx, func(d *deliverStream, f feed) error {
		const rounds = 4
		kinds := make(map[string]int)
		var sent []*delivered
		for range rounds {
			var batch []*delivered
			for i, o := range f.events {
				batch = append(batch, d.event(o, fmt.Sprintf("01JVER1FY0000000000000010%d", i%7)))
			}
			if err := d.batch(0, batch...); err != nil {
				return err
			}
			sent = append(sent, batch...)
		}
		if err := d.await(ctx, "answer to each event", func() bool { return len(d.waiting) == 0 }); err != nil {
			return err
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		for _, e := range sent {
			kinds[e.answer]++
		}
		t.sawf("%s: %d events, %d acked, %d rejected, %d to come again", f.spec.GetName(), len(sent), kinds["ack"], kinds["reject"], kinds["retry"])
		return nil
	})
}

// checkDuplicates delivers again what was answered.
func checkDuplicates(ctx context.Context, t *trial) error {
	return t.eachStream(ctx, func(d *deliverStream, f feed) error {
		e := d.event(f.events[0], taskID)
		const times = 3
		for range times {
			d.mu.Lock()
			e.answer = ""
			d.mu.Unlock()
			if err := d.batch(0, e); err != nil {
				return err
			}
			if err := d.await(ctx, "answer to an event that comes again", func() bool { return len(d.waiting) == 0 }); err != nil {
				return err
			}
		}
		t.sawf("%s: one event %d times, answered each time", f.spec.GetName(), times)
		return nil
	})
}

// checkGaps leaves sequences out, says that events were cut, and sends a trial.
func checkGaps(ctx context.Context, t *trial) error {
	return t.eachStream(ctx, func(d *deliverStream, f feed) error {
		const leap = 1000
		for _, o := range f.events[:min(len(f.events), 5)] {
			d.mu.Lock()
			d.next += leap
			gap := d.next - 1
			d.mu.Unlock()
			if err := d.batch(gap, d.event(o, taskID)); err != nil {
				return err
			}
		}
		answered := func() bool { return len(d.waiting) == 0 }
		if err := d.await(ctx, "answer after a gap", answered); err != nil {
			return err
		}
		trial := d.event(f.events[0], taskID)
		trial.wire.Seq |= firstTrial
		if err := d.batch(0, trial); err != nil {
			return err
		}
		if err := d.send(&pluginv1.DeliverRequest{Kind: &pluginv1.DeliverRequest_Batch{Batch: &pluginv1.Batch{}}}); err != nil {
			return err
		}
		return d.await(ctx, "answer to a trial", answered)
	})
}

// checkUnknownEvents sends what a later version may.
func checkUnknownEvents(ctx context.Context, t *trial) error {
	return t.eachStream(ctx, func(d *deliverStream, f feed) error {
		frame := &pluginv1.DeliverRequest{}
		frame.ProtoReflect().SetUnknown(later())
		if err := d.send(frame); err != nil {
			return err
		}
		for _, o := range []occurrence{
			{f.events[0].name, grown(f.events[0].payload)},
			{"conform.unheard_of", []byte(`{"task_id": "x", "later": [1]}`)},
		} {
			e := d.event(o, taskID)
			e.wire.Event = append(e.wire.Event, later()...)
			e.wire.ProtoReflect().SetUnknown(later())
			if err := d.batch(0, e); err != nil {
				return err
			}
		}
		return d.await(ctx, "answer to events of a later version", func() bool { return len(d.waiting) == 0 })
	})
}

// grown adds a key to a JSON object.
func grown(payload []byte) []byte {
	var object map[string]json.RawMessage
	if json.Unmarshal(payload, &object) != nil || object == nil {
		return payload
	}
	object["added_by_a_later_version"] = json.RawMessage(`{"deep": [1, null]}`)
	doc, err := json.Marshal(object)
	if err != nil {
		return payload
	}
	return doc
}

// checkUnreadable sends what is no event, and one that is.
func checkUnreadable(ctx context.Context, t *trial) error {
	return t.eachStream(ctx, func(d *deliverStream, f feed) error {
		garbage := d.event(f.events[0], taskID)
		garbage.task = "" // nobody can tell
		garbage.wire.Event = bytes.Repeat([]byte{0xff}, 32)
		broken := d.event(f.events[0], taskID)
		var envelope eventv1.Event
		if err := proto.Unmarshal(broken.wire.GetEvent(), &envelope); err != nil {
			return err
		}
		envelope.Payload = []byte(`{"`)
		encoded, err := proto.Marshal(&envelope)
		if err != nil {
			return err
		}
		broken.wire.Event = encoded
		for _, e := range []*delivered{garbage, broken, d.event(f.events[0], taskID)} {
			if err := d.batch(0, e); err != nil {
				return err
			}
		}
		if err := d.await(ctx, "answer to what cannot be read, and to what follows", func() bool { return len(d.waiting) == 0 }); err != nil {
			return err
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if garbage.answer == "ack" {
			t.failf("subscription %s: bytes that are no event are acked: want them rejected", f.spec.GetName())
		}
		t.sawf("%s: %s", f.spec.GetName(), garbage.answer)
		return nil
	})
}

// checkPing asks for Pongs while events are handled.
func checkPing(ctx context.Context, t *trial) error {
	return t.eachStream(ctx, func(d *deliverStream, f feed) error {
		var batch []*delivered
		for i := range 64 {
			batch = append(batch, d.event(f.events[i%len(f.events)], taskID))
		}
		if err := d.batch(0, batch...); err != nil {
			return err
		}
		nonces := []uint64{7, 1 << 40, 7}
		for _, n := range nonces {
			if err := d.send(&pluginv1.DeliverRequest{Kind: &pluginv1.DeliverRequest_Ping{Ping: &pluginv1.Ping{Nonce: n}}}); err != nil {
				return err
			}
		}
		if err := d.await(ctx, "Pong to each Ping", func() bool { return len(d.pongs) >= len(nonces) }); err != nil {
			return err
		}
		d.mu.Lock()
		for i, n := range nonces {
			if d.pongs[i] != n {
				t.failf("subscription %s: Pong %d has the nonce %d, want %d", f.spec.GetName(), i+1, d.pongs[i], n)
			}
		}
		d.mu.Unlock()
		return d.await(ctx, "answer to each event", func() bool { return len(d.waiting) == 0 })
	})
}

// checkReopen breaks a stream, and delivers the same on another one.
func checkReopen(ctx context.Context, t *trial) error {
	return t.eachFeed(ctx, func(s *session, f feed) error {
		first, err := s.deliver(ctx, f)
		if err != nil {
			return err
		}
		if err := first.sendAll(ctx, f.events[:1]); err != nil { // then the stream is open on both sides
			return err
		}
		if err := first.batch(0, first.event(f.events[0], taskID)); err != nil {
			return err
		}
		first.cancel()
		<-first.ended
		second, err := s.deliver(ctx, f)
		if err != nil {
			return err
		}
		if err := second.sendAll(ctx, f.events); err != nil {
			return fmt.Errorf("on a new stream, after one that broke: %w", err)
		}
		t.sawf("%s: %d events on a second stream", f.spec.GetName(), len(f.events))
		return second.finish()
	})
}

// checkNoSubscription opens what the plugin does not have.
func checkNoSubscription(ctx context.Context, t *trial) error {
	s, err := t.ready(ctx, launch{})
	if err != nil {
		return err
	}
	d, err := s.deliverTo(ctx, feed{spec: &pluginv1.SubscriptionSpec{}}, "conform-unknown")
	if err != nil {
		return err
	}
	defer d.cancel()
	if err := d.await(ctx, "end of a stream for a subscription that it does not have", func() bool {
		select {
		case <-d.ended:
			return true
		default:
			return false
		}
	}); err != nil {
		return err
	}
	switch code := status.Code(d.err); code {
	case codes.NotFound, codes.Unimplemented:
		t.sawf("%s", code)
	default:
		t.failf("a subscription that it does not have: the stream ends with %s, want NotFound (Unimplemented without any subscriptions)", code)
	}
	return s.alive(ctx)
}
