package engine

import (
	"fmt"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// layered makes a template of n steps with about three dependencies each, twenty steps
// to a layer.
func layered(b *testing.B, n int) *template.Template {
	b.Helper()
	const width = 20
	spec := template.Template{Name: "layered", Version: "1.0.0"}
	for i := range n {
		s := template.Step{Name: task.StepName(fmt.Sprintf("s%d", i)), Handler: task.HandlerRef{Plugin: "mock", Handler: "step"}}
		first := i/width*width - width // of the layer before
		for k := range 3 {
			if first >= 0 {
				s.DependsOn = append(s.DependsOn, task.Ordinal(first+(i+k*7)%width))
			}
		}
		spec.Steps = append(spec.Steps, s)
	}
	return benchTemplate(b, spec)
}

func benchTemplate(tb testing.TB, spec template.Template) *template.Template {
	tb.Helper()
	tmpl, err := template.New(spec)
	if err != nil {
		tb.Fatal(err)
	}
	return tmpl
}

// fanOut is one step, n beside each other after it, and one after all of them.
func fanOut(b *testing.B, n int) *template.Template {
	b.Helper()
	ref := task.HandlerRef{Plugin: "mock", Handler: "step"}
	spec := template.Template{Name: "fan", Version: "1.0.0", Steps: []template.Step{{Name: "first", Handler: ref}}}
	last := template.Step{Name: "last", Handler: ref}
	for i := range n {
		spec.Steps = append(spec.Steps, template.Step{
			Name: task.StepName(fmt.Sprintf("s%d", i)), Handler: ref, DependsOn: []task.Ordinal{0},
		})
		last.DependsOn = append(last.DependsOn, task.Ordinal(i+1))
	}
	spec.Steps = append(spec.Steps, last)
	return benchTemplate(b, spec)
}

// linear is n steps in a row.
func linear(tb testing.TB, n int) *template.Template {
	tb.Helper()
	spec := template.Template{Name: "linear", Version: "1.0.0"}
	for i := range n {
		s := template.Step{Name: task.StepName(fmt.Sprintf("s%d", i)), Handler: task.HandlerRef{Plugin: "mock", Handler: "step"}}
		if i > 0 {
			s.DependsOn = []task.Ordinal{task.Ordinal(i - 1)}
		}
		spec.Steps = append(spec.Steps, s)
	}
	return benchTemplate(tb, spec)
}

// BenchmarkTask decides a whole task: creation, then for each step its result, in one
// decision with the claims of what that made ready. The numbers are per step.
func BenchmarkTask(b *testing.B) {
	shapes := []struct {
		name string
		tmpl *template.Template
	}{
		{"linear-5", linear(b, 5)},
		{"fanout-10", fanOut(b, 10)},
		{"layered-20", layered(b, 20)},
		{"layered-200", layered(b, 200)},
		{"layered-2000", layered(b, 2000)},
		{"fanin-1100", fanOut(b, 1100)},
	}
	for _, s := range shapes {
		b.Run(s.name, func(b *testing.B) {
			b.ReportAllocs()
			n := len(s.tmpl.Steps)
			var d Decision // one for all, as the runner has it
			offer := &task.Offer{Plugin: "mock", PluginVersion: "1.0.0", Handler: "step", Version: 1}
			for b.Loop() {
				benchRun(b, &d, s.tmpl, offer)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/step")
		})
	}
}

func benchRun(tb testing.TB, d *Decision, tmpl *template.Template, offer *task.Offer) {
	tb.Helper()
	host := Host{Epoch: 1, CancelGrace: testGrace, Rand: func() float64 { return 0.5 }}
	a := New(task.Spec{
		ID: testTask, Template: tmpl.Ref(), Input: task.Value{Inline: []byte(`{"order":4711,"customer":"ann"}`)},
		CorrelationID: string(testTask), CreatedAt: testStart,
	}, tmpl)
	now := testStart
	running := make([]task.Ordinal, 0, len(tmpl.Steps))
	decide := func(in Input) {
		now = now.Add(time.Millisecond)
		d.Begin(a, &host, now)
		if err := d.Apply(in); err != nil {
			tb.Fatal(err)
		}
		for _, o := range d.Ready() {
			if err := d.Apply(Claim{Ordinal: o, Instance: "mock#1", Offer: offer}); err != nil {
				tb.Fatal(err)
			}
			running = append(running, o)
		}
		if _, err := d.Finish(); err != nil {
			tb.Fatal(err)
		}
	}
	decide(Create{})
	output := []byte(`{"ok":true,"items":[1,2,3]}`)
	for len(running) > 0 {
		o := running[0]
		running = running[1:]
		decide(Result{Report: task.Report{
			ID: task.AttemptID{Task: testTask, Ordinal: o, Number: 1}, Kind: task.ReportSucceeded, Output: output,
		}})
	}
	if a.Task.Status != task.Complete {
		tb.Fatalf("the task is %s", a.Task.Status)
	}
}
