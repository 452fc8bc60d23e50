//go:build unix

package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// sleeperName is the name under which the test binary is a grandchild.
const sleeperName = "tasker-sleeper"

// runTestPlugin is a raw plugin without the SDK that behaves or misbehaves as its
// name, the mode, says. Modes may have a suffix after a dash to be different plugins.
func runTestPlugin(mode string) int {
	p := &testPlugin{mode: mode, held: make(map[string]chan string), version: pluginv1.ProtocolVersion}
	kind, _, _ := strings.Cut(mode, "-")
	switch kind {
	case "mute":
		fmt.Fprintln(os.Stderr, "thinking about it")
		select {}
	case "exit":
		fmt.Fprintln(os.Stderr, "cannot start: no database")
		return 3
	case "misdeclared":
		fmt.Fprintln(os.Stderr, "plugin has no handlers")
		return pluginv1.ExitDeclaration
	case "zero":
		say("hello, I am an ordinary program")
		return 0
	case "garbage":
		say("starting up ...")
		say("a|b|c")
	case "longline":
		say(strings.Repeat("x", 1<<20))
		fmt.Fprintln(os.Stderr, strings.Repeat("y", 10<<20))
	case "hostile":
		fmt.Fprintln(os.Stderr, `{"@message": 1}`)
		fmt.Fprintln(os.Stderr, `{"@message": {"a": []}, "@level": 7, "@timestamp": false}`)
		fmt.Fprintln(os.Stderr, `{"@message": "a proper line", "@level": "warn", "@timestamp": 1, "key": "value"}`)
	case "stubborn":
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
	case "future":
		p.version = 7
	case "netrpc":
		say(fmt.Sprintf("1|%d|unix|%s/nothing|netrpc", pluginv1.ProtocolVersion, os.Getenv("PLUGIN_UNIX_SOCKET_DIR")))
		select {}
	case "wedged":
		return wedged()
	}
	if kind != "stubborn" {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin)
			quit(0)
		}()
	}
	p.serve()
	return 0
}

// wedged shakes hands and then never accepts a connection.
func wedged() int {
	path := os.Getenv("PLUGIN_UNIX_SOCKET_DIR") + "/wedged"
	l, err := net.Listen("unix", path)
	if err != nil {
		return 4
	}
	defer func() { _ = l.Close() }()
	say(fmt.Sprintf("1|%d|unix|%s|grpc", pluginv1.ProtocolVersion, path))
	select {}
}

type testPlugin struct {
	pluginv1.UnimplementedPluginServiceServer
	pluginv1.UnimplementedStepServiceServer
	pluginv1.UnimplementedEventServiceServer
	goplugin.NetRPCUnsupportedPlugin

	mode    string
	version int

	mu         sync.Mutex
	held       map[string]chan string // attempt id -> reason of its cancel
	status     chan *pluginv1.Status
	configured []byte
	draining   bool
	sendMu     sync.Mutex
	work       grpc.BidiStreamingServer[pluginv1.WorkRequest, pluginv1.WorkResponse]
	fetched    map[string]chan *pluginv1.Chunk
}

func (p *testPlugin) serve() {
	p.status = make(chan *pluginv1.Status, 16)
	p.fetched = make(map[string]chan *pluginv1.Chunk)
	goplugin.Serve(&goplugin.ServeConfig{
		HandshakeConfig:  goplugin.HandshakeConfig{MagicCookieKey: pluginv1.CookieKey, MagicCookieValue: pluginv1.CookieValue},
		VersionedPlugins: map[int]goplugin.PluginSet{p.version: {pluginv1.ServiceSet: p}},
		GRPCServer: func(opts []grpc.ServerOption) *grpc.Server {
			return grpc.NewServer(append(opts, grpc.MaxRecvMsgSize(pluginv1.MaxMessageBytes), grpc.MaxSendMsgSize(pluginv1.MaxMessageBytes))...)
		},
		Logger: hclog.NewNullLogger(),
	})
}

func (p *testPlugin) GRPCServer(_ *goplugin.GRPCBroker, s *grpc.Server) error {
	pluginv1.RegisterPluginServiceServer(s, p)
	pluginv1.RegisterStepServiceServer(s, p)
	pluginv1.RegisterEventServiceServer(s, p)
	return nil
}

func (p *testPlugin) GRPCClient(context.Context, *goplugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, errors.New("a plugin is no host")
}

func (p *testPlugin) Describe(ctx context.Context, _ *pluginv1.DescribeRequest) (*pluginv1.DescribeResponse, error) {
	kind, _, _ := strings.Cut(p.mode, "-")
	m := &pluginv1.Manifest{Name: p.mode, Version: "1.2.3", Limits: &pluginv1.Limits{MaxConcurrency: 8}, Features: []string{"unheard.of.v9"}}
	for _, h := range []string{"echo", "hold", "slow", "ignore", "env", "fetch", "exit", "panic", "stop", "child", "orphan", "log", "beat", "flood", "broken", "forge", "print", "degrade", "bytes", "chatter", "retire", "quit", "emit"} {
		m.Handlers = append(m.Handlers, &pluginv1.HandlerSpec{Name: h, Version: 1})
	}
	switch kind {
	case "badmanifest":
		m.Name, m.Version = "Bad Name", "one"
		m.Handlers = []*pluginv1.HandlerSpec{{Name: "9lives"}, {Name: "twice", Version: 1}, {Name: "twice", Version: 1, InputSchema: []byte(`{"type": 5}`)}}
	case "describe":
		<-ctx.Done()
		return nil, ctx.Err()
	case "panicky":
		go panic("in the middle of the handshake")
		<-ctx.Done()
	case "env":
		m.Permissions = &pluginv1.Permissions{Env: []string{"TASKER_TEST_GRANTED", "TASKER_TEST_DENIED", "TASKER_TEST_UNSET"}}
	case "alias":
		m.Name = "shared-name"
	case "two":
		m.Limits.MaxConcurrency = 2
	case "three":
		m.Limits.MaxConcurrency = 3
	case "narrow":
		for _, h := range m.GetHandlers() {
			h.MaxConcurrency = 2
		}
	case "schema":
		m.ConfigSchema = []byte(`{"type":"object","properties":{"port":{"type":"integer"}},"required":["port"],"additionalProperties":false}`)
	case "emitter":
		m.Emits = emitterEvents()
	case "hog":
		m.Handlers = append(m.Handlers, &pluginv1.HandlerSpec{Name: "hog", Version: 1})
	case "listener":
		m.Handlers = nil
		m.Subscriptions = []*pluginv1.SubscriptionSpec{{Name: "audit", Events: []string{"task.*"}}}
	case "events":
		m.Subscriptions = []*pluginv1.SubscriptionSpec{{Name: "audit", Events: []string{"task.*"}}}
		m.Emits = []*pluginv1.EventSpec{{Name: m.GetName() + ".heard", Version: 1}}
	}
	return &pluginv1.DescribeResponse{Manifest: m}, nil
}

func (p *testPlugin) Configure(_ context.Context, req *pluginv1.ConfigureRequest) (*pluginv1.ConfigureResponse, error) {
	p.mu.Lock()
	p.configured = req.GetConfig()
	p.mu.Unlock()
	if strings.HasPrefix(p.mode, "picky") {
		return &pluginv1.ConfigureResponse{Problems: []*pluginv1.ConfigProblem{{Pointer: "/smtp/port", Message: "want a port above 0"}}}, nil
	}
	return &pluginv1.ConfigureResponse{}, nil
}

func (p *testPlugin) Watch(_ *pluginv1.WatchRequest, stream grpc.ServerStreamingServer[pluginv1.WatchResponse]) error {
	status := &pluginv1.Status{State: pluginv1.State_STATE_READY}
	if strings.HasPrefix(p.mode, "leaving") {
		status.State = pluginv1.State_STATE_DRAINING
	}
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		if err := stream.Send(&pluginv1.WatchResponse{Status: status}); err != nil {
			return err
		}
		if strings.HasPrefix(p.mode, "silent") {
			<-stream.Context().Done()
			return nil
		}
		select {
		case status = <-p.status:
		case <-ticker.C:
		case <-stream.Context().Done():
			return nil
		}
	}
}

// Drain answers at once, as a careless plugin may; the attempts still end.
func (p *testPlugin) Drain(context.Context, *pluginv1.DrainRequest) (*pluginv1.DrainResponse, error) {
	p.mu.Lock()
	if strings.HasPrefix(p.mode, "deaf") { // it does not end anything for a drain
		p.mu.Unlock()
		return &pluginv1.DrainResponse{}, nil
	}
	p.draining = true
	for _, cancelled := range p.held {
		select {
		case cancelled <- "drain":
		default:
		}
	}
	p.mu.Unlock()
	return &pluginv1.DrainResponse{}, nil
}

func (p *testPlugin) Work(stream grpc.BidiStreamingServer[pluginv1.WorkRequest, pluginv1.WorkResponse]) error {
	p.work = stream
	for {
		frame, err := stream.Recv()
		if err != nil {
			return err
		}
		for _, a := range frame.GetAttempts() {
			cancelled := make(chan string, 1)
			p.mu.Lock()
			p.held[a.GetAttemptId()] = cancelled
			if p.draining {
				cancelled <- "drain"
			}
			p.mu.Unlock()
			go p.execute(a, cancelled)
		}
		for _, c := range frame.GetCancels() {
			p.mu.Lock()
			cancelled, ok := p.held[c.GetAttemptId()]
			p.mu.Unlock()
			if ok {
				cancelled <- c.GetReason()
			}
		}
		for _, c := range frame.GetChunks() {
			p.mu.Lock()
			ch := p.fetched[c.GetAttemptId()]
			p.mu.Unlock()
			ch <- c
		}
	}
}

func (p *testPlugin) update(updates ...*pluginv1.Update) {
	p.sendMu.Lock()
	defer p.sendMu.Unlock()
	_ = p.work.Send(&pluginv1.WorkResponse{Updates: updates})
}

// tookNanos is how long every attempt takes, as the test plugin says.
const tookNanos = 1000

func resultUpdate(id string, output []byte) *pluginv1.Update {
	return &pluginv1.Update{AttemptId: id, Kind: &pluginv1.Update_Result{
		Result: &pluginv1.Result{Outcome: &pluginv1.Result_Output{Output: output}, TookNanos: tookNanos},
	}}
}

func errorUpdate(id string, e *pluginv1.Error) *pluginv1.Update {
	return &pluginv1.Update{AttemptId: id, Kind: &pluginv1.Update_Result{Result: &pluginv1.Result{Outcome: &pluginv1.Result_Error{Error: e}}}}
}

// execute is every handler of the test plugin.
func (p *testPlugin) execute(a *pluginv1.Attempt, cancelled chan string) {
	id := a.GetAttemptId()
	input := a.GetInput().GetInline()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.held, id)
	}()
	switch a.GetHandler() {
	case "echo":
		p.update(resultUpdate(id, input))
	case "hog": // has memory until drained
		memory := make([]byte, 192<<20)
		for i := 0; i < len(memory); i += os.Getpagesize() {
			memory[i] = 1
		}
		<-cancelled
		p.update(resultUpdate(id, memory[:1]))
	case "hold": // until cancelled or drained
		p.update(&pluginv1.Update{AttemptId: id, Kind: &pluginv1.Update_Heartbeat{Heartbeat: &pluginv1.Heartbeat{Note: "holding"}}})
		reason := <-cancelled
		if reason == "drain" {
			p.update(resultUpdate(id, []byte(`"drained"`)))
			return
		}
		p.update(errorUpdate(id, &pluginv1.Error{Kind: pluginv1.ErrorKind_ERROR_KIND_CANCELLED, Code: reason}))
	case "slow": // ends well after the library's fixed grace, once it is asked to
		p.update(&pluginv1.Update{AttemptId: id, Kind: &pluginv1.Update_Heartbeat{Heartbeat: &pluginv1.Heartbeat{Note: "slow"}}})
		<-cancelled
		<-time.After(2500 * time.Millisecond)
		p.update(resultUpdate(id, []byte(`"slowly done"`)))
	case "ignore": // cancels and drains alike
		p.update(&pluginv1.Update{AttemptId: id, Kind: &pluginv1.Update_Heartbeat{Heartbeat: &pluginv1.Heartbeat{Note: "ignoring"}}})
		select {}
	case "env":
		p.update(resultUpdate(id, p.surroundings()))
	case "fetch":
		p.update(resultUpdate(id, p.fetchAll(a)))
	case "exit":
		quit(9)
	case "panic":
		panic("the handler went too far")
	case "stop":
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	case "child", "orphan":
		p.leaveChild(a.GetHandler() == "orphan")
	case "log":
		p.update(&pluginv1.Update{AttemptId: id, Kind: &pluginv1.Update_Log{Log: &pluginv1.Log{Level: "warn", Message: "low on paper", Fields: []byte(`{"sheets":3}`)}}},
			resultUpdate(id, nil))
	case "beat":
		p.update(&pluginv1.Update{AttemptId: id, Kind: &pluginv1.Update_Heartbeat{Heartbeat: &pluginv1.Heartbeat{Progress: 7, Note: "half", Checkpoint: []byte(`{"at":1}`)}}},
			&pluginv1.Update{AttemptId: id, Kind: &pluginv1.Update_Heartbeat{Heartbeat: &pluginv1.Heartbeat{Progress: 0.5, Checkpoint: []byte(`{broken`)}}},
			resultUpdate(id, []byte(`1`)))
	case "flood":
		for i := range 20_000 {
			fmt.Fprintf(os.Stderr, "line %d\n", i)
		}
		p.update(resultUpdate(id, nil))
	case "broken":
		p.update(resultUpdate(id, []byte(`{"unfinished`)))
	case "forge": // answers for an attempt that it was never given, and twice for its own
		p.update(resultUpdate("01ARZ3NDEKTSV4RRFFQ69G5FAV/7/1", []byte(`1`)), resultUpdate("nonsense", nil),
			resultUpdate(id, []byte(`1`)), resultUpdate(id, []byte(`2`)))
	case "print":
		say("printed on stdout")
		fmt.Fprintln(os.Stderr, "printed on stderr")
		p.update(resultUpdate(id, nil))
	case "degrade":
		p.status <- &pluginv1.Status{State: pluginv1.State_STATE_DEGRADED, Capacity: 3, Message: "database is slow"}
		p.update(resultUpdate(id, nil))
	case "chatter":
		for i := range 20 {
			p.status <- &pluginv1.Status{State: pluginv1.State_STATE_READY, Message: fmt.Sprintf("%d in the queue", i)}
		}
		p.update(resultUpdate(id, nil))
	case "retire":
		p.status <- &pluginv1.Status{State: pluginv1.State_STATE_DRAINING, Message: "memory is low"}
		p.update(resultUpdate(id, nil))
	case "quit":
		quit(0)
	case "emit":
		p.update(emitUpdates(id, input)...)
	case "bytes":
		p.update(resultUpdate(id, fmt.Appendf(nil, `{"input":%d,"results":%d}`, len(input), len(a.GetResults()))))
	}
}

// surroundings describes what the plugin was given.
func (p *testPlugin) surroundings() []byte {
	dir, _ := os.Getwd()
	_ = os.WriteFile("made-by-plugin", nil, 0o666)
	info, err := os.Stat("made-by-plugin")
	mode := ""
	if err == nil {
		mode = info.Mode().Perm().String()
	}
	var names []string
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		names = append(names, name)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	text, _ := json.Marshal(map[string]any{"dir": dir, "names": names, "mode": mode, "config": json.RawMessage(p.configured), "group": syscall.Getpgrp() == os.Getpid()})
	return text
}

// fetchAll fetches every reference of an attempt, and one that was not offered.
func (p *testPlugin) fetchAll(a *pluginv1.Attempt) []byte {
	id := a.GetAttemptId()
	chunks := make(chan *pluginv1.Chunk, 1)
	p.mu.Lock()
	p.fetched[id] = chunks
	p.mu.Unlock()
	refs := []string{"result/999"}
	if ref := a.GetInput().GetRef(); ref != "" {
		refs = append(refs, ref)
	}
	for _, r := range a.GetResults() {
		if ref := r.GetValue().GetRef(); ref != "" {
			refs = append(refs, ref)
		}
	}
	got := make(map[string]string)
	for _, ref := range refs {
		p.update(&pluginv1.Update{AttemptId: id, Kind: &pluginv1.Update_Fetch{Fetch: &pluginv1.Fetch{Ref: ref}}})
		var doc bytes.Buffer
		parts := 0
		for {
			c := <-chunks
			parts++
			doc.Write(c.GetData())
			if c.GetLast() {
				got[ref] = fmt.Sprintf("%d bytes in %d parts %s", doc.Len(), parts, c.GetError())
				break
			}
		}
	}
	text, _ := json.Marshal(got)
	return text
}

// leaveChild starts a grandchild that holds stdout and stderr, and exits. An orphan
// leaves the process group too.
func (p *testPlugin) leaveChild(orphan bool) {
	exe, _ := os.Executable()
	cmd := exec.Command(exe)
	cmd.Args[0] = sleeperName
	// The streams that go-plugin replaced are not the process's own.
	cmd.Stdout, cmd.Stderr = os.NewFile(1, "stdout"), os.NewFile(2, "stderr")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: orphan}
	if err := cmd.Start(); err != nil {
		quit(8)
	}
	_, _ = fmt.Fprintf(cmd.Stderr, "sleeper %d\n", cmd.Process.Pid)
	quit(7)
}

// quit ends the process that the test binary plays.
func quit(code int) {
	os.Exit(code) //nolint:forbidigo // that is what the play is about
}

// say prints a line on stdout.
func say(words ...any) { _, _ = fmt.Fprintln(os.Stdout, words...) }
