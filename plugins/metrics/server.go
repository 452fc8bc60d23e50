package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Limits of the endpoint.
const (
	// headerTimeout is how long a client may take to send its request.
	headerTimeout = 10 * time.Second
	// closeTimeout is how long scrapes have to end when the plugin ends.
	closeTimeout = 2 * time.Second
	// scrapes is how many there may be at once.
	scrapes = 10
	// bindPause is how often a default address that is taken is tried again.
	bindPause = 5 * time.Second
)

// server is the HTTP endpoint.
type server struct {
	http  *http.Server
	log   *slog.Logger
	pause time.Duration // between two tries of a default address

	bound    chan struct{} // closed once it serves; then addr stands
	addr     net.Addr
	giveUp   context.CancelFunc // ends the tries
	routines sync.WaitGroup
}

// newServer returns the endpoint, which nobody reaches before it is opened: GET /metrics, in the format that the client
// asks for.
func newServer(registry *prometheus.Registry, log *slog.Logger) *server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		EnableOpenMetrics: true, MaxRequestsInFlight: scrapes, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError),
	}))
	return &server{
		http: &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)},
		log:  log, pause: bindPause, bound: make(chan struct{}), giveUp: func() {},
	}
}

// open serves at an address. One that was not chosen by anybody may be taken: then counting goes on without the
// endpoint, and the address is tried again until it is free.
func (s *server) open(ctx context.Context, address string, chosen bool) error {
	lis, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	switch {
	case err == nil:
		s.serve(lis)
	case chosen:
		return fmt.Errorf("/listen: %w", err)
	default:
		s.log.Warn("metrics are counted and cannot be scraped: the default address cannot be opened; it is tried again, or set another one: "+
			"plugins.metrics.config.listen", "address", address, "error", err)
		var life context.Context
		life, s.giveUp = context.WithCancel(context.WithoutCancel(ctx))
		s.routines.Go(func() { s.await(life, address) })
	}
	return nil
}

// await serves at an address once it can be opened.
func (s *server) await(ctx context.Context, address string) {
	again := time.NewTicker(s.pause)
	defer again.Stop()
	for {
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
		if lis, err := new(net.ListenConfig).Listen(ctx, "tcp", address); err == nil {
			s.serve(lis)
			return
		}
	}
}

func (s *server) serve(lis net.Listener) {
	s.addr = lis.Addr()
	close(s.bound)
	s.log.Info("serving metrics", "url", "http://"+s.addr.String()+"/metrics")
	s.routines.Go(func() {
		if err := s.http.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("the endpoint has ended", "error", err)
		}
	})
}

// close lets scrapes end and closes the endpoint.
func (s *server) close() {
	s.giveUp()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close() // what has not ended by now is cut off
	}
	s.routines.Wait()
}
