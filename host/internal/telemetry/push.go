package telemetry

import (
	"context"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/tasker-engine/tasker/host/internal/logkeys"
)

// newExporter makes the exporter of a protocol; variables say where it exports to.
func newExporter(ctx context.Context, protocol string) (metric.Exporter, error) {
	if protocol == protocolGRPC {
		return otlpmetricgrpc.New(ctx)
	}
	return otlpmetrichttp.New(ctx)
}

// toldExporter tells the log when pushes begin to fail, and when they work again.
type toldExporter struct {
	metric.Exporter

	log     hclog.Logger
	failing atomic.Bool
}

// Export implements [metric.Exporter]. An error is told here and nowhere else.
func (e *toldExporter) Export(ctx context.Context, data *metricdata.ResourceMetrics) error {
	err := e.Exporter.Export(ctx, data)
	switch {
	case err != nil && e.failing.CompareAndSwap(false, true):
		e.log.Warn("metrics cannot be pushed; it is tried again at every interval", logkeys.Error, err)
	case err == nil && e.failing.CompareAndSwap(true, false):
		e.log.Info("metrics are pushed again")
	}
	return nil
}
