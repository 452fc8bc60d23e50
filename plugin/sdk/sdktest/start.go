package sdktest

import (
	"bytes"
	"context"
	"net"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/tasker-engine/tasker/plugin/sdk"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// Start runs a plugin within the test: the same services over the same protocol, without a process. The test
// fails if the plugin is declared wrongly or refuses its configuration.
func Start(tb testing.TB, p sdk.Plugin, opts ...Options) *Plugin {
	tb.Helper()
	started, err := TryStart(tb, p, opts...)
	if err != nil {
		tb.Fatalf("start plugin %s: %v", p.Name, err)
	}
	return started
}

// TryStart is [Start] that returns why the plugin cannot start: an [sdk.DeclarationError], or a [ConfigError]
// for each thing wrong with its configuration.
func TryStart(tb testing.TB, p sdk.Plugin, opts ...Options) (*Plugin, error) {
	tb.Helper()
	o := options(tb, opts)
	log := hclog.New(&hclog.LoggerOptions{Name: p.Name, Level: hclog.Debug, Output: &testLog{tb: tb}})
	server, err := sdk.NewServer(p, log)
	if err != nil {
		return nil, err
	}
	server.Instrument()
	lis := bufconn.Listen(1 << 20)
	g := grpc.NewServer(grpc.MaxRecvMsgSize(pluginv1.MaxMessageBytes), grpc.MaxSendMsgSize(pluginv1.MaxMessageBytes))
	server.Register(g)
	var serving sync.WaitGroup
	serving.Go(func() { _ = g.Serve(lis) })

	limits := grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(pluginv1.MaxMessageBytes), grpc.MaxCallSendMsgSize(pluginv1.MaxMessageBytes))
	conn, err := grpc.NewClient("passthrough:///plugin", limits, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	if err != nil {
		g.Stop()
		serving.Wait()
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	tb.Cleanup(func() { // after the readers of open, which end with ctx
		stopped, done := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer done()
		if err := server.Stop(stopped); err != nil {
			tb.Errorf("stop plugin %s: %v", p.Name, err)
		}
		_ = conn.Close()
		g.Stop()
		serving.Wait()
	})
	started, err := open(ctx, tb, conn, nil, o)
	tb.Cleanup(cancel)
	return started, err
}

// options returns the one value that may be given, completed.
func options(tb testing.TB, opts []Options) Options {
	tb.Helper()
	if len(opts) > 1 {
		tb.Fatal("options are given more than once")
	}
	var o Options
	if len(opts) == 1 {
		o = opts[0]
	}
	if o.DataDir == "" {
		o.DataDir = tb.TempDir()
	}
	return o
}

// testLog brings the plugin's own log into the test's.
type testLog struct{ tb testing.TB }

// Write implements io.Writer.
func (l *testLog) Write(line []byte) (int, error) {
	l.tb.Logf("%s", bytes.TrimRight(line, "\n"))
	return len(line), nil
}
