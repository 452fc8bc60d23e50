package runner_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tasker-engine/tasker/host/internal/engine"
	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// hanging starts a task whose only attempt runs until the test answers for it.
func hanging(t *testing.T, g *rig, more string) task.AttemptID {
	t.Helper()
	id := g.create(parse(t, "", "a, handler: p/do, config: {hangs: true}"+more))
	g.await(id, func(v *task.Task) bool { return v.Steps[0].Status == task.StepInProgress })
	return task.AttemptID{Task: id, Ordinal: 0, Number: 1}
}

func succeeded(id task.AttemptID, output string) task.Report {
	return task.Report{ID: id, Instance: "p#1", Kind: task.ReportSucceeded, Output: []byte(output)}
}

// TestSecondResultIsLate sends two results for one attempt: the first counts.
func TestSecondResultIsLate(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, dir, nil)
		defer g.close("")
		g.plugins.start("p#1", 1)
		id := hanging(t, g, "")
		g.Reports([]task.Report{succeeded(id, "1"), succeeded(id, "2")})
		v := g.end(id.Task, task.Complete)
		g.Reports([]task.Report{failed(succeeded(id, ""), task.KindPermanent, "too late")}) // the task is no longer cached
		synctest.Wait()
		v = g.load(v.ID)
		if s := v.Steps[0]; s.Status != task.StepComplete || string(s.Results.Inline) != "1" || s.LateCount != 2 || s.Late.Outcome != "failed" {
			t.Errorf("step is %s with %s, %d late results, the last %+v; want complete with 1, two late ones", s.Status, s.Results.Inline, s.LateCount, s.Late)
		}
	})
}

// TestResultAfterLoss lets an instance die and its last result arrive afterwards.
func TestResultAfterLoss(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, dir, nil)
		defer g.close("")
		g.plugins.start("p#1", 1)
		id := hanging(t, g, "")
		g.plugins.kill("p#1", task.LossCrashed)
		g.Reports([]task.Report{succeeded(id, "1")})
		v := g.await(id.Task, func(v *task.Task) bool { return v.Steps[0].LateCount == 1 })
		if s := v.Steps[0]; s.Status != task.StepWaitingForRetry || s.Attempt.Status != task.AttemptLost {
			t.Errorf("step is %s, its attempt %s: the late result changed it", s.Status, s.Attempt.Status)
		}
	})
}

// TestStrangeReports sends what no plugin should.
func TestStrangeReports(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, dir, nil)
		defer g.close("unknown task")
		g.plugins.start("p#1", 1)
		id := hanging(t, g, "")
		unknown, future, elsewhere := id, id, id
		unknown.Task, future.Number, elsewhere.Ordinal = "01ARZ3NDEKTSV4RRFFQ69G5FAV", 7, 9
		for _, bad := range []task.AttemptID{unknown, future, elsewhere} {
			g.Reports([]task.Report{succeeded(bad, "1"), {ID: bad, Instance: "p#1", Kind: task.ReportHeartbeat}})
		}
		g.Reports([]task.Report{{ID: id, Instance: "p#9", Kind: task.ReportHeartbeat}})
		synctest.Wait()
		if s := g.load(id.Task).Steps[0]; s.Status != task.StepInProgress || s.LateCount != 0 {
			t.Errorf("step is %s with %d late results", s.Status, s.LateCount)
		}
		g.Reports([]task.Report{succeeded(id, "1")})
		g.end(id.Task, task.Complete)
	})
}

// TestCheckpoints stores at most one checkpoint per second, the newest when an attempt
// fails, and hands it to the next.
func TestCheckpoints(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, dir, nil)
		defer g.close("")
		g.plugins.start("p#1", 1)
		id := hanging(t, g, ", retry: {base: 1ms}")
		before := g.commits()
		for n := range 100 {
			g.Reports([]task.Report{{ID: id, Instance: "p#1", Kind: task.ReportHeartbeat, Checkpoint: []byte{'1' + byte(n/50), '0'}}})
			<-time.NewTimer(30 * time.Millisecond).C
		}
		g.Reports([]task.Report{{ID: id, Instance: "p#1", Kind: task.ReportHeartbeat, Checkpoint: []byte("99")}})
		synctest.Wait()
		if n := g.commits() - before; n < 3 || n > 4 {
			t.Errorf("%d checkpoints were stored in three seconds, want one per second", n)
		}
		g.Reports([]task.Report{failed(succeeded(id, ""), task.KindRetryable, "again")})
		g.await(id.Task, func(v *task.Task) bool { return v.Steps[0].Attempts == 2 })
		synctest.Wait()
		if got := string(g.plugins.starts[1].a.Checkpoint); got != "99" {
			t.Errorf("the next attempt got the checkpoint %s, want 99", got)
		}
	})
}

// TestHeartbeatTimeoutIsPutOff keeps an attempt alive with heartbeats, then stops them.
func TestHeartbeatTimeoutIsPutOff(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, dir, nil)
		defer g.close("")
		g.plugins.start("p#1", 1)
		id := hanging(t, g, ", heartbeat_timeout: 10s, retry: {limit: 1}")
		begun := time.Now()
		for range 6 {
			<-time.NewTimer(9 * time.Second).C
			g.Reports([]task.Report{{ID: id, Instance: "p#1", Kind: task.ReportHeartbeat}})
		}
		g.end(id.Task, task.Error)
		if took := time.Since(begun); took != 64*time.Second {
			t.Errorf("it timed out after %s, want 10s after the last heartbeat: 1m4s", took)
		}
	})
}

func TestWatch(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, dir, nil)
		g.plugins.start("p#1", 1)
		id := hanging(t, g, "")
		changes, stop := g.Watch(id.Task)
		other, stopOther := g.Watch("01ARZ3NDEKTSV4RRFFQ69G5FAV")
		stopped, stopNow := g.Watch(id.Task)
		stopNow()
		synctest.Wait()
		if len(changes) != 0 {
			t.Error("a change is told that was committed before")
		}
		for range 3 { // changes that come faster than they are received are one
			g.Reports([]task.Report{succeeded(id, "1")})
			synctest.Wait()
		}
		<-changes
		if v := g.load(id.Task); v.Status != task.Complete {
			t.Errorf("the change was told while the task was stored as %s", v.Status)
		}
		if len(changes) != 0 || len(other) != 0 || len(stopped) != 0 {
			t.Errorf("further changes: %d, %d of another task, %d after stop", len(changes), len(other), len(stopped))
		}
		stopOther()
		g.close("")
		if _, open := <-changes; open {
			t.Error("the channel is open after the runner has ended")
		}
		stop()
		if closed, _ := g.Watch(id.Task); closed == nil {
			t.Error("no channel after the end")
		} else if _, open := <-closed; open {
			t.Error("a channel made after the end is open")
		}
	})
}

// TestBoot opens a store that a host left in the middle of everything.
func TestBoot(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, dir, nil)
		g.plugins.start("p#1", 2)
		running := hanging(t, g, ", on_crash: fail") // the host's death is no crash of the plugin
		retrying := g.create(parse(t, "", "a, handler: p/do, retry: {base: 1h, cap: 1h}, config: {fails: 1}"))
		g.await(retrying, func(v *task.Task) bool { return v.Steps[0].Status == task.StepWaitingForRetry })
		waiting := g.create(parse(t, "", "a, handler: q/do"))
		begun := time.Now()
		g.close("")

		g.open(nil)
		defer g.close("")
		g.plugins.start("q#1", 1)
		g.end(waiting, task.Complete)
		g.plugins.start("p#1", 2)
		g.end(retrying, task.Complete)
		if took := time.Since(begun); took != time.Hour {
			t.Errorf("the retry came after %s, want 1h", took)
		}
		v := g.load(running.Task)
		if s := v.Steps[0]; s.Losses != 0 {
			t.Errorf("%d losses counted, the host's death is not the step's doing", s.Losses)
		}
	})
}

func TestDrain(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, dir, nil)
		defer g.close("")
		g.plugins.start("p#1", 3)
		id := hanging(t, g, "")
		stubborn := g.create(parse(t, "", "a, handler: p/do, timeout: 1s, retry: {limit: 1}, config: {hangs: true, stubborn: true}"))
		g.end(stubborn, task.Error) // its attempt is waited for by nobody
		next := g.create(parse(t, "", "a, handler: q/do"))
		drained := make(chan error, 1)
		go func() { drained <- g.Drain(context.Background()) }()
		synctest.Wait()
		if len(drained) != 0 {
			t.Error("drained while an attempt runs")
		}
		tmpl := parse(t, "", "a, handler: p/do")
		if err := g.Create(context.Background(), engine.New(g.spec(tmpl), tmpl)); !errors.Is(err, task.ErrStopping) {
			t.Errorf("create while draining: %v, want %v", err, task.ErrStopping)
		}
		g.plugins.start("q#1", 1)
		g.Reports([]task.Report{succeeded(id, "1")})
		if err := <-drained; err != nil {
			t.Error(err)
		}
		g.end(id.Task, task.Complete)
		if s := g.load(next).Steps[0]; s.Attempts != 0 {
			t.Error("a step was claimed while draining")
		}
	})
}

func TestDrainGivesUp(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, dir, nil)
		defer g.close("")
		g.plugins.start("p#1", 1)
		hanging(t, g, "")
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := g.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("drain: %v", err)
		}
	})
}

// TestInstanceGoesBetweenClaimAndCommit loses the instance of a claim whose commit is in
// flight: the attempt was never sent, so that its loss does not count, and another
// instance takes the next.
func TestInstanceGoesBetweenClaimAndCommit(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var b *breaker
		g := newRig(t, dir, func(s store.Store) store.Store { b = newBreaker(s); return b })
		defer g.close("")
		g.plugins.start("p#1", 1)
		release := b.hold()
		tmpl := parse(t, "", "a, handler: p/do")
		spec := g.spec(tmpl)
		created := make(chan error, 1)
		go func() { created <- g.Create(context.Background(), engine.New(spec, tmpl)) }()
		synctest.Wait()
		g.plugins.kill("p#1", task.LossCrashed)
		g.plugins.start("p#2", 1)
		synctest.Wait()
		release()
		if err := <-created; err != nil {
			t.Error(err)
		}
		if v := g.end(spec.ID, task.Complete); v.Steps[0].Attempts != 2 || v.Steps[0].Losses != 0 {
			t.Errorf("%d attempts, %d losses; want 2 and 0", v.Steps[0].Attempts, v.Steps[0].Losses)
		}
	})
}

// TestInstanceGoesBeforeTheClaimIsDecided loses the instance of a claim that waits for
// another commit of its task, while a new instance is ready already.
func TestInstanceGoesBeforeTheClaimIsDecided(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var b *breaker
		g := newRig(t, dir, func(s store.Store) store.Store { b = newBreaker(s); return b })
		defer g.close("")
		g.plugins.start("p#1", 0)
		id := g.create(parse(t, "", "a, handler: p/do", "b, handler: q/do"))
		release := b.hold()
		g.plugins.start("q#1", 1) // the claim of b is in flight
		synctest.Wait()
		g.plugins.capacity("p#1", 1) // that of a waits for it
		synctest.Wait()
		g.plugins.kill("p#1", task.LossCrashed)
		g.plugins.start("p#2", 1)
		synctest.Wait()
		release()
		if v := g.end(id, task.Complete); v.Steps[0].Attempts != 1 {
			t.Errorf("%d attempts, want 1: the first claim was never made", v.Steps[0].Attempts)
		}
	})
}

func TestCallsAfterTheEnd(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, dir, nil)
		g.plugins.start("p#1", 1)
		id := g.create(parse(t, "", "a, handler: p/do"))
		g.end(id, task.Complete)
		g.close("")
		ctx := context.Background()
		tmpl := parse(t, "", "a, handler: p/do")
		if err := g.Create(ctx, engine.New(g.spec(tmpl), tmpl)); !errors.Is(err, task.ErrStopping) {
			t.Errorf("create: %v", err)
		}
		if err := g.Operate(ctx, id, engine.Cancel{}); !errors.Is(err, task.ErrStopping) {
			t.Errorf("operate: %v", err)
		}
		if err := g.Drain(ctx); err != nil {
			t.Errorf("drain: %v", err)
		}
		if g.Alive(ctx) {
			t.Error("alive")
		}
		g.Reports([]task.Report{succeeded(task.AttemptID{Task: id, Number: 1}, "1")}) // nobody hears it
	})
}

// TestLargePartialOutput fails an attempt with as much partial output as a plugin may
// send: the failure is stored, whatever must be left out of it.
func TestLargePartialOutput(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, dir, nil)
		defer g.close("")
		g.plugins.start("p#1", 1)
		id := hanging(t, g, "")
		rep := failed(succeeded(id, ""), task.KindPermanent, "no way")
		rep.Failure.Partial = []byte(`"` + strings.Repeat("x", task.MaxValue-2) + `"`)
		g.Reports([]task.Report{rep})
		if f := g.end(id.Task, task.Error).Steps[0].Failure; f.Message != "no way" && !strings.HasPrefix(f.Message, "no way") {
			t.Errorf("failure %q", f.Message)
		}
	})
}

// TestHeartbeatKeepsCheckpoint reports progress without a checkpoint: the last one stays,
// also when it is an earlier attempt's.
func TestHeartbeatKeepsCheckpoint(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, dir, nil)
		defer g.close("")
		g.plugins.start("p#1", 1)
		id := hanging(t, g, ", retry: {base: 1ms, limit: 9}")
		for n := range uint32(3) {
			id.Number = n + 1
			beat := task.Report{ID: id, Instance: "p#1", Kind: task.ReportHeartbeat, Progress: 0.5}
			if n == 0 {
				beat.Checkpoint = []byte(`{"page":7}`)
			}
			g.Reports([]task.Report{beat})
			<-time.NewTimer(2 * time.Second).C // it is stored
			beat.Checkpoint = nil
			beat.Progress = 0.75
			g.Reports([]task.Report{beat})
			<-time.NewTimer(2 * time.Second).C
			g.Reports([]task.Report{failed(succeeded(id, ""), task.KindRetryable, "again")})
			g.await(id.Task, func(v *task.Task) bool { return v.Steps[0].Attempts == n+2 })
			synctest.Wait()
			if got := string(g.plugins.starts[n+1].a.Checkpoint); got != `{"page":7}` {
				t.Errorf("attempt %d got the checkpoint %q", n+2, got)
			}
		}
	})
}

// TestCheckpointIsFlushed stores the newest checkpoint a second after the last at the
// latest, and before its attempt is closed for its time.
func TestCheckpointIsFlushed(t *testing.T) {
	for _, test := range []struct {
		name, more string
		after      time.Duration // from the second checkpoint on
	}{
		{"by its timer", "", time.Second},
		{"before a timeout", ", timeout: 1500ms, retry: {base: 1ms}", 600 * time.Millisecond},
		{"before the last timeout", ", timeout: 1500ms, retry: {limit: 1}", 600 * time.Millisecond},
	} {
		dir := t.TempDir()
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t, dir, nil)
				defer g.close("")
				g.plugins.start("p#1", 1)
				id := hanging(t, g, test.more)
				beat := func(checkpoint string) {
					g.Reports([]task.Report{{ID: id, Instance: "p#1", Kind: task.ReportHeartbeat, Checkpoint: []byte(checkpoint)}})
				}
				<-time.NewTimer(900 * time.Millisecond).C
				beat("1")
				<-time.NewTimer(50 * time.Millisecond).C
				beat("2")
				<-time.NewTimer(test.after).C
				synctest.Wait()
				cps, err := g.bolt.Checkpoints(context.Background(), id.Task)
				if err != nil || string(cps[0].Data) != "2" {
					t.Errorf("stored checkpoint %s, error %v; want 2", cps[0].Data, err)
				}
			})
		})
	}
}

// TestCheckpointOutlivesError retries a step that ended in error: its next attempt gets
// the checkpoint of the last.
func TestCheckpointOutlivesError(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, dir, nil)
		defer g.close("")
		g.plugins.start("p#1", 1)
		id := hanging(t, g, ", retry: {limit: 1}")
		g.Reports([]task.Report{
			{ID: id, Instance: "p#1", Kind: task.ReportHeartbeat, Checkpoint: []byte("7")},
			failed(succeeded(id, ""), task.KindRetryable, "no"),
		})
		g.end(id.Task, task.Error)
		if err := g.Operate(context.Background(), id.Task, engine.Retry{Op: task.Operation{Task: id.Task}}); err != nil {
			t.Fatal(err)
		}
		g.await(id.Task, func(v *task.Task) bool { return v.Steps[0].Attempts == 2 })
		synctest.Wait()
		if got := string(g.plugins.starts[1].a.Checkpoint); got != "7" {
			t.Errorf("the next attempt got the checkpoint %q, want 7", got)
		}
		id.Number = 2
		g.Reports([]task.Report{succeeded(id, "1")})
		g.end(id.Task, task.Complete)
		if cps, err := g.bolt.Checkpoints(context.Background(), id.Task); len(cps) != 0 || err != nil {
			t.Errorf("checkpoints of a task that is complete: %v, error %v", cps, err)
		}
	})
}

// picky is a store that takes no failure with the code "odd".
type picky struct{ store.Store }

// Submit implements [store.Store].
func (p picky) Submit(ws *store.WriteSet, done func(store.Commit, error)) {
	for _, s := range ws.Steps {
		if s.Failure != nil && s.Failure.Code == "odd" {
			go done(store.Commit{}, fmt.Errorf("odd: %w", task.ErrInvalid))
			return
		}
	}
	p.Store.Submit(ws, done)
}

// TestResultThatCannotBeStored answers with what no record can hold, together with
// another result of the task: the attempt fails by the host's verdict, the other counts.
func TestResultThatCannotBeStored(t *testing.T) {
	for name, test := range map[string]struct {
		bad  task.Failure
		code string
	}{
		"too large": {task.Failure{Kind: task.KindRetryable, Message: strings.Repeat("x", task.MaxValue)}, task.CodeTooLarge},
		"refused":   {task.Failure{Kind: task.KindRetryable, Code: "odd"}, task.CodeInvalidResult},
	} {
		dir := t.TempDir()
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newRig(t, dir, func(s store.Store) store.Store { return picky{s} })
				defer g.close("cannot be stored")
				g.plugins.start("p#1", 2)
				v := g.create(parse(t, "", "a, handler: p/do, config: {hangs: true}", "b, handler: p/do, config: {hangs: true}"))
				synctest.Wait()
				begun := time.Now()
				a, b := task.AttemptID{Task: v, Ordinal: 0, Number: 1}, task.AttemptID{Task: v, Ordinal: 1, Number: 1}
				bad := succeeded(a, "")
				bad.Kind, bad.Failure = task.ReportFailed, &test.bad
				g.Reports([]task.Report{bad, succeeded(b, "1")})
				got := g.end(v, task.Error)
				if f := got.Steps[0].Failure; f == nil || f.Code != test.code || f.Kind != task.KindPermanent || f.Source != task.SourceHost {
					t.Errorf("failure %v, want the host's %s", f, test.code)
				}
				if s := got.Steps[1]; s.Status != task.StepComplete || got.Steps[0].Attempts != 1 {
					t.Errorf("the other step is %s, %s", s.Status, statuses(got))
				}
				if took := time.Since(begun); took != 0 {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}

// TestCancelledByNobody lets a handler answer that it was cancelled when nobody asked:
// it fails like any other, within its limit; a draining instance is forgiven.
func TestCancelledByNobody(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, dir, nil)
		defer g.close("")
		g.plugins.start("p#1", 1)
		id := hanging(t, g, ", retry: {limit: 2, base: 1ms}")
		answer := func(number uint32) {
			g.await(id.Task, func(v *task.Task) bool { return v.Steps[0].Attempts == number })
			id.Number = number
			g.Reports([]task.Report{failed(succeeded(id, ""), task.KindCancelled, "not me")})
		}
		g.InstanceDraining("p#1")
		answer(1)
		g.await(id.Task, func(v *task.Task) bool { return v.Steps[0].Attempt.Status == task.AttemptLost })
		g.plugins.kill("p#1", task.LossDrained)
		g.plugins.start("p#1", 1)
		answer(2)
		answer(3)
		if s := g.end(id.Task, task.Error).Steps[0]; s.Failures != 2 || s.Losses != 0 || s.Failure.Kind != task.KindRetryable {
			t.Errorf("%d failures, %d losses, the last failure %v; want 2 and none", s.Failures, s.Losses, s.Failure)
		}
	})
}

// damaged is a store in which one task cannot be read.
type damaged struct {
	store.Store

	id task.ID
}

// Live implements [store.Store].
func (d *damaged) Live(ctx context.Context, fn func(task.ID, *store.Aggregate, error) error) error {
	return d.Store.Live(ctx, func(id task.ID, a *store.Aggregate, err error) error {
		if id == d.id {
			return fn(id, nil, store.ErrCorrupt)
		}
		return fn(id, a, err)
	})
}

// TestBootWithADamagedTask runs the other tasks and says that one stands still.
func TestBootWithADamagedTask(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, dir, nil)
		bad, good := g.create(parse(t, "", "a, handler: p/do")), g.create(parse(t, "", "a, handler: p/do"))
		g.close("")
		g.open(func(s store.Store) store.Store { return &damaged{Store: s, id: bad} })
		defer g.close("corrupt record")
		g.plugins.start("p#1", 1)
		g.end(good, task.Complete)
		if n := g.Broken(); n != 1 {
			t.Errorf("%d tasks stand still, want 1", n)
		}
		if v := g.load(bad); v.Status != task.Pending {
			t.Errorf("the damaged task is %s, want it left alone", v.Status)
		}
	})
}
