package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// stopGrace is how long cancelled attempts may take once the process is to end.
const stopGrace = 5 * time.Second

// Exit codes of a plugin binary.
const (
	exitDone   = 0
	exitFailed = 1 // it ended with an error, or is declared wrongly and was started by hand
	exitByHand = 2 // not started by a host, and no known option
)

// Serve runs the plugin and never returns: it is all that main does. Started by a Tasker host, it serves
// until the host says so or is gone. Started by hand, it explains the binary; the options are --describe
// (the manifest as JSON) and --version.
func Serve(p Plugin) {
	os.Exit(serve(p, os.Args[1:], os.Getenv(pluginv1.CookieKey), os.Stdout, os.Stderr))
}

// serve is Serve with what it takes from its process.
func serve(p Plugin, args []string, cookie string, stdout, stderr io.Writer) int {
	if cookie != pluginv1.CookieValue {
		return byHand(p, args, stdout, stderr)
	}
	log := hclog.New(&hclog.LoggerOptions{Name: p.Name, Level: hclog.Info, Output: os.Stderr, JSONFormat: true})
	s, err := NewServer(p, log)
	if err != nil {
		_, _ = fmt.Fprintln(stderr, err)
		return pluginv1.ExitDeclaration
	}
	s.Instrument()
	if err := s.process(); err != nil {
		log.Error("ended with an error", "error", err)
		return exitFailed
	}
	return exitDone
}

// process serves as a process that a host has started, until go-plugin is told to shut down, the lifeline
// breaks, or a signal comes after Drain.
func (s *Server) process() error {
	restore, err := divertStdout()
	if err != nil {
		return err
	}
	s.hello = restore

	ending, end := context.WithCancelCause(context.Background())
	defer end(nil)
	go s.watchSignals(ending, end)
	go watchLifeline(os.Stdin, end)

	var transport atomic.Pointer[grpc.Server]
	served := make(chan struct{})
	go func() {
		defer close(served)
		plugin.Serve(s.pluginConfig(&transport))
	}()
	reason := &CancelError{Reason: ReasonStopped}
	select {
	case <-served:
	case <-ending.Done():
		errors.As(context.Cause(ending), &reason)
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopGrace)
	defer cancel()
	err = s.stop(ctx, reason.Reason)
	if t := transport.Load(); t != nil {
		t.Stop() // closes the socket and removes its file
		<-served
	}
	return err
}

// pluginConfig is what go-plugin needs to serve. The gRPC server that it makes is left in transport.
func (s *Server) pluginConfig(transport *atomic.Pointer[grpc.Server]) *plugin.ServeConfig {
	return &plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			ProtocolVersion: pluginv1.ProtocolVersion, MagicCookieKey: pluginv1.CookieKey, MagicCookieValue: pluginv1.CookieValue,
		},
		VersionedPlugins: map[int]plugin.PluginSet{pluginv1.ProtocolVersion: {pluginv1.ServiceSet: &services{s: s}}},
		GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
			g := grpc.NewServer(append(opts,
				grpc.MaxRecvMsgSize(pluginv1.MaxMessageBytes), grpc.MaxSendMsgSize(pluginv1.MaxMessageBytes),
				grpc.StaticStreamWindowSize(pluginv1.StreamWindowBytes), grpc.StaticConnWindowSize(pluginv1.ConnWindowBytes),
			)...)
			transport.Store(g)
			return g
		},
		Logger: hclog.New(&hclog.LoggerOptions{Name: "go-plugin", Level: hclog.Warn, Output: os.Stderr, JSONFormat: true}),
	}
}

// services is the form in which go-plugin takes the services.
type services struct {
	plugin.NetRPCUnsupportedPlugin

	s *Server
}

// GRPCServer implements plugin.GRPCPlugin.
func (p *services) GRPCServer(_ *plugin.GRPCBroker, g *grpc.Server) error {
	p.s.Register(g)
	return nil
}

// GRPCClient implements plugin.GRPCPlugin; it is the host's side.
func (p *services) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("the SDK is the plugin's side only")
}

// watchSignals ignores interrupts and requests to terminate until the host has drained the plugin: they often
// go to a whole process group, and the host decides in which order its plugins end.
func (s *Server) watchSignals(ctx context.Context, end context.CancelCauseFunc) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	// A host that is gone does not read standard error any more; a line there must not kill the process before
	// it has ended in order. Not Ignore: children would inherit that.
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, syscall.SIGPIPE)
	defer signal.Stop(broken)
	for {
		select {
		case sig := <-signals:
			select {
			case <-s.drained:
				end(&CancelError{Reason: ReasonStopped})
				return
			default:
				s.log.Debug("ignoring a signal: the host has not drained this plugin", "signal", sig.String())
			}
		case <-ctx.Done():
			return
		}
	}
}

// watchLifeline ends the process when stdin does. Only a pipe is a lifeline: a terminal or the null device says
// nothing about the host.
func watchLifeline(stdin *os.File, end context.CancelCauseFunc) {
	info, err := stdin.Stat()
	if err != nil || info.Mode()&(os.ModeNamedPipe|os.ModeSocket) == 0 {
		return
	}
	_, _ = io.Copy(io.Discard, stdin) // the host writes nothing; the end is what matters
	end(&CancelError{Reason: ReasonHostGone})
}
