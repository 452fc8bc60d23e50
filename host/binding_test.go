package host_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
)

// boundTemplate is a template with subscriptions, given as YAML.
func boundTemplate(name, subscriptions string) string {
	return "name: " + name + "\nversion: 1.0.0\nsubscriptions:\n" + subscriptions + "steps:\n- {name: a, handler: mock/noop}\n- {name: b, depends_on: [a], handler: mock/noop}\n"
}

// templateDir is a directory with templates.
func templateDir(t *testing.T, templates ...string) hosttest.Option {
	t.Helper()
	dir := t.TempDir()
	for i, text := range templates {
		if err := os.WriteFile(filepath.Join(dir, string(rune('a'+i))+".yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return hosttest.Options(func(o *host.Options) { o.TemplateDirs = append(o.TemplateDirs, dir) })
}

// heard returns the events of a task that a recorder got, as "type/label".
func heard(got []hosttest.Received, id task.ID) (events []string) {
	for _, r := range got {
		if r.Task == id {
			events = append(events, strings.TrimSuffix(r.Type+"/"+r.Label, "/"))
		}
	}
	return events
}

// TestBindings: what a template says of a subscriber applies to its tasks, else what the
// configuration says, else what the subscriber declares; each narrows, none widens.
func TestBindings(t *testing.T) {
	t.Parallel()
	registered := boundTemplate("registered", `- subscriber: one/bound
  events: [step.completed]
  filter: event.step == "a"
  config: {label: a}
- subscriber: one/bound
  events: [step.*]
  filter: event.type == "step.completed"
  config: {label: other}
- {subscriber: one/all, enabled: false}
`)
	h := hosttest.Start(t, hosttest.Recorder("one"), templateDir(t, registered), hosttest.Options(func(o *host.Options) {
		o.Subscriptions = []host.Subscriber{
			{Subscriber: "one/bound", Template: "configured", Events: []string{"task.completed"}, Config: json.RawMessage(`{"label":"configured"}`), Position: "tasker.yaml:3:5"},
			{Subscriber: "one/all", Template: "default/configured@1.0.0", Filter: `event.task_seq == 1`},
		}
	}))
	h.AwaitPlugin("one")
	create := func(ref, source string) task.ID {
		t.Helper()
		r := task.Request{Template: ref}
		if ref == "" {
			r.Source, r.SourceName = []byte(source), "given.yaml"
		}
		created, err := h.CreateTask(t.Context(), r)
		if err != nil || len(created.Warnings) > 0 {
			t.Fatalf("create: %v, warnings %q", err, created.Warnings)
		}
		h.WantTask(h.Checked(created.ID), task.Complete)
		return created.ID
	}
	byFile := create("registered", "")
	given := create("", boundTemplate("given", "- {subscriber: one/bound, events: [task.*], config: {label: given}}\n"))
	configured := create("", strings.Replace(boundTemplate("configured", "X"), "subscriptions:\nX", "", 1))
	plain := create("", strings.Replace(boundTemplate("plain", "X"), "subscriptions:\nX", "", 1))
	h.AwaitDelivered("one/all", "one/bound", "one/lanes")

	bound, all := h.Received("one", "bound"), h.Received("one", "all")
	for _, tt := range []struct {
		name string
		got  []string
		want []string
	}{
		{"the first binding that matches", heard(bound, byFile), []string{"step.completed/a", "step.completed/other"}},
		{"enabled: false", heard(all, byFile), nil},
		{"a template that is not registered", heard(bound, given), []string{"task.initialized/given", "task.started/given", "task.completed/given"}},
		{"the configuration", heard(bound, configured), []string{"task.completed/configured"}},
		{"the configuration, with a filter", heard(all, configured), []string{"task.initialized"}},
		{"bound and without a binding", heard(bound, plain), nil},
	} {
		if !slices.Equal(tt.got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, tt.got, tt.want)
		}
	}
	if got, want := len(heard(all, plain)), len(h.History(plain)); got != want {
		t.Errorf("without any binding one/all got %d events, want all %d", got, want)
	}
	s := h.Subscription("one/bound")
	if len(s.Bindings) != 3 || s.Bindings[0].Source != "template default/registered@1.0.0" || s.Bindings[2].Source != "tasker.yaml:3:5" {
		t.Errorf("bindings %+v, want two of the template and one of the configuration", s.Bindings)
	}
	if note := "binding of template default/registered@1.0.0"; !slices.ContainsFunc(h.Plugin("one").Notes, func(n string) bool { return strings.HasPrefix(n, note) }) {
		t.Errorf("notes %q, want one that begins with %q", h.Plugin("one").Notes, note)
	}
	var followed []string
	for _, e := range h.Log(host.EventQuery{Subscription: "one/bound"}) {
		followed = append(followed, e.ID)
	}
	var received []string
	for _, r := range bound {
		received = append(received, r.ID)
	}
	if !slices.Equal(followed, received) {
		t.Errorf("the events of the subscription are %v, it got %v", followed, received)
	}
}

// TestBindingsThatAreRefused: a task whose template binds what its subscriber does not
// take is refused with all that is wrong and where.
func TestBindingsThatAreRefused(t *testing.T) {
	t.Parallel()
	bad := boundTemplate("bad", `- {subscriber: one, events: [task.*]}
- {subscriber: one/bund}
- {subscriber: one/lanes, events: [host.started, plugin.*]}
- {subscriber: one/lanes, config: {lable: x}, filter: payload.finl}
`)
	h := hosttest.Start(t, hosttest.Recorder("one"), templateDir(t, bad), hosttest.Expect("binding is refused"),
		hosttest.Options(func(o *host.Options) {
			o.Subscriptions = []host.Subscriber{{Subscriber: "one/bound", Config: json.RawMessage(`{"label":1}`), Position: "tasker.yaml:7:3"}}
		}))
	h.AwaitPlugin("one")
	h.AwaitPlugin("mock")
	_, err := h.CreateTask(t.Context(), task.Request{Template: "bad"})
	if !errors.Is(err, task.ErrInvalid) {
		t.Fatalf("create: %v, want %v", err, task.ErrInvalid)
	}
	for _, want := range []string{
		"a.yaml:4:", "plugin one has 3 subscriptions: name one of one/all, one/bound, one/lanes",
		"a.yaml:5:", `plugin one has no subscription "bund": did you mean "one/bound"?`,
		"a.yaml:6:", "event host.started is not among those that it declares: step.*, task.*", "event plugin.* is not among those",
		"a.yaml:7:", "additional properties 'lable' not allowed",
		`filter: 1:8: no event that comes here has "finl" in its payload: did you mean "final"?`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("create: %v\nwant %q in it", err, want)
		}
	}
	s := h.Subscription("one/bound")
	if len(s.Bindings) != 1 || !strings.Contains(s.Bindings[0].Problem, "got number, want string") {
		t.Errorf("bindings %+v, want the problem of the one in the configuration", s.Bindings)
	}
	if notes := strings.Join(h.Plugin("one").Notes, "\n"); !strings.Contains(notes, "(tasker.yaml:7:3): refused: ") {
		t.Errorf("notes %s\nwant the refused binding among them", notes)
	}
	absent := boundTemplate("absent", "- {subscriber: notifier/all}\n")
	created, err := h.TryCreate(absent)
	if want := `no plugin "notifier" is installed, to which the template gives events`; err != nil || len(created.Warnings) != 1 || !strings.Contains(created.Warnings[0], want) {
		t.Errorf("create with a subscriber that is not there: %v, warnings %q; want %q", err, created.Warnings, want)
	}
	if _, err := h.TryCreate(absent, requireHandlers); !errors.Is(err, host.ErrUnknownHandler) {
		t.Errorf("create that requires all plugins: %v, want %v", err, host.ErrUnknownHandler)
	}
}

// TestBindingsOfTheConfigurationAreChecked: what is wrong with them whatever the plugins
// are is told before anything runs.
func TestBindingsOfTheConfigurationAreChecked(t *testing.T) {
	t.Parallel()
	_, err := host.Open(t.Context(), host.Options{Home: t.TempDir(), Subscriptions: []host.Subscriber{
		{Subscriber: "One/all", Position: "tasker.yaml:1:1"},
		{Subscriber: "one/", Position: "tasker.yaml:2:1"},
		{Subscriber: "one/all", Template: "a/b/c", Position: "tasker.yaml:3:1"},
		{Subscriber: "one/all", Filter: "event.typ == 'x'"},
	}})
	if !errors.Is(err, task.ErrInvalid) {
		t.Fatalf("open: %v, want %v", err, task.ErrInvalid)
	}
	for _, want := range []string{
		`tasker.yaml:1:1: subscriber "One/all": want plugin/subscription`, `tasker.yaml:2:1: subscriber "one/"`, `tasker.yaml:3:1: template "a/b/c"`,
		`subscription 4 of the host: filter: 1:7: an event has no field "typ"`,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("open: %v\nwant %q in it", err, want)
		}
	}
}
