package sdk

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// tick is how often Watch reports while attempts run; the host gives up after 15 s of silence.
const tick = 3 * time.Second

// Server is a plugin's services without a process around them: what [Serve] puts behind the handshake, and
// what sdktest runs within a test. Plugins do not need it.
type Server struct {
	decl *declaration
	disp *dispatcher
	subs *deliveries
	log  hclog.Logger

	mu         sync.Mutex
	configured bool
	closed     bool
	drained    chan struct{} // closed after the first Drain has returned
	hello      func()        // called once, by the first RPC
}

// NewServer checks the plugin and makes its services. Logs of the plugin itself, in contrast to those of
// attempts, go to log. The error is a [*DeclarationError].
func NewServer(p Plugin, log hclog.Logger) (*Server, error) {
	decl, err := declare(p)
	if err != nil {
		return nil, err
	}
	disp := newDispatcher(decl, log)
	subs := &deliveries{decl: decl, log: log, disp: disp, streams: make(map[string]*deliverStream)}
	return &Server{decl: decl, disp: disp, subs: subs, log: log, drained: make(chan struct{}), hello: func() {}}, nil
}

// Instrument makes the server's spans those of the process: libraries that are instrumented for OpenTelemetry, and code
// that uses its API, then make spans below those of attempts and deliveries. The global TracerProvider and propagators (W3C
// trace context and baggage) are replaced. [Serve] and sdktest do it.
func (s *Server) Instrument() { s.disp.tracing.global() }

// Register adds the services that the plugin has to a gRPC server, which must accept messages of
// pluginv1.MaxMessageBytes.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	pluginv1.RegisterPluginServiceServer(r, &pluginService{s: s})
	pluginv1.RegisterStepServiceServer(r, &stepService{s: s})
	pluginv1.RegisterEventServiceServer(r, &eventService{s: s})
}

// Stop cancels all attempts and what subscribers do, waits for them until ctx ends, and closes handlers,
// subscribers and configuration that have a method Close. It returns their errors.
func (s *Server) Stop(ctx context.Context) error { return s.stop(ctx, ReasonStopped) }

func (s *Server) stop(ctx context.Context, reason string) error {
	s.disp.drain()
	s.subs.drain()
	s.disp.cancelAll(reason)
	s.subs.cancelAll(reason)
	s.disp.untilIdle(ctx)
	s.subs.untilIdle(ctx)

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	var errs []error
	for _, p := range s.powers() {
		errs = append(errs, s.guard("close", p.place, func() error { return closePowers(p.value) }))
	}
	return errors.Join(errs...)
}

// power is a value that may have optional powers.
type power struct {
	place string
	value any
}

// powers lists what is asked for Check and Close: the configuration, then the handlers by name, then the
// subscribers, each value once.
func (s *Server) powers() []power {
	var list []power
	add := func(place string, value any) {
		if value == nil || slices.ContainsFunc(list, func(p power) bool { return same(p.value, value) }) {
			return
		}
		list = append(list, power{place, value})
	}
	add("Config", s.decl.plugin.Config)
	for _, sp := range s.decl.specs {
		add(fmt.Sprintf("handler %s@%d", sp.name, sp.version), sp.bound.powers)
	}
	for _, sub := range s.decl.subs {
		add("subscriber "+sub.name, sub.powers)
	}
	return list
}

// same reports whether two values are one: the same pointer.
func same(a, b any) bool {
	return reflect.TypeOf(a).Kind() == reflect.Pointer && reflect.TypeOf(a) == reflect.TypeOf(b) && a == b
}

// guard calls the author's code; a panic becomes an error.
func (s *Server) guard(what, place string, call func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%s %s: panic: %v", what, place, p)
			s.log.Error("panic", "in", what, "of", place, "value", fmt.Sprint(p), "stack", stack())
		}
	}()
	if err := call(); err != nil {
		return fmt.Errorf("%s %s: %w", what, place, err)
	}
	return nil
}

// pluginService implements the life of the process.
type pluginService struct {
	pluginv1.UnimplementedPluginServiceServer

	s *Server
}

// Describe implements pluginv1.PluginServiceServer.
func (p *pluginService) Describe(context.Context, *pluginv1.DescribeRequest) (*pluginv1.DescribeResponse, error) {
	p.s.mu.Lock()
	hello := p.s.hello
	p.s.hello = func() {}
	p.s.mu.Unlock()
	hello()
	return &pluginv1.DescribeResponse{Manifest: p.s.decl.manifest}, nil
}

// Configure implements pluginv1.PluginServiceServer.
func (p *pluginService) Configure(ctx context.Context, req *pluginv1.ConfigureRequest) (*pluginv1.ConfigureResponse, error) {
	s := p.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.configured {
		return nil, status.Error(codes.FailedPrecondition, "the plugin is configured already")
	}
	if level := hclog.LevelFromString(req.GetLogLevel()); level != hclog.NoLevel {
		s.log.SetLevel(level)
		s.disp.min.Store(int32(level))
	}
	s.disp.setDataDir(req.GetDataDir())
	bad := s.configure(ctx, req.GetConfig())
	s.configured = len(bad) == 0
	out := &pluginv1.ConfigureResponse{}
	for _, b := range bad {
		out.Problems = append(out.Problems, &pluginv1.ConfigProblem{Pointer: b.pointer, Message: b.message})
	}
	return out, nil
}

// configure takes the plugin's configuration and lets it and the handlers check themselves.
func (s *Server) configure(ctx context.Context, config []byte) []problem {
	target := s.decl.plugin.Config
	switch {
	case target == nil && len(config) > 0 && string(config) != "{}" && string(config) != "null":
		return []problem{{message: "the plugin takes no configuration"}}
	case target != nil:
		var bad []problem
		if config, bad = s.decl.config.accept(config); len(bad) > 0 {
			return bad
		}
		if err := decode(config, target, true); err != nil {
			return []problem{{message: err.Error()}}
		}
	}
	var bad []problem
	ctx = s.disp.checking(ctx)
	for _, p := range s.powers() {
		if err := s.guard("check", p.place, func() error { return check(ctx, p.value) }); err != nil {
			bad = append(bad, problem{message: err.Error()})
		}
	}
	return bad
}

// Watch implements pluginv1.PluginServiceServer.
func (p *pluginService) Watch(_ *pluginv1.WatchRequest, stream grpc.ServerStreamingServer[pluginv1.WatchResponse]) error {
	return p.s.disp.watch(stream.Context(), func(st *pluginv1.Status) error {
		return stream.Send(&pluginv1.WatchResponse{Status: st})
	})
}

// watch reports the status: at once, when the state changes, and while attempts run. While there are none
// it sleeps without a timer.
func (d *dispatcher) watch(ctx context.Context, send func(*pluginv1.Status) error) error {
	woken := make(chan struct{}, 1)
	d.mu.Lock()
	d.watchers[woken] = struct{}{}
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		delete(d.watchers, woken)
		d.mu.Unlock()
	}()

	said, why := pluginv1.State_STATE_UNSPECIFIED, ""
	timer := time.NewTimer(tick)
	defer timer.Stop()
	due := false // a tick has passed; while idle it stays due, so that the next attempt is reported at once
	for {
		state, message, inFlight := d.status() // takes the dispatcher's lock: a dispatcher that hangs falls silent
		if state != said || message != why || due && inFlight > 0 {
			st := &pluginv1.Status{State: state, Message: message, InFlight: uint32(inFlight)} //nolint:gosec // a count
			if err := send(st); err != nil {
				return err
			}
			said, why, due = state, message, false
			timer.Reset(tick)
		}
		var next <-chan time.Time
		if inFlight > 0 && !due {
			next = timer.C
		}
		select {
		case <-woken:
		case <-next:
			due = true
		case <-ctx.Done():
			return nil
		}
	}
}

// Drain implements pluginv1.PluginServiceServer.
func (p *pluginService) Drain(ctx context.Context, req *pluginv1.DrainRequest) (*pluginv1.DrainResponse, error) {
	p.s.disp.drain()
	p.s.subs.drain()
	if d := req.GetDeadline(); d != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d.AsDuration())
		defer cancel()
	}
	left := p.s.disp.untilIdle(ctx)
	p.s.subs.untilIdle(ctx)
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	select {
	case <-p.s.drained:
	default:
		close(p.s.drained)
	}
	return &pluginv1.DrainResponse{Unfinished: uint32(left)}, nil //nolint:gosec // a count
}

// stepService implements the execution of steps.
type stepService struct {
	pluginv1.UnimplementedStepServiceServer

	s *Server
}

// Work implements pluginv1.StepServiceServer.
func (w *stepService) Work(stream grpc.BidiStreamingServer[pluginv1.WorkRequest, pluginv1.WorkResponse]) error {
	return w.s.disp.work(stream)
}

// eventService implements the delivery of events.
type eventService struct {
	pluginv1.UnimplementedEventServiceServer

	s *Server
}

// Deliver implements pluginv1.EventServiceServer.
func (e *eventService) Deliver(stream grpc.BidiStreamingServer[pluginv1.DeliverRequest, pluginv1.DeliverResponse]) error {
	return e.s.subs.deliver(stream)
}
