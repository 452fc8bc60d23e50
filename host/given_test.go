package host_test

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
)

// TestTemplateThatChangesUnderItsVersion: somebody edits a file and runs it again and
// again; the subscribers follow what the newest task runs.
func TestTemplateThatChangesUnderItsVersion(t *testing.T) {
	t.Parallel()
	registered := boundTemplate("shape", "- {subscriber: one/bound, events: [task.completed], config: {label: registered}}\n")
	h := hosttest.Start(t, hosttest.Recorder("one"), templateDir(t, registered))
	h.AwaitPlugin("one")
	run := func(create func() task.ID) []string {
		t.Helper()
		id := create()
		h.WantTask(h.Checked(id), task.Complete)
		h.AwaitDelivered("one/bound")
		return heard(h.Received("one", "bound"), id)
	}
	byName := func() task.ID {
		created, err := h.CreateTask(t.Context(), task.Request{Template: "shape"})
		if err != nil {
			t.Fatal(err)
		}
		return created.ID
	}
	given := func(subscriptions string) func() task.ID {
		return func() task.ID { return h.Create(boundTemplate("shape", subscriptions)) }
	}
	unbound := func() task.ID {
		return h.Create("name: shape\nversion: 1.0.0\nsteps:\n- {name: a, handler: mock/noop}\n")
	}
	tests := []struct {
		name   string
		create func() task.ID
		want   []string
	}{
		{"registered", byName, []string{"task.completed/registered"}},
		{"edited", given("- {subscriber: one/bound, events: [task.started], config: {label: edited}}\n"), []string{"task.started/edited"}},
		{"bound no more", unbound, nil},
		{"bound again", given("- {subscriber: one/bound, events: [task.started], config: {label: again}}\n"), []string{"task.started/again"}},
		{"registered again", byName, []string{"task.completed/registered"}},
	}
	for _, tt := range tests {
		if got := run(tt.create); !slices.Equal(got, tt.want) {
			t.Errorf("%s: one/bound got %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestEventsOfAGivenTemplate: a plugin that subscribes to what a template publishes which
// comes with a request is served, whoever is first, and over restarts of the host.
func TestEventsOfAGivenTemplate(t *testing.T) {
	t.Parallel()
	home := filepath.Join(t.TempDir(), "home")
	hosttest.Declare(t, home, "one", []string{"shape.done"}, "", "")
	h := hosttest.Start(t, hosttest.Recorder("one"), hosttest.Options(func(o *host.Options) { o.Home = home }), hosttest.Expect("plugin is refused"))
	awaitRefused(t, h, "one")
	create := func(extra string, steps ...string) task.ID {
		return h.Create(graphWith("events:\n- {name: shape.done, on: task.completed"+extra+"}\n", steps...))
	}
	served := func() int {
		t.Helper()
		h.AwaitPlugin("one")
		h.AwaitDelivered("one/more")
		return len(h.Received("one", "more"))
	}
	h.WantTask(h.Checked(create("", "a")), task.Complete)
	if got := served(); got != 1 {
		t.Errorf("one/more got %d events, want the one that the template publishes", got)
	}
	waiting := create(", description: Done.", "a | handler: late/handler")
	h.Restart()
	if got := served(); got != 1 {
		t.Errorf("one/more got %d events after a restart, want 1", got)
	}
	if err := h.CancelTask(t.Context(), string(waiting), task.Operation{}); err != nil {
		t.Error(err)
	}
}
