package publish_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host/internal/publish"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// methodOf returns the name of the method that publishes an event:
// "step.retry_scheduled" -> "StepRetryScheduled".
func methodOf(name string) string {
	var b strings.Builder
	for part := range strings.FieldsFuncSeq(name, func(r rune) bool { return r == '.' || r == '_' }) {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}

// methods returns the publishing methods of a type: all but Events.
func methods(of reflect.Type) []string {
	var names []string
	for m := range of.Methods() {
		if m.Name != "Events" {
			names = append(names, m.Name)
		}
	}
	return names
}

// TestMethods walks catalog and methods both ways: every event has exactly one method,
// named after it, on Task or on Host, and no method is left over.
func TestMethods(t *testing.T) {
	left := make(map[string]bool)
	for _, of := range []reflect.Type{reflect.TypeFor[*publish.Task](), reflect.TypeFor[*publish.Host]()} {
		for _, name := range methods(of) {
			if left[name] {
				t.Errorf("two methods %s", name)
			}
			left[name] = true
		}
	}
	for _, p := range event.Payloads() {
		name := methodOf(p.EventName())
		if !left[name] {
			t.Errorf("no method publishes %s", p.EventName())
		}
		delete(left, name)
	}
	for name := range left {
		t.Errorf("method %s publishes no event of the catalog", name)
	}
}

// TestTables walks the transition tables and the methods: every event that a row names
// has its method on Task, and every method about a task or step is named by a row. The
// workflow events are about decisions, not about rows.
func TestTables(t *testing.T) {
	named := make(map[string]bool)
	for _, row := range task.StepTransitions() {
		for _, name := range row.Events {
			if !strings.HasPrefix(name, "step.") {
				t.Errorf("step transition %s names %s", row.Name, name)
			}
			named[methodOf(name)] = true
		}
	}
	for _, row := range task.TaskTransitions() {
		for _, name := range row.Events {
			if !strings.HasPrefix(name, "task.") {
				t.Errorf("task transition %s names %s", row.Name, name)
			}
			named[methodOf(name)] = true
		}
	}
	have := methods(reflect.TypeFor[*publish.Task]())
	for name := range named {
		if !slices.Contains(have, name) {
			t.Errorf("a transition names an event without a method: %s", name)
		}
	}
	for _, name := range have {
		if !named[name] && !strings.HasPrefix(name, "Workflow") {
			t.Errorf("no transition names the event of method %s", name)
		}
	}
}

// TestMethodsPublishTheirEvent calls every method and looks at what is recorded.
func TestMethodsPublishTheirEvent(t *testing.T) {
	s := newSample(t)
	seen := make(map[string]bool)
	for _, c := range s.calls() {
		got := s.publish(t, c)
		if want := c.payload.EventName(); got.GetType() != want {
			t.Errorf("%s publishes %s", methodOf(want), got.GetType())
		}
		seen[got.GetType()] = true
	}
	for _, p := range event.Payloads() {
		if !seen[p.EventName()] {
			t.Errorf("the sample does not publish %s", p.EventName())
		}
	}
}

// TestInlineLimit: what is stored inline travels inline; publish relies on the limits
// being one.
func TestInlineLimit(t *testing.T) {
	if event.MaxInline != task.MaxInline {
		t.Errorf("events carry values up to %d bytes, tasks store up to %d inline", event.MaxInline, task.MaxInline)
	}
}

var at = time.Date(2026, 5, 4, 12, 0, 0, 123456789, time.UTC)
