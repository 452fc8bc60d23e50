package telemetry

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.40.0"
)

// DefaultServiceName is the service.name of a host that no variable names otherwise.
const DefaultServiceName = "tasker"

// Resource returns what all telemetry of a host comes from: service.name (default
// [DefaultServiceName]), service.version, service.instance.id, which is the host's id, and
// what OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say, which goes before. The error is
// one of a variable that cannot be read.
func Resource(ctx context.Context, version, hostID string) (*resource.Resource, error) {
	r, err := resource.New( // what comes later goes before
		ctx,
		resource.WithTelemetrySDK(),
		resource.WithAttributes(
			semconv.ServiceName(DefaultServiceName), semconv.ServiceVersion(version), semconv.ServiceInstanceID(hostID),
		),
		resource.WithFromEnv(),
	)
	if err != nil {
		return nil, fmt.Errorf("resource attributes: %w", err)
	}
	return r, nil
}
