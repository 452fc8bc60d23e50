package host_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/hosttest"
	"github.com/tasker-engine/tasker/host/task"
)

func key(k string) hosttest.RequestOption {
	return func(r *task.Request) { r.IdempotencyKey = k }
}

func TestSameKeyFrom50Clients(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	const clients = 50
	var mu sync.Mutex
	ids, fresh := make(map[task.ID]int), 0
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			created, err := h.TryCreate(graph("a"), key("order-1"), hosttest.Input(`{"n":1}`))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Errorf("create: %v", err)
				return
			}
			ids[created.ID]++
			if !created.Duplicate {
				fresh++
			}
		})
	}
	wg.Wait()
	if len(ids) != 1 || fresh != 1 {
		t.Errorf("%d tasks, %d of them not flagged as duplicates, want 1 and 1", len(ids), fresh)
	}
	for id := range ids {
		h.WantTask(h.Checked(id), task.Complete)
	}
	if _, err := h.TryCreate(graph("a"), key("order-1"), hosttest.Input(`{"n":2}`)); !errors.Is(err, task.ErrKeyConflict) {
		t.Errorf("same key, other input: %v, want %v", err, task.ErrKeyConflict)
	}
	if n := h.Tasks(); n != 1 {
		t.Errorf("%d tasks are stored, want 1", n)
	}
}

func TestEqualInputsAreEqualWhateverTheirForm(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	first := h.Create(graph("a"), key("k"), hosttest.Input(`{"a":1,"b":[1.0,2]}`))
	created, err := h.TryCreate(graph("a"), key("k"), hosttest.Input(` { "b" : [ 1.0, 2 ], "a": 1 } `))
	if err != nil || !created.Duplicate || created.ID != first {
		t.Errorf("created %+v, %v; want a duplicate of %s", created, err, first)
	}
	h.End(first)
}

func TestIdentityHash(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	template := graphWith("identity: hash\n", "a")
	first := h.Create(template, hosttest.Input(`{"n":1}`))
	if same, err := h.TryCreate(template, hosttest.Input(`{"n":1}`)); err != nil || same.ID != first {
		t.Errorf("same request: %+v, %v; want %s", same, err, first)
	}
	if other := h.Create(template, hosttest.Input(`{"n":2}`)); other == first {
		t.Error("another input gives the same task")
	}
}

// TestRefusedRequests proves that what is refused says why and stores nothing.
func TestRefusedRequests(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	long := strings.Repeat("x", task.MaxText+1)
	tests := []struct {
		name     string
		template string
		request  hosttest.RequestOption
		want     error
		text     []string
	}{
		{
			name: "bad YAML", template: "name: [", text: []string{"test.yaml:1:"},
		},
		{
			name: "cycle", template: graph("a <- c", "b <- a", "c <- b"), text: []string{"a -> "},
		},
		{
			name: "unknown key and unknown dependency at once", template: graph("a | retires: 3", "b <- z"),
			text: []string{"retires", `"z"`},
		},
		{
			name:     "input against the schema",
			template: graphWith("input: {type: object, required: [n], properties: {n: {type: integer}, s: {type: string}}}\n", "a"),
			request:  hosttest.Input(`{"s":1}`), want: task.ErrInvalid, text: []string{"/s"},
		},
		{
			name: "input is no JSON", template: graph("a"), request: hosttest.Input("{"), want: task.ErrInvalid, text: []string{"JSON"},
		},
		{
			name: "two documents", template: graph("a"), request: hosttest.Input("{} {}"), want: task.ErrInvalid, text: []string{"more than one"},
		},
		{
			name: "unknown template", request: func(r *task.Request) { r.Source, r.Template = nil, "default/nobody" },
			want: task.ErrNotFound, text: []string{"nobody"},
		},
		{
			name: "unknown namespace", request: func(r *task.Request) { r.Source, r.Template = nil, "nowhere/nobody@1.0.0" },
			want: task.ErrNotFound, text: []string{"nowhere"},
		},
		{
			name: "correlation id", template: graph("a"), request: func(r *task.Request) { r.CorrelationID = "a b" },
			want: task.ErrInvalid, text: []string{`"a b"`},
		},
		{
			name: "long reason", template: graph("a"), request: func(r *task.Request) { r.Reason = long },
			want: task.ErrInvalid, text: []string{"reason"},
		},
		{
			name: "deadline in the past", template: graph("a"), request: func(r *task.Request) { r.Deadline = -1 },
			want: task.ErrInvalid, text: []string{"deadline"},
		},
		{
			name: "unknown handler when handlers are required", template: graph("a | handler: mock/ecko"),
			request: func(r *task.Request) { r.RequireHandlers = true }, want: host.ErrUnknownHandler, text: []string{"ecko", `"echo"`},
		},
		{
			name: "unknown plugin when handlers are required", template: graph("a | handler: mok/echo"),
			request: func(r *task.Request) { r.RequireHandlers = true }, want: host.ErrUnknownHandler, text: []string{`"mok"`, `"mock"`},
		},
		{
			name: "input over 15 MiB", template: graph("a"),
			request: hosttest.Input(`"` + strings.Repeat("x", task.MaxValue) + `"`), want: task.ErrTooLarge, text: []string{"15728640"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := h.With(t)
			var options []hosttest.RequestOption
			if test.request != nil {
				options = append(options, test.request)
			}
			_, err := h.TryCreate(test.template, options...)
			if err == nil || (test.want != nil && !errors.Is(err, test.want)) {
				t.Fatalf("got %v, want %v", err, test.want)
			}
			for _, text := range test.text {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("error %q says nothing of %q", err, text)
				}
			}
		})
	}
	t.Cleanup(func() { // after the subtests, before the host stops
		if n := h.Tasks(); n != 0 {
			t.Errorf("%d tasks are stored, want none", n)
		}
	})
}

// TestUnknownHandlerWaits creates a task whose handler nobody offers: it is warned of,
// the step waits and burns no attempt, and its reason says what to do.
func TestUnknownHandlerWaits(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	h.AwaitPlugin("mock") // what is being started may offer anything
	created, err := h.TryCreate(graph("a | handler: mock/ecko", "b | handler: missing/handler"))
	if err != nil || len(created.Warnings) != 2 {
		t.Fatalf("created %+v, %v; want two warnings", created, err)
	}
	v := h.View(created.ID)
	h.WantSteps(v, "a=pending/0 b=pending/0")
	for name, code := range map[task.StepName]task.ReasonCode{"a": task.ReasonNoHandler, "b": task.ReasonNoPlugin} {
		if r := hosttest.Step(v, name).Reason; r == nil || r.Code != code || r.Remedy == "" {
			t.Errorf("step %s: reason %+v, want %s with a remedy", name, r, code)
		}
	}
	if v.Health != task.HealthBlocked || v.Action == "" {
		t.Errorf("health %s, action %q: want blocked and something to do", v.Health, v.Action)
	}
}

// TestHighestVersion is the trap "versions compared as strings".
func TestHighestVersion(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, version := range []string{"1.9.0", "1.10.0", "1.2.0"} {
		text := strings.Replace(graph("a"), "version: 1.0.0", "version: "+version, 1)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("t-%s.yaml", version)), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h := hosttest.Start(t, hosttest.Options(func(o *host.Options) { o.TemplateDirs = []string{dir} }))
	id := h.Create("", func(r *task.Request) { r.Source, r.Template = nil, "default/shape" })
	if got := h.End(id).Template.Version; got != "1.10.0" {
		t.Errorf("version %s was run, want 1.10.0", got)
	}
}

func TestCorrelationID(t *testing.T) {
	t.Parallel()
	h := hosttest.Start(t)
	given := h.Create(graph("a"), func(r *task.Request) { r.CorrelationID = "abc-1" })
	fresh := h.Create(graph("a"))
	for id, want := range map[task.ID]string{given: "abc-1", fresh: string(fresh)} {
		if got := h.Checked(id).CorrelationID; got != want {
			t.Errorf("correlation id %q, want %q", got, want)
		}
		for _, e := range h.History(id) {
			if got := payload[struct {
				ID string `json:"correlation_id"`
			}](t, e).ID; got != want {
				t.Errorf("%s carries the correlation id %q, want %q", e, got, want)
			}
		}
	}
}
