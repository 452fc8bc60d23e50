package engine

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// TestDerived walks all multisets of up to four step states, beside each other and in a
// chain, and compares with rule S6 written down once more.
func TestDerived(t *testing.T) {
	at := testStart
	type state struct {
		name string
		set  func(s *task.Step)
	}
	failure := &task.Failure{Kind: task.KindPermanent, Message: "boom"}
	attempt := func() *task.Attempt { return &task.Attempt{Number: 1, Status: task.AttemptFailed, EndedAt: at} }
	settings := &task.Settings{Retry: task.Retry{}.WithDefaults()}
	states := []state{
		{"pending", func(s *task.Step) { s.Status = task.StepPending }},
		{"held", func(s *task.Step) {
			s.Status, s.HoldUntil, s.Attempt, s.Settings = task.StepPending, at.Add(1), attempt(), settings
		}},
		{"running", func(s *task.Step) { s.Status, s.Attempt, s.Settings = task.StepInProgress, attempt(), settings }},
		{"backoff", func(s *task.Step) {
			s.Status, s.RetryAt, s.Attempt, s.Settings = task.StepWaitingForRetry, at.Add(1), attempt(), settings
		}},
		{"due", func(s *task.Step) {
			s.Status, s.RetryAt, s.Attempt, s.Settings = task.StepWaitingForRetry, at, attempt(), settings
		}},
		{"waiting", func(s *task.Step) { s.Status, s.Attempt = task.StepWaiting, attempt() }},
		{"complete", func(s *task.Step) { s.Status = task.StepComplete }},
		{"error", func(s *task.Step) { s.Status, s.Failure = task.StepError, failure }},
		{"cancelled", func(s *task.Step) { s.Status = task.StepCancelled }},
		{"resolved", func(s *task.Step) { s.Status = task.StepResolvedManually }},
		{"skipped", func(s *task.Step) { s.Status = task.StepSkipped }},
	}
	check := func(tmpl *template.Template, picked []int) {
		a := New(task.Spec{ID: testTask, CreatedAt: at}, tmpl)
		var names []string
		for i, p := range picked {
			states[p].set(&a.Task.Steps[i])
			names = append(names, states[p].name)
		}
		a = Restore(a.Task, tmpl)
		if got, want := a.Derived(at), derivedByHand(a, at); got != want {
			t.Errorf("%v, chain = %t: %s, want %s", names, len(tmpl.Steps[len(picked)-1].DependsOn) > 0, got, want)
		}
		for i, s := range a.View(at, freeSlots{}).Steps {
			ready := s.Reason != nil && s.Reason.Code == task.ReasonReady
			if ready != a.Claimable(task.Ordinal(i), at) {
				t.Errorf("%v: step %d has the reason %+v and is claimable = %t", names, i, s.Reason, !ready)
			}
		}
	}
	var walk func(picked []int, beside, chain []*template.Template)
	walk = func(picked []int, beside, chain []*template.Template) {
		if n := len(picked); n > 0 {
			check(beside[n-1], picked)
			check(chain[n-1], picked)
		}
		if len(picked) == 4 {
			return
		}
		for i := range states { // every order: in a chain it matters
			walk(append(slices.Clip(picked), i), beside, chain)
		}
	}
	var beside, chain []*template.Template
	for n := 1; n <= 4; n++ {
		names := []string{"a", "b", "c", "d"}[:n]
		var free, linked []func([]template.Step) template.Step
		for i, name := range names {
			free = append(free, step(name))
			if i == 0 {
				linked = append(linked, step(name))
			} else {
				linked = append(linked, step(name+"<-"+names[i-1]))
			}
		}
		beside, chain = append(beside, shape(t, free...)), append(chain, shape(t, linked...))
	}
	walk(nil, beside, chain)
}

// derivedByHand is rule S6 read slowly.
func derivedByHand(a *Aggregate, now time.Time) task.Derived {
	var running, ready, waiting, timed, failed, done int
	for i := range a.Task.Steps {
		s := &a.Task.Steps[i]
		blocked := false
		for _, dep := range a.Template.Steps[i].DependsOn {
			blocked = blocked || !a.Task.Steps[dep].Status.Satisfies()
		}
		switch {
		case s.Status == task.StepInProgress:
			running++
		case s.Status == task.StepWaiting:
			waiting++
		case s.Status == task.StepError || s.Status == task.StepCancelled:
			failed++
		case s.Status.Satisfies():
			done++
		case s.Status == task.StepPending && blocked:
		case now.Before(s.RetryAt) || now.Before(s.HoldUntil):
			timed++
		default:
			ready++
		}
	}
	switch {
	case running+ready+waiting+timed == 0 && failed > 0:
		return task.DerivedBlocked
	case running > 0:
		return task.DerivedProcessing
	case ready > 0:
		return task.DerivedReady
	case waiting > 0:
		return task.DerivedWaiting
	case timed > 0:
		return task.DerivedWaitingForRetry
	case done == len(a.Task.Steps):
		return task.DerivedComplete
	default:
		return task.DerivedDependencies
	}
}

// noPlugin is a host that has no plugin.
type noPlugin struct{}

func (noPlugin) Handler(ref task.HandlerRef) *task.Reason {
	return &task.Reason{Code: task.ReasonNoPlugin, On: []string{ref.Plugin}, Text: "no plugin " + ref.Plugin, Remedy: "install it"}
}

// TestReasons (rule S7): each reason with its sentence, what it is about, since when and
// until when, and what the task's health is.
func TestReasons(t *testing.T) {
	since := func(d time.Duration) time.Time { return testStart.Add(d) }
	tests := []struct {
		name    string
		do      func(d *drive)
		plugins Plugins
		want    task.Reason // of step b; Text is what the text must contain
		derived task.Derived
		health  task.Health
	}{
		{
			"ready", func(d *drive) { d.succeed("a") },
			freeSlots{},
			task.Reason{Code: task.ReasonReady, Text: "about to be claimed", Since: since(time.Second)},
			task.DerivedReady, task.HealthWaiting,
		},
		{
			"no host", func(d *drive) { d.succeed("a") }, nil,
			task.Reason{Code: task.ReasonNoHost, Text: "no host", Since: since(time.Second)},
			task.DerivedReady, task.HealthBlocked,
		},
		{
			"no plugin", func(d *drive) { d.succeed("a") },
			noPlugin{},
			task.Reason{Code: task.ReasonNoPlugin, Text: "no plugin mock", Since: since(time.Second)},
			task.DerivedReady, task.HealthBlocked,
		},
		{
			"dependency running", func(*drive) {},
			freeSlots{},
			task.Reason{Code: task.ReasonDependencies, Text: "waits for a"},
			task.DerivedProcessing, task.HealthOK,
		},
		{
			"dependency failed", func(d *drive) { d.fail("a", task.KindPermanent) },
			freeSlots{},
			task.Reason{Code: task.ReasonBlocked, Text: "blocked by a"},
			task.DerivedBlocked, task.HealthBlocked,
		},
		{
			"in backoff", func(d *drive) { d.succeed("a"); d.claim("b"); d.fail("b", task.KindRetryable) },
			freeSlots{},
			task.Reason{Code: task.ReasonRetry, Text: "failure 1 of 3", Since: since(time.Second), Until: since(2 * time.Second)},
			task.DerivedWaitingForRetry, task.HealthWaiting,
		},
		{
			"parked", func(d *drive) { d.succeed("a"); d.claim("b"); d.lose("b", task.LossCrashed) },
			freeSlots{},
			task.Reason{Code: task.ReasonParked, Text: "an operator decides", Since: since(time.Second)},
			task.DerivedWaiting, task.HealthBlocked,
		},
		{
			"failed", func(d *drive) { d.succeed("a"); d.claim("b"); d.fail("b", task.KindPermanent) },
			freeSlots{},
			task.Reason{Code: task.ReasonFailed, Text: "boom", Since: since(time.Second)},
			task.DerivedBlocked, task.HealthBlocked,
		},
		{
			"paused", func(d *drive) { d.succeed("a"); d.decide(Pause{d.op("")}) },
			freeSlots{},
			task.Reason{Code: task.ReasonPaused, Text: "paused"},
			task.DerivedReady, task.HealthWaiting,
		},
		{
			"cancelled", func(d *drive) { d.decide(Cancel{d.op("")}) },
			freeSlots{},
			task.Reason{Code: task.ReasonCancelledByStop, Text: task.CodeCancelRequested, Since: since(time.Second)},
			task.DerivedProcessing, task.HealthOK,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := start(t, shape(t, step("a"), step("b<-a", onCrash(task.OnCrashPark))))
			d.claim("a")
			d.pass(time.Second)
			tt.do(d)
			v := d.agg.View(d.now, tt.plugins)
			got := v.Steps[1].Reason
			if got.Code != tt.want.Code || !strings.Contains(got.Text, tt.want.Text) ||
				!got.Since.Equal(tt.want.Since) || !got.Until.Equal(tt.want.Until) {
				t.Errorf("reason %+v, want %+v", *got, tt.want)
			}
			if v.Derived != tt.derived || v.Health != tt.health || (v.Health == task.HealthBlocked && v.Action == "") {
				t.Errorf("derived %s, health %s, action %q; want %s, %s", v.Derived, v.Health, v.Action, tt.derived, tt.health)
			}
		})
	}
}

// TestBlockedByRoots: the reason names the failed steps, not what lies between.
func TestBlockedByRoots(t *testing.T) {
	d := start(t, shape(t, step("a", limit(1)), step("b", limit(1)), step("c<-a"), step("d<-b"), step("e<-c,d,a")))
	d.play(script{fails: map[string]int{"a": 1, "b": 1}})
	r := d.agg.View(d.now, freeSlots{}).Steps[4].Reason
	if got, want := strings.Join(r.On, " "), "a b"; got != want || !strings.Contains(r.Remedy, "--step a") {
		t.Errorf("blocked by %q, remedy %q; want %q and to retry a", got, r.Remedy, want)
	}
}

// TestRemedies: where another attempt alone would fail again, what to do first is said.
func TestRemedies(t *testing.T) {
	for _, tt := range []struct {
		kind  task.ErrorKind
		mends bool
	}{{task.KindPermanent, true}, {task.KindRetryable, false}} {
		t.Run(string(tt.kind), func(t *testing.T) {
			d := start(t, shape(t, step("a", limit(1)), step("b<-a")))
			d.claim("a")
			d.fail("a", tt.kind)
			v := d.agg.View(d.now, freeSlots{})
			for _, remedy := range []string{v.Action, v.Steps[0].Reason.Remedy, v.Steps[1].Reason.Remedy} {
				if !strings.Contains(remedy, "tasker task retry ") || strings.HasPrefix(remedy, "mend what") != tt.mends {
					t.Errorf("remedy %q, want a retry, and what to mend before: %t", remedy, tt.mends)
				}
			}
		})
	}
}

// TestViewIsASnapshot: decisions made after it do not show in it.
func TestViewIsASnapshot(t *testing.T) {
	d := start(t, shape(t, step("a"), step("b<-a")))
	d.claim("a")
	v := d.agg.View(d.now, freeSlots{})
	d.pass(time.Second)
	d.succeed("a")
	s := v.Steps[0]
	if s.Status != task.StepInProgress || s.Attempt.Status != task.AttemptRunning || !s.Attempt.EndedAt.IsZero() || v.Seq != 3 {
		t.Errorf("the view changed: step %s, attempt %+v, seq %d", s.Status, s.Attempt, v.Seq)
	}
	if got, want := v.Steps[1].DependsOn, task.StepName("a"); len(got) != 1 || got[0] != want {
		t.Errorf("b depends on %v, want %s", got, want)
	}
	if got, want := s.Handler.String(), "mock/step"; got != want {
		t.Errorf("handler %s, want %s", got, want)
	}
}

// TestViewLimit: the retry limit in force, before and after the first claim.
func TestViewLimit(t *testing.T) {
	d := start(t, shape(t, step("a", limit(5)), step("b"), step("c", limit(5))))
	d.claim("c")
	for i, want := range []uint32{5, task.DefaultRetryLimit, 5} {
		if got := d.agg.View(d.now, nil).Steps[i].Limit; got != want {
			t.Errorf("step %d: limit %d, want %d", i, got, want)
		}
	}
}
