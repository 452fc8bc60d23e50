package sdktest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// DeliveryCheck says what [Plugin.CheckDelivery] delivers. Only Subscription is required.
type DeliveryCheck struct {
	// Subscription is its name.
	Subscription string
	// Bindings are what events may come through.
	Bindings []Binding
	// Events are delivered, each several times, and must be acked. Nil = the example of each event that the
	// subscription declares.
	Events []Event
}

// CheckDelivery checks that a subscriber, in any language, does what delivery asks of all of them: it answers each
// event once and in order, takes duplicates and gaps, passes over what it does not know, survives events that it
// cannot read, answers pings, and goes on where a broken stream has ended. What it calls should be there: events that
// are not acked fail the test.
func (p *Plugin) CheckDelivery(t *testing.T, c DeliveryCheck) {
	t.Helper()
	if c.Events == nil {
		c.Events = p.examples(c.Subscription)
	}
	if len(c.Events) == 0 {
		t.Fatalf("no example is known of what subscription %s receives: give the check some Events", c.Subscription)
	}
	for _, check := range []struct {
		name string
		run  func(*testing.T, *Plugin, DeliveryCheck)
	}{
		{"order", checkOrder},
		{"duplicates", checkDuplicates},
		{"gaps", checkGaps},
		{"unknown fields", checkUnknown},
		{"unreadable event", checkUnreadable},
		{"broken stream", checkBroken},
	} {
		t.Run(check.name, func(t *testing.T) { check.run(t, p, c) })
	}
}

// examples are events that a subscription declares and that have an example.
func (p *Plugin) examples(subscription string) (events []Event) {
	var names []string
	for _, e := range event.Catalog() {
		names = append(names, e.Name)
	}
	for _, e := range p.manifest.GetEmits() {
		names = append(names, e.GetName())
	}
	for _, sub := range p.manifest.GetSubscriptions() {
		if sub.GetName() != subscription {
			continue
		}
		for _, name := range names {
			for _, pattern := range sub.GetEvents() {
				if event.Match(pattern, name) {
					events = append(events, Event{Type: name})
					break
				}
			}
		}
	}
	return events
}

// open opens the subscription.
func (c *DeliveryCheck) open(t *testing.T, p *Plugin) *Subscription {
	t.Helper()
	return p.Subscribe(t, c.Subscription, c.Bindings...)
}

// wantAcked waits for the answers.
func wantAcked(t *testing.T, sent ...*Delivered) {
	t.Helper()
	for _, d := range sent {
		if got := d.Wait(t); got.Verdict != Acked {
			t.Errorf("event %d is %s (%s), want acked", d.wire.GetSeq(), got.Verdict, got.Reason)
		}
	}
}

// checkOrder sends many events of several tasks ahead, pings amid, and ends in order.
func checkOrder(t *testing.T, p *Plugin, c DeliveryCheck) {
	t.Helper()
	s := c.open(t, p)
	const batches, each = 4, 128
	var sent []*Delivered
	for b := range batches {
		var batch []Event
		for i := range each {
			e := c.Events[i%len(c.Events)]
			e.Task = fmt.Sprintf("check-%d", i%7)
			batch = append(batch, e)
		}
		sent = append(sent, s.Send(t, batch...)...)
		if b == 1 {
			s.Ping(t)
		}
	}
	wantAcked(t, sent...)
	s.Close(t)
}

// checkDuplicates delivers each event twice more when it was answered.
func checkDuplicates(t *testing.T, p *Plugin, c DeliveryCheck) {
	t.Helper()
	s := c.open(t, p)
	first := s.Send(t, c.Events...)
	wantAcked(t, first...)
	for _, d := range first {
		wantAcked(t, d.Redeliver(t))
		wantAcked(t, d.Redeliver(t))
	}
}

// checkGaps leaves out sequences, and says that events were cut.
func checkGaps(t *testing.T, p *Plugin, c DeliveryCheck) {
	t.Helper()
	s := c.open(t, p)
	for i, e := range c.Events {
		e.Seq = uint64(1 + i*1000)
		wantAcked(t, s.Send(t, e)...)
		s.Gap(t, e.Seq+500)
	}
	trial := c.Events[0]
	trial.Trial = true
	wantAcked(t, s.Send(t, trial)...)
}

// checkUnknown adds what a later version of Tasker might.
func checkUnknown(t *testing.T, p *Plugin, c DeliveryCheck) {
	t.Helper()
	s := c.open(t, p)
	unknown := protowire.AppendString(protowire.AppendTag(nil, 500, protowire.BytesType), "later")
	frame := &pluginv1.DeliverRequest{}
	frame.ProtoReflect().SetUnknown(unknown)
	s.send(t, frame)
	for _, e := range c.Events {
		d := s.next(t, e)
		var envelope eventv1.Event
		if err := proto.Unmarshal(d.wire.GetEvent(), &envelope); err != nil {
			t.Fatal(err)
		}
		envelope.Payload = grown(envelope.GetPayload())
		encoded, err := proto.Marshal(&envelope)
		if err != nil {
			t.Fatal(err)
		}
		d.wire.Event = append(encoded, unknown...)
		d.wire.ProtoReflect().SetUnknown(unknown)
		s.deliver(t, 0, d)
		wantAcked(t, d)
	}
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

// checkUnreadable sends what is no event. Whatever the answer, the next event is handled.
func checkUnreadable(t *testing.T, p *Plugin, c DeliveryCheck) {
	t.Helper()
	s := c.open(t, p)
	d := s.next(t, c.Events[0])
	d.wire.Event = bytes.Repeat([]byte{0xff}, 32)
	s.deliver(t, 0, d)
	if got := d.Wait(t); got.Verdict == Acked || got.Verdict == Lost {
		t.Errorf("an event that cannot be read is %s, want it rejected", got.Verdict)
	}
	wantAcked(t, s.Send(t, c.Events[0])...)
}

// checkBroken breaks the stream and delivers everything again on another one.
func checkBroken(t *testing.T, p *Plugin, c DeliveryCheck) {
	t.Helper()
	s := c.open(t, p)
	sent := s.Send(t, c.Events...)
	sent[0].Wait(t)
	s.Disconnect()
	_ = s.End(t)
	again := c.open(t, p)
	wantAcked(t, again.Redeliver(t, sent...)...)
}
