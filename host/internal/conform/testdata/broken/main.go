// Command tasker-plugin-broken is a plugin without an SDK and without go-plugin: the wire
// alone, after docs/plugin-wire.md. Its argument is the id of a check, whose rule it then
// breaks; without one it breaks none.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/types/known/emptypb"

	pluginv1 "github.com/tasker-engine/tasker/proto/tasker/plugin/v1"
)

func main() {
	p := &plugin{held: make(map[string]context.CancelCauseFunc), seen: make(map[uint64]bool), opened: make(map[string]bool)}
	if len(os.Args) > 1 {
		p.breaks = os.Args[1]
	}
	if p.breaks == childArg {
		time.Sleep(time.Minute)
		return
	}
	if os.Getenv(pluginv1.CookieKey) != pluginv1.CookieValue {
		if p.breaks == "start.by-hand" {
			os.Exit(0)
		}
		fmt.Fprintln(os.Stderr, "a plugin for Tasker's own tests: a host starts it")
		os.Exit(2)
	}
	if err := p.serve(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

const childArg = "--child"

// serve serves until the process ends.
func (p *plugin) serve() error {
	dir := os.Getenv("PLUGIN_UNIX_SOCKET_DIR")
	path := filepath.Join(dir, "s")
	lis, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	opts := []grpc.ServerOption{grpc.MaxRecvMsgSize(pluginv1.MaxMessageBytes), grpc.MaxSendMsgSize(pluginv1.MaxMessageBytes)}
	switch p.breaks {
	case "work.large-input":
		opts = append(opts, grpc.MaxRecvMsgSize(4<<20))
	case "work.large-result":
		opts = append(opts, grpc.MaxSendMsgSize(4<<20))
	}
	config, cert, err := p.tls()
	if err != nil {
		return err
	}
	if config != nil {
		opts = append(opts, grpc.Creds(credentials.NewTLS(config)))
	}
	g := grpc.NewServer(opts...)
	pluginv1.RegisterPluginServiceServer(g, p)
	pluginv1.RegisterStepServiceServer(g, p)
	pluginv1.RegisterEventServiceServer(g, p)
	if p.breaks != "start.health" {
		h := health.NewServer()
		h.SetServingStatus("plugin", healthv1.HealthCheckResponse_SERVING)
		healthv1.RegisterHealthServer(g, h)
	}
	if p.breaks != "life.shutdown" {
		g.RegisterService(controller(), p)
	}
	kind := "grpc"
	if p.breaks == "start.line" {
		kind = "netrpc"
	}
	go p.watchLifeline()
	go p.watchSignals()
	fmt.Printf("1|%d|unix|%s|%s|%s\n", p.protocol(), path, kind, cert)
	return g.Serve(lis)
}

// protocol chooses the highest common version.
func (p *plugin) protocol() int {
	for _, v := range strings.Split(os.Getenv("PLUGIN_PROTOCOL_VERSIONS"), ",") {
		n, _ := strconv.Atoi(v)
		if n == 99 && (p.breaks == "start.protocol" || p.breaks == "start.no-protocol") {
			return n
		}
	}
	return 1
}

// tls makes a key pair on P-256, and trusts the host's certificate alone.
func (p *plugin) tls() (config *tls.Config, cert string, err error) {
	host := os.Getenv("PLUGIN_CLIENT_CERT")
	if host == "" && p.breaks != "start.plain" {
		return nil, "", nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, "", err
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, SerialNumber: big.NewInt(1),
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, "", err
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM([]byte(host))
	config = &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: trusted, MinVersion: tls.VersionTLS12,
	}
	if p.breaks == "start.mtls" {
		config.ClientAuth = tls.NoClientCert
	}
	return config, base64.RawStdEncoding.EncodeToString(der), nil
}

func (p *plugin) watchLifeline() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	switch p.breaks {
	case "life.lifeline", "life.host-killed":
		return
	case "life.children":
		self, err := os.Executable()
		if err == nil {
			err = exec.Command(self, childArg).Start()
		}
		if err != nil {
			panic(err)
		}
	}
	os.Exit(0)
}

func (p *plugin) watchSignals() {
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	for range signals {
		p.mu.Lock()
		drained := p.drained
		p.mu.Unlock()
		switch {
		case p.breaks == "life.signals":
			os.Exit(1)
		case drained && p.breaks == "life.drained":
			os.Exit(3)
		case drained:
			os.Exit(0)
		}
	}
}

// controller is the service by which a host ends its plugins.
func controller() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: "plugin.GRPCController", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{
			MethodName: "Shutdown",
			Handler: func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				if err := decode(new(emptypb.Empty)); err != nil {
					return nil, err
				}
				os.Exit(0)
				return new(emptypb.Empty), nil
			},
		}},
	}
}
