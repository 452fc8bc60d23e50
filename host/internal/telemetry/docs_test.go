package telemetry

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
)

var update = flag.Bool("update", false, "write docs/observability/metrics.md")

const docs = "../../../docs/observability"

// exposed returns the names that Prometheus sees, by the descriptions of the metrics.
func exposed(t *testing.T) map[string]string {
	t.Helper()
	m := start(t, Plan{Listen: "127.0.0.1:0"}, hclog.NewNullLogger(), readSample)
	if err := m.Write(&bytes.Buffer{}); err != nil { // the first reading
		t.Fatal(err)
	}
	families, err := m.gather()
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string]string, len(families))
	for _, f := range families {
		names[f.GetHelp()] = f.GetName()
	}
	return names
}

// TestDocs compares the page of the metrics with the catalogue; -update writes it.
func TestDocs(t *testing.T) {
	names := exposed(t)
	var b strings.Builder
	b.WriteString(`# Metrics of the host

This page is written from ` + "`host/internal/telemetry/catalogue.go`" + `; ` + "`go test ./host/internal/telemetry -run TestDocs -update`" + ` writes it.
[README.md](README.md) says how to switch metrics on. Metrics of the Go runtime (` + "`go_*`" + `) and ` + "`target_info`" + `, which names the
host, come with them. No label is an id; their values are what plugins declare and words of Tasker.

| name in Prometheus | name in OpenTelemetry | kind | unit | labels | meaning |
|---|---|---|---|---|---|
`)
	for _, m := range Catalogue() {
		name := names[m.Description]
		if name == "" {
			t.Errorf("metric %s is not exposed", m.Name)
		}
		keys := make([]string, 0, len(m.Attributes))
		for _, key := range m.Attributes {
			keys = append(keys, "`"+key+"`")
		}
		unit := ""
		if m.Unit != "" {
			unit = "`" + m.Unit + "`"
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s | %s | %s |\n", name, m.Name, m.Kind, unit, strings.Join(keys, ", "), m.Description)
	}
	path := filepath.Join(docs, "metrics.md")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(text), b.String()); diff != "" {
		t.Errorf("%s is not what -update writes (-got +want):\n%s", path, diff)
	}
}

// TestCatalogue: names are of one family and stand once, and about as many as one can know.
func TestCatalogue(t *testing.T) {
	name := regexp.MustCompile(`^tasker(\.[a-z][a-z_]*)+$`)
	seen := make(map[string]bool)
	for _, m := range Catalogue() {
		if !name.MatchString(m.Name) || seen[m.Name] || seen[m.Description] {
			t.Errorf("metric %s: want a name of its own such as tasker.group.name, and a description of its own", m.Name)
		}
		seen[m.Name], seen[m.Description] = true, true
		if (m.Kind == Histogram) != (m.histograms != nil) || (m.Kind == Histogram) == (m.values != nil) {
			t.Errorf("metric %s is a %s and is not read like one", m.Name, m.Kind)
		}
		for _, key := range m.Attributes {
			if strings.Contains(key, "id") || strings.Contains(key, "task") {
				t.Errorf("metric %s has the label %s: its values have no end", m.Name, key)
			}
		}
	}
}

// TestRulesAndDashboard: what they ask for is exposed, and the dashboard shows every metric.
func TestRulesAndDashboard(t *testing.T) {
	names := exposed(t)
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert string `yaml:"alert"`
				Expr  string `yaml:"expr"`
			} `yaml:"rules"`
		} `yaml:"groups"`
	}
	read(t, "alerts.yaml", func(text []byte) error { return yaml.Unmarshal(text, &rules) })
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			wantExposed(t, r.Alert, r.Expr, names)
		}
	}
	var dashboard struct {
		Panels []struct {
			Title   string `json:"title"`
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	var shown strings.Builder
	read(t, "dashboard.json", func(text []byte) error { return json.Unmarshal(text, &dashboard) })
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			wantExposed(t, p.Title, target.Expr, names)
			shown.WriteString(target.Expr + "\n")
		}
	}
	for _, m := range Catalogue() {
		if !strings.Contains(shown.String(), names[m.Description]) {
			t.Errorf("the dashboard does not show %s", m.Name)
		}
	}
}

func read(t *testing.T, name string, decode func([]byte) error) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(docs, name))
	if err == nil {
		err = decode(text)
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// wantExposed fails the test for an expression with a metric that does not exist.
func wantExposed(t *testing.T, where, expr string, names map[string]string) {
	t.Helper()
	var known []string
	for _, name := range names {
		known = append(known, name, name+"_bucket")
	}
	found := regexp.MustCompile(`\b(tasker|go)_[a-z_]+\b`).FindAllString(expr, -1)
	for _, name := range found {
		if !slices.Contains(known, name) && name != "go_version" && name != "go_memory_type" {
			t.Errorf("%s asks for %s, which does not exist", where, name)
		}
	}
	if len(found) == 0 {
		t.Errorf("%s asks for nothing: %s", where, expr)
	}
}
