package template

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/task"
)

// TestSubscriptionsOfEnvironments: the list of an environment takes the place of the
// base's as a whole.
func TestSubscriptionsOfEnvironments(t *testing.T) {
	tests := map[string][]Subscription{
		"": {
			{
				Subscriber: "mail/failures", Events: []string{"step.failed", "task.failed"},
				Filter:   `payload.final || event.type == "task.failed"`,
				Config:   []byte(`{"limit":9007199254740993,"to":["ops@example.com"]}`),
				Position: "testdata/valid/events.yaml:11:5",
			},
			{Subscriber: "audit", Position: "testdata/valid/events.yaml:17:5"},
			{
				Subscriber: "metrics/orders", Events: []string{"order-flow.*", "shipping.label_printed", "*"}, Disabled: true,
				Position: "testdata/valid/events.yaml:18:5",
			},
		},
		"quiet": {{
			Subscriber: "audit", Filter: "// only the end\nevent.type.startsWith(\"task.\")\n",
			Position: "testdata/valid/events.yaml:31:9",
		}},
		"silent": nil,
	}
	for environment, want := range tests {
		t.Run("environment "+environment, func(t *testing.T) {
			got := parseFile(t, "testdata/valid/events.yaml", environment)
			if diff := cmp.Diff(want, got.Subscriptions); diff != "" {
				t.Errorf("subscriptions (-want +got):\n%s", diff)
			}
			loaded, err := FromSnapshot(got.Snapshot())
			if err != nil {
				t.Fatal(err)
			}
			for i := range want {
				want[i].Position = ""
			}
			if diff := cmp.Diff(want, loaded.Subscriptions); diff != "" {
				t.Errorf("subscriptions of the snapshot (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(got.Events, loaded.Events); diff != "" {
				t.Errorf("events of the snapshot (-parsed +loaded):\n%s", diff)
			}
			if got.Ref() != loaded.Ref() {
				t.Errorf("ref of the snapshot %v, want %v", loaded.Ref(), got.Ref())
			}
		})
	}
}

// TestPositionIsNoContent: a template that stands elsewhere is the same.
func TestPositionIsNoContent(t *testing.T) {
	const src = "name: t\nversion: 1.0.0\nsteps: [{name: a, handler: mock/noop}]\nsubscriptions: [{subscriber: audit}]\n"
	one, err := Parse("one.yaml", []byte(src), Options{})
	if err != nil {
		t.Fatal(err)
	}
	two, err := Parse("two.yaml", []byte("# moved\n"+src), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if one.Ref() != two.Ref() {
		t.Errorf("refs %v and %v, want the same hash", one.Ref(), two.Ref())
	}
	if one.Subscriptions[0].Position == two.Subscriptions[0].Position {
		t.Errorf("both are at %s", one.Subscriptions[0].Position)
	}
}

// TestFilterPlaces: where the filter is wrong is where the cursor must go.
func TestFilterPlaces(t *testing.T) {
	for name, filter := range map[string]string{
		"plain":              `payload.ok && event.WRONG == "a"`,
		"plain, two lines":   "payload.ok &&\n      event.WRONG == \"a\"",
		"single quotes":      `'event.step == ''größer'' && event.WRONG == ''a'''`,
		"double quotes":      `"event.step == \"\u00e4\" && event.WRONG == \"a\""`,
		"double, newline":    `"event.step == \"a\" &&\n\tevent.WRONG == \"a\""`,
		"double, many lines": "\"event.step == 'a' \\\n      && payload.ok\n      && event.WRONG == 'a'\"",
		"block":              "|\n      payload.ok &&\n\n        event.WRONG == \"a\"",
		"block, stripped":    "|- # why\n      payload.ok && // yes\n      event.WRONG == \"a\"",
		"folded":             ">\n      payload.ok &&\n      event.WRONG == \"a\"",
		"anchor":             `&f "payload.ok && event.WRONG == 'a'"`,
	} {
		t.Run(name, func(t *testing.T) {
			src := "name: t\nversion: 1.0.0\nsteps: [{name: a, handler: mock/noop}]\nsubscriptions:\n  - subscriber: audit\n    filter: " + filter + "\n"
			_, err := Parse("t.yaml", []byte(src), Options{})
			ds, ok := errors.AsType[Diagnostics](err)
			if !ok || len(ds) != 1 {
				t.Fatalf("Parse: %v, want one diagnostic", err)
			}
			lines := strings.Split(src, "\n")
			line := []rune(lines[ds[0].Line-1])
			if rest := string(line[ds[0].Column-1:]); !strings.HasPrefix(rest, "WRONG") {
				t.Errorf("%v: there stands %q", ds[0], rest)
			}
		})
	}
}

func TestNewChecksEvents(t *testing.T) {
	valid := func() Template {
		return Template{
			Name: "order", Version: "1.0.0",
			Steps:         []Step{{Name: "charge", Handler: task.HandlerRef{Plugin: "mock", Handler: "noop"}}},
			Subscriptions: []Subscription{{Subscriber: "audit/log", Events: []string{"step.failed"}, Filter: "payload.final", Config: []byte(`{"b": 1, "a": 2}`)}},
			Events:        []Event{{Name: "order.paid", On: "step.completed", Step: "charge"}},
		}
	}
	made, err := New(valid())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(made.Subscriptions[0].Config), `{"a":2,"b":1}`; got != want {
		t.Errorf("config %s, want %s", got, want)
	}
	for name, tt := range map[string]struct {
		change func(*Template)
		want   string
	}{
		"subscriber": {func(s *Template) { s.Subscriptions[0].Subscriber = "Audit" }, `subscriber "Audit": want plugin/name`},
		"event":      {func(s *Template) { s.Subscriptions[0].Events[0] = "step.faild" }, `unknown event "step.faild"; did you mean "step.failed"?`},
		"filter":     {func(s *Template) { s.Subscriptions[0].Filter = "1" }, "subscription of audit/log: filter: 1:1: a filter is true or false"},
		"config":     {func(s *Template) { s.Subscriptions[0].Config = []byte("{") }, "subscription of audit/log: config: not JSON"},
		"many":       {func(s *Template) { s.Subscriptions = make([]Subscription, MaxSubscriptions+1) }, "101 subscriptions: the limit is 100"},
		"name":       {func(s *Template) { s.Events[0].Name = "orders.paid" }, "the events of a template begin with its name"},
		"twice":      {func(s *Template) { s.Events = append(s.Events, s.Events[0]) }, "a second event of that name"},
		"source":     {func(s *Template) { s.Events[0].On = "step.started" }, `on "step.started": want step.completed`},
		"no step":    {func(s *Template) { s.Events[0].Step = "" }, `on step.completed: step ""`},
		"other step": {func(s *Template) { s.Events[0].Step = "x" }, `on step.completed: step "x"`},
		"a step":     {func(s *Template) { s.Events[0].On = "task.failed" }, `on task.failed: step "charge"`},
		"all events": {func(s *Template) { s.Events = make([]Event, MaxEvents+1) }, "101 events: the limit is 100"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := valid()
			tt.change(&spec)
			_, err := New(spec)
			if !errors.Is(err, task.ErrInvalid) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("New: %v, want %q", err, tt.want)
			}
		})
	}
}
