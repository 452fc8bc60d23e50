package bench

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// A program plays several roles, by the name under which it is started.
const (
	// RoleHandler is the plugin whose handler echo returns its input and whose handler
	// usage returns a [Usage].
	RoleHandler = "bench"
	// RoleSink begins the names of plugins with that many subscriptions to everything, as
	// in "sink3", whose events they drop.
	RoleSink = "sink"
	// RoleFloor is the other end of the least engine: [ServeFloor].
	RoleFloor = "floor"

	rolePrefix = "tasker-plugin-"
)

// The handlers of the roles.
const (
	HandlerEcho  = "echo"  // of RoleHandler
	HandlerUsage = "usage" // of RoleHandler and RoleSink
)

// Role returns the role in which a program is started whose first argument is given, empty
// for none.
func Role(arg0 string) string {
	name, ok := strings.CutPrefix(strings.TrimSuffix(filepath.Base(arg0), ".exe"), rolePrefix)
	if ok && (name == RoleHandler || name == RoleFloor || strings.HasPrefix(name, RoleSink)) {
		return name
	}
	return ""
}

// roleFile is the file name of a role.
func roleFile(role string) string {
	if runtime.GOOS == "windows" {
		return rolePrefix + role + ".exe"
	}
	return rolePrefix + role
}

// frameItems is how many attempts or results are in a frame at most, as it is between a
// host and its plugins.
const frameItems = 64

// handshake is go-plugin's for the floor: not Tasker's, so that neither starts the other.
func handshake() plugin.HandshakeConfig {
	return plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "TASKER_BENCH", MagicCookieValue: RoleFloor}
}

// echo is the floor's plugin, both ends.
type echo struct {
	plugin.NetRPCUnsupportedPlugin
	pluginv1.UnimplementedStepServiceServer
}

var _ plugin.GRPCPlugin = (*echo)(nil)

// GRPCServer implements plugin.GRPCPlugin.
func (e *echo) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	pluginv1.RegisterStepServiceServer(s, e)
	return nil
}

// GRPCClient implements plugin.GRPCPlugin.
func (*echo) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return pluginv1.NewStepServiceClient(c), nil
}

// Work answers each frame with one: the input is the output.
func (*echo) Work(stream grpc.BidiStreamingServer[pluginv1.WorkRequest, pluginv1.WorkResponse]) error {
	for {
		in, err := stream.Recv()
		if err != nil {
			return nil //nolint:nilerr // the host has gone, which is how it ends
		}
		out := &pluginv1.WorkResponse{Updates: make([]*pluginv1.Update, len(in.GetAttempts()))}
		for i, a := range in.GetAttempts() {
			out.Updates[i] = &pluginv1.Update{AttemptId: a.GetAttemptId(), Kind: &pluginv1.Update_Result{
				Result: &pluginv1.Result{Outcome: &pluginv1.Result_Output{Output: a.GetInput().GetInline()}},
			}}
		}
		if err := stream.Send(out); err != nil {
			return err
		}
	}
}

// ServeFloor is the main of [RoleFloor]; it returns when the process is to end.
func ServeFloor() {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: handshake(), Plugins: plugin.PluginSet{RoleFloor: &echo{}}, Logger: hclog.NewNullLogger(),
		GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(opts, grpc.MaxRecvMsgSize(pluginv1.MaxMessageBytes), grpc.MaxSendMsgSize(pluginv1.MaxMessageBytes))...)
		},
	})
}

// result is a frame of results, or the end of the stream.
type result struct {
	frame *pluginv1.WorkResponse
	err   error
}

// peer is the floor's plugin as its engine sees it.
type peer struct {
	client  *plugin.Client
	cancel  context.CancelFunc
	send    chan *pluginv1.Attempt
	results chan result
	loops   sync.WaitGroup
}

// startPeer starts a process; at most so many attempts are in flight.
func startPeer(ctx context.Context, executable string, inFlight int) (*peer, error) {
	cmd := exec.Command(executable) //nolint:noctx // go-plugin ends it
	cmd.Args[0] = roleFile(RoleFloor)
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig: handshake(), Plugins: plugin.PluginSet{RoleFloor: &echo{}}, Cmd: cmd, AutoMTLS: true,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC}, Logger: hclog.NewNullLogger(),
		GRPCDialOptions: []grpc.DialOption{grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(pluginv1.MaxMessageBytes), grpc.MaxCallSendMsgSize(pluginv1.MaxMessageBytes))},
	})
	stream, cancel, err := openStream(ctx, client)
	if err != nil {
		client.Kill()
		return nil, fmt.Errorf("start the floor's plugin: %w", err)
	}
	p := &peer{client: client, cancel: cancel, send: make(chan *pluginv1.Attempt, inFlight), results: make(chan result, inFlight)}
	p.loops.Go(func() { p.sender(stream) })
	p.loops.Go(func() { p.receiver(stream) })
	return p, nil
}

type workStream = grpc.BidiStreamingClient[pluginv1.WorkRequest, pluginv1.WorkResponse]

func openStream(ctx context.Context, client *plugin.Client) (workStream, context.CancelFunc, error) {
	protocol, err := client.Client()
	if err != nil {
		return nil, nil, err
	}
	raw, err := protocol.Dispense(RoleFloor)
	if err != nil {
		return nil, nil, err
	}
	steps, ok := raw.(pluginv1.StepServiceClient)
	if !ok {
		return nil, nil, fmt.Errorf("it offers %T", raw)
	}
	ctx, cancel := context.WithCancel(ctx)
	stream, err := steps.Work(ctx)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	return stream, cancel, nil
}

// close ends the process and waits for what reads and writes here.
func (p *peer) close() {
	close(p.send)
	p.cancel()
	p.client.Kill()
	p.loops.Wait()
}

// sender frames what has gathered.
func (p *peer) sender(stream workStream) {
	for first := range p.send {
		attempts := []*pluginv1.Attempt{first}
		for len(attempts) < frameItems && len(p.send) > 0 {
			if a, ok := <-p.send; ok {
				attempts = append(attempts, a)
			}
		}
		if stream.Send(&pluginv1.WorkRequest{Attempts: attempts}) != nil {
			return // the receiver says why
		}
	}
}

func (p *peer) receiver(stream workStream) {
	for {
		frame, err := stream.Recv()
		if err != nil {
			select {
			case p.results <- result{err: err}:
			default: // nobody reads any more
			}
			return
		}
		p.results <- result{frame: frame}
	}
}

// WireResult is what the stream to a plugin allows.
type WireResult struct {
	PerSecond float64 `json:"per_second"` // attempts and their results, in frames of up to 64
	RoundTrip Latency `json:"round_trip"` // of a single one
}

// errSilent is returned when the floor's plugin does not answer in time.
var errSilent = errors.New("the floor's plugin does not answer")

// Wire measures a raw stream: single round trips for half of the time, then with so many
// attempts in flight.
func Wire(ctx context.Context, executable string, inFlight, payload int, long time.Duration) (*WireResult, error) {
	p, err := startPeer(ctx, executable, inFlight)
	if err != nil {
		return nil, err
	}
	defer p.close()
	input := &pluginv1.Value{Inline: document(payload)}
	trips := newHistogram()
	for began := time.Now(); time.Since(began) < long/2 || trips.TotalCount() == 0; {
		sent := time.Now()
		if _, err := p.exchange(ctx, input, 1); err != nil {
			return nil, err
		}
		record(trips, time.Since(sent))
	}
	began, n := time.Now(), 0
	for open := 0; time.Since(began) < long/2 || n == 0; open = inFlight {
		got, err := p.exchange(ctx, input, inFlight-open)
		if err != nil {
			return nil, err
		}
		n += got
		for range got { // as many as ended are sent again
			p.send <- &pluginv1.Attempt{AttemptId: "0/0", Input: input}
		}
	}
	return &WireResult{PerSecond: float64(n) / time.Since(began).Seconds(), RoundTrip: latency(trips)}, nil
}

// exchange sends n attempts and waits for a frame of results.
func (p *peer) exchange(ctx context.Context, input *pluginv1.Value, n int) (results int, err error) {
	for range n {
		p.send <- &pluginv1.Attempt{AttemptId: "0/0", Input: input}
	}
	select {
	case r := <-p.results:
		return len(r.frame.GetUpdates()), r.err
	case <-ctx.Done():
		return 0, errors.Join(errSilent, ctx.Err())
	}
}
