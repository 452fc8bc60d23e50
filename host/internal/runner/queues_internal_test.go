package runner

import (
	"fmt"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host/internal/engine"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

func parsed(t *testing.T, version string) *template.Template {
	t.Helper()
	tmpl, err := template.Parse("t.yaml", []byte("name: t\nversion: "+version+"\nsteps:\n- {name: a, handler: p/do}\n- {name: b, handler: p/other}\n"), template.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return tmpl
}

// TestForgottenTasksLeaveTheQueues queues steps of many tasks and forgets the tasks in
// another order: nothing of them stays, and the rest keeps its order.
func TestForgottenTasksLeaveTheQueues(t *testing.T) {
	r := New(Options{Now: time.Now})
	tmpl := parsed(t, "1.0.0")
	entries := make([]*entry, 20)
	for i := range entries {
		id := task.ID(fmt.Sprintf("01ARZ3NDEKTSV4RRFFQ69G5F%02d", i))
		entries[i] = &entry{agg: engine.New(task.Spec{ID: id, Template: tmpl.Ref(), Priority: int32(i % 3)}, tmpl)}
		r.tasks[id] = entries[i]
		r.enqueue(entries[i], 0)
		r.enqueue(entries[i], 1)
	}
	for i := range entries {
		if i%4 != 1 {
			r.forget(entries[(i*7)%20])
		}
	}
	for ref, q := range r.pools["p"].queues {
		if q.Len() != 5 {
			t.Errorf("%s: %d steps wait, want 5", ref, q.Len())
		}
		for i, item := range q.items {
			if item.index != i || item.entry.queued[item.ordinal] != item || r.tasks[item.entry.agg.Task.ID] != item.entry {
				t.Errorf("%s: item %d has the index %d, or its task is forgotten", ref, i, item.index)
			}
		}
	}
}

// TestTemplatesAreBounded restores tasks of more templates than the cache keeps.
func TestTemplatesAreBounded(t *testing.T) {
	c := templates{parsed: make(map[string]*template.Template)}
	for i := range maxTemplates + 10 {
		tmpl := parsed(t, fmt.Sprintf("1.0.%d", i))
		stored := &store.Aggregate{
			Task: &task.Task{Spec: task.Spec{Template: tmpl.Ref()}, Steps: make([]task.Step, 2)}, Template: tmpl.Snapshot(),
		}
		if _, err := c.restore(stored); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.parsed) > maxTemplates {
		t.Errorf("%d templates are kept, at most %d may be", len(c.parsed), maxTemplates)
	}
}
