package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"

	"github.com/tasker-engine/tasker/plugin/sdk"
	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
)

// config is the plugin's configuration. What it leaves open, the environment variables of OpenTelemetry say.
type config struct {
	Endpoint    string            `json:"endpoint,omitempty"    jsonschema:"pattern=^https?://." jsonschema_description:"The receiver, such as http://localhost:4317. With http: there is no TLS. Default OTEL_EXPORTER_OTLP_ENDPOINT, else https://localhost with the protocol's port."`
	Protocol    string            `json:"protocol,omitempty"    jsonschema:"enum=grpc,enum=http/protobuf" jsonschema_description:"Of the exporter. Default OTEL_EXPORTER_OTLP_PROTOCOL, else grpc."`
	Headers     map[string]string `json:"headers,omitempty"     jsonschema_extras:"writeOnly=true" jsonschema_description:"Sent with each request, such as keys. Default OTEL_EXPORTER_OTLP_HEADERS."`
	Timeout     sdk.Duration      `json:"timeout,omitempty"     jsonschema_description:"How long a request may take. Default OTEL_EXPORTER_OTLP_TIMEOUT, else 10s."`
	Compression string            `json:"compression,omitempty" jsonschema:"enum=none,enum=gzip" jsonschema_description:"Of requests. Default OTEL_EXPORTER_OTLP_COMPRESSION, else none."`
	TLS         tlsConfig         `json:"tls,omitzero"          jsonschema_description:"Of https endpoints. Default what OTEL_EXPORTER_OTLP_CERTIFICATE and the like say."`
	ServiceName string            `json:"service_name,omitempty" jsonschema_description:"The attribute service.name. Default OTEL_SERVICE_NAME, else tasker."`
	Attributes  map[string]string `json:"attributes,omitempty"  jsonschema_description:"Further attributes of the resource, such as deployment.environment.name. They go before those of OTEL_RESOURCE_ATTRIBUTES."`
}

// tlsConfig is whom an https endpoint is trusted by, and trusts.
type tlsConfig struct {
	CAFile   string `json:"ca_file,omitempty"   jsonschema_description:"Certificates, PEM, of which one must have signed the receiver's. Default the system's."`
	CertFile string `json:"cert_file,omitempty" jsonschema_description:"The plugin's own certificate, PEM."`
	KeyFile  string `json:"key_file,omitempty"  jsonschema_description:"The key of that certificate, PEM."`
}

const (
	protocolGRPC = "grpc"
	compressGzip = "gzip"
	// reconnect is the longest pause between attempts to connect.
	reconnect = 10 * time.Second
)

// environment lists the variables that count.
func environment() []string {
	names := []string{
		"OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", "OTEL_TRACES_SAMPLER",
		"OTEL_TRACES_SAMPLER_ARG", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
	}
	for _, name := range []string{
		"ENDPOINT", "PROTOCOL", "HEADERS", "TIMEOUT", "COMPRESSION", "INSECURE", "CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY",
	} {
		names = append(names, "OTEL_EXPORTER_OTLP_"+name, "OTEL_EXPORTER_OTLP_TRACES_"+name)
	}
	return names
}

// files lists what is read: what the configuration or a variable names.
func files() []string {
	entries := []string{"config:/tls/ca_file", "config:/tls/cert_file", "config:/tls/key_file"}
	for _, name := range []string{"CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY"} {
		entries = append(entries, "env:OTEL_EXPORTER_OTLP_"+name, "env:OTEL_EXPORTER_OTLP_TRACES_"+name)
	}
	return entries
}

// sampler returns which traces are recorded, as the variables of OpenTelemetry say. The host tells of those that it does
// not understand.
func sampler() trace.Sampler {
	if strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") || os.Getenv("OTEL_TRACES_EXPORTER") == "none" {
		return trace.Sampler{}
	}
	s, _ := trace.ParseSampler(os.Getenv("OTEL_TRACES_SAMPLER"), os.Getenv("OTEL_TRACES_SAMPLER_ARG"))
	return s
}

// relayed reports whether the host exports traces, too: it has the variables from which this plugin has them.
func relayed() bool {
	return os.Getenv("OTEL_TRACES_EXPORTER") == "otlp" ||
		cmp.Or(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT")) != ""
}

// client makes the exporter's client. It sends a request once: the host has events come again.
func (c config) client() (otlptrace.Client, error) {
	t, err := c.TLS.config()
	if err != nil {
		return nil, err
	}
	protocol := cmp.Or(c.Protocol, os.Getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL"), protocolGRPC)
	if protocol == protocolGRPC {
		return c.grpcClient(t), nil
	}
	return c.httpClient(t)
}

func (c config) grpcClient(t *tls.Config) otlptrace.Client {
	pauses := backoff.DefaultConfig
	pauses.MaxDelay = reconnect
	opts := []otlptracegrpc.Option{
		otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{}),
		otlptracegrpc.WithDialOption(grpc.WithConnectParams(grpc.ConnectParams{Backoff: pauses, MinConnectTimeout: reconnect})),
	}
	if c.Endpoint != "" {
		opts = append(opts, otlptracegrpc.WithEndpointURL(c.Endpoint))
	}
	if c.Headers != nil {
		opts = append(opts, otlptracegrpc.WithHeaders(c.Headers))
	}
	if c.Timeout > 0 {
		opts = append(opts, otlptracegrpc.WithTimeout(c.Timeout.D()))
	}
	if c.Compression == compressGzip {
		opts = append(opts, otlptracegrpc.WithCompressor(compressGzip))
	}
	if t != nil {
		opts = append(opts, otlptracegrpc.WithTLSCredentials(credentials.NewTLS(t)))
	}
	return otlptracegrpc.NewClient(opts...)
}

func (c config) httpClient(t *tls.Config) (otlptrace.Client, error) {
	opts := []otlptracehttp.Option{otlptracehttp.WithRetry(otlptracehttp.RetryConfig{})}
	if c.Endpoint != "" {
		u, err := url.Parse(c.Endpoint)
		if err != nil {
			return nil, fmt.Errorf("/endpoint: %w", err)
		}
		if u.Path == "" || u.Path == "/" {
			u.Path = "/v1/traces"
		}
		opts = append(opts, otlptracehttp.WithEndpointURL(u.String()))
	}
	if c.Headers != nil {
		opts = append(opts, otlptracehttp.WithHeaders(c.Headers))
	}
	if c.Timeout > 0 {
		opts = append(opts, otlptracehttp.WithTimeout(c.Timeout.D()))
	}
	switch c.Compression {
	case compressGzip:
		opts = append(opts, otlptracehttp.WithCompression(otlptracehttp.GzipCompression))
	case "none":
		opts = append(opts, otlptracehttp.WithCompression(otlptracehttp.NoCompression))
	}
	if t != nil {
		opts = append(opts, otlptracehttp.WithTLSClientConfig(t))
	}
	return otlptracehttp.NewClient(opts...), nil
}

// resource returns what all spans say of where they come from.
func (c config) resource(ctx context.Context) (*resourcepb.Resource, error) {
	own := make([]attribute.KeyValue, 0, len(c.Attributes)+1)
	for key, value := range c.Attributes {
		own = append(own, attribute.String(key, value))
	}
	if c.ServiceName != "" {
		own = append(own, attribute.String("service.name", c.ServiceName))
	}
	r, err := resource.New( // what comes later goes before
		ctx, resource.WithAttributes(attribute.String("service.name", "tasker")), resource.WithFromEnv(), resource.WithAttributes(own...),
	)
	if err != nil {
		return nil, fmt.Errorf("resource: %w", err)
	}
	out := &resourcepb.Resource{}
	for _, kv := range r.Attributes() {
		out.Attributes = append(out.Attributes, &commonpb.KeyValue{Key: string(kv.Key), Value: textValue(kv.Value.String())})
	}
	return out, nil
}

// config makes the TLS configuration; nil if nothing is said.
func (t tlsConfig) config() (*tls.Config, error) {
	if t == (tlsConfig{}) {
		return nil, nil //nolint:nilnil // nothing is a configuration, too
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("/tls/ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("/tls/ca_file: there is no certificate in it")
		}
	}
	if t.CertFile != "" || t.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("/tls/cert_file: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
