package storetest

import (
	"slices"

	"pgregory.net/rapid"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
)

// randomLives drives tasks through random transitions, with conflicts, checkpoints and
// reopening in between, and compares what is stored with the flow after each.
func randomLives(t *fixture) {
	s := t.store()
	var tasks uint64
	rapid.Check(t, func(r *rapid.T) {
		tasks++
		fl := NewFlow(tasks, rapid.IntRange(1, 4).Draw(r, "steps"))
		MustCommit(t, s, fl.Create())
		for range rapid.IntRange(1, 12).Draw(r, "transitions") {
			stale := fl.Clone()
			ws := randomTransition(r, fl)
			if ws == nil {
				break
			}
			MustCommit(t, s, ws)
			wantStored(t, s, fl)
			if rapid.IntRange(0, 4).Draw(r, "conflict") == 0 {
				if again := randomTransition(r, stale); again != nil {
					_, err := Commit(s, again)
					wantErr(t, "a set on the revision before", err, store.ErrConflict)
					wantStored(t, s, fl)
				}
			}
			saveRandomCheckpoint(t, r, s, fl)
			if rapid.IntRange(0, 30).Draw(r, "reopen") == 0 {
				mustClose(t, s)
				s = t.store()
			}
		}
		wantChain(t, s, fl)
	})
}

// saveRandomCheckpoint saves one for a running step, now and then.
func saveRandomCheckpoint(t *fixture, r *rapid.T, s store.Store, fl *Flow) {
	t.Helper()
	running := stepsIn(fl, task.StepInProgress)
	if len(running) == 0 || rapid.IntRange(0, 2).Draw(r, "checkpoint") != 0 {
		return
	}
	o := rapid.SampledFrom(running).Draw(r, "checkpointed")
	if err := SaveCheckpoint(s, fl.Checkpoint(o, "1")); err != nil {
		t.Fatalf("checkpoint: %v", err)
	}
	fl.Task.Steps[o].HasCheckpoint = true
}

// wantChain fails the test unless the task's events are all there, in order.
func wantChain(t *fixture, s store.Store, fl *Flow) {
	t.Helper()
	entries, err := s.TaskEvents(t.Context(), fl.Task.ID)
	if err != nil || uint64(len(entries)) != fl.Task.Seq {
		t.Errorf("events of task %s: got %d, error %v; want %d", fl.Task.ID, len(entries), err, fl.Task.Seq)
	}
	for i := 1; i < len(entries); i++ {
		if entries[i].Seq <= entries[i-1].Seq {
			t.Errorf("event %d has sequence %d after %d", i, entries[i].Seq, entries[i-1].Seq)
		}
	}
}

func stepsIn(fl *Flow, status task.StepStatus) []task.Ordinal {
	var out []task.Ordinal
	for i := range fl.Task.Steps {
		if fl.Task.Steps[i].Status == status {
			out = append(out, fl.Task.Steps[i].Ordinal)
		}
	}
	return out
}

// randomTransition makes one that the task's status allows, nil when there is none.
func randomTransition(r *rapid.T, fl *Flow) *store.WriteSet {
	pending, running := stepsIn(fl, task.StepPending), stepsIn(fl, task.StepInProgress)
	failed := stepsIn(fl, task.StepError)
	var moves []func() *store.WriteSet
	if fl.Task.Status == task.Error {
		moves = append(moves, fl.Resolve)
		if len(failed) > 0 {
			moves = append(moves, func() *store.WriteSet { return fl.Reopen(rapid.SampledFrom(failed).Draw(r, "reopened")) })
		}
	}
	if !fl.Task.Status.Terminal() {
		moves = append(moves, fl.Cancel)
		if len(pending) > 0 {
			moves = append(moves, func() *store.WriteSet { return fl.Claim(rapid.SampledFrom(pending).Draw(r, "claimed")) })
		}
		if len(running) > 0 {
			o := rapid.SampledFrom(running).Draw(r, "ended")
			next := slices.Clone(pending[:min(len(pending), rapid.IntRange(0, 2).Draw(r, "next"))])
			moves = append(moves, func() *store.WriteSet { return fl.Succeed(o, next...) })
			if len(running) == 1 { // a task does not end while a step runs
				moves = append(moves, func() *store.WriteSet { return fl.Fail(o) })
			}
		}
	}
	if len(moves) == 0 {
		return nil
	}
	return rapid.SampledFrom(moves).Draw(r, "transition")()
}
