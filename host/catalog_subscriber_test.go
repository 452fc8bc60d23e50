package host_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// aboutSubscriptions are the events that TestSubscriptionsAreToldOf provokes.
const aboutSubscriptions = `subscriber.dead_lettered subscriber.gap subscriber.lagging`

// TestSubscriptionsAreToldOf: one subscriber gives up every event, one holds up what it
// got while time passes, and then gets back to a log that was cut meanwhile.
func TestSubscriptionsAreToldOf(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64 // of the clock
	h := hosttest.Start(t, hosttest.Plugins("./testdata/watcher", "github.com/tasker-engine/tasker/plugins/mock"),
		hosttest.Expect("the subscriber lags", "an event is put aside",
			"events were cut from the log before they could be delivered"), hosttest.Options(func(o *host.Options) {
			o.EventsKeep = time.Hour
			o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		}))
	h.AwaitPlugin("watcher")
	h.AwaitPlugin("mock")
	h.End(h.Create(graph("a", "b <- a")))
	awaitEvents(t, h, event.NameSubscriberDeadLettered, 2, "")
	ahead.Add(int64(70 * time.Second)) // holds has had an event for more than a minute
	h.End(h.Create(graph("a")))
	awaitEvents(t, h, event.NameSubscriberLagging, 1, "watcher/holds")
	h.WantTask(h.End(h.Create(graph("a | handler: watcher/release"))), task.Complete)
	awaitEvents(t, h, event.NameSubscriberDeadLettered, len(h.Log(host.EventQuery{Type: event.NameStepCompleted})), "")
	checkDeadLetters(t, h)
	checkLagging(t, h)

	if err := h.PauseSubscription(t.Context(), "watcher/holds", task.Operation{By: "ann"}); err != nil {
		t.Fatal(err)
	}
	h.End(h.Create(graph("a")))
	last := h.Log(host.EventQuery{Last: 1})[0].Seq
	h.Stop()
	ahead.Add(int64(2 * time.Hour)) // everything so far is too old
	h.Restart()
	awaitCut(t, h, last)
	if err := h.ResumeSubscription(t.Context(), "watcher/holds"); err != nil {
		t.Fatal(err)
	}
	awaitEvents(t, h, event.NameSubscriberGap, 1, "watcher/holds")
	checkGap(t, h, last)
}

// awaitEvents waits until the log has n events of a type, about a subscription if it is
// named.
func awaitEvents(t *testing.T, h *hosttest.Host, name string, n int, subscription string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), hosttest.Patience)
	defer cancel()
	seen := 0
	err := h.Events(ctx, host.EventQuery{Type: name, Follow: true}, func(entry host.LogEntry) error {
		e, err := hosttest.DecodeEvent(entry)
		if err != nil || subscription != "" && payload[event.Subscriber](t, e).Subscription != subscription {
			return err
		}
		if seen++; seen == n {
			return errSeen
		}
		return nil
	})
	if !errors.Is(err, errSeen) {
		t.Fatalf("%d events %s, want %d: %v, %v", seen, name, n, err, ctx.Err())
	}
}

// aboutSubscription returns the events of a type, each checked against the catalog.
func aboutSubscription(t *testing.T, h *hosttest.Host, name string) []hosttest.Event {
	t.Helper()
	entry, ok := event.Lookup(name)
	if !ok {
		t.Fatalf("no event %s", name)
	}
	events := h.Log(host.EventQuery{Type: name})
	for _, e := range events {
		checkPayload(t, payloadSchema(t, entry), payloadOf(name), e)
		if by := firedBy(e); len(entry.FiredBy) != 1 || entry.FiredBy[0] != by {
			t.Errorf("%s is fired by the %s, the catalog says %v", e, by, entry.FiredBy)
		}
	}
	return events
}

func payloadOf(name string) event.Payload {
	for _, p := range event.Payloads() {
		if p.EventName() == name {
			return p
		}
	}
	return nil
}

// checkDeadLetters: each completed step was given up, once, as what it is.
func checkDeadLetters(t *testing.T, h *hosttest.Host) {
	t.Helper()
	completed := make(map[uint64]hosttest.Event)
	for _, e := range h.Log(host.EventQuery{Type: event.NameStepCompleted}) {
		completed[e.Seq] = e
	}
	for _, e := range aboutSubscription(t, h, event.NameSubscriberDeadLettered) {
		letter := payload[event.SubscriberDeadLettered](t, e)
		of, ok := completed[letter.Seq]
		delete(completed, letter.Seq)
		if !ok || letter.Subscription != "watcher/rejects" || letter.EventID != of.ID || letter.EventType != of.Type ||
			letter.TaskID != string(of.TaskID) || !strings.Contains(letter.Reason, "of no use") || letter.Deliveries != 1 {
			t.Errorf("dead letter %+v of %+v", letter, of)
		}
	}
	for seq := range completed {
		t.Errorf("event %d was not given up", seq)
	}
}

// checkLagging: the subscription that is held up was told of, once.
func checkLagging(t *testing.T, h *hosttest.Host) {
	t.Helper()
	told := make(map[string]int) // rejects lags, too, if it was at work when the clock went ahead
	for _, e := range aboutSubscription(t, h, event.NameSubscriberLagging) {
		lag := payload[event.SubscriberLagging](t, e)
		told[lag.Subscription]++
		if lag.EventsBehind == 0 || lag.SecondsBehind < 60 {
			t.Errorf("lag %+v, want events behind for a minute", lag)
		}
	}
	if told["watcher/holds"] != 1 || told["watcher/rejects"] > 1 {
		t.Errorf("told of %v, want watcher/holds once", told)
	}
}

// checkGap: the subscription that came too late was told of, once.
func checkGap(t *testing.T, h *hosttest.Host, last uint64) {
	t.Helper()
	first := h.Log(host.EventQuery{})[0].Seq
	told := make(map[string]int) // the other one may have missed the last events of the host before
	for _, e := range aboutSubscription(t, h, event.NameSubscriberGap) {
		gap := payload[event.SubscriberGap](t, e)
		told[gap.Subscription]++
		if gap.FromSeq == 0 || gap.FromSeq > gap.ThroughSeq || gap.ThroughSeq != first-1 {
			t.Errorf("gap %+v, want one that ends with %d", gap, first-1)
		}
		if gap.Subscription == "watcher/holds" && gap.FromSeq > last {
			t.Errorf("gap %+v, want one from %d or before", gap, last)
		}
	}
	if told["watcher/holds"] != 1 || told["watcher/rejects"] > 1 {
		t.Errorf("told of %v, want watcher/holds once", told)
	}
}

// awaitCut waits until the log has lost its events up to a sequence.
func awaitCut(t *testing.T, h *hosttest.Host, last uint64) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(hosttest.Patience); h.Log(host.EventQuery{})[0].Seq <= last; <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("the log still begins at %d, want beyond %d", h.Log(host.EventQuery{})[0].Seq, last)
		}
	}
}
