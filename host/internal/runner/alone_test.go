package runner_test

import (
	"slices"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/tasker-engine/tasker/host/internal/engine"
	"github.com/tasker-engine/tasker/host/task"
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
