package conform

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// runner is one run of the suite.
type runner struct {
	opts     Options
	manifest *pluginv1.Manifest // nil when the plugin never said
	probed   error              // why it does not get ready
	config   []byte             // what it is configured with
	started  atomic.Int64       // processes
	guesses  int                // configurations that were tried and refused
}

func newRunner(opts Options) *runner {
	r := &runner{opts: opts, config: opts.Config}
	if len(r.config) == 0 {
		r.config = opts.Fixtures.Config
	}
	return r
}

// probe learns the manifest, and whether the plugin gets ready at all.
func (r *runner) probe(ctx context.Context) {
	t := &trial{runner: r, id: "probe"}
	defer t.end()
	given := r.config
	const guesses = 3
	for r.guesses = range guesses {
		s, err := t.start(ctx, launch{})
		if err != nil {
			r.probed = err
			return
		}
		if r.manifest, err = s.describe(ctx); err != nil {
			r.probed = err
			return
		}
		if len(given) == 0 {
			r.config = r.guess()
		}
		if r.probed = s.configure(ctx, r.config); r.probed == nil || len(given) > 0 {
			return
		}
	}
}

// guess makes the next configuration to be tried where none is given.
func (r *runner) guess() []byte {
	schema := r.manifest.GetConfigSchema()
	switch {
	case len(schema) == 0 || r.guesses > 1:
		return nil
	case r.guesses == 0:
		return sampleSecret(schema)
	default:
		return sample(schema)
	}
}

// launch says how a process is started.
type launch struct {
	plain     bool              // without mutual TLS
	protocols string            // empty = "1"
	level     string            // of the log; empty = info
	env       map[string]string // on top; an empty value removes the variable
}

// session is a process of the plugin and the connection to it.
type session struct {
	t        *trial
	launch   launch
	proc     *process
	dir      string // holds the data directory and the sockets
	identity *identity
	shake    shake
	conn     *grpc.ClientConn
	net      atomic.Pointer[net.Conn]

	plugin pluginv1.PluginServiceClient
}

// start starts the plugin up to its handshake line and prepares the connection.
func (t *trial) start(ctx context.Context, l launch) (*session, error) {
	s, err := t.spawn(l)
	if err != nil {
		return nil, err
	}
	line, err := s.firstLine(ctx)
	if err != nil {
		return nil, err
	}
	if s.shake, err = parseShake(line); err != nil {
		return nil, fmt.Errorf("handshake: %w", err)
	}
	if s.conn, err = s.dial(s.identity); err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	s.plugin = pluginv1.NewPluginServiceClient(s.conn)
	return s, nil
}

// spawn starts the process; the trial ends it.
func (t *trial) spawn(l launch) (*session, error) {
	dir, err := os.MkdirTemp("", "tskv")
	if err != nil {
		return nil, err
	}
	s := &session{t: t, launch: l, dir: dir}
	if !l.plain {
		if s.identity, err = newIdentity(); err != nil {
			return nil, err
		}
	}
	for _, sub := range []string{s.dataDir(), s.socketDir()} {
		if err := os.Mkdir(sub, 0o700); err != nil {
			return nil, err
		}
	}
	mark := fmt.Sprintf("%d.%d", os.Getpid(), t.started.Add(1))
	if s.proc, err = spawn(t.opts.Command, s.dataDir(), mark, s.env()); err != nil {
		_ = os.RemoveAll(dir)
		return nil, spawnError(t.opts.Command[0], err)
	}
	t.mu.Lock()
	t.sessions = append(t.sessions, s)
	t.mu.Unlock()
	return s, nil
}

func (s *session) dataDir() string   { return filepath.Join(s.dir, "data") }
func (s *session) socketDir() string { return filepath.Join(s.dir, "s") }

// env is what a host gives its plugins: a scrubbed environment and the handshake.
func (s *session) env() []string {
	vars := map[string]string{
		pluginv1.CookieKey:         pluginv1.CookieValue,
		"PLUGIN_PROTOCOL_VERSIONS": "1",
		"PLUGIN_UNIX_SOCKET_DIR":   s.socketDir(),
		"PLUGIN_MIN_PORT":          "0",
		"PLUGIN_MAX_PORT":          "1",
	}
	if s.launch.protocols != "" {
		vars["PLUGIN_PROTOCOL_VERSIONS"] = s.launch.protocols
	}
	if s.identity != nil {
		vars["PLUGIN_CLIENT_CERT"] = s.identity.pem
	}
	for _, key := range []string{"PATH", "HOME", "TMPDIR", "LANG", "TZ", "SystemRoot", "TEMP"} {
		if v, ok := os.LookupEnv(key); ok {
			vars[key] = v
		}
	}
	var env []string
	maps.Copy(vars, s.launch.env)
	for key, v := range vars {
		if v != "" {
			env = append(env, key+"="+v)
		}
	}
	return env
}

// firstLine waits for the first line on standard output.
func (s *session) firstLine(ctx context.Context) (string, error) {
	timer := time.NewTimer(s.t.opts.StartTimeout)
	defer timer.Stop()
	select {
	case line := <-s.proc.stdout.first:
		return line, nil
	case <-s.proc.ended:
		select { // both may be there
		case line := <-s.proc.stdout.first:
			return line, nil
		default:
		}
		return "", fmt.Errorf("handshake: the program ended with %s before its handshake line; it printed: %s", s.proc.exit(), s.proc.stderr.tail())
	case <-timer.C:
		return "", fmt.Errorf("handshake: no line on standard output within %s; standard error: %s", s.t.opts.StartTimeout, s.proc.stderr.tail())
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// dial makes a connection as the handshake says, with this identity.
func (s *session) dial(id *identity) (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if s.shake.cert != nil {
		creds = credentials.NewTLS(id.client(s.shake.cert))
	}
	return grpc.NewClient("passthrough:///unused",
		grpc.WithTransportCredentials(creds),
		grpc.WithContextDialer(s.dialSocket),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(pluginv1.MaxMessageBytes), grpc.MaxCallSendMsgSize(pluginv1.MaxMessageBytes)),
		grpc.WithStaticStreamWindowSize(pluginv1.StreamWindowBytes), grpc.WithStaticConnWindowSize(pluginv1.ConnWindowBytes),
	)
}

func (s *session) dialSocket(ctx context.Context, _ string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, s.shake.network, s.shake.address)
	if err == nil {
		s.net.Store(&conn)
	}
	return conn, err
}

// handshakeTLS speaks TLS alone: with the certificate of another host, or with none.
func (s *session) handshakeTLS(ctx context.Context, id *identity) error {
	conn, err := new(net.Dialer).DialContext(ctx, s.shake.network, s.shake.address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(s.t.opts.Patience))
	c := tls.Client(conn, id.client(s.shake.cert))
	if err := c.HandshakeContext(ctx); err != nil {
		return err
	}
	// In TLS 1.3 a server's refusal is seen by the first read.
	if _, err := c.Write([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 9))
	return err
}

// ready starts, describes and configures the plugin.
func (t *trial) ready(ctx context.Context, l launch) (*session, error) {
	s, err := t.start(ctx, l)
	if err != nil {
		return nil, err
	}
	if _, err := s.describe(ctx); err != nil {
		return nil, err
	}
	return s, s.configure(ctx, t.config)
}

// patient bounds a call by the patience.
func (s *session) patient(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.t.opts.Patience)
}

// starting bounds what belongs to the start of a plugin.
func (s *session) starting(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, s.t.opts.StartTimeout)
}

// hostVersion is what we say that the host is.
const hostVersion = "0.0.0-verify"

func (s *session) describe(ctx context.Context) (*pluginv1.Manifest, error) {
	ctx, cancel := s.starting(ctx)
	defer cancel()
	resp, err := s.plugin.Describe(ctx, &pluginv1.DescribeRequest{
		HostVersion: hostVersion, Features: []string{pluginv1.FeatureCheckpoint, pluginv1.FeatureFetch},
	})
	if err != nil {
		return nil, s.callError("Describe", err)
	}
	if resp.GetManifest() == nil {
		return nil, errors.New("describe: the response has no manifest")
	}
	return resp.GetManifest(), nil
}

// problems configures the plugin and returns what it says is wrong.
func (s *session) problems(ctx context.Context, config []byte) ([]*pluginv1.ConfigProblem, error) {
	ctx, cancel := s.starting(ctx)
	defer cancel()
	level := s.launch.level
	if level == "" {
		level = "info"
	}
	resp, err := s.plugin.Configure(ctx, &pluginv1.ConfigureRequest{
		Config: config, DataDir: s.dataDir(), LogLevel: level, MaxMessageBytes: pluginv1.MaxMessageBytes,
		HostId: "01JVER1FY00000000000000000", CancelGrace: durationpb.New(s.t.opts.Patience),
	})
	if err != nil {
		return nil, s.callError("Configure", err)
	}
	return resp.GetProblems(), nil
}

func (s *session) configure(ctx context.Context, config []byte) error {
	found, err := s.problems(ctx, config)
	if err != nil || len(found) == 0 {
		return err
	}
	var all []string
	for _, p := range found {
		all = append(all, strings.TrimPrefix(p.GetPointer()+": "+p.GetMessage(), ": "))
	}
	if len(config) == 0 {
		config = []byte("{}")
	}
	return fmt.Errorf("configure: it refuses %s: %s (give it another: --config or --fixtures)", cut(string(config)), cut(strings.Join(all, "; ")))
}

// callError says what became of a call, and what the plugin printed if it has ended.
func (s *session) callError(call string, err error) error {
	st := status.Convert(err)
	text := fmt.Sprintf("%s: %s: %s", strings.ToLower(call), st.Code(), st.Message())
	if st.Code() == codes.DeadlineExceeded {
		text = fmt.Sprintf("%s: no answer in time", strings.ToLower(call))
	}
	if !s.proc.awaitExit(0) {
		return errors.New(text)
	}
	return fmt.Errorf("%s; the process has ended with %s, and printed: %s", text, s.proc.exit(), s.proc.stderr.tail())
}

// close ends the process however it takes, and removes what it left on disk.
func (s *session) close() {
	s.disconnect()
	s.proc.cutLifeline()
	s.proc.kill()
	_ = os.RemoveAll(s.dir)
}

func (s *session) disconnect() {
	if s.conn != nil {
		_ = s.conn.Close()
	}
}

// vanish is the death of the host, as the plugin sees it: the pipes and the connection
// break at one moment.
func (s *session) vanish() {
	if c := s.net.Load(); c != nil {
		_ = (*c).Close()
	}
	s.proc.vanish()
	s.disconnect()
}

// alive checks that the process runs and answers.
func (s *session) alive(ctx context.Context) error {
	if !s.proc.running() {
		return fmt.Errorf("the process has ended with %s; it printed: %s", s.proc.exit(), s.proc.stderr.tail())
	}
	_, err := s.describe(ctx)
	return err
}
