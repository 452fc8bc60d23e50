package host_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
)

// bindingCases are what the keys of a subscription do, in a template and in the host's
// configuration alike: what a subscription gets of a task with the steps a and b.
func bindingCases() map[string]bindingCase {
	const steps = "step.completed of a, step.completed of b"
	return map[string]bindingCase{
		"subscriber": {"- {subscriber: one/bound, events: [step.completed]}", "bound", steps},
		"other":      {"- {subscriber: one/lanes, events: [step.completed]}", "bound", ""},
		"events":     {"- {subscriber: one/bound, events: [task.started, task.com*]}", "bound", "task.started, task.completed"},
		"filter":     {`- {subscriber: one/bound, filter: event.type == "step.completed" && event.step != "a"}`, "bound", "step.completed of b"},
		"config":     {"- {subscriber: one/bound, events: [task.completed], config: {label: mine}}", "bound", "task.completed (mine)"},
		"enabled":    {"- {subscriber: one/lanes, enabled: false}", "lanes", ""},
		"first that lets through": {
			`
- {subscriber: one/bound, filter: event.step == "a", enabled: false}
- {subscriber: one/bound, events: [step.completed], config: {label: second}}
- {subscriber: one/bound, events: [step.*, task.completed], filter: event.type.endsWith(".completed"), config: {label: third}}`,
			"bound", "step.completed of a (second), step.completed of b (second), task.completed (third)",
		},
	}
}

type bindingCase struct{ subscriptions, subscription, want string }

// name is a name of a template for the case.
func caseName(name string) string { return strings.ReplaceAll(name, " ", "-") }

// receivedOf says what a subscription of the recorder got of a task.
func receivedOf(h *hosttest.Host, subscription string, id task.ID, log []hosttest.Event) string {
	var got []string
	for _, r := range h.Received("one", subscription) {
		if r.Task != id {
			continue
		}
		i := slices.IndexFunc(log, func(e hosttest.Event) bool { return e.Seq == r.Seq })
		text := r.Type
		if i >= 0 && log[i].Step != "" {
			text += " of " + string(log[i].Step)
		}
		if r.Label != "" {
			text += " (" + r.Label + ")"
		}
		got = append(got, text)
	}
	return strings.Join(got, ", ")
}

// TestTemplateSubscriptions: each key of a template's subscriptions decides what its
// tasks' events reach.
//
//nolint:tparallel // the subtests share the test's host
func TestTemplateSubscriptions(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t, hosttest.Recorder("one"))
	ids := make(map[string]task.ID)
	for name, c := range bindingCases() {
		source := graphWith("subscriptions:\n"+strings.TrimPrefix(c.subscriptions, "\n")+"\n", "a", "b <- a")
		ids[name] = h.Create(strings.Replace(source, "name: shape", "name: "+caseName(name), 1))
	}
	for _, id := range ids {
		h.WantTask(h.Checked(id), task.Complete)
	}
	h.AwaitPlugin("one")
	log := h.Log(everything)
	h.AwaitDelivered("one/bound", "one/lanes")
	for name, c := range bindingCases() {
		t.Run(name, func(t *testing.T) {
			if got := receivedOf(h, c.subscription, ids[name], log); got != c.want {
				t.Errorf("one/%s got %q, want %q", c.subscription, got, c.want)
			}
		})
	}
}

// TestHostSubscriptions: each key of the host's subscriptions does the same, for the
// tasks of one template or of all; what a template says comes first.
//
//nolint:tparallel // the subtests share the test's host
func TestHostSubscriptions(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t, hosttest.Recorder("one"), hosttest.Options(func(o *host.Options) {
		o.Subscriptions = []host.Subscriber{
			{Subscriber: "one/bound", Template: "events", Events: []string{"task.started", "task.com*"}},
			{Subscriber: "one/bound", Template: "default/filter@1.0.0", Filter: `event.type == "step.completed" && event.step != "a"`},
			{Subscriber: "one/bound", Template: "config", Events: []string{"task.completed"}, Config: []byte(`{"label":"mine"}`)},
			{Subscriber: "one/bound", Template: "other-namespace/events"},
			{Subscriber: "one/bound", Template: "enabled", Disabled: true},
			{Subscriber: "one/lanes", Disabled: true},
			{Subscriber: "one/bound", Events: []string{"task.completed"}, Config: []byte(`{"label":"rest"}`)},
		}
	}))
	tests := map[string]struct{ keys, want string }{
		"events":         {"", "task.started, task.completed"},
		"filter":         {"", "step.completed of b, task.completed (rest)"},
		"config":         {"", "task.completed (mine)"},
		"enabled":        {"", "task.completed (rest)"},
		"subscriber":     {"", "task.completed (rest)"},
		"template first": {"subscriptions: [{subscriber: one/bound, events: [step.started]}]\n", "step.started of a, step.started of b"},
	}
	ids := make(map[string]task.ID)
	for name, tt := range tests {
		ids[name] = h.Create(strings.Replace(graphWith(tt.keys, "a", "b <- a"), "name: shape", "name: "+caseName(name), 1))
	}
	for _, id := range ids {
		h.WantTask(h.Checked(id), task.Complete)
	}
	h.AwaitPlugin("one")
	log := h.Log(everything)
	h.AwaitDelivered("one/bound", "one/lanes")
	if got := receivedOf(h, "lanes", ids["subscriber"], log); got != "" {
		t.Errorf("one/lanes, which is switched off, got %q", got)
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := receivedOf(h, "bound", ids[name], log); got != tt.want {
				t.Errorf("one/bound got %q, want %q", got, tt.want)
			}
		})
	}
}
