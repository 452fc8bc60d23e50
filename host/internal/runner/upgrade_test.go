package runner_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/tasker-engine/tasker/host/task"
)

// TestUpgrades replaces instances, tries, promotes and gives up their successors and lets
// either crash, in any order, while tasks run: each step is started once, and again only
// for a crash; between two changes each task has one of the two instances, and the right
// one where only one serves; what is replaced ends with nothing in flight. What an instance
// has no slot for goes to the other one, unless that is to end.
func TestUpgrades(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) { upgradesRun(t, rt, dir) })
		if t.Failed() {
			rt.Fatal("see above")
		}
	})
}

// TestSuccessorsAreWaitedFor: who has taken over gets all attempts, also those that it has no
// slot for while the other one has.
func TestSuccessorsAreWaitedFor(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, dir, nil)
		defer g.close("")
		x := &exchange{rig: g, capacity: 1}
		x.change(func() { x.old = x.start(false) })
		x.move("begin", 0)
		x.move("promote", 0)
		tmpl := parse(t, "", "a, handler: p/do, config: {for: 20ms}")
		for _, id := range []task.ID{g.create(tmpl), g.create(tmpl), g.create(tmpl)} {
			g.end(id, task.Complete)
		}
		x.check()
	})
}

func upgradesRun(t *testing.T, rt *rapid.T, dir string) {
	t.Helper()
	g := newRig(t, dir, nil)
	defer g.close("")
	x := &exchange{rig: g, capacity: rapid.SampledFrom([]int{1, roomy}).Draw(rt, "capacity")}
	x.change(func() { x.old = x.start(false) })
	tmpl := parse(t, "", "a, handler: p/do, config: {for: 20ms}", "b, handler: p/other, depends_on: [a], config: {for: 30ms}",
		"c, handler: p/do, depends_on: [b]")
	moves := []string{"create", "create", "wait", "begin", "share", "promote", "keep", "give up", "crash the old", "crash the next"}
	var ids []task.ID
	for range rapid.IntRange(10, 40).Draw(rt, "moves") {
		switch move := rapid.SampledFrom(moves).Draw(rt, "move"); move {
		case "create":
			ids = append(ids, g.create(tmpl))
		case "wait":
			<-time.After(time.Duration(rapid.IntRange(1, 60).Draw(rt, "ms")) * time.Millisecond)
		default:
			x.move(move, rapid.Float64Range(0.1, 0.9).Draw(rt, "share"))
		}
	}
	x.move("give up", 0)
	for _, id := range ids {
		for _, s := range g.end(id, task.Complete).Steps {
			if s.Attempts != s.Losses+1 {
				t.Errorf("a step of %s took %d attempts with %d losses", id, s.Attempts, s.Losses)
			}
		}
	}
	g.plugins.check(t)
	x.check()
}

// roomy is more than all tasks of a run.
const roomy = 256

// exchange is an instance, and perhaps its successor.
type exchange struct {
	*rig

	capacity  int
	old, next string
	share     float64 // of the successor; 1 = it has taken over
	launches  int
	crashes   int
	epochs    []epoch
}

// epoch is the time between two changes.
type epoch struct {
	from      int // of the starts
	old, next string
	share     float64
}

func (x *exchange) start(trial bool) string {
	x.launches++
	id := fmt.Sprintf("p#%d", x.launches)
	x.plugins.start(id, x.capacity, func(in *task.Instance) { in.Trial = trial })
	return id
}

// change changes who serves, between what was started before and what is after.
func (x *exchange) change(do func()) {
	synctest.Wait()
	x.plugins.mu.Lock()
	from := len(x.plugins.starts)
	x.plugins.mu.Unlock()
	do()
	x.epochs = append(x.epochs, epoch{from: from, old: x.old, next: x.next, share: x.share})
}

// move does what the conductor of an upgrade does next, if it may do that now.
func (x *exchange) move(move string, share float64) {
	trying, serving := x.next != "", x.next != "" && x.share == 1
	switch {
	case move == "begin" && !trying:
		x.change(func() { x.next, x.share = x.start(true), 0 })
	case move == "share" && trying && x.share == 0:
		x.shift(share)
	case move == "promote" && trying && !serving:
		x.shift(1)
	case move == "keep" && serving:
		x.retire(x.old)
		x.change(func() { x.old, x.next, x.share = x.next, "", 0 })
	case move == "give up" && trying:
		x.revive()
		x.shift(0)
		x.retire(x.next)
		x.change(func() { x.next = "" })
	case move == "crash the next" && trying && x.mayCrash():
		x.change(func() {
			x.plugins.kill(x.next, task.LossCrashed)
			x.next, x.share = "", 0
		})
		x.revive()
	case move == "crash the old" && x.old != "" && x.mayCrash():
		x.change(func() {
			x.plugins.kill(x.old, task.LossCrashed)
			x.old = ""
		})
		if !serving {
			x.revive()
		}
	}
}

func (x *exchange) shift(share float64) {
	x.change(func() {
		x.share = share
		x.InstanceShare(x.next, share)
	})
}

// revive starts the old one again if it has crashed.
func (x *exchange) revive() {
	if x.old == "" {
		x.change(func() { x.old = x.start(false) })
	}
}

// mayCrash reports whether one more instance may end: what was lost three times would not
// share an instance with others.
func (x *exchange) mayCrash() bool {
	x.crashes++
	return x.crashes <= 2
}

// retire ends an instance that gets nothing any more, once it holds nothing.
func (x *exchange) retire(id string) {
	x.t.Helper()
	if id == "" {
		return
	}
	if err := x.Vacated(context.Background(), id); err != nil {
		x.t.Error(err)
	}
	x.InstanceDraining(id)
	synctest.Wait()
	x.plugins.mu.Lock()
	held := len(x.plugins.instances[id].held)
	x.plugins.mu.Unlock()
	if held > 0 {
		x.t.Errorf("%s is to end and holds %d attempts", id, held)
	}
	x.plugins.kill(id, task.LossDrained)
}

// check looks at who was given what.
func (x *exchange) check() {
	x.t.Helper()
	x.plugins.mu.Lock()
	defer x.plugins.mu.Unlock()
	seen := make(map[task.AttemptID]bool)
	for i, e := range x.epochs {
		through := len(x.plugins.starts)
		if i+1 < len(x.epochs) {
			through = x.epochs[i+1].from
		}
		by := make(map[task.ID]string)
		for _, s := range x.plugins.starts[e.from:through] {
			if seen[s.id] {
				x.t.Errorf("attempt %s was started twice", s.id)
			}
			seen[s.id] = true
			if was := by[s.id.Task]; x.capacity == roomy && was != "" && was != s.instance {
				x.t.Errorf("task %s has steps on %s and on %s, while nothing changes: %+v", s.id.Task, was, s.instance, e)
			}
			by[s.id.Task] = s.instance
			if e.share == 0 && s.instance != e.old || e.share == 1 && s.instance != e.next {
				x.t.Errorf("attempt %s is on %s: %+v", s.id, s.instance, e)
			}
		}
	}
}
