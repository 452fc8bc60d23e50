package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/task"
	hostv1 "github.com/tasker-engine/tasker/proto/tasker/host/v1"
)

// stopGrace is how long calls in flight have when the server stops.
const stopGrace = 5 * time.Second

// Config says what a [Server] serves and where.
type Config struct {
	// Home is the host's home directory, which the caller holds locked; control.json is
	// written there.
	Home string
	// Mode is what the host was started for. With ModeRun creations are refused.
	Mode Mode
	// Version is the host's version, for the record.
	Version string
	// Service answers.
	Service Service
	// Logger must not be nil.
	Logger hclog.Logger
	// HealthAddr is a loopback "host:port" for GET /livez and /readyz. Empty = none;
	// port 0 = any free one.
	HealthAddr string
	// Metrics writes the host's metrics in the text format of Prometheus. Nil = it has none.
	Metrics func(w io.Writer) error
	// Now is the clock for the record. Nil = time.Now.
	Now func() time.Time
}

// Server serves the control API. Make one with [Listen].
type Server struct {
	cfg    Config
	socket net.Listener
	record Record
	health net.Listener // nil = none
	grpc   *grpc.Server
	// stopping ends when Run is told to stop: streams end with it.
	stopping context.Context
	stop     context.CancelFunc

	closing sync.Once
	closed  error
}

// Listen opens the socket, and the health port if there is one, and records the socket
// in the home. It must be called by the process that holds the home's lock: what an
// earlier host left behind is removed. Answers begin with [Server.Run].
func Listen(cfg Config) (*Server, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Metrics == nil {
		cfg.Metrics = func(io.Writer) error { return ErrNoMetrics }
	}
	s := &Server{cfg: cfg}
	s.stopping, s.stop = context.WithCancel(context.Background())
	if err := s.listen(); err != nil {
		s.stop()
		return nil, err
	}
	g := guard{secret: s.record.Secret}
	s.grpc = grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		grpc.UnaryInterceptor(g.unary), grpc.StreamInterceptor(g.stream))
	hostv1.RegisterControlServiceServer(s.grpc, &control{service: cfg.Service, embedded: cfg.Mode == ModeRun, stopping: s.stopping})
	hostv1.RegisterDebugServiceServer(s.grpc, &debugger{metrics: cfg.Metrics, stopping: s.stopping})
	return s, nil
}

func (s *Server) listen() error {
	path, err := socketPath(s.cfg.Home)
	if err != nil {
		return err
	}
	if s.socket, err = listenSocket(path); err != nil {
		return err
	}
	if s.cfg.HealthAddr != "" {
		if s.health, err = listenLoopback(s.cfg.HealthAddr); err != nil {
			return errors.Join(err, s.socket.Close())
		}
	}
	s.record = Record{Socket: path, PID: os.Getpid(), StartedAt: s.cfg.Now().UTC(), Mode: s.cfg.Mode, Version: s.cfg.Version, Secret: newToken()}
	if s.health != nil {
		s.record.Health = s.health.Addr().String()
	}
	if err := writeRecord(s.cfg.Home, s.record); err != nil {
		return errors.Join(err, s.closeListeners())
	}
	return nil
}

// HealthAddr returns the address of the health port, empty when there is none.
func (s *Server) HealthAddr() string { return s.record.Health }

// Run answers until ctx ends; then streams end with task.ErrStopping, calls in flight
// get a few seconds, and the record is removed from the home.
func (s *Server) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		// It is stopped already when the context ended before this goroutine began.
		if err := s.grpc.Serve(s.socket); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			return fmt.Errorf("control API: %w", err)
		}
		return nil
	})
	var web *http.Server
	if s.health != nil {
		web = &http.Server{Handler: healthHandler(s.cfg.Service), ReadHeaderTimeout: stopGrace}
		group.Go(func() error {
			if err := web.Serve(s.health); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("health port: %w", err)
			}
			return nil
		})
	}
	group.Go(func() error {
		<-ctx.Done()
		s.stop()
		s.drain()
		if web != nil {
			return web.Close()
		}
		return nil
	})
	return errors.Join(group.Wait(), s.Close())
}

// drain lets calls in flight end, for a while.
func (s *Server) drain() {
	done := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(done)
	}()
	timer := time.NewTimer(stopGrace)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
		s.cfg.Logger.Warn("control API: calls did not end in time and were cut", logkeys.Grace, stopGrace.String())
		s.grpc.Stop()
		<-done
	}
}

// Close releases what Listen took, at once. [Server.Run] does it by itself.
func (s *Server) Close() error {
	s.closing.Do(func() {
		s.stop()
		s.grpc.Stop()
		s.closed = errors.Join(removeRecord(s.cfg.Home, s.record), s.closeListeners())
	})
	return s.closed
}

func (s *Server) closeListeners() error {
	errs := []error{s.socket.Close()}
	if s.health != nil {
		errs = append(errs, s.health.Close())
	}
	for i, err := range errs {
		if errors.Is(err, net.ErrClosed) {
			errs[i] = nil
		}
	}
	return errors.Join(errs...)
}

// control serves the RPCs: each converts, asks the service, converts.
type control struct {
	hostv1.UnimplementedControlServiceServer

	service  Service
	embedded bool
	stopping context.Context //nolint:containedctx // the server's own end, for streams
}

// untilStop returns a context that also ends when the server stops, and a function
// that names that cause in an error.
func (c *control) untilStop(ctx context.Context) (context.Context, context.CancelFunc, func(error) error) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.stopping, cancel)
	release := func() {
		stop()
		cancel()
	}
	explain := func(err error) error {
		if c.stopping.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
			return toWire(task.ErrStopping)
		}
		return toWire(err)
	}
	return ctx, release, explain
}
