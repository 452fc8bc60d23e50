package supervisor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"

	"github.com/tasker-engine/tasker/host/internal/cgroup"
	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/internal/secrets"
	"github.com/tasker-engine/tasker/host/internal/shim"
	"github.com/tasker-engine/tasker/host/task"
	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// phase is a part of the start; it is named in the error of a failed one.
type phase string

// The phases of the start, in order, and of the life after it.
const (
	phaseVerify    phase = "verify"
	phaseExec      phase = "exec"
	phaseHandshake phase = "handshake"
	phaseDescribe  phase = "describe"
	phaseCheck     phase = "check"
	phaseConfigure phase = "configure"
	phaseWatch     phase = "watch"
	phaseReady     phase = "ready"
)

// killLimit is how long a process may take to vanish after SIGKILL, and the library to
// let go of it, before we go on without.
const killLimit = 5 * time.Second

// StartError is returned when a plugin does not get ready.
type StartError struct {
	Path    string
	Phase   string   // verify, exec, handshake, describe, check, configure or watch
	Err     error    // what went wrong
	Printed []string // the last lines that the process printed, or the first of its panic
	// Refused says that another start would end the same way.
	Refused bool
}

// Error names the binary, the phase and the last lines that the plugin printed.
func (e *StartError) Error() string {
	text := fmt.Sprintf("%s: %s: %v", e.Path, e.Phase, e.Err)
	const shown, shownBytes = 5, 500 // the rest is in the plugin's log
	if n := len(e.Printed); n > 0 {
		text += "; it printed: " + cut(strings.Join(e.Printed[max(n-shown, 0):], " | "), shownBytes)
	}
	return text
}

// Unwrap returns what went wrong.
func (e *StartError) Unwrap() error { return e.Err }

// launcher is what every start needs.
type launcher struct {
	opts   Options
	forker *forker
	run    *runDir
	groups *cgroup.Tree // nil = none, for the reason noGroups
	// noGroups says why processes get no cgroups.
	noGroups error
}

// launch is one start of a plugin binary, and what is left of it to clean up.
type launch struct {
	launcher

	binary   Binary
	plugin   string // the name under which it is started
	instance string // "plugin#n"
	granted  grant
	phase    phase

	output    *output
	process   *process
	client    *goplugin.Client
	runner    *libraryRunner // nil until the library asked for it
	socketDir string
	conns     connTracker
	services  *services
}

// newLaunch prepares a start; release must be called after begin.
func (r launcher) newLaunch(b Binary, plugin, instance string, granted grant, log *pluginLog) *launch {
	l := &launch{
		launcher: r, binary: b, plugin: plugin, instance: instance, granted: granted,
		phase: phaseVerify, output: newOutput(instance, log),
	}
	l.process = newProcess(b.Path, l.dataDir(), l.environment(), r.forker, l.output, l.started)
	return l
}

func (l *launch) dataDir() string { return filepath.Join(l.opts.DataDir, l.plugin) }

// started notes the process for a later host; a note that fails is only a weaker sweep.
func (l *launch) started(pid int) {
	err := l.run.record(pid, l.instance, l.binary.Path)
	if err != nil && !errors.Is(err, os.ErrProcessDone) { // what has ended already needs no sweep
		l.opts.Logger.Warn("plugin process is not recorded", logkeys.Instance, l.instance, logkeys.Error, err)
	}
}

// connect verifies and executes the binary, waits for its handshake and connects. The
// end of ctx kills the process at any later time until stop is called.
func (l *launch) connect(ctx context.Context) error {
	if err := l.opts.Verify(l.binary.Path); err != nil {
		return refuse(err)
	}
	if err := privateDir(l.dataDir()); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if err := l.isolate(); err != nil {
		return err
	}
	defer l.process.closeFile()
	l.phase = phaseExec
	l.client = goplugin.NewClient(l.clientConfig())
	if _, err := l.client.Start(); err != nil {
		if l.runner != nil && l.runner.failed != nil {
			return execError(l.wayOut(l.runner.failed))
		}
		l.phase = phaseHandshake
		return l.handshakeError(ctx, err)
	}
	l.phase = phaseHandshake
	protocol, err := l.client.Client()
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	raw, err := protocol.Dispense(pluginv1.ServiceSet)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	s, ok := raw.(*services)
	if !ok {
		return fmt.Errorf("connect: unexpected client %T", raw)
	}
	l.services = s
	return ctx.Err()
}

// clientConfig is made anew for every start: the library changes it.
func (l *launch) clientConfig() *goplugin.ClientConfig {
	return &goplugin.ClientConfig{
		HandshakeConfig:  goplugin.HandshakeConfig{MagicCookieKey: pluginv1.CookieKey, MagicCookieValue: pluginv1.CookieValue},
		VersionedPlugins: map[int]goplugin.PluginSet{pluginv1.ProtocolVersion: {pluginv1.ServiceSet: &wirePlugin{}}},
		AllowedProtocols: []goplugin.Protocol{goplugin.ProtocolGRPC},
		AutoMTLS:         true,
		SkipHostEnv:      true,
		MinPort:          0, // with MaxPort: the system chooses, where there are no unix sockets
		MaxPort:          1,
		StartTimeout:     l.opts.startTimeout(l.plugin) + killLimit, // ours ends first
		Logger:           hclog.NewNullLogger(),                     // its errors are returned; the process we watch ourselves
		SyncStdout:       l.output.stdout,
		SyncStderr:       l.output.stderr,
		UnixSocketConfig: &goplugin.UnixSocketConfig{TempDir: l.run.path},
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, dir string) (runner.Runner, error) {
			l.socketDir = dir
			l.process.own(dir)
			l.runner = newLibraryRunner(l.process, cmd)
			return l.runner, nil
		},
		GRPCDialOptions: []grpc.DialOption{
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(pluginv1.MaxMessageBytes), grpc.MaxCallSendMsgSize(pluginv1.MaxMessageBytes)),
			grpc.WithStaticStreamWindowSize(pluginv1.StreamWindowBytes), grpc.WithStaticConnWindowSize(pluginv1.ConnWindowBytes),
			grpc.WithChainStreamInterceptor(l.conns.intercept, l.output.redactStream),
		},
	}
}

// refuse marks an error that another start would meet again.
func refuse(err error) error { return &refusal{err} }

type refusal struct{ error }

func (r *refusal) Unwrap() error { return r.error }

// execError explains why a binary did not start.
func execError(err error) error {
	if errors.Is(err, syscall.ENOEXEC) {
		return refuse(fmt.Errorf("it is no program for this machine, so no plugin: %w", err))
	}
	if errors.Is(err, os.ErrPermission) || errors.Is(err, os.ErrNotExist) || errors.Is(err, shim.ErrUnenforceable) {
		return refuse(err)
	}
	return err
}

// handshakeError says why there was no handshake, in our words where the library's
// help less.
func (l *launch) handshakeError(ctx context.Context, err error) error {
	if l.process.killedByHost() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		// The library met the handshake and did not like it: another protocol, no gRPC.
		return refuse(errors.New(strings.Join(strings.Fields(err.Error()), " ")))
	}
	if l.runner == nil {
		return err
	}
	<-l.process.exited
	e := l.process.exit()
	switch e.code {
	case pluginv1.ExitDeclaration:
		return refuse(errors.New("it is declared wrongly, as it says"))
	case 0:
		return refuse(fmt.Errorf("it ended with %s and without a handshake, so it is no plugin", e))
	}
	return fmt.Errorf("it ended with %s before its handshake", e)
}

// failure makes the error of a start that did not get ready. Call it after release,
// when everything that the process printed was read.
func (l *launch) failure(ctx context.Context, err error) *StartError {
	e := &StartError{Path: l.binary.Path, Phase: string(l.phase), Err: l.output.hide.Load().Error(err), Printed: l.output.said()}
	if panicked := l.output.panicked(); panicked != "" {
		e.Printed = []string{panicked} // the rest of the trace is in the crash report
	}
	var r *refusal
	e.Refused = errors.As(err, &r)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		late := fmt.Errorf("not done within the start timeout of %s", l.opts.startTimeout(l.plugin))
		if l.phase == phaseCheck { // it says what it waited for
			late = fmt.Errorf("%w: %w", late, err)
		}
		e.Err = late
		e.Refused = false
	}
	return e
}

// describe asks for the manifest.
func (l *launch) describe(ctx context.Context) (*Manifest, error) {
	l.phase = phaseDescribe
	resp, err := l.services.plugin.Describe(ctx, &pluginv1.DescribeRequest{
		HostVersion: l.opts.HostVersion,
		Features:    []string{pluginv1.FeatureCheckpoint, pluginv1.FeatureFetch},
	})
	if err != nil {
		return nil, l.domainError(err)
	}
	m, err := readManifest(resp.GetManifest())
	if err != nil {
		return nil, refuse(err)
	}
	if len(m.Handlers) == 0 {
		l.process.yield() // tasks wait for nothing that it does
	}
	return m, nil
}

// configure hands over the configuration, after checking it against the manifest.
func (l *launch) configure(ctx context.Context, m *Manifest) error {
	l.phase = phaseConfigure
	config, found, err := secrets.Resolve(ctx, l.opts.config(m.Name))
	if err != nil {
		return fmt.Errorf("configuration of plugin %s: %w", m.Name, err)
	}
	marked, inTexts := secrets.Marked(config, m.ConfigSchema)
	redactor := secrets.NewRedactor(append(found, marked...), inTexts)
	l.output.redact(redactor)
	return redactor.Error(l.handOver(ctx, m, config))
}

// handOver checks the configuration, with its secrets in it, and sends it.
func (l *launch) handOver(ctx context.Context, m *Manifest, config json.RawMessage) error {
	if err := m.checkConfig(config); err != nil {
		return refuse(fmt.Errorf("configuration of plugin %s: %w", m.Name, err))
	}
	resp, err := l.services.plugin.Configure(ctx, &pluginv1.ConfigureRequest{
		Config:          config,
		DataDir:         l.dataDir(),
		LogLevel:        l.opts.logLevel(m.Name),
		MaxMessageBytes: pluginv1.MaxMessageBytes,
		HostId:          l.opts.HostID,
		CancelGrace:     toWireDuration(l.opts.CancelGrace),
	})
	if err != nil {
		return l.domainError(err)
	}
	var problems []string
	for _, p := range resp.GetProblems() {
		problems = append(problems, strings.TrimPrefix(p.GetPointer()+": "+cut(p.GetMessage(), maxNote), ": "))
	}
	if len(problems) > 0 {
		return refuse(fmt.Errorf("plugin %s does not accept its configuration: %s", m.Name, strings.Join(problems, "; ")))
	}
	return nil
}

// domainError turns the failure of a call into what happened: a process that died is
// that, and no transport code.
func (l *launch) domainError(err error) error {
	timer := time.NewTimer(exitGrace)
	defer timer.Stop()
	select {
	case <-l.process.exited:
		if !l.process.killedByHost() {
			return fmt.Errorf("the process ended with %s", l.process.exit())
		}
	case <-timer.C:
	}
	return err
}

// dropSocket removes the socket once it is connected: nobody else may connect, and a
// host that is killed leaves none.
func (l *launch) dropSocket() {
	if l.socketDir != "" {
		_ = os.RemoveAll(l.socketDir)
	}
}

// stop ends the process in steps: lifeline, TERM, KILL, with grace between them.
func (l *launch) stop(grace time.Duration) {
	for _, step := range []func(){l.process.closeLifeline, l.process.terminate} {
		step()
		if l.waitExit(grace) {
			return
		}
	}
	l.process.kill()
	l.waitExit(killLimit)
}

// waitExit reports whether the process ends within d.
func (l *launch) waitExit(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-l.process.exited:
		return true
	case <-timer.C:
	}
	select { // both may have happened
	case <-l.process.exited:
		return true
	default:
		return false
	}
}

// release kills what still runs, lets the library go and removes every file. It does
// not wait for ever: neither for a process that the kernel does not let go of, nor
// for the library.
func (l *launch) release() {
	l.process.kill()
	if l.runner == nil {
		return // nothing was started
	}
	gone := l.waitExit(killLimit)
	l.conns.close()
	let := make(chan struct{})
	go func() { l.client.Kill(); close(let) }()
	timer := time.NewTimer(killLimit)
	defer timer.Stop()
	select {
	case <-let:
	case <-timer.C:
		l.opts.Logger.Error("go-plugin does not let go of a process", logkeys.Instance, l.instance)
	}
	l.dropSocket()
	if !gone {
		l.opts.Logger.Error("a killed plugin process does not end", logkeys.Instance, l.instance, logkeys.PID, l.process.pid())
		return
	}
	if err := l.process.dropGroup(); err != nil {
		l.opts.Logger.Error("the cgroup of a plugin process is not removed", logkeys.Instance, l.instance, logkeys.Error, err)
	}
	l.run.forget(l.instance)
	timer.Reset(killLimit)
	select {
	case <-l.process.done:
	case <-timer.C:
		l.opts.Logger.Error("the output of a dead plugin process cannot be closed", logkeys.Instance, l.instance)
	}
}

// connTracker closes the connections that the library opens: a failed start leaks
// them otherwise.
type connTracker struct {
	mu     sync.Mutex
	conns  []*grpc.ClientConn
	closed bool
}

func (t *connTracker) intercept(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	t.mu.Lock()
	if !slices.Contains(t.conns, cc) {
		t.conns = append(t.conns, cc)
	}
	if t.closed {
		_ = cc.Close()
	}
	t.mu.Unlock()
	return streamer(ctx, desc, cc, method, opts...)
}

func (t *connTracker) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = true
	for _, cc := range t.conns {
		_ = cc.Close()
	}
}

// services are the clients of a plugin's services.
type services struct {
	plugin pluginv1.PluginServiceClient
	step   pluginv1.StepServiceClient
	event  pluginv1.EventServiceClient
}

// wirePlugin fits go-plugin: it makes the clients.
type wirePlugin struct {
	goplugin.NetRPCUnsupportedPlugin
}

var _ goplugin.GRPCPlugin = (*wirePlugin)(nil)

// GRPCServer is never called: the host serves nothing.
func (*wirePlugin) GRPCServer(*goplugin.GRPCBroker, *grpc.Server) error {
	return fmt.Errorf("host: %w", task.ErrInvalid)
}

// GRPCClient returns the clients of the services.
func (*wirePlugin) GRPCClient(_ context.Context, _ *goplugin.GRPCBroker, cc *grpc.ClientConn) (any, error) {
	return &services{
		plugin: pluginv1.NewPluginServiceClient(cc), step: pluginv1.NewStepServiceClient(cc), event: pluginv1.NewEventServiceClient(cc),
	}, nil
}
