package sdk_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

type rawEvent = sdk.Event[json.RawMessage]

// custom makes n events of one task.
func custom(task string, n int) []sdktest.Event {
	events := make([]sdktest.Event, n)
	for i := range events {
		events[i] = sdktest.Event{Type: "orders.shipped", Task: task, Payload: i}
	}
	return events
}

// TestGlobalOrder handles one event at a time, in order, and acks all of them in few frames.
func TestGlobalOrder(t *testing.T) {
	var got []string
	var at atomic.Int32
	sub := subscriber(t, all(func(_ context.Context, e rawEvent) error {
		if at.Add(1) != 1 {
			t.Error("two events at once")
		}
		got = append(got, string(e.Payload))
		at.Add(-1)
		return nil
	}))
	var sent []*sdktest.Delivered
	for range 4 {
		sent = append(sent, sub.Send(t, custom("", 256)...)...)
	}
	sub.Close(t)
	var want []string
	for i, d := range sent {
		want = append(want, fmt.Sprint(i%256))
		if a := d.Wait(t); a.Verdict != sdktest.Acked {
			t.Errorf("event %d: %+v", i, a)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// TestTaskOrder handles tasks at once, each in order, and no more of them than there are lanes.
func TestTaskOrder(t *testing.T) {
	const lanes, tasks, each = 3, 10, 40
	var mu sync.Mutex
	got := make(map[string][]uint64)
	running, most := 0, 0
	full := make(chan struct{}) // closed when all lanes have been busy at once
	sub := subscriber(t, sdk.Subscribe(all(func(_ context.Context, e rawEvent) error {
		mu.Lock()
		got[e.Task] = append(got[e.Task], e.Seq)
		running++
		if most = max(most, running); most == lanes {
			select {
			case <-full:
			default:
				close(full)
			}
		}
		mu.Unlock()
		<-full
		mu.Lock()
		running--
		mu.Unlock()
		return nil
	}), sdk.SubscriberOptions{Order: sdk.TaskOrder, Lanes: lanes}))
	var events []sdktest.Event
	for i := range tasks * each {
		events = append(events, sdktest.Event{Type: "orders.shipped", Task: fmt.Sprintf("t%d", i%tasks), Payload: i})
	}
	sent := sub.Send(t, events...)
	sub.Close(t)
	for _, d := range sent {
		if a := d.Wait(t); a.Verdict != sdktest.Acked {
			t.Errorf("answer %+v", a)
		}
	}
	if most != lanes {
		t.Errorf("%d events at once, want %d", most, lanes)
	}
	for i := range tasks {
		var want []uint64
		for n := range each {
			want = append(want, uint64(n*tasks+i+1))
		}
		if diff := cmp.Diff(want, got[fmt.Sprintf("t%d", i)]); diff != "" {
			t.Errorf("task %d (-want +got):\n%s", i, diff)
		}
	}
}

// TestOldestFirst handles what waits in the order of the log, whichever task it is of: the host takes it that the oldest
// event without an answer is at work.
func TestOldestFirst(t *testing.T) {
	const tasks, each = 7, 100
	var got []uint64
	ready := make(chan struct{}) // closed when all are sent
	sub := subscriber(t, sdk.Subscribe(all(func(_ context.Context, e rawEvent) error {
		<-ready
		got = append(got, e.Seq)
		return nil
	}), sdk.SubscriberOptions{Order: sdk.TaskOrder, Lanes: 1}))
	var want []uint64
	var sent []*sdktest.Delivered
	for i := range each {
		for n := range tasks {
			want = append(want, uint64(i*tasks+n+1))
			sent = append(sent, sub.Send(t, custom(fmt.Sprintf("t%d", n), 1)...)...)
		}
	}
	sub.Ping(t) // answered when all before it was taken
	close(ready)
	for _, d := range sent {
		if a := d.Wait(t); a.Verdict != sdktest.Acked {
			t.Errorf("answer %+v", a)
		}
	}
	sub.Close(t)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

// TestRetryHoldsLane drops what follows an event that failed, until the host restarts the lane; other lanes go on.
func TestRetryHoldsLane(t *testing.T) {
	for name, order := range map[string]sdk.Order{"global": sdk.GlobalOrder, "task": sdk.TaskOrder} {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			calls := make(map[uint64]int)
			sub := subscriber(t, sdk.Subscribe(all(func(_ context.Context, e rawEvent) error {
				mu.Lock()
				defer mu.Unlock()
				calls[e.Seq]++
				if e.Seq == 2 && e.Delivery == 1 {
					return errors.New("not yet")
				}
				return nil
			}), sdk.SubscriberOptions{Order: order}))
			sent := append(sub.Send(t, custom("a", 4)...), sub.Send(t, custom("b", 1)...)...)
			other := sdktest.Dropped // in global order, what follows is dropped whatever its task
			if order == sdk.TaskOrder {
				other = sdktest.Acked
			}
			for i, want := range []sdktest.Verdict{sdktest.Acked, sdktest.Retried, sdktest.Dropped, sdktest.Dropped, other} {
				if got := sent[i].Wait(t); got.Verdict != want {
					t.Errorf("event %d: %+v, want %s", i+1, got, want)
				}
			}
			for _, d := range sent[1:4] {
				if got := d.Redeliver(t).Wait(t); got.Verdict != sdktest.Acked {
					t.Errorf("again: %+v, want acked", got)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			if calls[1] != 1 || calls[2] != 2 || calls[3] != 1 || calls[4] != 1 {
				t.Errorf("calls %v", calls)
			}
		})
	}
}

// TestScript lets events fail in every pattern and delivers them again as a host does, until all are handled: each
// once with success, and each lane in its order.
func TestScript(t *testing.T) {
	for name, order := range map[string]sdk.Order{"global": sdk.GlobalOrder, "task": sdk.TaskOrder} {
		t.Run(name, func(t *testing.T) {
			var handle atomic.Value // the function of the script that runs
			p := sdktest.Start(t, subscriberPlugin(sdk.Subscribe(all(func(_ context.Context, e rawEvent) error {
				return handle.Load().(func(rawEvent) error)(e) //nolint:errcheck,forcetypeassert // nothing else is stored
			}), sdk.SubscriberOptions{Order: order})))
			rapid.Check(t, func(rt *rapid.T) { script(t, rt, p, order, &handle) })
		})
	}
}

func script(t *testing.T, rt *rapid.T, p *sdktest.Plugin, order sdk.Order, handle *atomic.Value) {
	t.Helper()
	fails := rapid.SliceOfN(rapid.IntRange(0, 2), 1, 40).Draw(rt, "failures of each event")
	tasks := rapid.SliceOfN(rapid.IntRange(0, 3), len(fails), len(fails)).Draw(rt, "its task")
	var mu sync.Mutex
	failed := make(map[uint64]int)
	handled := make(map[string][]uint64) // by lane
	handle.Store(func(e rawEvent) error {
		mu.Lock()
		defer mu.Unlock()
		if failed[e.Seq] < fails[e.Seq-1] {
			failed[e.Seq]++
			return errors.New("again")
		}
		lane := e.Task
		if order == sdk.GlobalOrder {
			lane = ""
		}
		handled[lane] = append(handled[lane], e.Seq)
		return nil
	})
	sub := p.Subscribe(t, "s")
	var events []sdktest.Event
	want := make(map[string][]uint64)
	for i := range fails {
		e := sdktest.Event{Type: "orders.shipped", Task: fmt.Sprintf("t%d", tasks[i]), Payload: i}
		events = append(events, e)
		lane := e.Task
		if order == sdk.GlobalOrder {
			lane = ""
		}
		want[lane] = append(want[lane], uint64(i+1))
	}
	for left := sub.Send(t, events...); len(left) > 0; {
		var again []*sdktest.Delivered
		for _, d := range left {
			if d.Wait(t).Verdict != sdktest.Acked {
				again = append(again, d)
			}
		}
		left = sub.Redeliver(t, again...)
	}
	sub.Close(t)
	if diff := cmp.Diff(want, handled); diff != "" {
		rt.Errorf("handled (-want +got):\n%s", diff)
	}
}

// TestRejectGoesOn keeps the answers in their order: an Ack does not swallow what was rejected before it.
func TestRejectGoesOn(t *testing.T) {
	sub := subscriber(t, all(func(_ context.Context, e rawEvent) error {
		if e.Seq%3 == 0 {
			return sdk.Permanent(errors.New("never"))
		}
		return nil
	}))
	for i, d := range sub.Send(t, custom("a", 100)...) {
		want := sdktest.Acked
		if (i+1)%3 == 0 {
			want = sdktest.Rejected
		}
		if got := d.Wait(t); got.Verdict != want {
			t.Errorf("event %d: %+v, want %s", i+1, got, want)
		}
	}
}

// TestUndecodable rejects what does not fit, with the reason.
func TestUndecodable(t *testing.T) {
	sub := subscriber(t, sdk.Subscribe(sdk.On(func(context.Context, sdk.Event[event.StepFailed]) error { return nil }), sdk.SubscriberOptions{
		OnError: func(context.Context, error) error { return nil }, // is not asked
	}))
	got := sub.Deliver(t, sdktest.Event{Type: "step.failed", Payload: json.RawMessage(`{"final": 7}`)})
	want := "the payload of step.failed does not decode into event.StepFailed: json: cannot unmarshal number into Go struct field StepFailed.final of type bool"
	if got.Verdict != sdktest.Rejected || got.Reason != want {
		t.Errorf("answer %+v, want rejected: %s", got, want)
	}
	if got := sub.Deliver(t, sdktest.Event{Type: "step.failed", Binding: 3}); got.Verdict != sdktest.Rejected || !strings.Contains(got.Reason, "not announced") {
		t.Errorf("event through an unknown binding: %+v", got)
	}
}

// TestTimeout ends the context of an event, and only then.
func TestTimeout(t *testing.T) {
	over := make(chan context.Context, 1)
	sub := subscriber(t, sdk.Subscribe(all(func(ctx context.Context, e rawEvent) error {
		if e.Delivery > 1 {
			over <- ctx
			return nil
		}
		inner, cancel := context.WithCancel(ctx)
		defer cancel()
		<-inner.Done()
		if !errors.Is(context.Cause(ctx), sdk.ErrCancelled) || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Errorf("cause %v, error %v", context.Cause(ctx), ctx.Err())
		}
		return context.Cause(inner)
	}), sdk.SubscriberOptions{Timeout: time.Millisecond}))
	d := sub.Send(t, custom("a", 1)...)[0]
	if got, want := d.Wait(t), "not done within 1ms: attempt cancelled: timeout"; got.Verdict != sdktest.Retried || got.Reason != want {
		t.Errorf("answer %+v, want %s", got, want)
	}
	if got := d.Redeliver(t).Wait(t); got.Verdict != sdktest.Acked {
		t.Errorf("answer %+v, want acked", got)
	}
	late := <-over
	if _, ok := late.Deadline(); !ok || late.Err() == nil {
		t.Error("the context of an event goes on after it")
	}
}

// TestPing answers while an event is handled.
func TestPing(t *testing.T) {
	began, release := make(chan struct{}), make(chan struct{})
	sub := subscriber(t, all(func(context.Context, rawEvent) error {
		close(began)
		<-release
		return nil
	}))
	d := sub.Send(t, custom("a", 1)...)[0]
	<-began
	sub.Ping(t)
	close(release)
	if got := d.Wait(t); got.Verdict != sdktest.Acked {
		t.Errorf("answer %+v", got)
	}
}

// TestBindings gives each event the config of its binding, over the defaults.
func TestBindings(t *testing.T) {
	var got []watcherConfig
	var errs []error
	sub := subscriber(t, sdk.Subscribe(all(func(ctx context.Context, _ rawEvent) error {
		c, err := sdk.BindingConfig[watcherConfig](ctx)
		got, errs = append(got, c), append(errs, err)
		return err
	}), sdk.SubscriberOptions{Config: watcherConfig{Level: "low", Names: map[string]string{"a": "1"}}}),
		sdktest.Binding{Config: map[string]any{"level": "high", "names": map[string]string{"b": "2"}}},
		sdktest.Binding{Template: "order", Config: json.RawMessage(`{"lewel": "high"}`)},
	)
	for i := range 2 {
		if a := sub.Deliver(t, sdktest.Event{Type: "step.failed", Binding: i}); a.Verdict != sdktest.Acked {
			t.Errorf("binding %d: %+v, want acked", i, a)
		}
	}
	if a := sub.Deliver(t, sdktest.Event{Type: "step.failed", Binding: 2}); !a.Unavailable || !strings.Contains(a.Reason, "lewel") {
		t.Errorf("binding 2: %+v, want that its config is to be mended", a)
	}
	sub.Rebind(t, sdktest.Binding{Config: map[string]any{"level": "off"}})
	sub.Deliver(t, sdktest.Event{Type: "step.failed", Binding: 1})
	want := []watcherConfig{
		{Level: "low", Names: map[string]string{"a": "1"}},
		{Level: "high", Names: map[string]string{"a": "1", "b": "2"}},
		{Level: "off", Names: map[string]string{"a": "1"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("configs (-want +got):\n%s", diff)
	}
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
}

// TestBindingConfigOfAnotherType says what was asked for.
func TestBindingConfigOfAnotherType(t *testing.T) {
	sub := subscriber(t, all(func(ctx context.Context, _ rawEvent) error {
		_, err := sdk.BindingConfig[watcherConfig](ctx)
		return err
	}))
	want := "subscriber s has no option Config; BindingConfig asks for a sdk_test.watcherConfig"
	if got := sub.Deliver(t, sdktest.Event{Type: "step.failed"}); got.Verdict != sdktest.Rejected || got.Reason != want {
		t.Errorf("answer %+v, want %s", got, want)
	}
	sub = subscriber(t, sdk.Subscribe(all(func(ctx context.Context, _ rawEvent) error {
		_, err := sdk.BindingConfig[watcherConfig](ctx)
		return err
	}), sdk.SubscriberOptions{Config: number{}}))
	want = "the option Config of subscriber s is a sdk_test.number; BindingConfig asks for a sdk_test.watcherConfig"
	if got := sub.Deliver(t, sdktest.Event{Type: "step.failed"}); got.Verdict != sdktest.Rejected || got.Reason != want {
		t.Errorf("answer %+v, want %s", got, want)
	}
	if c, err := sdk.BindingConfig[watcherConfig](t.Context()); err != nil || c.Level != "" {
		t.Errorf("outside a delivery: %+v, %v", c, err)
	}
}

// TestFetch gets values that are too large for their events.
func TestFetch(t *testing.T) {
	type receipt struct {
		Text string `json:"text"`
	}
	var got []string
	sub := subscriber(t, sdk.On(func(ctx context.Context, e sdk.Event[event.StepCompleted]) error {
		r, err := sdk.Value[receipt](ctx, e.Payload.Results, e.Payload.ResultsRef)
		got = append(got, fmt.Sprintf("%d", len(r.Text)))
		return err
	}))
	big := sub.Store(t, receipt{strings.Repeat("x", 1<<20)})
	for _, e := range []event.StepCompleted{
		{Results: json.RawMessage(`{"text": "abc"}`)}, {ResultsRef: big}, {},
	} {
		if a := sub.Deliver(t, sdktest.Event{Payload: e}); a.Verdict != sdktest.Acked {
			t.Errorf("answer %+v", a)
		}
	}
	if diff := cmp.Diff([]string{"3", "1048576", "0"}, got); diff != "" {
		t.Errorf("lengths (-want +got):\n%s", diff)
	}
	a := sub.Deliver(t, sdktest.Event{Payload: event.StepCompleted{ResultsRef: &event.Ref{Ref: "gone"}}})
	if want := "the host cannot hand over gone: no such value"; a.Verdict != sdktest.Retried || a.Reason != want {
		t.Errorf("answer %+v, want %s", a, want)
	}
	if _, err := sdk.Fetch(t.Context(), *big); err == nil {
		t.Error("a value was fetched without an event")
	}
}

// TestFetchesAreBounded asks the host for few values at once, however many events want one.
func TestFetchesAreBounded(t *testing.T) {
	const most, events = 32, 100
	p := sdktest.Start(t, subscriberPlugin(sdk.Subscribe(all(func(ctx context.Context, _ rawEvent) error {
		_, err := sdk.Fetch(ctx, event.Ref{Ref: "input"})
		return err
	}), sdk.SubscriberOptions{Order: sdk.TaskOrder, Lanes: events})))
	stream, err := pluginv1.NewEventServiceClient(p.Conn()).Deliver(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	say := func(r *pluginv1.DeliverRequest) {
		if err := stream.Send(r); err != nil {
			t.Fatal(err)
		}
	}
	batch := &pluginv1.Batch{}
	for i := range uint64(events) {
		encoded, err := proto.Marshal(&eventv1.Event{Id: "e", Type: "orders.shipped", TaskId: fmt.Sprint(i), Payload: []byte("{}")})
		if err != nil {
			t.Fatal(err)
		}
		batch.Events = append(batch.Events, &pluginv1.SequencedEvent{Seq: i + 1, Event: encoded, Delivery: 1})
	}
	say(&pluginv1.DeliverRequest{Kind: &pluginv1.DeliverRequest_Open{Open: &pluginv1.Open{Subscription: "s"}}})
	say(&pluginv1.DeliverRequest{Kind: &pluginv1.DeliverRequest_Batch{Batch: batch}})
	asked, acked := 0, 0
	var open []uint64 // fetches without an answer
	for acked < events {
		r, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		acked += len(r.GetAck().GetSeqs())
		if f := r.GetFetch(); f != nil {
			asked++
			open = append(open, f.GetId())
		}
		if len(open) > most {
			t.Fatalf("%d values are asked for at once, want at most %d", len(open), most)
		}
		if len(open) == most || asked == events {
			for _, id := range open {
				say(&pluginv1.DeliverRequest{Kind: &pluginv1.DeliverRequest_Chunk{
					Chunk: &pluginv1.EventChunk{FetchId: id, Data: []byte("1"), Last: true},
				}})
			}
			open = nil
		}
	}
	if err := stream.CloseSend(); err != nil {
		t.Error(err)
	}
}

// TestSubscriberLogs carries the event's id with each line.
func TestSubscriberLogs(t *testing.T) {
	sub := subscriber(t, all(func(ctx context.Context, _ rawEvent) error {
		sdk.Logger(ctx).With("n", 1).Named("part").Info("hclog")
		sdk.Slog(ctx).WarnContext(ctx, "slog", "m", 2)
		sdk.Logger(ctx).Trace("below the level")
		return nil
	}))
	sub.Deliver(t, sdktest.Event{Type: "host.started", ID: "h/1/7"})
	for _, want := range []sdktest.LogLine{
		{Level: "info", Message: "hclog", Fields: json.RawMessage(`{"event":"h/1/7","logger":"part","n":1}`)},
		{Level: "warn", Message: "slog", Fields: json.RawMessage(`{"event":"h/1/7","m":2}`)},
	} {
		if diff := cmp.Diff(want, sub.Log(t)); diff != "" {
			t.Errorf("line (-want +got):\n%s", diff)
		}
	}
}

// TestDrainEvents waits for the event that is being handled, answers it, and starts no other.
func TestDrainEvents(t *testing.T) {
	began, release := make(chan struct{}), make(chan struct{})
	var calls atomic.Int32
	p := sdktest.Start(t, subscriberPlugin(all(func(context.Context, rawEvent) error {
		calls.Add(1)
		close(began)
		<-release
		return nil
	})))
	sub := p.Subscribe(t, "s")
	sent := sub.Send(t, custom("a", 3)...)
	<-began
	drained := make(chan int)
	go func() { drained <- p.Drain(t, time.Minute) }()
	p.AwaitStatus(t, func(s *pluginv1.Status) bool { return s.GetState() == pluginv1.State_STATE_DRAINING })
	select {
	case <-drained:
		t.Error("drained while an event is handled")
	default:
	}
	close(release)
	if left := <-drained; left != 0 {
		t.Errorf("%d attempts left", left)
	}
	if got := sent[0].Wait(t); got.Verdict != sdktest.Acked {
		t.Errorf("answer %+v, want acked", got)
	}
	sub.Ping(t)
	sub.Close(t)
	if got := sent[1].Wait(t); got.Verdict != sdktest.Lost || calls.Load() != 1 {
		t.Errorf("the next event: %+v after %d calls, want lost after 1", got, calls.Load())
	}
}

// TestBrokenStream cancels what is handled; the next stream begins when that has ended.
func TestBrokenStream(t *testing.T) {
	began, reason := make(chan struct{}, 2), make(chan error, 1)
	var running atomic.Int32
	p := sdktest.Start(t, subscriberPlugin(all(func(ctx context.Context, e rawEvent) error {
		if running.Add(1) != 1 {
			t.Error("two events at once")
		}
		defer running.Add(-1)
		began <- struct{}{}
		if e.Delivery == 1 {
			<-ctx.Done()
			reason <- context.Cause(ctx)
		}
		return nil
	})))
	first := p.Subscribe(t, "s")
	d := first.Send(t, custom("a", 1)...)[0]
	<-began
	first.Disconnect()
	if got := d.Wait(t); got.Verdict != sdktest.Lost {
		t.Errorf("answer %+v, want lost", got)
	}
	if got := p.Subscribe(t, "s").Redeliver(t, d)[0].Wait(t); got.Verdict != sdktest.Acked {
		t.Errorf("answer %+v, want acked", got)
	}
	if err := <-reason; !errors.Is(err, sdk.ErrCancelled) {
		t.Errorf("cause %v", err)
	}
}

// TestOpen refuses streams that make no sense.
func TestOpen(t *testing.T) {
	p := sdktest.Start(t, subscriberPlugin(all(func(context.Context, rawEvent) error { return nil })))
	client := pluginv1.NewEventServiceClient(p.Conn())
	for name, tt := range map[string]struct {
		first *pluginv1.DeliverRequest
		want  string
	}{
		"no open": {&pluginv1.DeliverRequest{}, "the first frame of a Deliver stream is an Open"},
		"unknown": {
			&pluginv1.DeliverRequest{Kind: &pluginv1.DeliverRequest_Open{Open: &pluginv1.Open{Subscription: "x"}}},
			`plugin test 1.0.0 has no subscription "x"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			stream, err := client.Deliver(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.Send(tt.first); err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			if _, err := stream.Recv(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %s", err, tt.want)
			}
		})
	}
}
