package main

import (
	"net"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsServer is a server with JetStream on this machine.
type natsServer struct {
	*server.Server

	opts *server.Options
}

// serve starts a server.
func serve(t *testing.T, change func(*server.Options)) *natsServer {
	t.Helper()
	s := &natsServer{opts: &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true}}
	if change != nil {
		change(s.opts)
	}
	s.start(t)
	t.Cleanup(func() { s.stop() })
	return s
}

// start starts it, the second time at the same place.
func (s *natsServer) start(t *testing.T) {
	t.Helper()
	var err error
	if s.Server, err = server.NewServer(s.opts.Clone()); err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(30 * time.Second) {
		t.Fatal("the server does not start")
	}
	addr, ok := s.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatalf("the server listens at %v", s.Addr())
	}
	s.opts.Port = addr.Port
}

func (s *natsServer) stop() {
	s.Shutdown()
	s.WaitForShutdown()
}

// client connects to it.
func (s *natsServer) client(t *testing.T, opts ...nats.Option) jetstream.JetStream {
	t.Helper()
	conn, err := nats.Connect(s.ClientURL(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// stream creates a stream of all that the plugin publishes by default.
func (s *natsServer) stream(t *testing.T, change func(*jetstream.StreamConfig)) jetstream.JetStream {
	t.Helper()
	js := s.client(t)
	c := jetstream.StreamConfig{Name: "TASKER", Subjects: []string{"tasker.>"}}
	if change != nil {
		change(&c)
	}
	if _, err := js.CreateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return js
}

// stored returns all messages of the stream.
func stored(t *testing.T, js jetstream.JetStream) []*jetstream.RawStreamMsg {
	t.Helper()
	stream, err := js.Stream(t.Context(), "TASKER")
	if err != nil {
		t.Fatal(err)
	}
	state := stream.CachedInfo().State
	var all []*jetstream.RawStreamMsg
	for seq := state.FirstSeq; seq <= state.LastSeq; seq++ {
		m, err := stream.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}
