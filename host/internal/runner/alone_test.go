package runner_test

import (
	"errors"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/tasker-engine/tasker/host/internal/engine"
	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// TestSuspectsRunAlone: what was in flight at three crashes has an instance of its own at the
// fourth, so that one input fails and the others do not fail with it.
func TestSuspectsRunAlone(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, dir, nil)
		defer g.close("")
		launches := 0
		start := func() string {
			launches++
			id := "p#" + strconv.Itoa(launches)
			g.plugins.start(id, 16)
			synctest.Wait()
			return id
		}
		poison := g.create(parse(t, "", "a, handler: p/do, config: {hangs: true}"))
		others := []task.ID{
			g.create(parse(t, "", "a, handler: p/do, config: {for: 1s}")), g.create(parse(t, "", "a, handler: p/other, config: {for: 1s}")),
		}
		for range task.DefaultLossLimit { // in company: each has lost three attempts then
			in := start()
			g.plugins.kill(in, task.LossCrashed)
			synctest.Wait()
		}
		before := len(g.plugins.order())
		in := start()
		fresh := g.create(parse(t, "", "a, handler: p/two"))
		synctest.Wait()
		if got := g.plugins.order()[before:]; !slices.Equal(got, []string{"01/0"}) {
			t.Fatalf("the instance got %v, want the first suspect alone", got)
		}
		g.plugins.kill(in, task.LossCrashed)
		g.end(poison, task.Error)
		start()
		g.end(fresh, task.Complete)
		for _, id := range others { // a suspect goes before what never was with a crash
			if v := g.load(id); v.Status != task.Complete {
				t.Errorf("task %s is %s, want it complete before the one that came last", id, v.Status)
			}
		}
		if got, want := g.plugins.order()[before+1:], []string{"02/0", "03/0", "04/0"}; !slices.Equal(got, want) {
			t.Errorf("order %v, want %v", got, want)
		}
	})
}

// TestSuspectsThatDoNotEnd: one that goes on although it was cancelled keeps nobody waiting.
func TestSuspectsThatDoNotEnd(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, dir, nil)
		defer g.close("")
		stubborn := g.create(parse(t, "", "a, handler: p/do, config: {hangs: true, stubborn: true}"))
		next := g.create(parse(t, "", "a, handler: p/do"))
		for n := range int(task.DefaultLossLimit) {
			in := "p#" + strconv.Itoa(n+1)
			g.plugins.start(in, 16)
			synctest.Wait()
			g.plugins.kill(in, task.LossCrashed)
			synctest.Wait()
		}
		g.plugins.start("p#9", 16)
		synctest.Wait()
		if v := g.load(next); v.Steps[0].Status == task.StepInProgress {
			t.Fatalf("%s runs beside a suspect", next)
		}
		if err := g.Operate(t.Context(), stubborn, engine.Cancel{}); err != nil {
			t.Fatal(err)
		}
		g.end(next, task.Complete)
	})
}

// suspectOf runs a task until the next loss fails its step for good, and starts an instance
// that takes nothing yet.
func suspectOf(g *rig, tmpl *template.Template) (suspect task.ID, instance string) {
	g.t.Helper()
	suspect = g.create(tmpl)
	for n := range int(task.DefaultLossLimit) {
		in := "p#" + strconv.Itoa(n+1)
		g.plugins.start(in, 16)
		synctest.Wait()
		g.plugins.kill(in, task.LossCrashed)
		synctest.Wait()
	}
	g.plugins.start("p#9", 0)
	synctest.Wait()
	return suspect, "p#9"
}

// TestSuspectsWaitForEvents: a suspect is not given to a process that has an event in
// flight, nor an event to one that has a suspect.
func TestSuspectsWaitForEvents(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, dir, nil)
		defer g.close("")
		suspect, in := suspectOf(g, parse(t, "", "a, handler: p/do, config: {for: 1s}"))
		before := len(g.plugins.order())
		begun := func(what string, want ...string) {
			t.Helper()
			synctest.Wait()
			if got := g.plugins.order()[before:]; !slices.Equal(got, want) {
				t.Fatalf("%s: the instance got %v, want %v", what, got, want)
			}
		}
		process := g.plugins.companyOf(in)
		event := func(what string, want bool) {
			t.Helper()
			if got := process.Join("events", false); got != want {
				t.Fatalf("%s: an event comes in: %t, want %t", what, got, want)
			}
		}
		event("before all", true)
		g.plugins.capacity(in, 16)
		fresh := g.create(parse(t, "", "a, handler: p/do, config: {for: 1s}"))
		begun("with an event in flight")
		event("while the suspect waits", false)
		process.Leave("events")
		begun("without events", "01/0")
		event("beside the suspect", false)
		g.end(suspect, task.Complete)
		begun("after the suspect", "01/0", "02/0")
		event("beside another step", true)
		g.end(fresh, task.Complete)
		synctest.Wait()
		process.Leave("events")
		if !process.Close() {
			t.Error("somebody is in, or waits, although all is done")
		}
	})
}

// TestSuspectsThatGiveUp: one that is cancelled while it waits for events to end leaves the
// process to others.
func TestSuspectsThatGiveUp(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, dir, nil)
		defer g.close("")
		suspect, in := suspectOf(g, parse(t, "", "a, handler: p/do, config: {for: 1s}"))
		process := g.plugins.companyOf(in)
		process.Join("events", false)
		g.plugins.capacity(in, 16)
		synctest.Wait()
		if process.Join("events", false) {
			t.Fatal("an event comes in before the suspect")
		}
		if err := g.Operate(t.Context(), suspect, engine.Cancel{}); err != nil {
			t.Fatal(err)
		}
		process.Leave("events")
		synctest.Wait()
		if !process.Join("events", false) {
			t.Fatal("no event comes in, although nobody waits")
		}
		g.end(g.create(parse(t, "", "a, handler: p/do")), task.Complete)
		process.Leave("events")
		synctest.Wait()
		if !process.Close() {
			t.Error("somebody is in, or waits, although all is done")
		}
	})
}

// TestSuspectsInAnyOrder lets events come, ask to be alone and go while steps run, the
// first ones as suspects, and processes crash, drain and are replaced: no step begins beside
// an event that is alone, no suspect beside any, and in the end nobody waits.
func TestSuspectsInAnyOrder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) { suspectsRun(t, rt, dir) })
		if t.Failed() {
			rt.Fatal("see above")
		}
	})
}

func suspectsRun(t *testing.T, rt *rapid.T, dir string) {
	t.Helper()
	g := newRig(t, dir, nil)
	defer g.close("")
	launches, in := 0, ""
	start := func() {
		launches++
		in = "p#" + strconv.Itoa(launches)
		g.plugins.start(in, rapid.IntRange(1, 4).Draw(rt, "capacity"))
	}
	begun := func() int {
		synctest.Wait()
		g.plugins.mu.Lock()
		defer g.plugins.mu.Unlock()
		return len(g.plugins.starts)
	}
	event, alone, since := false, false, 0 // what is in flight beside the steps
	verify := func() {
		through := begun()
		g.plugins.mu.Lock()
		defer g.plugins.mu.Unlock()
		for _, s := range g.plugins.starts[since:through] {
			if event && (alone || s.a.Suspect) {
				t.Errorf("%s (suspect: %t) begins beside an event (alone: %t)", s.id, s.a.Suspect, alone)
			}
		}
	}
	start()
	tmpl := parse(t, "", "a, handler: p/do, config: {for: 40ms}", "b, handler: p/two, depends_on: [a], config: {for: 10ms}")
	ids := []task.ID{g.create(tmpl), g.create(tmpl), g.create(tmpl)}
	for range task.DefaultLossLimit { // those in flight become suspects
		synctest.Wait()
		g.plugins.kill(in, task.LossCrashed)
		start()
	}
	moves := []string{"create", "create", "wait", "event", "event", "event ends", "crash", "crash", "replace", "cancel"}
	for range rapid.IntRange(10, 40).Draw(rt, "moves") {
		verify()
		switch rapid.SampledFrom(moves).Draw(rt, "move") {
		case "create":
			ids = append(ids, g.create(tmpl))
		case "wait":
			<-time.After(time.Duration(rapid.IntRange(1, 60).Draw(rt, "ms")) * time.Millisecond)
		case "event":
			stays := event && !alone // when one more is turned away
			alone = rapid.Bool().Draw(rt, "alone")
			since = begun()
			event = g.plugins.companyOf(in).Join("events", alone) || stays && !alone
		case "event ends":
			g.plugins.companyOf(in).Leave("events")
			event = false
		case "crash":
			g.plugins.kill(in, task.LossCrashed)
			event = false
			start()
		case "replace":
			old := in
			event = false
			start()
			g.InstanceDraining(old)
			synctest.Wait()
			g.plugins.kill(old, task.LossDrained)
		case "cancel":
			if len(ids) > 0 {
				id := rapid.SampledFrom(ids).Draw(rt, "task")
				if err := g.Operate(t.Context(), id, engine.Cancel{}); err != nil && !errors.Is(err, task.ErrTransition) {
					t.Errorf("cancel: %v", err)
				}
			}
		}
	}
	verify()
	process := g.plugins.companyOf(in)
	process.Leave("events")
	for _, id := range ids {
		g.await(id, func(v *task.Task) bool { return v.Status.Terminal() })
	}
	g.plugins.check(t)
	synctest.Wait()
	if !process.Close() {
		t.Error("somebody is in, or waits, although all is done")
	}
}
