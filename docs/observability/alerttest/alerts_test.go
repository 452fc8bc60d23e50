// Package alerttest fires every alert rule of this directory with Prometheus's own engine.
// It is a module of its own, so that nothing else depends on that engine.
package alerttest

import (
	"fmt"
	"os"
	"testing"

	"github.com/prometheus/prometheus/promql/promqltest"
	"go.yaml.in/yaml/v3"
)

// scene is a course of metrics, one value a minute, at the end of which an alert fires; quiet
// is one at the end of which it does not.
type scene struct{ fires, quiet string }

func scenes() map[string]scene {
	const commits = `tasker_store_commit_duration_seconds_bucket{le="0.1"} %s
tasker_store_commit_duration_seconds_bucket{le="0.5"} 0+100x30
tasker_store_commit_duration_seconds_bucket{le="+Inf"} 0+100x30
`
	const reads = `tasker_store_reads_total{operation="submit"} 0+%dx30
tasker_store_operations_total{operation="submit"} 0+100x30
`
	return map[string]scene{
		"TaskerCommitsSlow":      {fires: fmt.Sprintf(commits, "0+90x30"), quiet: fmt.Sprintf(commits, "0+100x30")},
		"TaskerSlowOperations":   {fires: `tasker_store_operations_slow_total{operation="list"} 0+5x30`, quiet: `tasker_store_operations_slow_total{operation="list"} 0+0x30`},
		"TaskerReadsAboveBudget": {fires: fmt.Sprintf(reads, 1000), quiet: fmt.Sprintf(reads, 100)},
		"TaskerDeliveryLags": {
			fires: `tasker_delivery_lag_time_seconds{subscription="mail/all"} 0+60x30`, quiet: `tasker_delivery_lag_time_seconds{subscription="mail/all"} 0+1x30`,
		},
		"TaskerStepsWait": {
			fires: `tasker_engine_steps_ready_age_seconds{plugin="orders"} 0+60x30`, quiet: `tasker_engine_steps_ready_age_seconds{plugin="orders"} 0+0x30`,
		},
		"TaskerPluginCrashes": {fires: `tasker_plugin_crashes_total{plugin="orders"} 0+1x30`, quiet: `tasker_plugin_crashes_total{plugin="orders"} 1+0x30`},
		"TaskerPluginQuarantined": {
			fires: `tasker_plugin_instances{plugin="orders",state="quarantined"} 0+0x29 1`, quiet: `tasker_plugin_instances{plugin="orders",state="ready"} 1+0x30`,
		},
		"TaskerDeadLetters": {
			fires: `tasker_delivery_dead_letters{subscription="mail/all"} 0+0x28 1 1`, quiet: `tasker_delivery_dead_letters{subscription="mail/all"} 0+0x30`,
		},
	}
}

// rules are those of alerts.yaml, by name.
func rules(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Rules []struct {
				Alert string `yaml:"alert"`
				Expr  string `yaml:"expr"`
			} `yaml:"rules"`
		} `yaml:"groups"`
	}
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	found := make(map[string]string)
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			found[r.Alert] = r.Expr
		}
	}
	return found
}

// TestAlerts evaluates each rule: it has a result, so that the alert fires, and none where
// all is well.
func TestAlerts(t *testing.T) {
	all := rules(t)
	for name := range scenes() {
		if all[name] == "" {
			t.Errorf("there is no rule %s", name)
		}
	}
	for name, expr := range all {
		s, ok := scenes()[name]
		if !ok {
			t.Errorf("rule %s is not tested", name)
			continue
		}
		for course, want := range map[string]int{s.fires: 1, s.quiet: 0} {
			t.Run(fmt.Sprintf("%s/%d", name, want), func(t *testing.T) {
				storage := promqltest.LoadedStorage(t, "load 1m\n"+indent(course))
				engine := promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)
				query, err := engine.NewInstantQuery(t.Context(), storage, nil, expr, end())
				if err != nil {
					t.Fatal(err)
				}
				defer query.Close()
				result := query.Exec(t.Context())
				vector, err := result.Vector()
				if err != nil || len(vector) != want {
					t.Errorf("%s has the result %v, %v; want %d series", expr, vector, err, want)
				}
			})
		}
	}
}
