package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/otlptranslator"
	runtimemetrics "go.opentelemetry.io/contrib/instrumentation/runtime"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
)

// Limits of [Metrics].
const (
	readTimeout = 5 * time.Second // of one reading
	endTimeout  = 5 * time.Second // of the last push, and of requests when the endpoint closes
	maxSeries   = 10_000          // of one metric; what is beyond is summed up in one
)

// MetricsOptions are what [StartMetrics] needs; all are required.
type MetricsOptions struct {
	Plan     Plan // on
	Resource *resource.Resource
	Logger   hclog.Logger
	// Read makes a reading. When it fails, the last one is shown again.
	Read func(ctx context.Context) (*Reading, error)
}

// Metrics shows what a host has counted to those who ask, and pushes it to those who
// do not.
type Metrics struct {
	log      hclog.Logger
	read     func(ctx context.Context) (*Reading, error)
	last     atomic.Pointer[Reading]
	provider *metric.MeterProvider
	registry *prometheus.Registry
	listener net.Listener // nil = no endpoint
}

// StartMetrics opens the endpoint and begins to push, as the plan says. Readings are made
// from now on; requests are answered with [Metrics.Run]. Errors: an address that cannot be
// used, or variables of an exporter that cannot be read.
func StartMetrics(ctx context.Context, o MetricsOptions) (*Metrics, error) {
	m := &Metrics{log: o.Logger, read: o.Read, registry: prometheus.NewRegistry()}
	if o.Plan.Listen != "" {
		var err error
		if m.listener, err = new(net.ListenConfig).Listen(ctx, "tcp", o.Plan.Listen); err != nil {
			return nil, fmt.Errorf("metrics endpoint: %w", err)
		}
	}
	if err := m.assemble(ctx, o); err != nil {
		return nil, errors.Join(err, m.closeListener())
	}
	return m, nil
}

// assemble ties metrics and exporters together.
func (m *Metrics) assemble(ctx context.Context, o MetricsOptions) error {
	latencies := runtimemetrics.NewProducer()
	scrape, err := otelprom.New(
		otelprom.WithRegisterer(m.registry), otelprom.WithoutScopeInfo(), otelprom.WithProducer(m), otelprom.WithProducer(latencies),
		otelprom.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes),
	)
	if err != nil {
		return fmt.Errorf("metrics endpoint: %w", err)
	}
	options := []metric.Option{metric.WithResource(o.Resource), metric.WithCardinalityLimit(maxSeries), metric.WithReader(scrape)}
	if o.Plan.Push != "" {
		push, err := newExporter(ctx, o.Plan.Push)
		if err != nil {
			return fmt.Errorf("metrics exporter: %w", err)
		}
		options = append(options, metric.WithReader(metric.NewPeriodicReader(
			&toldExporter{Exporter: push, log: m.log}, metric.WithProducer(m), metric.WithProducer(latencies),
		)))
	}
	m.provider = metric.NewMeterProvider(options...)
	if err := m.observe(); err != nil {
		return errors.Join(err, m.provider.Shutdown(ctx))
	}
	if err := runtimemetrics.Start(runtimemetrics.WithMeterProvider(m.provider)); err != nil {
		return errors.Join(fmt.Errorf("metrics of the Go runtime: %w", err), m.provider.Shutdown(ctx))
	}
	return nil
}

// Addr returns the address of the endpoint, empty when there is none.
func (m *Metrics) Addr() string {
	if m.listener == nil {
		return ""
	}
	return m.listener.Addr().String()
}

// Run answers scrapes until ctx ends. Then it pushes a last time and closes everything.
func (m *Metrics) Run(ctx context.Context) error {
	var server *http.Server
	failed := make(chan error, 1)
	if m.listener != nil {
		mux := http.NewServeMux()
		mux.Handle("GET /metrics", promhttp.HandlerFor(prometheus.GathererFunc(m.gather), promhttp.HandlerOpts{EnableOpenMetrics: true}))
		server = &http.Server{Handler: mux, ReadHeaderTimeout: endTimeout}
		go func() { // ends with the server
			if err := server.Serve(m.listener); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("metrics endpoint: %w", err)
			}
		}()
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTimeout)
	defer cancel()
	if server != nil && err == nil && server.Shutdown(end) != nil {
		_ = server.Close()
	}
	return errors.Join(err, m.Close(end))
}

// Flush pushes now: what comes later may be gone with what it reads.
func (m *Metrics) Flush(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	_ = m.provider.ForceFlush(ctx) // the exporter has told of it
}

// Close lets go of everything; [Metrics.Run] does it by itself. A push that fails is told
// of in the log alone.
func (m *Metrics) Close(ctx context.Context) error {
	_ = m.provider.Shutdown(ctx) // the exporter has told of it, or was closed before
	return m.closeListener()
}

func (m *Metrics) closeListener() error {
	if m.listener == nil {
		return nil
	}
	if err := m.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("metrics endpoint: %w", err)
	}
	return nil
}

// Write writes all metrics in the text format of Prometheus.
func (m *Metrics) Write(w io.Writer) error {
	families, err := m.gather()
	if err != nil {
		return fmt.Errorf("gather metrics: %w", err)
	}
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(w, f); err != nil {
			return fmt.Errorf("write metrics: %w", err)
		}
	}
	return nil
}

// gather returns what Prometheus is shown. There goroutines have the name that Prometheus
// itself gives them: "count" is the end of a histogram's names.
func (m *Metrics) gather() ([]*dto.MetricFamily, error) {
	families, err := m.registry.Gather()
	for _, f := range families {
		if f.GetName() == "go_goroutine_count" {
			f.Name = new("go_goroutines")
		}
	}
	return families, err
}
