package boltstore

import (
	"strings"
	"testing"
	"time"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/storetest"
	"github.com/tasker-engine/tasker/host/task"
)

// spent returns what an operation read and put since the last call.
type meter struct {
	t    *testing.T
	s    *Store
	last map[string]store.OperationStats
}

func (m *meter) spent(op string) (reads, puts uint64) {
	m.t.Helper()
	st, err := m.s.Stats(m.t.Context())
	if err != nil {
		m.t.Fatalf("stats: %v", err)
	}
	before, now := m.last[op], st.Operations[op]
	m.last = st.Operations
	return now.Reads - before.Reads, now.Puts - before.Puts
}

// TestWriteBudgets asserts how many records each kind of write set touches, counters
// included. This is what keeps commits small: see the numbers in the drawing's notes.
func TestWriteBudgets(t *testing.T) {
	s, err := Open(t.TempDir()+"/tasker.db", Options{})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}()
	m := &meter{t: t, s: s}
	m.spent("submit")
	linear, wide, named := storetest.NewFlow(1, 5), storetest.NewFlow(2, 2000), storetest.NewFlow(3, 1, func(sp *task.Spec) {
		sp.Tags, sp.CorrelationID, sp.CorrelationSet, sp.IdempotencyKey = []string{"a"}, "c", true, "k"
	})
	fan := make([]task.Ordinal, 10)
	for i := range fan {
		fan[i] = task.Ordinal(i + 1)
	}
	budgets := []struct {
		name        string
		set         *store.WriteSet
		reads, puts uint64
	}{
		// spec, task, step, log, live, counters; the template once.
		{"create with the first claim, new template", linear.Create(0), 2, 7},
		{"create of 2,000 steps, known template", wide.Create(), 1, 5},
		{"create with a tag, a correlation id and a key", named.Create(), 2, 8},
		{"first claim of a task", wide.Claim(0), 0, 4},
		{"complete a step and claim the next", linear.Succeed(0, 1), 0, 3},
		{"complete a step and claim nothing", linear.Succeed(1), 0, 2},
		{"claim only", linear.Claim(2), 0, 2},
		{"complete a step and claim ten", wide.Succeed(0, fan...), 0, 12},
		{"complete and claim", linear.Succeed(2, 3), 0, 3},
		{"complete and claim the last", linear.Succeed(3, 4), 0, 3},
		// step, task, log, live, by_state, counters.
		{"complete the last step", linear.Succeed(4), 0, 6},
		{"events without a task", &store.WriteSet{Events: []store.Event{storetest.Event("", 1, "x", storetest.Start())}}, 0, 1},
		{"a cursor", storetest.Delivery(store.DeliverySet{Cursors: []*store.Cursor{storetest.Cursor("a/x", 9)}}), 0, 1},
		{"three cursors", storetest.Delivery(store.DeliverySet{
			Cursors: []*store.Cursor{storetest.Cursor("a/x", 10), storetest.Cursor("b/x", 9), storetest.Cursor("c/x", 8)},
		}), 0, 3},
		{"a dead letter with its event and the cursor", &store.WriteSet{
			Events: []store.Event{storetest.Event("", 2, "x", storetest.Start())},
			Delivery: &store.DeliverySet{
				DeadLetters: []*store.DeadLetter{storetest.DeadLetter("a/x", 11)}, Cursors: []*store.Cursor{storetest.Cursor("a/x", 11)},
			},
		}, 0, 3},
		{"settle a dead letter", storetest.Delivery(store.DeliverySet{Settled: []store.DeadLetterID{{Subscription: "b/x", Seq: 1}}}), 0, 1},
		// the dead letter is found, then both go.
		{"forget a subscription", storetest.Delivery(store.DeliverySet{Forgotten: []string{"a/x"}}), 1, 2},
	}
	for _, b := range budgets {
		storetest.MustCommit(t, s, b.set)
		reads, puts := m.spent("submit")
		if reads != b.reads || puts != b.puts {
			t.Errorf("%s: %d reads, %d puts; the budget is %d and %d", b.name, reads, puts, b.reads, b.puts)
		}
	}
}

// TestStepBudget asserts the budget of a whole life: at most 4 puts per completed step
// in a linear task of 5, everything counted.
func TestStepBudget(t *testing.T) {
	s, err := Open(t.TempDir()+"/tasker.db", Options{})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}()
	m := &meter{t: t, s: s}
	warm := storetest.NewFlow(0, 1) // stores the template
	storetest.MustCommit(t, s, warm.Create())
	m.spent("submit")
	const steps = 100
	fl := storetest.NewFlow(1, steps)
	storetest.MustCommit(t, s, fl.Create(0))
	m.spent("submit")
	for o := range task.Ordinal(steps - 1) {
		storetest.MustCommit(t, s, fl.Succeed(o, o+1))
	}
	if _, puts := m.spent("submit"); puts > 4*(steps-1) {
		t.Errorf("%d completed steps took %d puts; the budget is 4 each", steps-1, puts)
	}
}

// TestReadBudgets asserts how many records each reading operation touches: none may
// grow with the number of tasks, nor with the steps that nobody touched.
func TestReadBudgets(t *testing.T) {
	s, err := Open(t.TempDir()+"/tasker.db", Options{})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}()
	const crowd, touched, writeSets = 100, 3, 4
	for i := range uint64(crowd) {
		storetest.MustCommit(t, s, storetest.NewFlow(100+i, 1, func(sp *task.Spec) { sp.Tags = []string{"crowd"} }).Create())
	}
	fl := storetest.NewFlow(1, 2000)
	storetest.MustCommit(t, s, fl.Create(0), fl.Succeed(0, 1), fl.Succeed(1, 2), fl.Succeed(2))
	large := storetest.NewFlow(2, 2)
	storetest.MustCommit(t, s, large.Create(0, 1))
	value, blob := storetest.Blob(task.ResultBlob(0), []byte(`"`+strings.Repeat("r", 100<<10)+`"`))
	end := large.SucceedWith(0, value)
	end.Blobs = []store.Blob{blob}
	storetest.MustCommit(t, s, end)
	if err := storetest.SaveCheckpoint(s, large.Checkpoint(1, "1")); err != nil {
		t.Fatalf("checkpoint: %v", err)
	}
	if err := storetest.SaveSpans(s, large.Spans(1, "x")); err != nil {
		t.Fatalf("spans: %v", err)
	}
	storetest.MustCommit(t, s, storetest.Delivery(store.DeliverySet{
		Cursors: []*store.Cursor{storetest.Cursor("a/x", 9)}, Events: []store.CustomEvent{storetest.CustomEvent("a.b", 1)},
		DeadLetters: []*store.DeadLetter{
			storetest.DeadLetter("a/x", 5), storetest.DeadLetter("a/x", 6), storetest.DeadLetter("a/x", 7), storetest.DeadLetter("a/x", 8),
		},
	}))
	id := fl.Task.ID
	ctx := t.Context()
	m := &meter{t: t, s: s}
	m.spent("load")
	var last uint64
	budgets := []struct {
		op    string
		read  func() error
		reads uint64
	}{
		// spec, task, template, the touched steps.
		{"load", func() error { _, err := s.Load(ctx, id); return err }, 3 + touched},
		// the task, its touched steps, a log value per write set.
		{"task_events", func() error { _, err := s.TaskEvents(ctx, id); return err }, 1 + touched + writeSets},
		{"counters", func() error { _, err := s.Counters(ctx); return err }, 1},
		{"last_seq", func() (err error) { last, err = s.LastSeq(ctx); return err }, 1},
		{"events", func() error { _, err := s.Events(ctx, last, 100); return err }, 1},
		{"first_seq", func() error { _, err := s.FirstSeq(ctx); return err }, 1},
		// a hundred and some sequences have 7 binary digits.
		{"seq_at", func() error { _, err := s.SeqAt(ctx, storetest.Start().Add(time.Millisecond)); return err }, 7 + 4},
		{"seq_at", func() error { _, err := s.SeqAt(ctx, time.Time{}); return err }, 7 + 4},
		{"cursors", func() error { _, err := s.Cursors(ctx); return err }, 1},
		{"dead_letters", func() error { _, err := s.DeadLetters(ctx, "a/x", 5, 2); return err }, 2},
		{"custom_events", func() error { _, err := s.CustomEvents(ctx); return err }, 1},
		// an index entry, the task and the spec of each, one task to see that more follow,
		// one index entry ahead.
		{"list", func() error { _, _, err := s.List(ctx, store.Filter{}, store.Page{Limit: 10}); return err }, 11*3 + 1},
		{"list", func() error {
			_, _, err := s.List(ctx, store.Filter{Tag: "crowd"}, store.Page{Limit: 10})
			return err
		}, 11*3 + 1},
		{"list", func() error {
			_, _, err := s.List(ctx, store.Filter{Statuses: []task.Status{task.Error}}, store.Page{})
			return err
		}, 0},
		{"resolve", func() error { _, err := s.Resolve(ctx, string(id)); return err }, 1},
		// the record, however many steps the task has.
		{"value", func() error { _, err := s.Value(ctx, id, task.InputBlob); return err }, 1},
		{"value", func() error { _, err := s.Value(ctx, id, task.ResultBlob(1)); return err }, 1},
		{"value", func() error { _, err := s.Value(ctx, large.Task.ID, task.ResultBlob(0)); return err }, 2},
		{"checkpoint", func() error { _, err := s.Checkpoint(ctx, task.StepID{Task: large.Task.ID, Ordinal: 1}); return err }, 1},
		{"checkpoints", func() error { _, err := s.Checkpoints(ctx, id); return err }, 0},
		{"spans", func() error { _, err := s.Spans(ctx, large.Task.ID); return err }, 1},
		// live entry, spec and task of each task, the touched steps, the template once.
		{"live", func() error { return s.Live(ctx, func(task.ID, *store.Aggregate, error) error { return nil }) }, (crowd+2)*3 + touched + 3 + 2},
	}
	for _, b := range budgets {
		if err := b.read(); err != nil {
			t.Fatalf("%s: %v", b.op, err)
		}
		if reads, puts := m.spent(b.op); reads > b.reads || puts != 0 {
			t.Errorf("%s: %d reads, %d puts; the budget is %d and 0", b.op, reads, puts, b.reads)
		}
	}
}
