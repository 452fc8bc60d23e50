package main

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	dto "github.com/prometheus/client_model/go"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
	"github.com/tasker-engine/tasker/plugin/sdk/sdktest"
)

// known returns the metrics that there are once every event has come, with their labels.
func known(t *testing.T) map[string]*dto.MetricFamily {
	t.Helper()
	t.Chdir(t.TempDir())
	r := start(t, config{Limits: limits{Names: 1}})
	for _, e := range event.Catalog() {
		if e.Category != "workflow" {
			r.deliver(t, sdktest.Event{Type: e.Name})
		}
	}
	r.deliver(t, sdktest.Event{Payload: event.StepFailed{Final: true}})
	for _, e := range life("t1") {
		r.deliver(t, e)
	}
	r.deliver(t, sdktest.Event{Type: "a.b", Payload: 1}, sdktest.Event{Type: "c.d", Payload: 1})
	return scrape(t, r.url)
}

var (
	metricName = regexp.MustCompile(`\btasker_[a-z_]+`)
	labelName  = regexp.MustCompile(`([a-z_]+)=~?"|by \(([a-z_, ]+)\)|label_values\([^,]+, ([a-z_]+)\)|\{\{ *\$labels\.([a-z_]+)`)
)

// checkQuery checks that what a query names is there. (The language itself is Prometheus's own to check.)
func checkQuery(t *testing.T, families map[string]*dto.MetricFamily, place, query string) {
	t.Helper()
	labels := map[string]bool{"le": true, "instance": true}
	names := metricName.FindAllString(query, -1)
	if len(names) == 0 {
		t.Errorf("%s: %q names no metric", place, query)
	}
	for _, name := range names {
		f := families[name]
		if f == nil {
			f = families[strings.TrimSuffix(name, "_bucket")]
		}
		if f == nil {
			t.Errorf("%s: there is no metric %s", place, name)
			continue
		}
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels[l.GetName()] = true
		}
	}
	for _, m := range labelName.FindAllStringSubmatch(query, -1) {
		for l := range strings.SplitSeq(strings.Join(m[1:], ""), ",") {
			if !labels[strings.TrimSpace(l)] {
				t.Errorf("%s: no metric of %q has the label %q", place, query, l)
			}
		}
	}
	if strings.Count(query, "(") != strings.Count(query, ")") {
		t.Errorf("%s: unbalanced: %q", place, query)
	}
}

func TestDashboard(t *testing.T) {
	doc, err := os.ReadFile("dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	families := known(t)
	var d struct {
		Templating struct {
			List []struct {
				Name       string `json:"name"`
				Type       string `json:"type"`
				Definition string `json:"definition"`
			} `json:"list"`
		} `json:"templating"`
		Panels []struct {
			ID      int    `json:"id"`
			Title   string `json:"title"`
			GridPos struct {
				W int `json:"w"`
				X int `json:"x"`
			} `json:"gridPos"`
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(doc, &d); err != nil {
		t.Fatal(err)
	}
	for _, v := range d.Templating.List {
		if v.Type == "query" {
			checkQuery(t, families, "variable "+v.Name, v.Definition)
		}
	}
	ids := make(map[int]bool)
	for _, p := range d.Panels {
		if ids[p.ID] || len(p.Targets) == 0 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %d %q: its id is taken, or it shows nothing, or it is too wide", p.ID, p.Title)
		}
		ids[p.ID] = true
		for _, target := range p.Targets {
			checkQuery(t, families, p.Title, target.Expr)
		}
	}
	// Nobody would miss what no panel shows.
	for _, name := range slices.Sorted(maps.Keys(families)) {
		if strings.HasPrefix(name, prefix) && !strings.Contains(string(doc), name) && !strings.HasPrefix(name, "tasker_metrics_") && name != "tasker_host_starts_total" {
			t.Errorf("no panel shows %s", name)
		}
	}
}

func TestRules(t *testing.T) {
	doc, err := os.ReadFile("rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	families := known(t)
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.UnmarshalWithOptions(doc, &file, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	if len(file.Groups) != 1 || len(file.Groups[0].Rules) == 0 {
		t.Fatalf("%d groups of rules", len(file.Groups))
	}
	for _, r := range file.Groups[0].Rules {
		checkQuery(t, families, r.Alert, r.Expr+" "+strings.Join(slices.Collect(maps.Values(r.Annotations)), " "))
		if r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s has no severity, summary or description", r.Alert)
		}
	}
}

// TestReadme checks that the README names every metric, and every key with its default.
func TestReadme(t *testing.T) {
	doc, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	for name := range known(t) {
		if strings.HasPrefix(name, prefix+"_") && !strings.Contains(string(doc), "`"+name+"`") {
			t.Errorf("README.md does not name %s", name)
		}
	}
	var check func(of reflect.Type, at string)
	check = func(of reflect.Type, at string) {
		for f := range of.Fields() {
			key, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if f.Type.Kind() == reflect.Struct {
				check(f.Type, at+key+".")
			} else if !strings.Contains(string(doc), "| `"+at+key+"` |") {
				t.Errorf("README.md does not tell of %s%s", at, key)
			}
		}
	}
	check(reflect.TypeFor[config](), "")
}
