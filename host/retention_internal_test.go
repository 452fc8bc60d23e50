package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

const retainedTemplate = `
name: NAME
version: 1.0.0
retention: {complete: 24h, error: 5000h, cancelled: 1h, resolved_manually: 2h, last: 10}
steps: [{name: a, handler: mock/noop}]
`

// TestRetentionRules: what counts of the configuration, its rules and the template.
func TestRetentionRules(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "kept.yaml"), []byte(strings.Replace(retainedTemplate, "NAME", "kept", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	set, err := template.Load(template.Options{}, dir)
	if err != nil || len(set.Problems()) > 0 {
		t.Fatalf("load: %v %v", err, set.Problems())
	}
	const day = 24 * time.Hour
	k := keeper{templates: set, rules: Retention{
		Keep: template.Retention{Complete: task.Duration(30 * day), Error: task.Duration(90 * day), Last: 100},
		Rules: []template.RetentionRule{
			{Template: "audit/*", Retention: template.Retention{Complete: template.Forever, Last: 1000}},
			{Template: "audit/daily", Retention: template.Retention{Complete: task.Duration(day)}},
			{Template: "plain", Retention: template.Retention{Error: task.Duration(2 * day)}},
		},
	}}
	tests := []struct {
		namespace, name string
		status          task.Status
		want            store.Keep
	}{
		{"shop", "order", task.Complete, store.Keep{For: 30 * day, Last: 100}},
		{"shop", "order", task.Error, store.Keep{For: 90 * day, Last: 100}},
		{"shop", "order", task.Cancelled, store.Keep{Last: 100}},
		{"audit", "yearly", task.Complete, store.Keep{Last: 1000}},
		{"audit", "daily", task.Complete, store.Keep{For: day, Last: 1000}},
		{"default", "plain", task.Error, store.Keep{For: 2 * day, Last: 100}},
		{"default", "kept", task.Complete, store.Keep{For: day, Last: 10}},
		{"default", "kept", task.Error, store.Keep{For: 90 * day, Last: 10}}, // a template only narrows
		{"default", "kept", task.Cancelled, store.Keep{For: time.Hour, Last: 10}},
		{"default", "kept", task.ResolvedManually, store.Keep{For: 2 * time.Hour, Last: 10}},
	}
	for _, tt := range tests {
		if got := k.keep(tt.namespace, tt.name, tt.status); got != tt.want {
			t.Errorf("%s/%s %s: got %+v, want %+v", tt.namespace, tt.name, tt.status, got, tt.want)
		}
	}
	if age, counts := k.shortest(); age != time.Hour || !counts {
		t.Errorf("shortest: got %s, counts %t; want 1h, true", age, counts)
	}
	none := keeper{templates: &template.Set{}}
	if age, counts := none.shortest(); age != 0 || counts {
		t.Errorf("shortest of no rules: got %s, counts %t; want nothing", age, counts)
	}
}
