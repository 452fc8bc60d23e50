package supervisor

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGrantedEnv(t *testing.T) {
	o := Options{
		GrantEnv: map[string][]string{"listed": {"TOKEN", "OTHER"}, "shut": {}},
		StandardEnv: []string{
			"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS",
		},
	}
	for _, tt := range []struct {
		name, plugin string
		wanted, want []string
	}{
		{"what it asks for and the operator grants", "listed", []string{"TOKEN", "OTEL_EXPORTER_OTLP_ENDPOINT"}, []string{"TOKEN"}},
		{"all that the operator grants", "listed", []string{"*"}, []string{"OTHER", "TOKEN"}},
		{"the standard's, by name", "any", []string{"TOKEN", "OTEL_EXPORTER_OTLP_ENDPOINT"}, []string{"OTEL_EXPORTER_OTLP_ENDPOINT"}},
		{"not by a wildcard", "any", []string{"*"}, nil},
		{"not what it does not ask for", "any", nil, nil},
		{"not when the operator has decided", "shut", []string{"OTEL_EXPORTER_OTLP_HEADERS"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(o.grantedEnv(tt.plugin, tt.wanted), tt.want); diff != "" {
				t.Errorf("grantedEnv() (-got +want):\n%s", diff)
			}
		})
	}
}
