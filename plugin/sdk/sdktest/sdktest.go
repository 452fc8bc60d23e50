// Package sdktest runs a plugin from a test, over the real wire, the way a host does: it describes and
// configures the plugin, watches its status, executes attempts on a work stream, and delivers events.
//
//	p := sdktest.Start(t, plugin())
//	got := p.Run(t, sdktest.Attempt{Handler: "greet", Input: Guest{Name: "Ada"}})
//
//	sub := p.Subscribe(t, "failures")
//	answer := sub.Deliver(t, sdktest.Event{Type: "step.failed"}) // the example of the catalog
//	p.CheckDelivery(t, sdktest.DeliveryCheck{Subscription: "failures"})
//
// What an attempt led to is in its [Outcome]: output or failure, log lines, events, and spans, which [SpanTree] draws. Spans are recorded as if the
// trace of each task were exported; OpenTelemetry's global TracerProvider and propagators are those of the plugin.
//
// [Start] runs the plugin within the test, so that the debugger and the race detector see it; [Launch] runs
// a binary, with mutual TLS, as a host would. Attempts are the same for both. Nothing sleeps: a test waits
// for heartbeats, log lines and results, and fails when they do not come.
//
// What waits is tested on a fake clock: within [testing/synctest.Test], [Start] runs the plugin in the bubble, and time
// limits, timers of handlers and pauses of hours take no time. [Launch] needs the real clock.
package sdktest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// How long anything may take before the test fails instead of hanging. On a fake clock waiting costs nothing, and a
// handler may well sleep for a day.
const (
	patience     = 30 * time.Second
	fakePatience = 10 * 365 * 24 * time.Hour
)

// patienceOf returns the patience of the clock that the caller has.
func patienceOf() (d time.Duration) {
	defer func() {
		if recover() != nil { // outside of bubbles, where Wait has nothing to wait for
			d = patience
		}
	}()
	synctest.Wait()
	return fakePatience
}

// Options are how a plugin is run. The zero value suits most tests.
type Options struct {
	// Config is the plugin's configuration: anything that marshals to JSON. Nil = none.
	Config any
	// LogLevel is the lowest level of log lines that the plugin sends. Empty = debug.
	LogLevel string
	// DataDir is the plugin's data directory. Empty = a temporary one.
	DataDir string
	// TraceShare is the share of traces, up to 1, whose deliveries get spans. 0 = all; less = none.
	TraceShare float64
	// Env are further environment variables, "KEY=value", of a launched plugin.
	Env []string
}

// Plugin is a plugin that runs. It ends with its test.
type Plugin struct {
	conn     grpc.ClientConnInterface
	manifest *pluginv1.Manifest
	proc     *process // nil when it runs within the test
	share    float64  // of traces whose deliveries get spans
	patience time.Duration

	stream     grpc.BidiStreamingClient[pluginv1.WorkRequest, pluginv1.WorkResponse]
	disconnect context.CancelFunc // ends the stream
	sendMu     sync.Mutex

	mu       sync.Mutex
	attempts map[string]*Running
	started  int
	ended    error // why the stream has ended
	status   *pluginv1.Status
	changed  chan struct{} // closed and replaced when status changes
}

// open does what a host does before it sends work.
func open(ctx context.Context, tb testing.TB, conn grpc.ClientConnInterface, proc *process, opts Options) (*Plugin, error) {
	tb.Helper()
	p := &Plugin{conn: conn, proc: proc, share: max(cmp.Or(opts.TraceShare, 1), 0), patience: patienceOf(), attempts: make(map[string]*Running), changed: make(chan struct{})}
	manifest, err := configure(ctx, conn, opts)
	if err != nil {
		return nil, err
	}
	p.manifest = manifest
	client := pluginv1.NewPluginServiceClient(conn)
	watch, err := client.Watch(ctx, &pluginv1.WatchRequest{})
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	ctx, p.disconnect = context.WithCancel(ctx)
	if p.stream, err = pluginv1.NewStepServiceClient(conn).Work(ctx); err != nil {
		p.disconnect()
		return nil, fmt.Errorf("work: %w", err)
	}
	var readers sync.WaitGroup
	readers.Go(func() { p.readStatus(watch) })
	readers.Go(p.readUpdates)
	tb.Cleanup(readers.Wait)
	return p, nil
}

// configure takes the plugin through the first half of its handshake.
func configure(ctx context.Context, conn grpc.ClientConnInterface, opts Options) (*pluginv1.Manifest, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	client := pluginv1.NewPluginServiceClient(conn)
	described, err := client.Describe(ctx, &pluginv1.DescribeRequest{HostVersion: "sdktest"})
	if err != nil {
		return nil, fmt.Errorf("describe: %w", err)
	}
	config, err := document(opts.Config)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	level := opts.LogLevel
	if level == "" {
		level = "debug"
	}
	configured, err := client.Configure(ctx, &pluginv1.ConfigureRequest{
		Config: config, DataDir: opts.DataDir, LogLevel: level,
		MaxMessageBytes: pluginv1.MaxMessageBytes, HostId: "sdktest", CancelGrace: durationpb.New(10 * time.Second),
	})
	if err != nil {
		return nil, fmt.Errorf("configure: %w", err)
	}
	var problems []error
	for _, c := range configured.GetProblems() {
		problems = append(problems, &ConfigError{Pointer: c.GetPointer(), Message: c.GetMessage()})
	}
	return described.GetManifest(), errors.Join(problems...)
}

// ConfigError is one reason why a plugin refused its configuration.
type ConfigError struct {
	// Pointer is a JSON pointer to the place. Empty = the whole.
	Pointer string
	// Message says what is wrong.
	Message string
}

// Error implements error.
func (e *ConfigError) Error() string { return e.Pointer + ": " + e.Message }

// Manifest is what the plugin said of itself.
func (p *Plugin) Manifest() *pluginv1.Manifest { return p.manifest }

// Conn is the connection to the plugin, for tests of the wire itself.
func (p *Plugin) Conn() grpc.ClientConnInterface { return p.conn }

// Drain asks the plugin to finish what it holds within d and returns how many attempts it did not.
func (p *Plugin) Drain(tb testing.TB, d time.Duration) int {
	tb.Helper()
	got, err := pluginv1.NewPluginServiceClient(p.conn).Drain(tb.Context(), &pluginv1.DrainRequest{Deadline: durationpb.New(d)})
	if err != nil {
		tb.Fatalf("drain: %v", err)
	}
	return int(got.GetUnfinished())
}

// Disconnect breaks the work stream, as a host that dies does. The plugin takes no further attempts.
func (p *Plugin) Disconnect() { p.disconnect() }

// CloseSend tells the plugin that no further attempts come.
func (p *Plugin) CloseSend(tb testing.TB) {
	tb.Helper()
	p.sendMu.Lock()
	defer p.sendMu.Unlock()
	if err := p.stream.CloseSend(); err != nil {
		tb.Fatalf("close the sending side: %v", err)
	}
}

// AwaitStatus waits until the plugin has reported a status that ok accepts, and returns it.
func (p *Plugin) AwaitStatus(tb testing.TB, ok func(*pluginv1.Status) bool) *pluginv1.Status {
	tb.Helper()
	timeout := time.After(p.patience)
	for {
		p.mu.Lock()
		status, changed := p.status, p.changed
		p.mu.Unlock()
		if status != nil && ok(status) {
			return status
		}
		select {
		case <-changed:
		case <-timeout:
			tb.Fatalf("no such status; the last one is %v", status)
		}
	}
}

func (p *Plugin) readStatus(watch grpc.ServerStreamingClient[pluginv1.WatchResponse]) {
	for {
		got, err := watch.Recv()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.status = got.GetStatus()
		close(p.changed)
		p.changed = make(chan struct{})
		p.mu.Unlock()
	}
}

// readUpdates hands updates to the attempts that they are about.
func (p *Plugin) readUpdates() {
	for {
		frame, err := p.stream.Recv()
		if err != nil {
			p.lose(err)
			return
		}
		for _, u := range frame.GetUpdates() {
			p.mu.Lock()
			r := p.attempts[u.GetAttemptId()]
			p.mu.Unlock()
			if r != nil {
				r.take(u)
			}
		}
	}
}

// lose ends every attempt that has no result.
func (p *Plugin) lose(err error) {
	if errors.Is(err, io.EOF) {
		err = errors.New("the plugin ended the work stream")
	}
	p.mu.Lock()
	p.ended = err
	running := p.attempts
	p.mu.Unlock()
	for _, r := range running {
		r.lose(err)
	}
}

// send sends a frame.
func (p *Plugin) send(req *pluginv1.WorkRequest) error {
	p.sendMu.Lock()
	defer p.sendMu.Unlock()
	return p.stream.Send(req)
}

// document marshals a value to JSON. Nil is no document; a json.RawMessage is taken as it is.
func document(v any) ([]byte, error) {
	if v == nil {
		return nil, nil
	}
	if raw, ok := v.(json.RawMessage); ok {
		return raw, nil
	}
	return json.Marshal(v)
}
