package engine

import (
	"reflect"
	"testing"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// TestAllocations is the budget of a decision's memory: a task of five steps in a row,
// from its creation to its end, in the memory of an earlier decision. It counts what the
// caller makes for it too: the task's spec and an input for each step.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates, too")
	}
	const budget = 30
	tmpl := linear(t, 5)
	offer := &task.Offer{Plugin: "mock", PluginVersion: "1.0.0", Handler: "step", Version: 1}
	var d Decision
	if got := testing.AllocsPerRun(100, func() { benchRun(t, &d, tmpl, offer) }); got > budget {
		t.Errorf("a task of 5 steps allocates %.0f times, at most %d are allowed", got, budget)
	}
}

// TestBeginForgets: nothing of an earlier decision is left in one that begins in its
// memory. Every field is looked at, so that one that is added is thought of here.
func TestBeginForgets(t *testing.T) {
	steps := []task.Ordinal{1}
	d := Decision{
		created: true, taskChanged: true, changed: steps, woken: steps, blobs: []store.Blob{{N: 1}}, discovered: steps,
		unblocked: steps, undecided: steps, decoded: map[uint32]any{1: 1}, fault: errNotProvided,
		ready: steps, dispatch: steps, cancel: []CancelAttempt{{Instance: "p#1"}},
		set: store.WriteSet{TaskID: "old", Revision: 1, Steps: []*task.Step{{}}, Create: &store.Creation{}},
	}
	kept := map[string]bool{ // set by Begin, or nothing but memory
		"agg": true, "host": true, "now": true, "publish": true, "expected": true, "settings": true, "spare": true,
	}
	fields := reflect.TypeFor[Decision]()
	for i := range fields.NumField() {
		if name := fields.Field(i).Name; !kept[name] && reflect.ValueOf(&d).Elem().Field(i).IsZero() {
			t.Errorf("this test sets no %s", name)
		}
	}
	tmpl := linear(t, 2)
	d.Begin(New(task.Spec{ID: testTask, Template: tmpl.Ref(), CreatedAt: testStart}, tmpl), &Host{}, testStart)
	for i := range fields.NumField() {
		name, v := fields.Field(i).Name, reflect.ValueOf(&d).Elem().Field(i)
		if kept[name] || name == "set" {
			continue
		}
		if v.Kind() == reflect.Slice && v.Len() > 0 || v.Kind() != reflect.Slice && !v.IsZero() {
			t.Errorf("%s is left: %v", name, v)
		}
	}
	if len(d.set.Steps) > 0 || d.set.TaskID != "" || d.set.Revision != 0 || d.set.Create != nil {
		t.Errorf("the write set is left: %+v", d.set)
	}
	if blobs := d.blobs[:1]; blobs[0].N != 0 {
		t.Error("a large value is held on to")
	}
}
