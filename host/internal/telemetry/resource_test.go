package telemetry

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestResource(t *testing.T) {
	tests := []struct {
		name       string
		service    string
		attributes string
		want       map[string]string
	}{
		{
			name: "nothing is set",
			want: map[string]string{"service.name": "tasker", "service.version": "1.2.3", "service.instance.id": "01HOST"},
		},
		{
			name: "variables go before", service: "orders", attributes: "deployment.environment.name=production,service.version=9",
			want: map[string]string{
				"service.name": "orders", "service.version": "9", "service.instance.id": "01HOST",
				"deployment.environment.name": "production",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("OTEL_SERVICE_NAME", tt.service)
			t.Setenv("OTEL_RESOURCE_ATTRIBUTES", tt.attributes)
			r, err := Resource(t.Context(), "1.2.3", "01HOST")
			if err != nil {
				t.Fatal(err)
			}
			got := make(map[string]string)
			for _, kv := range r.Attributes() {
				if _, ok := tt.want[string(kv.Key)]; ok {
					got[string(kv.Key)] = kv.Value.AsString()
				}
			}
			if diff := cmp.Diff(got, tt.want); diff != "" {
				t.Errorf("Resource() (-got +want):\n%s", diff)
			}
		})
	}
}

func TestResourceRefused(t *testing.T) {
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "no pair")
	if r, err := Resource(t.Context(), "1", "h"); err == nil {
		t.Errorf("Resource() = %v, want an error for attributes that cannot be read", r)
	}
}
