package telemetry

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/tasker-engine/tasker/host/internal/logkeys"
	"github.com/tasker-engine/tasker/host/internal/measure"
)

// scope is the name under which the metrics of a host are made.
const scope = "github.com/tasker-engine/tasker/host"

var _ sdkmetric.Producer = (*Metrics)(nil)

// observe registers all counters and gauges with one callback, which makes one reading
// for all of them. The histograms of the reading follow with [Metrics.Produce].
func (m *Metrics) observe() error {
	meter := m.provider.Meter(scope)
	var instruments []metric.Observable
	var observers []func(metric.Observer, *Reading)
	for _, def := range Catalogue() {
		if def.Kind == Histogram {
			continue
		}
		instrument, err := newInstrument(meter, def)
		if err != nil {
			return fmt.Errorf("metric %s: %w", def.Name, err)
		}
		instruments = append(instruments, instrument)
		observers = append(observers, func(o metric.Observer, r *Reading) {
			def.values(r, func(value float64, attributes ...string) {
				o.ObserveFloat64(instrument, value, metric.WithAttributeSet(attributesOf(def, attributes)))
			})
		})
	}
	_, err := meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		if r := m.reading(ctx); r != nil {
			for _, observe := range observers {
				observe(o, r)
			}
		}
		return nil
	}, instruments...)
	if err != nil {
		return fmt.Errorf("metrics: %w", err)
	}
	return nil
}

func newInstrument(meter metric.Meter, def Metric) (metric.Float64Observable, error) {
	if def.Kind == Counter {
		return meter.Float64ObservableCounter(def.Name, metric.WithUnit(def.Unit), metric.WithDescription(def.Description))
	}
	return meter.Float64ObservableGauge(def.Name, metric.WithUnit(def.Unit), metric.WithDescription(def.Description))
}

// reading makes a reading; when that fails it is the last one again, nil = there is none.
func (m *Metrics) reading(ctx context.Context) *Reading {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	r, err := m.read(ctx)
	if err != nil {
		m.log.Debug("metrics are those of the last time", logkeys.Error, err)
		return m.last.Load()
	}
	m.last.Store(r)
	return r
}

// Produce implements [sdkmetric.Producer] with the histograms of the last reading. They are
// cumulative, whatever temporality an exporter prefers.
func (m *Metrics) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	r := m.last.Load()
	if r == nil {
		return nil, nil
	}
	now := time.Now()
	out := metricdata.ScopeMetrics{Scope: instrumentation.Scope{Name: scope}}
	for _, def := range Catalogue() {
		if def.Kind != Histogram {
			continue
		}
		var points []metricdata.HistogramDataPoint[float64]
		def.histograms(r, func(s measure.Snapshot, scale float64, attributes ...string) {
			if s.Bounds != nil {
				points = append(points, pointOf(s, scale, attributesOf(def, attributes), now.Add(-r.Uptime), now))
			}
		})
		if len(points) > 0 {
			out.Metrics = append(out.Metrics, metricdata.Metrics{
				Name: def.Name, Description: def.Description, Unit: def.Unit,
				Data: metricdata.Histogram[float64]{DataPoints: points, Temporality: metricdata.CumulativeTemporality},
			})
		}
	}
	return []metricdata.ScopeMetrics{out}, nil
}

func pointOf(s measure.Snapshot, scale float64, set attribute.Set, start, now time.Time) metricdata.HistogramDataPoint[float64] {
	bounds := make([]float64, len(s.Bounds))
	for i, b := range s.Bounds {
		bounds[i] = float64(b) / scale
	}
	return metricdata.HistogramDataPoint[float64]{
		Attributes: set, StartTime: start, Time: now,
		Count: s.Count, Sum: float64(s.Sum) / scale, Bounds: bounds, BucketCounts: s.Counts,
	}
}

// attributesOf pairs a metric's keys with values.
func attributesOf(def Metric, values []string) attribute.Set {
	pairs := make([]attribute.KeyValue, len(values))
	for i, value := range values {
		pairs[i] = attribute.String(def.Attributes[i], value)
	}
	return attribute.NewSet(pairs...)
}
