package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// The shapes that every release passes.

func linear6(t tb) *template.Template {
	return shape(t, step("a"), step("b<-a"), step("c<-b", backoff(2*time.Second)), step("d<-c"), step("e<-d"), step("f<-e"))
}

func diamond7(t tb) *template.Template {
	return shape(t, step("start"), step("p1<-start"), step("v1<-p1"), step("p2<-start"), step("v2<-p2"),
		step("merge<-v1,v2"), step("end<-merge"))
}

func pmerge7(t tb) *template.Template {
	return shape(t, step("user"), step("order"), step("inventory"), step("pricing"),
		step("process_user<-user"), step("process_order<-order"), step("merge<-process_user,process_order,inventory,pricing"))
}

func tree8(t tb) *template.Template {
	return shape(t, step("root"), step("a<-root"), step("b<-root"), step("a1<-a"), step("a2<-a"), step("b1<-b"), step("b2<-b"),
		step("aggregate<-a1,a2,b1,b2"))
}

func mixed9(t tb, ofOptional ...func(*template.Step)) *template.Template {
	return shape(t, step("auth"), step("permissions<-auth"), step("config"), step("environment<-config"),
		step("begin<-permissions,environment"), step("critical<-begin"), step("optional<-begin", ofOptional...),
		step("cleanup<-environment"), step("finalize<-critical,cleanup"))
}

func fork3(t tb) *template.Template {
	return shape(t, step("one"), step("two"), step("three<-one,two"))
}

func TestShapes(t *testing.T) {
	tests := []struct {
		name   string
		tmpl   func(tb) *template.Template
		script script
		want   task.Status
		steps  string // "name:status/attempts", what is not named is complete/1
	}{
		{name: "LINEAR6", tmpl: linear6, script: script{fails: map[string]int{"c": 1}}, want: task.Complete, steps: "c:complete/2"},
		{
			name: "LINEAR6 with c f5", tmpl: linear6, script: script{fails: map[string]int{"c": 5}},
			want: task.Error, steps: "c:error/3 d:pending/0 e:pending/0 f:pending/0",
		},
		{
			name: "DIAMOND7", tmpl: diamond7, script: script{fails: map[string]int{"p1": 1, "p2": 1}},
			want: task.Complete, steps: "p1:complete/2 p2:complete/2",
		},
		{
			name: "DIAMOND7 with p1 f5", tmpl: diamond7, script: script{fails: map[string]int{"p1": 5, "p2": 1}},
			want: task.Error, steps: "p1:error/3 p2:complete/2 v1:pending/0 merge:pending/0 end:pending/0",
		},
		{
			name: "PMERGE7", tmpl: pmerge7, script: script{fails: map[string]int{"order": 1, "inventory": 1, "merge": 1}},
			want: task.Complete, steps: "order:complete/2 inventory:complete/2 merge:complete/2",
		},
		{
			name: "PMERGE7 with inventory f5", tmpl: pmerge7, script: script{fails: map[string]int{"inventory": 5}},
			want: task.Error, steps: "inventory:error/3 merge:pending/0",
		},
		{
			name: "TREE8", tmpl: tree8, script: script{fails: map[string]int{"b": 1, "a2": 1, "b2": 1}},
			want: task.Complete, steps: "b:complete/2 a2:complete/2 b2:complete/2",
		},
		{
			name: "TREE8 with a f5", tmpl: tree8, script: script{fails: map[string]int{"a": 5}},
			want: task.Error, steps: "a:error/3 a1:pending/0 a2:pending/0 aggregate:pending/0",
		},
		{
			name: "MIXED9", tmpl: func(t tb) *template.Template { return mixed9(t) },
			script: script{fails: map[string]int{"permissions": 1, "environment": 1, "critical": 2}},
			want:   task.Complete, steps: "permissions:complete/2 environment:complete/2 critical:complete/3",
		},
		{
			name: "MIXED9, optional f5", tmpl: func(t tb) *template.Template { return mixed9(t) },
			script: script{fails: map[string]int{"permissions": 1, "environment": 1, "critical": 2, "optional": 5}},
			want:   task.Error, steps: "permissions:complete/2 environment:complete/2 critical:complete/3 optional:error/3",
		},
		{
			name: "MIXED9, optional f5 with optional: true", tmpl: func(t tb) *template.Template { return mixed9(t, optional) },
			script: script{fails: map[string]int{"optional": 5}},
			want:   task.Complete, steps: "optional:skipped/3",
		},
		{name: "FORK3", tmpl: fork3, script: script{takes: map[string]time.Duration{"one": 200e6, "two": 200e6}}, want: task.Complete},
	}
	for _, tt := range tests {
		for _, slots := range []int{0, 1, 2} {
			t.Run(tt.name, func(t *testing.T) {
				d := start(t, tt.tmpl(t), workflow)
				tt.script.slots = slots
				d.play(tt.script)
				d.wantStatus(tt.want)
				want := make(map[string]string)
				for text := range strings.FieldsSeq(tt.steps) {
					name, state, _ := strings.Cut(text, ":")
					want[name] = state
				}
				for i := range d.agg.Task.Steps {
					s := &d.agg.Task.Steps[i]
					state, ok := want[string(s.Name)]
					if !ok {
						state = "complete/1"
					}
					if got := string(s.Status) + "/" + string('0'+rune(s.Attempts)); got != state {
						t.Errorf("step %s is %s, want %s", s.Name, got, state)
					}
				}
				if got, want := d.count("task."+endEvent(tt.want), ""), 1; got != want {
					t.Errorf("the task ended %d times, want %d", got, want)
				}
			})
		}
	}
}

func endEvent(s task.Status) string {
	if s == task.Complete {
		return "completed"
	}
	return "failed"
}

// TestShapeLinear6: edge order, the backoff is waited out and not less, and an
// operator's retry completes a failed task.
func TestShapeLinear6(t *testing.T) {
	d := start(t, linear6(t))
	d.play(script{fails: map[string]int{"c": 1}})
	if got, want := d.completed(), "a b c d e f"; got != want {
		t.Errorf("completed %q, want %q", got, want)
	}
	first := d.agg.Task.StartedAt.Add(30 * time.Millisecond) // when c failed
	if got, want := d.step("c").Attempt.StartedAt, first.Add(2*time.Second); !got.Equal(want) {
		t.Errorf("c's second attempt started at %s, want %s", got, want)
	}

	d = start(t, linear6(t))
	d.play(script{fails: map[string]int{"c": 5}})
	if got := d.events[len(d.events)-1].GetType(); got != "task.failed" {
		t.Errorf("the last event is %s, want task.failed", got)
	}
	for _, s := range d.agg.View(d.now, freeSlots{}).Steps[3:] {
		if s.Reason.Code != task.ReasonBlocked || s.Reason.Text != "blocked by c" {
			t.Errorf("step %s: reason %+v, want blocked by c", s.Name, s.Reason)
		}
	}
	d.decide(Retry{d.op("c")})
	d.play(script{})
	d.wantStatus(task.Complete)
	if got := d.step("c"); got.Attempts != 4 || got.Failures != 0 {
		t.Errorf("c has %d attempts and %d failures, want 4 and 0", got.Attempts, got.Failures)
	}
}

// overlap reports whether the last attempts of two steps ran at one time.
func (d *drive) overlap(a, b string) bool {
	x, y := d.step(a).Attempt, d.step(b).Attempt
	return x.StartedAt.Before(y.EndedAt) && y.StartedAt.Before(x.EndedAt)
}

func TestShapeOverlap(t *testing.T) {
	d := start(t, diamond7(t))
	d.play(script{fails: map[string]int{"p1": 1, "p2": 1}})
	if !d.overlap("p1", "p2") {
		t.Error("DIAMOND7: p1 and p2 did not overlap")
	}
	d = start(t, fork3(t))
	d.play(script{takes: map[string]time.Duration{"one": 200e6, "two": 200e6}})
	if !d.overlap("one", "two") {
		t.Error("FORK3: one and two did not overlap")
	}
	if got, want := d.step("three").Attempt.StartedAt, testStart.Add(200*time.Millisecond); !got.Equal(want) {
		t.Errorf("FORK3: three started at %s, want %s", got, want)
	}
}

// TestShapeFailsLast: a task fails only after the branches that do not depend on the
// failed step have run to their end (rule S4).
func TestShapeFailsLast(t *testing.T) {
	tests := []struct {
		name   string
		tmpl   *template.Template
		fails  string
		finish string // of the other branch
		want   task.Status
	}{
		{"DIAMOND7", diamond7(t), "p1", "v2", task.Error},
		{"chain X->Y->Z beside exhausted A", shape(t, step("a", limit(1)), step("x"), step("y<-x"), step("z<-y")), "a", "z", task.Error},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := start(t, tt.tmpl)
			d.play(script{fails: map[string]int{tt.fails: 5}, takes: map[string]time.Duration{tt.finish: time.Hour}})
			d.wantStatus(tt.want, tt.finish+":complete", tt.fails+":error")
			if got, want := d.agg.Task.CompletedAt, d.step(tt.finish).CompletedAt; !got.Equal(want) {
				t.Errorf("the task ended at %s, the other branch at %s", got, want)
			}
		})
	}
}

func TestShapeRetryBesideExhausted(t *testing.T) { // rule S5
	d := start(t, shape(t, step("a", limit(1)), step("b", limit(3))))
	d.play(script{fails: map[string]int{"a": 1, "b": 1}})
	d.wantStatus(task.Error, "a:error", "b:complete")
	if got := d.step("b").Attempts; got != 2 {
		t.Errorf("b has %d attempts, want 2", got)
	}
}
