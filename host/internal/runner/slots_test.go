package runner_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tasker-engine/tasker/host/internal/engine"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

func priority(n int32) func(*task.Spec) { return func(s *task.Spec) { s.Priority = n } }

// TestOrder claims what waits for slots: by priority, then by arrival, across tasks and
// handlers of a plugin.
func TestOrder(t *testing.T) {
	tests := []struct {
		name  string
		tasks [][]string // steps of each task
		prio  []int32
		want  []string // "task/step" as they are dispatched
	}{
		{
			name:  "arrival",
			tasks: [][]string{{"a, handler: p/do"}, {"a, handler: p/do"}, {"a, handler: p/do"}},
			want:  []string{"01/0", "02/0", "03/0"},
		},
		{
			name:  "arrival over handlers",
			tasks: [][]string{{"a, handler: p/do", "b, handler: p/other"}, {"a, handler: p/other", "b, handler: p/do"}, {"a, handler: p/two"}},
			want:  []string{"01/0", "01/1", "02/0", "02/1", "03/0"},
		},
		{
			name:  "priority of tasks",
			tasks: [][]string{{"a, handler: p/do"}, {"a, handler: p/other"}, {"a, handler: p/do"}},
			prio:  []int32{0, 5, 9}, want: []string{"03/0", "02/0", "01/0"},
		},
		{
			name:  "priority of steps adds up",
			tasks: [][]string{{"a, handler: p/do, priority: 3", "b, handler: p/do"}, {"a, handler: p/do", "b, handler: p/do, priority: 2"}},
			prio:  []int32{0, 2}, want: []string{"02/1", "01/0", "02/0", "01/1"},
		},
		{
			name:  "what follows waits its turn",
			tasks: [][]string{{"a, handler: p/do", "b, handler: p/do, depends_on: [a]"}, {"a, handler: p/other"}},
			want:  []string{"01/0", "02/0", "01/1"},
		},
	}
	for _, test := range tests {
		dir := t.TempDir()
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t, dir, nil)
				defer g.close("")
				g.plugins.start("p#1", 0)
				var ids []task.ID
				for i, steps := range test.tasks {
					var p int32
					if test.prio != nil {
						p = test.prio[i]
					}
					ids = append(ids, g.create(parse(t, "", steps...), priority(p)))
				}
				g.plugins.capacity("p#1", 1)
				for _, id := range ids {
					g.end(id, task.Complete)
				}
				if diff := cmp.Diff(test.want, g.plugins.order()); diff != "" {
					t.Errorf("order of the starts (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// TestSlots lets instances come, go, change their capacity and answer in any way while
// commits fail: no instance ever holds more than it takes, and in the end every task has
// ended and every slot is free.
func TestSlots(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) { slotsRun(t, rt, dir) })
		if t.Failed() {
			rt.Fatal("see above")
		}
	})
}

func slotsRun(t *testing.T, rt *rapid.T, dir string) {
	t.Helper()
	var breaker *breaker
	g := newRig(t, dir, func(s store.Store) store.Store {
		breaker = newBreaker(s)
		return breaker
	})
	tmpls := []string{"do", "other", "two"}
	var ids []task.ID
	instances := 1
	g.plugins.start("p#1", rapid.IntRange(0, 4).Draw(rt, "capacity"))
	for range rapid.IntRange(5, 25).Draw(rt, "moves") {
		switch rapid.SampledFrom([]string{"create", "create", "create", "capacity", "kill", "start", "fail", "conflict", "wait", "cancel"}).Draw(rt, "move") {
		case "create":
			h := rapid.SampledFrom(tmpls).Draw(rt, "handler")
			tmpl := parse(t, "", "a, handler: p/"+h+", config: {for: 50ms}", "b, handler: p/do, retry: {base: 30ms}, config: {fails: 1}",
				"c, handler: p/"+h+", depends_on: [a, b]", "d, handler: p/other, timeout: 40ms, retry: {limit: 2, base: 1ms}, config: {hangs: true}")
			spec := g.spec(tmpl)
			if err := g.Create(context.Background(), engine.New(spec, tmpl)); err == nil {
				ids = append(ids, spec.ID)
			} else if !errors.Is(err, errBroken) && !errors.Is(err, store.ErrConflict) {
				t.Errorf("create: %v", err)
			}
		case "capacity":
			g.plugins.capacity(fmt.Sprintf("p#%d", instances), rapid.IntRange(0, 4).Draw(rt, "capacity"))
		case "kill":
			g.plugins.kill(fmt.Sprintf("p#%d", instances), task.LossDrained)
		case "start":
			instances++
			g.plugins.start(fmt.Sprintf("p#%d", instances), rapid.IntRange(1, 4).Draw(rt, "capacity"))
		case "fail":
			breaker.next(errBroken, rapid.IntRange(1, 3).Draw(rt, "times"))
		case "conflict":
			breaker.next(store.ErrConflict, rapid.IntRange(1, 3).Draw(rt, "times"))
		case "cancel":
			if len(ids) > 0 {
				id := rapid.SampledFrom(ids).Draw(rt, "task")
				if err := g.Operate(context.Background(), id, engine.Cancel{}); err != nil && !errors.Is(err, task.ErrTransition) {
					t.Errorf("cancel: %v", err)
				}
			}
		case "wait":
			<-time.NewTimer(time.Duration(rapid.IntRange(1, 60).Draw(rt, "ms")) * time.Millisecond).C
		}
	}
	breaker.next(nil, 0)
	g.plugins.start("p#last", 3)
	for _, id := range ids {
		g.await(id, func(v *task.Task) bool { return v.Status.Terminal() })
	}
	g.plugins.check(t)
	g.wantFree(t, 3)
	g.log.Reset() // what the broken commits were warned of
	g.close("")
}

// wantFree proves that a plugin has so many slots: as many steps as that run at once.
func (g *rig) wantFree(t *testing.T, slots int) {
	t.Helper()
	g.plugins.mu.Lock()
	ids := make([]string, 0, len(g.plugins.instances))
	for id := range g.plugins.instances {
		ids = append(ids, id)
	}
	g.plugins.mu.Unlock()
	for _, id := range ids {
		if id != "p#last" {
			g.plugins.kill(id, task.LossDrained)
		}
	}
	steps := make([]string, slots)
	for i := range steps {
		steps[i] = fmt.Sprintf("s%d, handler: p/do, config: {hangs: true}", i)
	}
	id := g.create(parse(t, "", steps...))
	synctest.Wait()
	for i, s := range g.load(id).Steps {
		if s.Status != task.StepInProgress {
			t.Errorf("step %d of %d is %s: a slot is not free", i+1, slots, s.Status)
		}
	}
	if err := g.Operate(context.Background(), id, engine.Cancel{}); err != nil {
		t.Error(err)
	}
	g.end(id, task.Cancelled)
}

// errBroken is what a broken disk says.
var errBroken = errors.New("the disk is broken")

// breaker is a store whose commits fail on purpose, or wait.
type breaker struct {
	store.Store

	mu    sync.Mutex
	err   error
	times int           // so many commits fail
	left  int           // the commit that brings it to 0 fails
	gate  chan struct{} // closed: pass
}

func newBreaker(s store.Store) *breaker {
	open := make(chan struct{})
	close(open)
	return &breaker{Store: s, gate: open}
}

// next makes the next commits fail.
func (b *breaker) next(err error, times int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err, b.times = err, times
}

// hold keeps commits from becoming known until the result is called.
func (b *breaker) hold() (release func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	gate := make(chan struct{})
	b.gate = gate
	return func() { close(gate) }
}

// Submit implements [store.Store].
func (b *breaker) Submit(ws *store.WriteSet, done func(store.Commit, error)) {
	b.mu.Lock()
	b.left--
	fail := b.times > 0 || b.left == 0
	if fail {
		b.times--
	}
	err, gate := b.err, b.gate
	b.mu.Unlock()
	if fail {
		go done(store.Commit{}, err)
		return
	}
	b.Store.Submit(ws, func(c store.Commit, err error) {
		<-gate
		done(c, err)
	})
}

// TestFailedCommit breaks every kind of commit once: nothing is acted on before the
// commit is repeated, and everything ends well.
func TestFailedCommit(t *testing.T) {
	for _, cause := range []error{errBroken, store.ErrConflict} {
		for nth := 2; nth <= 6; nth++ {
			dir := t.TempDir()
			t.Run(fmt.Sprintf("%v at commit %d", cause, nth), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var b *breaker
					g := newRig(t, dir, func(s store.Store) store.Store { b = newBreaker(s); return b })
					wantLog := ""
					if errors.Is(cause, errBroken) {
						wantLog = errBroken.Error()
					}
					defer g.close(wantLog)
					release := b.hold() // so that the failure is armed before the second commit
					g.plugins.start("p#last", 1)
					tmpl := parse(t, "", "a, handler: p/do", "b, handler: p/do, depends_on: [a], retry: {base: 1ms}, config: {fails: 1}",
						"c, handler: p/do, depends_on: [b]")
					spec := g.spec(tmpl)
					var created sync.WaitGroup
					created.Go(func() {
						if err := g.Create(context.Background(), engine.New(spec, tmpl)); err != nil {
							t.Errorf("create: %v", err)
						}
					})
					synctest.Wait()
					b.failAt(cause, nth-1)
					release()
					created.Wait()
					v := g.end(spec.ID, task.Complete)
					for i, want := range []uint32{1, 2, 1} {
						if v.Steps[i].Attempts != want {
							t.Errorf("step %d took %d attempts, want %d", i, v.Steps[i].Attempts, want)
						}
					}
					g.plugins.check(t)
					if starts := len(g.plugins.starts); starts != 4 {
						t.Errorf("%d attempts were dispatched, want 4", starts)
					}
					g.wantFree(t, 1)
				})
			})
		}
	}
}

// failAt lets the n-th commit from now on fail, and no other.
func (b *breaker) failAt(err error, n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err, b.left = err, n
}

// TestFailedCreation refuses creations whose commit fails and gives back what they held,
// also what was claimed for them meanwhile.
func TestFailedCreation(t *testing.T) {
	for _, cause := range []error{errBroken, task.ErrTooLarge, &store.DuplicateError{ID: "x"}} {
		dir := t.TempDir()
		t.Run(fmt.Sprintf("%T", cause), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				slow := &slowFailure{err: cause, started: make(chan struct{}), release: make(chan struct{})}
				g := newRig(t, dir, func(s store.Store) store.Store { slow.Store = s; return slow })
				wantLog := ""
				if errors.Is(cause, errBroken) {
					wantLog = errBroken.Error()
				}
				defer g.close(wantLog)
				g.plugins.start("p#last", 1)
				tmpl := parse(t, "", "a, handler: p/do", "b, handler: p/do")
				answer := make(chan error, 1)
				go func() { answer <- g.Create(context.Background(), engine.New(g.spec(tmpl), tmpl)) }()
				<-slow.started
				g.plugins.capacity("p#last", 2) // the second step is claimed while the first write set is in flight
				synctest.Wait()
				close(slow.release)
				if err := <-answer; !errors.Is(err, cause) {
					t.Errorf("create: %v, want %v", err, cause)
				}
				if n := len(g.plugins.starts); n != 0 {
					t.Errorf("%d attempts were dispatched for a task that does not exist", n)
				}
				g.wantFree(t, 2)
			})
		})
	}
}

// slowFailure fails the first commit, when it is told to.
type slowFailure struct {
	store.Store

	err              error
	once             sync.Once
	started, release chan struct{}
}

// Submit implements [store.Store].
func (s *slowFailure) Submit(ws *store.WriteSet, done func(store.Commit, error)) {
	first := false
	s.once.Do(func() { first = true })
	if !first {
		s.Store.Submit(ws, done)
		return
	}
	close(s.started)
	go func() {
		<-s.release
		done(store.Commit{}, s.err)
	}()
}

// TestBrokenDiskIsTriedOncePerSecond keeps the disk broken: the host does not spin.
func TestBrokenDiskIsTriedOncePerSecond(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var b *breaker
		g := newRig(t, dir, func(s store.Store) store.Store { b = newBreaker(s); return b })
		defer g.close(errBroken.Error())
		g.plugins.start("p#1", 4)
		id := g.create(parse(t, "", "a, handler: p/do, config: {for: 1s}", "b, handler: p/do, timeout: 500ms, config: {hangs: true}"))
		const tries = 1000
		b.next(errBroken, tries)
		<-time.NewTimer(2 * time.Minute).C
		synctest.Wait()
		b.mu.Lock()
		used := tries - b.times
		b.mu.Unlock()
		if used < 60 || used > 125 {
			t.Errorf("%d commits were tried in two minutes, want about one per second", used)
		}
		b.next(nil, 0)
		g.await(id, func(v *task.Task) bool { return v.Steps[0].Status == task.StepComplete })
		if err := g.Operate(context.Background(), id, engine.Cancel{}); err != nil {
			t.Error(err)
		}
		g.end(id, task.Cancelled)
	})
}

// TestCancelDoesNotOvertake decides a claim and a cancel together: the plugin hears of
// the attempt before it hears that it is to stop.
func TestCancelDoesNotOvertake(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var b *breaker
		g := newRig(t, dir, func(s store.Store) store.Store { b = newBreaker(s); return b })
		defer g.close("")
		g.plugins.start("p#1", 0)
		id := g.create(parse(t, "", "a, handler: p/do, config: {hangs: true}"))
		release := b.hold()
		paused := make(chan error, 1)
		go func() { paused <- g.Operate(context.Background(), id, engine.Pause{}) }()
		synctest.Wait()
		for _, in := range []engine.Input{engine.Resume{}, engine.Cancel{}} {
			go func() { paused <- g.Operate(context.Background(), id, in) }()
			synctest.Wait()
			g.plugins.capacity("p#1", 1)
			synctest.Wait()
		}
		release()
		for range 3 {
			if err := <-paused; err != nil {
				t.Error(err)
			}
		}
		g.end(id, task.Cancelled)
		g.plugins.mu.Lock()
		defer g.plugins.mu.Unlock()
		for i, call := range g.plugins.calls {
			if cancelled, ok := strings.CutPrefix(call, "cancel "); ok && !slices.Contains(g.plugins.calls[:i], "dispatch "+cancelled) {
				t.Errorf("calls %v: the cancel comes first", g.plugins.calls)
			}
		}
	})
}
