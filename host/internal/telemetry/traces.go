package telemetry

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"

	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
)

// Protocols of OTLP, as OTEL_EXPORTER_OTLP_PROTOCOL has them.
const (
	protocolGRPC = "grpc"
	protocolHTTP = "http/protobuf"
)

// TraceSettings is what the environment variables of OpenTelemetry say about traces.
type TraceSettings struct {
	// Enabled says that spans are exported: an endpoint or the exporter otlp is set, and
	// nothing turns them off.
	Enabled bool
	// Protocol is grpc, which is the default, or http/protobuf.
	Protocol string
	// Sampler decides which traces are recorded. The zero value, which is what it is when
	// nothing is exported, records none.
	Sampler trace.Sampler
}

// TraceSettingsFromEnv reads OTEL_SDK_DISABLED, OTEL_TRACES_EXPORTER, OTEL_TRACES_SAMPLER
// and its argument, and of OTEL_EXPORTER_OTLP_TRACES_* and OTEL_EXPORTER_OTLP_* whether there is
// an endpoint, and the protocol. The error tells of values that are not understood; the
// settings are then what the standard prescribes.
func TraceSettingsFromEnv() (TraceSettings, error) {
	s := TraceSettings{Protocol: cmp.Or(ofTraces("PROTOCOL"), protocolGRPC)}
	switch exporter := os.Getenv("OTEL_TRACES_EXPORTER"); {
	case strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true"), exporter == "none":
		return s, nil
	case exporter == "":
		s.Enabled = ofTraces("ENDPOINT") != ""
	case exporter == "otlp":
		s.Enabled = true
	default:
		return s, fmt.Errorf("OTEL_TRACES_EXPORTER %q: want otlp or none; no traces are exported", exporter)
	}
	if !s.Enabled {
		return s, nil
	}
	var problems []error
	if s.Protocol != protocolGRPC && s.Protocol != protocolHTTP {
		problems = append(problems, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL %q: want %s or %s; %s is taken",
			s.Protocol, protocolGRPC, protocolHTTP, protocolGRPC))
		s.Protocol = protocolGRPC
	}
	sampler, err := trace.ParseSampler(os.Getenv("OTEL_TRACES_SAMPLER"), os.Getenv("OTEL_TRACES_SAMPLER_ARG"))
	s.Sampler = sampler
	if err != nil {
		problems = append(problems, fmt.Errorf("OTEL_TRACES_SAMPLER: %w", err))
	}
	return s, errors.Join(problems...)
}

// ofTraces returns the value of a variable of the exporter: that for traces goes before
// that for everything.
func ofTraces(name string) string {
	return cmp.Or(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_"+name), os.Getenv("OTEL_EXPORTER_OTLP_"+name))
}

// client makes the client, which takes everything else from the environment. It sends once:
// who uses it knows better when to send again.
func (s TraceSettings) client() otlptrace.Client {
	if s.Protocol == protocolHTTP {
		return otlptracehttp.NewClient(otlptracehttp.WithRetry(otlptracehttp.RetryConfig{}))
	}
	return otlptracegrpc.NewClient(otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{}))
}
