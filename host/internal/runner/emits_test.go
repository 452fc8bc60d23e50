package runner_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

func emit(name, payload string) task.Emit { return task.Emit{Name: name, Payload: []byte(payload)} }

// emitted is the report of an attempt that goes on.
func emitted(id task.AttemptID, emits ...task.Emit) task.Report {
	return task.Report{ID: id, Instance: "p#1", Kind: task.ReportEmitted, Emits: emits}
}

// history returns the events of a task: "type payload" of those of plugins, the type of
// the others. They are numbered without gaps.
func (g *rig) history(id task.ID) (events []string) {
	g.t.Helper()
	entries, err := g.bolt.TaskEvents(context.Background(), id)
	if err != nil {
		g.t.Fatal(err)
	}
	for i, entry := range entries {
		e := &eventv1.Event{}
		if err := proto.Unmarshal(entry.Encoded, e); err != nil {
			g.t.Fatal(err)
		}
		if e.GetTaskSeq() != uint64(i)+1 {
			g.t.Errorf("event %d of %s has task_seq %d", i+1, id, e.GetTaskSeq())
		}
		text := e.GetType()
		if strings.HasPrefix(text, "p.") {
			text += " " + string(e.GetPayload())
		}
		events = append(events, text)
	}
	return events
}

func (g *rig) wantHistory(id task.ID, want ...string) {
	g.t.Helper()
	if diff := cmp.Diff(want, g.history(id)); diff != "" {
		g.t.Errorf("events of %s (-want +got):\n%s", id, diff)
	}
}

// TestEmitted: what an attempt emits at once is recorded while it runs and keeps its
// slot; the rest comes with its success.
func TestEmitted(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, dir, nil)
		defer g.close("")
		g.plugins.start("p#1", 1)
		id := hanging(t, g, "")
		waits := g.create(parse(t, "", "a, handler: p/do"))
		g.Reports([]task.Report{emitted(id, emit("p.seen", "1"), emit("p.seen", "2")), emitted(id, emit("p.seen", "3"))})
		synctest.Wait()
		g.wantHistory(id.Task, "task.initialized", "task.started", "step.started", "p.seen 1", "p.seen 2", "p.seen 3")
		if got := g.load(waits).Steps[0].Status; got != task.StepPending {
			t.Errorf("the step that waits for the slot is %s", got)
		}
		done := succeeded(id, "1")
		done.Emits = []task.Emit{emit("p.done", "4")}
		g.Reports([]task.Report{done, emitted(id, emit("p.seen", "5"))})
		g.end(id.Task, task.Complete)
		g.end(waits, task.Complete)
		g.Reports([]task.Report{emitted(id, emit("p.seen", "6"))}) // the task is no longer cached
		synctest.Wait()
		g.wantHistory(id.Task, "task.initialized", "task.started", "step.started", "p.seen 1", "p.seen 2", "p.seen 3",
			"p.done 4", "step.completed", "task.completed")
		if s := g.load(id.Task).Steps[0]; s.LateCount != 2 || s.Late.Outcome != "emitted" {
			t.Errorf("%d late results, the last %+v; want 2, emitted", s.LateCount, s.Late)
		}
	})
}

// TestEmittedAfterLoss: an attempt that is lost emits no more.
func TestEmittedAfterLoss(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, dir, nil)
		defer g.close("unknown task")
		g.plugins.start("p#1", 1)
		id := hanging(t, g, "")
		g.plugins.kill("p#1", task.LossCrashed)
		unknown := id
		unknown.Task = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
		g.Reports([]task.Report{emitted(id, emit("p.seen", "1")), emitted(unknown, emit("p.seen", "1"))})
		g.await(id.Task, func(v *task.Task) bool { return v.Steps[0].LateCount == 1 })
		g.wantHistory(id.Task, "task.initialized", "task.started", "step.started", "step.attempt_lost", "step.retry_scheduled")
	})
}

// TestEmitThatCannotBeStored: it is dropped, or fails its attempt; what came beside it
// counts.
func TestEmitThatCannotBeStored(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, dir, nil)
		defer g.close("custom events cannot be stored; they are dropped")
		g.plugins.start("p#1", 2)
		v := g.create(parse(t, "", "a, handler: p/do, config: {hangs: true}", "b, handler: p/do, config: {hangs: true}"))
		synctest.Wait()
		a, b := task.AttemptID{Task: v, Ordinal: 0, Number: 1}, task.AttemptID{Task: v, Ordinal: 1, Number: 1}
		g.Reports([]task.Report{emitted(a, emit("p.seen", "1")), emitted(a, emit("p.seen", "{")), emitted(b, emit("p.seen", "2"))})
		synctest.Wait()
		bad := succeeded(a, "1")
		bad.Emits = []task.Emit{emit("p.done", "3"), emit("p.done", "{")}
		g.Reports([]task.Report{bad, succeeded(b, "1")})
		got := g.end(v, task.Error)
		if f := got.Steps[0].Failure; f == nil || f.Code != task.CodeInvalidResult || f.Kind != task.KindPermanent || f.Source != task.SourceHost {
			t.Errorf("failure %v, want the host's verdict", f)
		}
		g.wantHistory(v, "task.initialized", "task.started", "step.started", "step.started", "p.seen 1", "p.seen 2",
			"step.failed", "step.completed", "task.failed")
	})
}

// TestEmitsAndFailedCommits breaks every commit of a task once: no event is missing and
// none is there twice.
func TestEmitsAndFailedCommits(t *testing.T) {
	for _, cause := range []error{errBroken, store.ErrConflict} {
		for nth := 1; nth <= 3; nth++ {
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
					g.plugins.start("p#1", 1)
					id := hanging(t, g, "")
					b.failAt(cause, nth)
					g.Reports([]task.Report{emitted(id, emit("p.seen", "1"))})
					synctest.Wait()
					g.Reports([]task.Report{emitted(id, emit("p.seen", "2"))})
					synctest.Wait()
					done := succeeded(id, "1")
					done.Emits = []task.Emit{emit("p.done", "3")}
					g.Reports([]task.Report{done})
					g.end(id.Task, task.Complete)
					b.failAt(nil, 0)
					g.wantHistory(id.Task, "task.initialized", "task.started", "step.started", "p.seen 1", "p.seen 2",
						"p.done 3", "step.completed", "task.completed")
				})
			})
		}
	}
}
