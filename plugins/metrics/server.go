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
	// bindPatience is how long to wait for an address that an earlier process has not given up yet.
	bindPatience = 5 * time.Second
	bindPause    = 100 * time.Millisecond
)

// server is the HTTP endpoint.
type server struct {
	http    *http.Server
	addr    net.Addr
	serving sync.WaitGroup
}

// listen opens the endpoint: GET /metrics, in the format that the client asks for.
func listen(ctx context.Context, address string, registry *prometheus.Registry, log *slog.Logger) (*server, error) {
	lis, err := bind(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("/listen: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		EnableOpenMetrics: true, MaxRequestsInFlight: scrapes, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError),
	}))
	s := &server{
		http: &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)},
		addr: lis.Addr(),
	}
	s.serving.Go(func() {
		if err := s.http.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the endpoint has ended", "error", err)
		}
	})
	log.Info("serving metrics", "url", "http://"+s.addr.String()+"/metrics")
	return s, nil
}

// bind opens the address, which an earlier process of the plugin may be about to give up.
func bind(ctx context.Context, address string) (net.Listener, error) {
	ctx, cancel := context.WithTimeout(ctx, bindPatience)
	defer cancel()
	pause := time.NewTicker(bindPause)
	defer pause.Stop()
	for {
		lis, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err == nil {
			return lis, nil
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}

// close lets scrapes end and closes the endpoint.
func (s *server) close() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close() // what has not ended by now is cut off
	}
	s.serving.Wait()
}
