package delivery_test

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/tasker-engine/tasker/host/internal/boltstore"
	"github.com/tasker-engine/tasker/host/internal/boltstore/bolttest"
	"github.com/tasker-engine/tasker/host/internal/delivery"
	"github.com/tasker-engine/tasker/host/internal/store"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// socketPlugin serves a subscriber at a socket, until it crashes or the test ends.
type socketPlugin struct {
	pluginv1.UnimplementedEventServiceServer

	server *grpc.Server
	client pluginv1.EventServiceClient
	play   func(pluginv1.EventService_DeliverServer) error
}

func (p *socketPlugin) Deliver(s pluginv1.EventService_DeliverServer) error { return p.play(s) }

func serve(tb testing.TB, play func(pluginv1.EventService_DeliverServer) error) *socketPlugin {
	tb.Helper()
	socket := filepath.Join(tb.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		tb.Fatal(err)
	}
	p := &socketPlugin{server: grpc.NewServer(), play: play}
	pluginv1.RegisterEventServiceServer(p.server, p)
	served := make(chan error, 1)
	go func() { served <- p.server.Serve(l) }()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		tb.Fatal(err)
	}
	p.client = pluginv1.NewEventServiceClient(conn)
	tb.Cleanup(func() {
		_ = conn.Close()
		p.server.Stop()
		if err := <-served; err != nil {
			tb.Error(err)
		}
	})
	return p
}

// sockets are the instances of a test by name.
type sockets struct {
	mu      sync.Mutex
	plugins map[string]*socketPlugin
}

func (s *sockets) OpenStream(ctx context.Context, instance string) (delivery.Stream, error) {
	s.mu.Lock()
	p := s.plugins[instance]
	s.mu.Unlock()
	stream, err := p.client.Deliver(ctx)
	return roomy{stream}, err
}

func (s *sockets) FailInstance(string, string) {}

func (s *sockets) add(name string, p *socketPlugin) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plugins[name] = p
}

// ledger notes what was handled, over all instances of a plugin.
type ledger struct {
	mu   sync.Mutex
	seqs []uint64
	grew chan struct{}
}

func newLedger() *ledger { return &ledger{grew: make(chan struct{}, 1)} }

func (l *ledger) note(seq uint64) {
	l.mu.Lock()
	l.seqs = append(l.seqs, seq)
	l.mu.Unlock()
	select {
	case l.grew <- struct{}{}:
	default:
	}
}

// until waits until an event was handled.
func (l *ledger) until(tb testing.TB, seq uint64) {
	tb.Helper()
	for {
		l.mu.Lock()
		done := slices.Contains(l.seqs, seq)
		l.mu.Unlock()
		if done {
			return
		}
		select {
		case <-l.grew:
		case <-tb.Context().Done():
			tb.Fatal("the test ends")
		}
	}
}

// check looks for every event up to last, each first handled after the one before.
func (l *ledger) check(tb testing.TB, name string, last uint64) {
	tb.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	highest := uint64(0)
	for _, seq := range l.seqs {
		if seq > highest+1 {
			tb.Fatalf("%s: event %d follows %d", name, seq, highest)
		}
		highest = max(highest, seq)
	}
	if highest < last {
		tb.Errorf("%s: got events up to %d, want %d", name, highest, last)
	}
}

// acking handles events one after the other; fail says which ones end the process.
func acking(l *ledger, fail func(seq uint64) bool) func(pluginv1.EventService_DeliverServer) error {
	return func(s pluginv1.EventService_DeliverServer) error {
		for {
			r, err := s.Recv()
			if err != nil {
				return err
			}
			for _, e := range r.GetBatch().GetEvents() {
				if fail != nil && fail(e.GetSeq()) {
					return errDied
				}
				l.note(e.GetSeq())
				if err := s.Send(&pluginv1.DeliverResponse{Kind: &pluginv1.DeliverResponse_Ack{Ack: &pluginv1.Ack{Through: e.GetSeq()}}}); err != nil {
					return err
				}
			}
		}
	}
}

// record commits events as hosts do, in write sets of their own.
func record(tb testing.TB, s *boltstore.Store, d *delivery.Delivery, n int) {
	tb.Helper()
	var committed sync.WaitGroup
	for i := range n {
		committed.Add(1)
		ws := &store.WriteSet{Events: []store.Event{{Type: "plugin.ready", Encoded: encode(&eventv1.Event{
			Id: fmt.Sprintf("host/1/%d", i+1), Type: "plugin.ready", At: time.Now().UnixNano(), Payload: []byte(`{}`),
		})}}}
		s.Submit(ws, func(_ store.Commit, err error) {
			if err != nil {
				tb.Error(err)
			}
			d.Wake()
			committed.Done()
		})
	}
	committed.Wait()
}

// TestNeighbours: beside a subscriber that hangs, one that crashes all the time and one
// that is absent, a healthy one gets everything, and so does the crashing one.
func TestNeighbours(t *testing.T) {
	s := bolttest.Open(t)
	instances := &sockets{plugins: make(map[string]*socketPlugin)}
	w := newWorld(t, s, func(o *delivery.Options) { o.Streams = instances })
	stop := w.run()
	healthy, crashing := newLedger(), newLedger()
	instances.add("healthy#1", serve(t, acking(healthy, nil)))
	instances.add("hung#1", serve(t, func(s pluginv1.EventService_DeliverServer) error { <-s.Context().Done(); return nil }))
	w.Connect("healthy#1", []delivery.Subscription{sub("healthy/all")})
	w.Connect("hung#1", []delivery.Subscription{sub("hung/all")})

	const events = 2_000
	go record(t, s, w.Delivery, events)
	for n := 1; n <= 12; n++ {
		name := fmt.Sprintf("crashing#%d", n)
		died := make(chan struct{})
		var once sync.Once
		p := serve(t, acking(crashing, func(seq uint64) bool {
			if n == 12 || seq%150 != 0 || int(seq)/150 < n {
				return false
			}
			once.Do(func() { close(died) })
			return true
		}))
		instances.add(name, p)
		w.Connect(name, []delivery.Subscription{sub("crashing/all")})
		if n < 12 {
			<-died
			p.server.Stop()
			w.Lost(name)
		}
	}
	healthy.until(t, events)
	crashing.until(t, events)
	crashing.check(t, "crashing", events)
	tick := time.NewTicker(time.Millisecond) // the answer to the last event may be under way
	defer tick.Stop()
	for w.status("healthy/all").Cursor.Through < events {
		<-tick.C
	}
	stop()
	cursors, err := s.Cursors(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]uint64)
	for _, c := range cursors {
		got[c.Subscription] = c.Through
	}
	if got["healthy/all"] != events || got["hung/all"] != 0 {
		t.Errorf("got cursors %v, want the healthy one at %d and the hung one at 0", got, events)
	}
}

// TestHostRestarts: over many ends of the host every event comes, in order.
func TestHostRestarts(t *testing.T) {
	s := bolttest.Open(t)
	instances := &sockets{plugins: make(map[string]*socketPlugin)}
	l := newLedger()
	instances.add("p#1", serve(t, acking(l, nil)))
	last := uint64(0)
	for range 5 {
		w := newWorld(t, s, func(o *delivery.Options) { o.Streams = instances })
		stop := w.run()
		w.Connect("p#1", []delivery.Subscription{sub("p/all")})
		record(t, s, w.Delivery, 100)
		last += 100
		l.until(t, last-50)
		stop()
	}
	w := newWorld(t, s, func(o *delivery.Options) { o.Streams = instances })
	stop := w.run()
	w.Connect("p#1", []delivery.Subscription{sub("p/all")})
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for w.status("p/all").Instance == "" {
		<-tick.C
	}
	if err := w.Drain(t.Context()); err != nil {
		t.Errorf("Drain: %v", err)
	}
	stop()
	l.check(t, "p", last)
	if st := w.status("p/all"); st.Cursor.Through != last {
		t.Errorf("the cursor is %+v", st.Cursor)
	}
}
