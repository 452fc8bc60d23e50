package conform

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"

	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

// checkByHand starts the program as a person does who tries it out.
func checkByHand(ctx context.Context, t *trial) error {
	s, err := t.spawn(launch{env: map[string]string{pluginv1.CookieKey: "", "PLUGIN_PROTOCOL_VERSIONS": "", "PLUGIN_UNIX_SOCKET_DIR": "", "PLUGIN_CLIENT_CERT": ""}})
	if err != nil {
		return err
	}
	select {
	case line := <-s.proc.stdout.first:
		if _, err := parseShake(line); err == nil {
			return fmt.Errorf("without the cookie it prints a handshake: %q", cut(line))
		}
	case <-s.proc.ended:
	case <-ctx.Done():
		return ctx.Err()
	}
	if !s.proc.awaitExit(t.opts.Patience) {
		return fmt.Errorf("without the cookie it has not ended after %s", t.opts.Patience)
	}
	<-s.proc.ended
	if s.proc.exitCode() == 0 {
		t.failf("without the cookie it ends with exit status 0: want another, so that a script notices")
	}
	said := s.proc.stderr.tail() + s.proc.stdout.tail()
	if said == "" {
		t.failf("without the cookie it ends without a word: want a line on standard error that says what it is")
	}
	t.sawf("%s, %q", s.proc.exit(), said)
	return nil
}

// checkLine judges the handshake line.
func checkLine(ctx context.Context, t *trial) error {
	s, err := t.start(ctx, launch{})
	if err != nil {
		return err
	}
	h := s.shake
	if h.protocol != 1 {
		t.failf("it offers protocol %d where 1 was offered", h.protocol)
	}
	if h.kind != "grpc" {
		t.failf("the transport is %q: want grpc", h.kind)
	}
	switch h.network {
	case "unix":
		if dir := filepath.Dir(h.address); dir != s.socketDir() {
			t.failf("the socket %s is not in PLUGIN_UNIX_SOCKET_DIR (%s)", h.address, s.socketDir())
		}
		const longest = 107
		if len(h.address) > longest {
			t.failf("the path of the socket has %d bytes: want at most %d", len(h.address), longest)
		}
	case "tcp":
		if addr, err := net.ResolveTCPAddr("tcp", h.address); err != nil || !addr.IP.IsLoopback() {
			t.failf("it listens on %s: want a unix socket, or loopback where there are none", h.address)
		}
	default:
		t.failf("the network is %q: want unix", h.network)
	}
	_, err = s.describe(ctx)
	t.sawf("1|%d|%s|%s|%s", h.protocol, h.network, filepath.Base(h.address), h.kind)
	return err
}

// checkProtocol offers versions that do not exist beside the one that does.
func checkProtocol(ctx context.Context, t *trial) error {
	for _, offer := range []string{"1,98,99", "99,1", "0,1"} {
		s, err := t.start(ctx, launch{protocols: offer})
		if err != nil {
			t.failf("PLUGIN_PROTOCOL_VERSIONS=%s: %v", offer, err)
			continue
		}
		if s.shake.protocol != 1 {
			t.failf("PLUGIN_PROTOCOL_VERSIONS=%s: it chose %d, want 1", offer, s.shake.protocol)
			continue
		}
		if _, err := s.describe(ctx); err != nil {
			t.failf("PLUGIN_PROTOCOL_VERSIONS=%s: %v", offer, err)
		}
	}
	t.sawf("chose 1 of several")
	return nil
}

// checkNoProtocol offers no version that there is.
func checkNoProtocol(ctx context.Context, t *trial) error {
	s, err := t.spawn(launch{protocols: "98,99"})
	if err != nil {
		return err
	}
	select {
	case line := <-s.proc.stdout.first:
		h, err := parseShake(line)
		if err != nil {
			return err
		}
		if h.protocol == 98 || h.protocol == 99 {
			t.failf("it claims protocol %d, which does not exist", h.protocol)
		}
		t.sawf("it names its own protocol, %d, for the host to refuse", h.protocol)
	case <-s.proc.ended:
		if s.proc.exitCode() == 0 {
			t.failf("it ended with exit status 0: want another")
		}
		t.sawf("%s", s.proc.exit())
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// checkMTLS connects with the right certificate, another one and none.
func checkMTLS(ctx context.Context, t *trial) error {
	s, err := t.start(ctx, launch{})
	if err != nil {
		return err
	}
	if s.shake.cert == nil {
		return errors.New("PLUGIN_CLIENT_CERT is set, and the handshake line has no certificate: the connection is not encrypted")
	}
	if err := s.shake.cert.VerifyHostname(serverName); err != nil {
		t.failf("its certificate is not for %q: %v", serverName, err)
	}
	if _, err := s.describe(ctx); err != nil {
		return fmt.Errorf("with the host's certificate (P-521): %w", err)
	}
	if s.handshakeTLS(ctx, nil) == nil {
		t.failf("it serves who shows no certificate")
	}
	stranger, err := newIdentity()
	if err != nil {
		return err
	}
	if s.handshakeTLS(ctx, stranger) == nil {
		t.failf("it serves who shows a certificate that is not its host's")
	}
	if _, err := s.describe(ctx); err != nil {
		t.failf("after strangers were refused: %v", err)
	}
	t.sawf("its key is %s; the host's P-521 is accepted, a stranger's and none are refused", s.shake.cert.PublicKeyAlgorithm)
	return nil
}

// checkPlain leaves mutual TLS out.
func checkPlain(ctx context.Context, t *trial) error {
	s, err := t.start(ctx, launch{plain: true})
	if err != nil {
		return err
	}
	if s.shake.cert != nil {
		t.failf("PLUGIN_CLIENT_CERT is not set, and the handshake line has a certificate: the host would speak plainly to a server that does not")
	}
	_, err = s.describe(ctx)
	return err
}

// checkHealth asks for the health of the service that go-plugin hosts ask for.
func checkHealth(ctx context.Context, t *trial) error {
	s, err := t.start(ctx, launch{})
	if err != nil {
		return err
	}
	ctx, cancel := s.patient(ctx)
	defer cancel()
	resp, err := healthv1.NewHealthClient(s.conn).Check(ctx, &healthv1.HealthCheckRequest{Service: "plugin"})
	if err != nil {
		return s.callError("grpc.health.v1.Health/Check", err)
	}
	if resp.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		return fmt.Errorf("the health of the service plugin is %s: want SERVING", resp.GetStatus())
	}
	return nil
}

// checkShutdown calls the method by which a host ends its plugins.
func checkShutdown(ctx context.Context, t *trial) error {
	s, err := t.start(ctx, launch{})
	if err != nil {
		return err
	}
	if _, err := s.describe(ctx); err != nil {
		return err
	}
	ctx, cancel := s.patient(ctx)
	defer cancel()
	err = s.conn.Invoke(ctx, "/plugin.GRPCController/Shutdown", &emptypb.Empty{}, &emptypb.Empty{})
	// The process may be faster than its answer.
	if code := status.Code(err); code == codes.Unimplemented || code == codes.DeadlineExceeded {
		return s.callError("plugin.GRPCController/Shutdown", err)
	}
	return s.endsWell("after Shutdown")
}

// endsWell waits for the end of the process.
func (s *session) endsWell(when string) error {
	if !s.proc.awaitExit(s.t.opts.Patience) {
		return fmt.Errorf("%s the process has not ended within %s", when, s.t.opts.Patience)
	}
	<-s.proc.ended
	if s.proc.exitCode() != 0 {
		return fmt.Errorf("%s the process ended with %s, want exit status 0; it printed: %s", when, s.proc.exit(), s.proc.stderr.tail())
	}
	s.t.sawf("%s: %s", when, s.proc.exit())
	return nil
}

// checkStdout looks for what does not belong on standard output, over a whole life.
func checkStdout(ctx context.Context, t *trial) error {
	s, err := t.ready(ctx, launch{level: "trace"})
	if err != nil {
		return err
	}
	if err := s.exercise(ctx); err != nil {
		return err
	}
	s.disconnect()
	s.proc.cutLifeline()
	if !s.proc.awaitExit(t.opts.Patience) {
		s.proc.kill()
	}
	<-s.proc.ended
	lines := s.proc.stdout.lines()
	for _, line := range lines[min(1, len(lines)):] {
		t.failf("a line on standard output after the handshake: %q", cut(line))
	}
	t.sawf("%d bytes, all of them the handshake", len(strings.Join(lines, "\n")))
	return nil
}
