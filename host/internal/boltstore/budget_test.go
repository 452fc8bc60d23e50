package boltstore

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/internal/storetest"
	"github.com/tasker-engine/tasker/host/task"
)

// auditFile is written from the budgets by `go test ./host/internal/boltstore -run TestBudgets -update`.
const auditFile = "../../../docs/storage-audit.md"

var update = flag.Bool("update", false, "write the documents that are made from tests")

// meter says what an operation read and put since it was asked last.
type meter struct {
	t    testing.TB
	s    *Store
	last [operations]opTotals
}

type opTotals struct{ reads, puts, ranges uint64 }

// spent returns what an operation read and put since the last call for it.
func (m *meter) spent(op string) (reads, puts uint64) {
	m.t.Helper()
	d := m.delta(op)
	return d.reads, d.puts
}

func (m *meter) delta(op string) opTotals {
	m.t.Helper()
	names := operationNames()
	i := slices.Index(names[:], op)
	if i < 0 {
		m.t.Fatalf("no operation %q", op)
	}
	c, before := &m.s.ops[i], m.last[i]
	now := opTotals{c.reads.Load(), c.puts.Load(), c.ranges.Load()}
	m.last[i] = now
	return opTotals{now.reads - before.reads, now.puts - before.puts, now.ranges - before.ranges}
}

// budget is what an operation may touch. The tests assert it, the audit prints it.
type budget struct {
	op, what    string
	do          func() error
	reads, puts uint64
	ranges      uint64 // cursors opened: 0 = nothing is walked
	grows       string // with what the numbers grow
}

// onStep marks the rows that lie on the path of a step.
const onStep = "submit"

// writes are the budgets of what the committer does, in an order in which each can be done.
func writes(tb testing.TB, s *Store) []budget {
	tb.Helper()
	linear, wide, named := storetest.NewFlow(1, 5), storetest.NewFlow(2, 2000), storetest.NewFlow(3, 1, func(sp *task.Spec) {
		sp.Tags, sp.CorrelationID, sp.CorrelationSet, sp.IdempotencyKey = []string{"a"}, "c", true, "k"
	})
	failing := storetest.NewFlow(4, 3)
	fan := make([]task.Ordinal, 10)
	for i := range fan {
		fan[i] = task.Ordinal(i + 1)
	}
	set := func(what string, ws *store.WriteSet, reads, puts uint64, grows string) budget {
		return budget{op: onStep, what: what, reads: reads, puts: puts, grows: grows, do: func() error {
			_, err := storetest.Commit(s, ws)
			return err
		}}
	}
	const none = "nothing"
	dead := &store.DeliverySet{
		DeadLetters: []*store.DeadLetter{storetest.DeadLetter("a/x", 11)}, Cursors: []*store.Cursor{storetest.Cursor("a/x", 11)},
	}
	walking := func(b budget, ranges uint64) budget {
		b.ranges = ranges
		return b
	}
	cursors := []*store.Cursor{storetest.Cursor("a/x", 10), storetest.Cursor("b/x", 9), storetest.Cursor("c/x", 8)}
	return []budget{
		set("create with the first claim, new template", linear.Create(0), 2, 7, "nothing, once per template"),
		set("create of 2,000 steps, known template", wide.Create(), 1, 5, "nothing: steps that were not touched have no record"),
		set("create with a tag, a correlation id and a key", named.Create(), 2, 8, "tags"),
		set("first claim of a task", wide.Claim(0), 0, 4, "steps claimed"),
		set("complete a step, claim its one dependant", linear.Succeed(0, 1), 0, 3, none),
		set("complete a step, claim nothing", linear.Succeed(1), 0, 2, none),
		set("claim a step", linear.Claim(2), 0, 2, "steps claimed"),
		set("complete a step, claim its ten dependants", wide.Succeed(0, fan...), 0, 12, "dependants claimed; the states of parents cost nothing"),
		set("complete a step of a running task", linear.Succeed(2, 3), 0, 3, none),
		set("complete a step before the last", linear.Succeed(3, 4), 0, 3, none),
		set("complete the last step", linear.Succeed(4), 0, 6, none),
		set("create a task that will fail", failing.Create(0), 1, 6, none),
		set("fail a step and with it the task", failing.Fail(0), 0, 6, none),
		walking(set("an operator's retry of a failed task", failing.Reopen(0), 2, 6, "steps touched: the task is read once, in two ranges"), 2),
		set("claim the retried step", failing.Claim(0), 0, 2, none),
		set("an event without a task", &store.WriteSet{Events: []store.Event{storetest.Event("", 1, "x", storetest.Start())}}, 0, 1, none),
		set("deliver a batch: move a cursor", storetest.Delivery(store.DeliverySet{Cursors: []*store.Cursor{storetest.Cursor("a/x", 9)}}), 0, 1, "nothing, whatever the batch"),
		set("deliver batches: move three cursors", storetest.Delivery(store.DeliverySet{Cursors: cursors}), 0, 3, "subscriptions"),
		set("a dead letter with its event and the cursor", &store.WriteSet{
			Events: []store.Event{storetest.Event("", 2, "x", storetest.Start())}, Delivery: dead,
		}, 0, 3, none),
		set("settle a dead letter", storetest.Delivery(store.DeliverySet{Settled: []store.DeadLetterID{{Subscription: "b/x", Seq: 1}}}), 0, 1, none),
		walking(set("forget a subscription with one dead letter", storetest.Delivery(store.DeliverySet{Forgotten: []string{"a/x"}}), 1, 2, "its dead letters"), 1),
		{op: "save_checkpoint", what: "save a checkpoint", reads: 1, puts: 1, grows: none, do: func() error {
			return storetest.SaveCheckpoint(s, wide.Checkpoint(1, "1"))
		}},
		{op: "save_spans", what: "save the spans of an attempt", reads: 2, puts: 1, grows: none, do: func() error {
			return storetest.SaveSpans(s, wide.Spans(1, "x"))
		}},
		{op: "save_crash", what: "save a crash report", reads: 1, puts: 1, ranges: 1, grows: "nothing: 20 reports a plugin at most", do: func() error {
			return s.SaveCrash(tb.Context(), &store.Crash{Plugin: "mock", At: storetest.Start()})
		}},
	}
}

// The store of the reading budgets: a crowd of finished and of unfinished tasks, one of
// 2,000 steps of which a few were touched, one with a large result.
const (
	crowdSize, touchedSteps, chainLength = 100, 3, 4
)

// readings are the budgets of what reads, over a store that they fill.
func readings(tb testing.TB, s *Store) []budget {
	tb.Helper()
	for i := range uint64(crowdSize) {
		fl := storetest.NewFlow(100+i, 1, func(sp *task.Spec) { sp.Tags = []string{"crowd"} })
		storetest.MustCommit(tb, s, fl.Create(0))
		if i%2 == 0 {
			storetest.MustCommit(tb, s, fl.Succeed(0))
		}
	}
	fl, large := storetest.NewFlow(1, 2000), storetest.NewFlow(2, 2)
	storetest.MustCommit(tb, s, fl.Create(0), fl.Succeed(0, 1), fl.Succeed(1, 2), fl.Succeed(2))
	storetest.MustCommit(tb, s, large.Create(0, 1))
	value, blob := storetest.Blob(task.ResultBlob(0), []byte(`"`+strings.Repeat("r", 100<<10)+`"`))
	end := large.SucceedWith(0, value)
	end.Blobs = []store.Blob{blob}
	storetest.MustCommit(tb, s, end, storetest.Delivery(store.DeliverySet{
		Cursors: []*store.Cursor{storetest.Cursor("a/x", 9)}, Events: []store.CustomEvent{storetest.CustomEvent("a.b", 1)},
		DeadLetters: []*store.DeadLetter{
			storetest.DeadLetter("a/x", 5), storetest.DeadLetter("a/x", 6), storetest.DeadLetter("a/x", 7), storetest.DeadLetter("a/x", 8),
		},
	}))
	err := errors.Join(
		storetest.SaveCheckpoint(s, large.Checkpoint(1, "1")), storetest.SaveSpans(s, large.Spans(1, "x")),
		s.SaveCrash(tb.Context(), &store.Crash{Plugin: "mock", At: storetest.Start()}),
	)
	if err != nil {
		tb.Fatal(err)
	}
	return append(taskReadings(tb, s, fl.Task.ID, large.Task.ID), logReadings(tb, s, fl.Task.ID)...)
}

func taskReadings(tb testing.TB, s *Store, id, large task.ID) []budget {
	tb.Helper()
	ctx := tb.Context()
	list := func(what string, f store.Filter, reads, ranges uint64, grows string) budget {
		return budget{op: "list", what: what, reads: reads, ranges: ranges, grows: grows, do: func() error {
			_, _, err := s.List(ctx, f, store.Page{Limit: 10})
			return err
		}}
	}
	const page = "the page"
	one := func(op, what string, reads, ranges uint64, grows string, do func() error) budget {
		return budget{op: op, what: what, reads: reads, ranges: ranges, grows: grows, do: do}
	}
	return []budget{
		one("load", "show a task of 2,000 steps, 3 of them touched", 3+touchedSteps, 2, "steps touched, in one range", func() error {
			_, err := s.Load(ctx, id)
			return err
		}),
		one("live", "boot with 52 unfinished tasks", (crowdSize/2+2)*4+touchedSteps+2, 2*(crowdSize/2+2)+1, "unfinished tasks and their touched steps", func() error {
			return s.Live(ctx, func(task.ID, *store.Aggregate, error) error { return nil })
		}),
		list("a page of 10 of all tasks", store.Filter{}, 11*3, 1, page),
		list("a page of 10 with a tag", store.Filter{Tag: "crowd"}, 11*3, 1, page),
		list("a page of 10 of a template and status", store.Filter{
			Namespace: "shop", Template: "order", Statuses: []task.Status{task.Complete},
		}, 11*3, 1, page),
		list("a page of 10 with a tag in a status", store.Filter{Tag: "crowd", Statuses: []task.Status{task.Complete}}, 56, 3, "the page and what the indexes do not share, 16,384 reads at most"),
		list("a page of a status that no task has", store.Filter{Statuses: []task.Status{task.Error}}, 2, 2, "templates"),
		one("resolve", "find a task by a part of its id", 1, 1, "nothing", func() error { _, err := s.Resolve(ctx, string(id)); return err }),
		one("value", "a task's input", 1, 0, "nothing", func() error { _, err := s.Value(ctx, id, task.InputBlob); return err }),
		one("value", "a result of a task of 2,000 steps", 1, 0, "nothing", func() error { _, err := s.Value(ctx, id, task.ResultBlob(1)); return err }),
		one("value", "a large result", 2, 0, "nothing", func() error { _, err := s.Value(ctx, large, task.ResultBlob(0)); return err }),
		one("blob", "a large value", 1, 0, "nothing", func() error { _, err := s.Blob(ctx, large, task.ResultBlob(0)); return err }),
		one("checkpoint", "a step's checkpoint", 1, 0, "nothing", func() error {
			_, err := s.Checkpoint(ctx, task.StepID{Task: large, Ordinal: 1})
			return err
		}),
		one("checkpoints", "a task's checkpoints", 1, 1, "checkpoints of the task", func() error { _, err := s.Checkpoints(ctx, large); return err }),
		one("spans", "the spans of a task's attempts", 1, 1, "attempts that told of any", func() error { _, err := s.Spans(ctx, large); return err }),
		one("counters", "the number of tasks by status", 1, 0, "nothing", func() error { _, err := s.Counters(ctx); return err }),
	}
}

func logReadings(tb testing.TB, s *Store, id task.ID) []budget {
	tb.Helper()
	ctx := tb.Context()
	var last uint64
	read := func(op, what string, reads, ranges uint64, grows string, do func() error) budget {
		return budget{op: op, what: what, reads: reads, ranges: ranges, grows: grows, do: do}
	}
	return []budget{
		read("last_seq", "the newest event", 1, 1, "nothing", func() (err error) { last, err = s.LastSeq(ctx); return err }),
		read("first_seq", "the oldest event", 1, 1, "nothing", func() error { _, err := s.FirstSeq(ctx); return err }),
		read("events", "a page of one log value, payloads included", 1, 1, "log values in the page", func() error { _, err := s.Events(ctx, last, 100); return err }),
		read("task_events", "the events of a task of 4 write sets, 3 steps touched", 1+touchedSteps+chainLength, 1, "its write sets and touched steps", func() error {
			_, err := s.TaskEvents(ctx, id)
			return err
		}),
		read("seq_at", "the first event since a time, in a log of 300", 8+4, 4, "the logarithm of the log", func() error {
			_, err := s.SeqAt(ctx, storetest.Start().Add(time.Millisecond))
			return err
		}),
		read("cursors", "where one subscription stands", 1, 1, "subscriptions", func() error { _, err := s.Cursors(ctx); return err }),
		read("dead_letters", "a page of 2 dead letters", 2, 1, "the page", func() error { _, err := s.DeadLetters(ctx, "a/x", 5, 2); return err }),
		read("custom_events", "custom events as declared, of which there is one", 1, 1, "custom events", func() error { _, err := s.CustomEvents(ctx); return err }),
		read("crashes", "crash reports, of which there is one", 1, 1, "reports", func() error { _, err := s.Crashes(ctx, "mock"); return err }),
	}
}

// endings are the budgets of what ends tasks and events, over the store of readings.
func endings(tb testing.TB, s *Store) []budget {
	tb.Helper()
	ctx := tb.Context()
	var due []task.ID
	keep := func(string, string, task.Status) store.Keep { return store.Keep{For: time.Hour} }
	return []budget{
		{op: "sweep", what: "look for due tasks, of which there are none", reads: 1, ranges: 2, grows: "templates and statuses", do: func() error {
			_, err := s.Sweep(ctx, keep, storetest.Start(), func([]store.Due) error { return nil })
			return err
		}},
		{op: "sweep", what: "find 50 due tasks", reads: 50 * 3, ranges: 2, grows: "due tasks, 256 at a time", do: func() error {
			_, err := s.Sweep(ctx, keep, storetest.Start().Add(2*time.Hour), func(found []store.Due) error {
				for _, d := range found {
					due = append(due, d.ID)
				}
				return nil
			})
			return err
		}},
		{op: "delete", what: "delete a finished task of one step, with a tag", reads: 4, puts: 5, ranges: 4, grows: "its steps, large values and tags", do: func() error {
			_, err := s.Delete(ctx, due[:1])
			return err
		}},
		{op: "trim_log", what: "cut 5 log values", reads: 1 + 6, puts: 5, ranges: 2, grows: "log values cut", do: func() error {
			_, _, err := s.TrimLog(ctx, storetest.Start().Add(time.Hour), 5)
			return err
		}},
	}
}

// wholesale are the operations that read all there is, for operators; they have no budget.
func wholesale() []string { return []string{"stats", "sizes", "verify", "backup"} }

// TestBudgets asserts what every operation touches, and that the audit says so. None may
// grow with the number of tasks, nor with the steps that nobody touched. No write set of
// a task opens a cursor: nothing on a step's path scans.
func TestBudgets(t *testing.T) {
	var rows []budget
	run := func(s *Store, budgets []budget) {
		m := &meter{t: t, s: s}
		for _, name := range operationNames() {
			m.delta(name)
		}
		for _, b := range budgets {
			if err := b.do(); err != nil {
				t.Fatalf("%s: %v", b.what, err)
			}
			got := m.delta(b.op)
			if want := (opTotals{b.reads, b.puts, b.ranges}); got != want {
				t.Errorf("%s: got %+v, the budget is %+v", b.what, got, want)
			}
		}
		rows = append(rows, budgets...)
	}
	s := mustOpen(t, filepath.Join(t.TempDir(), "writes.db"))
	run(s, writes(t, s))
	s = mustOpen(t, filepath.Join(t.TempDir(), "reads.db"))
	run(s, readings(t, s))
	run(s, endings(t, s))
	covered := wholesale()
	for _, b := range rows {
		covered = append(covered, b.op)
	}
	for _, name := range operationNames() {
		if !slices.Contains(covered, name) {
			t.Errorf("operation %s has no budget", name)
		}
	}
	checkAudit(t, audit(rows))
}

// audit is the document of the budgets.
func audit(rows []budget) []byte {
	var b bytes.Buffer
	b.WriteString(`# Storage audit

The numbers are written from the budgets that the tests assert, by
` + "`go test ./host/internal/boltstore -run TestBudgets -update`" + `: one read or put more, or another cursor, fails the test.

A read is a record looked at, found or not; a put is a record written or removed; a range is a cursor that was opened to walk records in
order. What runs steps (` + "`submit`" + `) opens none, but where an operator reopens a finished task
or forgets a subscription: nothing on the path of a step scans, however many tasks and steps there are. The engine decides on tasks in memory and reads nothing.

| operation | what | reads | puts | ranges | grows with |
|---|---|---|---|---|---|
`)
	find := func(what string) (row budget) {
		for _, r := range rows {
			if r.what == what {
				row = r
			}
		}
		return row
	}
	for _, r := range rows {
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %d | %s |\n", r.op, r.what, r.reads, r.puts, r.ranges, r.grows)
	}
	fmt.Fprintf(&b, "\n%s read all of the file: they are for operators and run at nobody's cost but theirs.\n", "`"+strings.Join(wholesale(), "`, `")+"`")
	b.WriteString(`
## The four classic cases of one query per row

| case | here | reads |
|---|---|---|
`)
	show, fan := find("show a task of 2,000 steps, 3 of them touched"), find("complete a step, claim its ten dependants")
	events, value := find("a page of one log value, payloads included"), find("a large value")
	fmt.Fprintf(&b, "| a task with its steps and results | one range over what was touched; results lie in the steps, but those over 64 KiB, which are %d read each | %d for 3 touched steps of 2,000 |\n", value.reads, show.reads)
	fmt.Fprintf(&b, "| the states of a step's parents | kept in memory with the task; readiness is decided where a parent completes | %d |\n", fan.reads)
	fmt.Fprintf(&b, "| the payload of an event | lies in the log, made once by the transition; nothing is looked up for a subscriber | %d for a page of one log value |\n", events.reads)
	fmt.Fprintf(&b, "| the states of n steps | the same range as showing the task; steps that nobody touched have no record | %d for 2,000 steps |\n", show.reads)
	return b.Bytes()
}

func checkAudit(t *testing.T, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(auditFile, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(auditFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("docs/storage-audit.md is not what the budgets say (-committed +budgets); add -update:\n%s", diff)
	}
}

// TestNothingScansOnAStep runs whole tasks beside many others and requires that no write
// set opened a cursor.
func TestNothingScansOnAStep(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "tasker.db"))
	fillMixed(t, s, 400)
	fl := storetest.NewFlow(1000, 30)
	storetest.MustCommit(t, s, fl.Create(0))
	for o := range task.Ordinal(29) {
		storetest.MustCommit(t, s, fl.Succeed(o, o+1))
	}
	storetest.MustCommit(t, s, fl.Succeed(29))
	if n := s.ops[opSubmit].ranges.Load(); n != 0 {
		t.Errorf("write sets opened %d cursors, want none", n)
	}
	for _, op := range []operation{opLoad, opList, opLive} {
		if n := s.ops[op].calls.Load(); n != 0 {
			t.Errorf("%s was called %d times, want never", operationNames()[op], n)
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
