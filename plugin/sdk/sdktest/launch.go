package sdktest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"

	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// Build compiles a main package, given as an import path or relative to the test's directory, and returns the
// binary's path.
func Build(tb testing.TB, pkg string) string {
	tb.Helper()
	out := filepath.Join(tb.TempDir(), "plugin")
	if runtime.GOOS == "windows" {
		out += ".exe"
	}
	if text, err := exec.CommandContext(tb.Context(), "go", "build", "-o", out, pkg).CombinedOutput(); err != nil {
		tb.Fatalf("build %s: %v\n%s", pkg, err, text)
	}
	return out
}

// Launched reports whether this process was started by a host or by [Launch]. A test binary can be its own
// plugin, which saves building one: its TestMain calls sdk.Serve if Launched, and tests launch os.Executable().
func Launched() bool { return os.Getenv(pluginv1.CookieKey) == pluginv1.CookieValue }

// Launch runs a plugin's binary as a host does: scrubbed environment, standard input as its lifeline, mutual TLS.
// The test fails if the plugin does not start or refuses its configuration.
func Launch(tb testing.TB, binary string, opts ...Options) *Plugin {
	tb.Helper()
	p, err := TryLaunch(tb, binary, opts...)
	if err != nil {
		tb.Fatalf("launch %s: %v", binary, err)
	}
	return p
}

// TryLaunch is [Launch] that returns why the plugin did not start, with what it printed.
func TryLaunch(tb testing.TB, binary string, opts ...Options) (*Plugin, error) {
	tb.Helper()
	o := options(tb, opts)
	sockets, err := os.MkdirTemp("", "tsk") //nolint:usetesting // short: the path of a socket has at most 107 bytes
	if err != nil {
		return nil, err
	}
	tb.Cleanup(func() { _ = os.RemoveAll(sockets) })
	proc := &process{path: binary, env: o.Env, dir: o.DataDir, exited: make(chan struct{})}
	c := &connection{}
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  plugin.HandshakeConfig{ProtocolVersion: pluginv1.ProtocolVersion, MagicCookieKey: pluginv1.CookieKey, MagicCookieValue: pluginv1.CookieValue},
		VersionedPlugins: map[int]plugin.PluginSet{pluginv1.ProtocolVersion: {pluginv1.ServiceSet: c}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		AutoMTLS:         true,
		SkipHostEnv:      true,
		StartTimeout:     patience,
		Logger:           hclog.NewNullLogger(),
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: sockets},
		RunnerFunc:       proc.prepare,
	})
	// The library is asked last: it waits for ever for a plugin that hangs.
	tb.Cleanup(client.Kill)
	tb.Cleanup(proc.end)

	protocol, err := client.Client()
	if err == nil {
		_, err = protocol.Dispense(pluginv1.ServiceSet)
	}
	if err != nil {
		proc.kill()
		<-proc.exited
		return nil, fmt.Errorf("%w\n%s", err, proc.stderr.String())
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	p, err := open(ctx, tb, c.conn, proc, o)
	tb.Cleanup(cancel)
	return p, err
}

// Stderr is what a launched plugin has written to standard error.
func (p *Plugin) Stderr() string { return p.proc.stderr.String() }

// Pid is the process id of a launched plugin.
func (p *Plugin) Pid() int { return p.proc.cmd.Process.Pid }

// Signal sends a signal to a launched plugin.
func (p *Plugin) Signal(tb testing.TB, sig os.Signal) {
	tb.Helper()
	if err := p.proc.cmd.Process.Signal(sig); err != nil {
		tb.Fatalf("signal %s: %v", sig, err)
	}
}

// Kill kills a launched plugin, as a crash would, and waits for its end.
func (p *Plugin) Kill() {
	p.proc.kill()
	<-p.proc.exited
}

// SocketDir is the directory in which a launched plugin listens.
func (p *Plugin) SocketDir() string { return p.proc.sockets }

// CutLifeline closes the standard input of a launched plugin, which tells it that the host is gone.
func (p *Plugin) CutLifeline() { _ = p.proc.lifeline.Close() }

// Exit waits until a launched plugin has ended and returns its exit code, -1 if a signal ended it.
func (p *Plugin) Exit(tb testing.TB) int {
	tb.Helper()
	select {
	case <-p.proc.exited:
	case <-time.After(patience):
		tb.Fatalf("the plugin has not ended after %s; it wrote\n%s", patience, p.Stderr())
	}
	return p.proc.cmd.ProcessState.ExitCode()
}

// connection catches the connection that go-plugin makes.
type connection struct {
	plugin.NetRPCUnsupportedPlugin

	conn *grpc.ClientConn
}

// GRPCServer implements plugin.GRPCPlugin; it is the plugin's side.
func (*connection) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error {
	return errors.New("sdktest is the host's side only")
}

// GRPCClient implements plugin.GRPCPlugin.
func (c *connection) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	c.conn = conn
	return conn, nil
}

// process runs the binary for go-plugin. The library reads its standard output, and an empty standard error:
// lines there could make it panic.
type process struct {
	path string
	env  []string
	dir  string

	cmd      *exec.Cmd
	sockets  string
	lifeline io.WriteCloser
	stdout   io.ReadCloser
	stderr   output
	exited   chan struct{} // closed when it has been waited for
	waitErr  error
}

var _ runner.Runner = (*process)(nil)

// prepare is a plugin.ClientConfig's RunnerFunc. The command carries the handshake's environment.
func (p *process) prepare(_ hclog.Logger, handshake *exec.Cmd, sockets string) (runner.Runner, error) {
	p.cmd = exec.CommandContext(context.Background(), p.path)
	p.cmd.Dir, p.sockets = p.dir, sockets
	p.cmd.Env = append(inherited(), append(handshake.Env, p.env...)...)
	p.cmd.Stderr = &p.stderr
	p.cmd.WaitDelay = time.Second // a child of the plugin may hold its standard error
	var err error
	if p.lifeline, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	p.stdout, err = p.cmd.StdoutPipe()
	return p, err
}

// inherited are the environment variables that a plugin gets from its host.
func inherited() []string {
	var env []string
	for _, key := range []string{"PATH", "HOME", "TMPDIR", "LANG", "TZ", "SystemRoot", "TEMP", "GOCOVERDIR", "GORACE"} {
		if v, ok := os.LookupEnv(key); ok {
			env = append(env, key+"="+v)
		}
	}
	return env
}

// Start implements runner.Runner.
func (p *process) Start(context.Context) error {
	if err := p.cmd.Start(); err != nil {
		close(p.exited)
		return err
	}
	return nil
}

// Wait implements runner.Runner. The library calls it once, when standard output has ended.
func (p *process) Wait(context.Context) error {
	p.waitErr = p.cmd.Wait()
	close(p.exited)
	return p.waitErr
}

// Kill implements runner.Runner.
func (p *process) Kill(context.Context) error {
	p.kill()
	return nil
}

func (p *process) kill() {
	if p.cmd != nil && p.cmd.Process != nil {
		_ = p.cmd.Process.Kill() // it may have ended
	}
}

// end ends the process if it has not ended by itself.
func (p *process) end() {
	if p.cmd == nil || p.cmd.Process == nil {
		return
	}
	_ = p.lifeline.Close()
	select {
	case <-p.exited:
	case <-time.After(patience / 3):
		p.kill()
		<-p.exited
	}
}

// Stdout implements runner.Runner.
func (p *process) Stdout() io.ReadCloser { return p.stdout }

// Stderr implements runner.Runner.
func (p *process) Stderr() io.ReadCloser { return io.NopCloser(bytes.NewReader(nil)) }

// Name implements runner.Runner.
func (p *process) Name() string { return p.path }

// ID implements runner.Runner.
func (p *process) ID() string {
	if p.cmd == nil || p.cmd.Process == nil {
		return ""
	}
	return strconv.Itoa(p.cmd.Process.Pid)
}

// Diagnose implements runner.Runner.
func (p *process) Diagnose(context.Context) string { return p.stderr.String() }

// PluginToHost implements runner.Runner: plugin and test share a machine.
func (*process) PluginToHost(network, addr string) (hostNetwork, hostAddr string, err error) {
	return network, addr, nil
}

// HostToPlugin implements runner.Runner.
func (*process) HostToPlugin(network, addr string) (pluginNetwork, pluginAddr string, err error) {
	return network, addr, nil
}

// output collects what a process writes.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

// String returns what was written so far.
func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
