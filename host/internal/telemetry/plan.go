package telemetry

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
)

// The variables of the OpenTelemetry specification that say where metrics go. The
// exporters themselves know further ones: endpoints, headers, certificates, timeouts,
// compression and the interval of pushes.
const (
	envDisabled        = "OTEL_SDK_DISABLED"
	envExporter        = "OTEL_METRICS_EXPORTER"
	envEndpoint        = "OTEL_EXPORTER_OTLP_ENDPOINT"
	envMetricsEndpoint = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"
	envProtocol        = "OTEL_EXPORTER_OTLP_PROTOCOL"
	envMetricsProtocol = "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL"
	envPromHost        = "OTEL_EXPORTER_PROMETHEUS_HOST"
	envPromPort        = "OTEL_EXPORTER_PROMETHEUS_PORT"
)

// Where the exporter of Prometheus listens by the specification unless variables say
// otherwise.
const (
	defaultPromHost = "localhost"
	defaultPromPort = "9464"
)

// Plan says where metrics go. The zero value is nowhere: nothing is measured then.
type Plan struct {
	Listen string // "host:port" of the Prometheus endpoint; empty = none
	Push   string // protocol of the OTLP exporter; empty = none
}

// On reports whether anybody looks at the metrics.
func (p Plan) On() bool { return p != Plan{} }

// PlanMetrics decides by the configured address of the Prometheus endpoint, empty for
// none, and the variables of the OpenTelemetry specification. Unlike there, nothing is
// pushed unless a variable asks for it: OTEL_METRICS_EXPORTER, or, without it, an endpoint.
// The protocol is grpc unless a variable says otherwise. The error tells of a variable that
// is not understood and is left out of the plan.
func PlanMetrics(listen string, lookup func(string) (string, bool)) (Plan, error) {
	env := func(key string) string {
		value, _ := lookup(key)
		return strings.TrimSpace(value)
	}
	p := Plan{Listen: listen}
	if strings.EqualFold(env(envDisabled), "true") {
		return p, nil
	}
	exporters := strings.Split(env(envExporter), ",")
	if env(envExporter) == "" {
		exporters = nil
		if env(envEndpoint) != "" || env(envMetricsEndpoint) != "" {
			exporters = []string{"otlp"}
		}
	}
	for i, name := range exporters {
		exporters[i] = strings.TrimSpace(name)
		switch exporters[i] {
		case "otlp", "prometheus", "none":
		default:
			return p, fmt.Errorf("%s: %q: want otlp, prometheus or none", envExporter, name)
		}
	}
	if slices.Contains(exporters, "none") {
		return p, nil
	}
	if slices.Contains(exporters, "prometheus") && p.Listen == "" {
		p.Listen = net.JoinHostPort(cmp.Or(env(envPromHost), defaultPromHost), cmp.Or(env(envPromPort), defaultPromPort))
	}
	if slices.Contains(exporters, "otlp") {
		p.Push = cmp.Or(env(envMetricsProtocol), env(envProtocol), protocolGRPC)
		if wrong := p.Push; wrong != protocolGRPC && wrong != protocolHTTP {
			p.Push = ""
			return p, fmt.Errorf("%s: %q: want %s or %s", envMetricsProtocol, wrong, protocolGRPC, protocolHTTP)
		}
	}
	return p, nil
}

// errNoAddress is returned for an endpoint without a port.
var errNoAddress = errors.New("want host:port such as 127.0.0.1:9464")

// CheckAddress returns an error unless addr is "host:port".
func CheckAddress(addr string) error {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return fmt.Errorf("%q: %w", addr, errNoAddress)
	}
	return nil
}
