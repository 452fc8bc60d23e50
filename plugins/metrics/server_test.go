package main

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// TestDefaultAddressTaken counts without the endpoint, and serves once the address is free.
func TestDefaultAddressTaken(t *testing.T) {
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	address := taken.Addr().String()
	open := func(pause time.Duration, log io.Writer) *server {
		s := newServer(prometheus.NewRegistry(), slog.New(slog.NewTextHandler(log, nil)))
		s.pause = pause
		ctx, cancel := context.WithCancel(t.Context())
		err := s.open(ctx, address, false)
		cancel() // that of Check ends with it
		if err != nil {
			t.Fatal(err)
		}
		return s
	}

	var log bytes.Buffer
	never := open(time.Hour, &log)
	never.close() // and nothing goes on
	for _, want := range []string{"WARN", "plugins.metrics.config.listen", "address=" + address} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("log without %q:\n%s", want, &log)
		}
	}

	s := open(time.Millisecond, io.Discard)
	defer s.close()
	if err := taken.Close(); err != nil {
		t.Fatal(err)
	}
	<-s.bound
	if body, _ := get(t, "http://"+address+"/metrics", text); len(body) != 0 {
		t.Errorf("an empty registry shows %s", body)
	}
}
