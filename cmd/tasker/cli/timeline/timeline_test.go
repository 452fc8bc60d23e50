package timeline

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// at is so many seconds into a task.
func at(s int) time.Time { return time.Date(2026, 5, 4, 12, 0, s, 0, time.UTC) }

// record is an event as the log has it.
func record(tb testing.TB, seconds int, step string, p event.Payload) *eventv1.Event {
	tb.Helper()
	doc, err := json.Marshal(p)
	if err != nil {
		tb.Fatal(err)
	}
	return &eventv1.Event{Type: p.EventName(), At: at(seconds).UnixNano(), TaskId: "T", Step: step, Payload: doc}
}

// numbered gives events the numbers of a task, from the first one's.
func numbered(first uint64, events ...*eventv1.Event) []*eventv1.Event {
	for i, e := range events {
		e.TaskSeq = first + uint64(i)
		e.Id = fmt.Sprintf("T/%d", e.GetTaskSeq())
	}
	return events
}

func attempt(n uint32, started int) event.Step {
	return event.Step{Handler: "p/h@1", AttemptNumber: n, StartedAt: at(started)}
}

func brief(t *Timeline) []string {
	var out []string
	for _, r := range t.Rows {
		line := fmt.Sprintf("%s %s", r.Step, r.Status)
		if r.Reason != "" {
			line += " (" + r.Reason + ")"
		}
		for _, b := range r.Bars {
			line += fmt.Sprintf(" | %s %g-%g", b.Kind, b.From.Sub(at(0)).Seconds(), b.To.Sub(at(0)).Seconds())
			if b.Kind == Running {
				line += fmt.Sprintf(" #%d %s", b.Attempt, b.Outcome)
			}
			if b.Note != "" {
				line += ": " + b.Note
			}
			if b.Open {
				line += " ..."
			}
		}
		out = append(out, line)
	}
	return out
}

// timelineTest is events and what becomes of them.
type timelineTest struct {
	name    string
	events  []*eventv1.Event
	shape   []Step
	status  task.Status
	to      int
	open    bool
	missing uint64
	rows    []string
}

func (tt *timelineTest) run(t *testing.T) {
	t.Helper()
	got, err := Of(tt.events, tt.shape, at(30))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(tt.rows, brief(got)); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if got.Status != tt.status || !got.To.Equal(at(tt.to)) || got.Open != tt.open || got.Missing != tt.missing {
		t.Errorf("got %s until %s, open %t, %d missing; want %s, %s, %t, %d",
			got.Status, got.To, got.Open, got.Missing, tt.status, at(tt.to), tt.open, tt.missing)
	}
}

func bankDown() event.Error {
	return event.Error{Message: "the bank is down", Code: "bank", Kind: "retryable"}
}

func TestOf(t *testing.T) {
	rec := func(seconds int, step string, p event.Payload) *eventv1.Event { return record(t, seconds, step, p) }
	failure := bankDown()
	chain := []Step{{Name: "a"}, {Name: "b", DependsOn: []string{"a"}}, {Name: "c", DependsOn: []string{"b"}}}
	tests := []timelineTest{
		{
			name: "a chain that completes",
			events: numbered(1,
				rec(0, "", event.TaskInitialized{}),
				rec(1, "a", event.StepStarted{Step: attempt(1, 1), Instance: "p#1"}),
				rec(1, "", event.TaskStarted{}),
				rec(3, "a", event.StepCompleted{Step: attempt(1, 1)}),
				rec(4, "b", event.StepStarted{Step: attempt(1, 4), Dependencies: []string{"a"}}),
				rec(6, "b", event.StepCompleted{Step: attempt(1, 4)}),
				rec(6, "", event.TaskCompleted{})),
			status: task.Complete, to: 6,
			rows: []string{
				"a complete | ready 0-1 | running 1-3 #1 succeeded",
				"b complete | blocked 0-3 | ready 3-4 | running 4-6 #1 succeeded",
			},
		},
		{
			name: "failures, backoff and a wait for a slot",
			events: numbered(1,
				rec(0, "", event.TaskInitialized{}),
				rec(0, "a", event.StepStarted{Step: attempt(1, 0)}),
				rec(2, "a", event.StepFailed{Step: attempt(1, 0), Error: failure, Retryable: true}),
				rec(2, "a", event.StepRetryScheduled{Step: attempt(1, 0), RetryAt: at(4), Reason: "failed"}),
				rec(7, "a", event.StepStarted{Step: attempt(2, 7)}),
				rec(8, "a", event.StepAttemptLost{Step: attempt(2, 7), Cause: "crashed"}),
				rec(8, "a", event.StepRetryScheduled{Step: attempt(2, 7), RetryAt: at(9), Reason: "lost"}),
				rec(9, "a", event.StepStarted{Step: attempt(3, 9)}),
				rec(10, "a", event.StepFailed{Step: attempt(3, 9), Error: event.Error{Message: "too slow", Kind: "timeout"}, Final: true}),
				rec(10, "", event.TaskFailed{})),
			status: task.Error, to: 10,
			rows: []string{
				"a error | running 0-2 #1 failed: bank: the bank is down | backoff 2-4 | ready 4-7" +
					" | running 7-8 #2 lost: crashed | backoff 8-9 | running 9-10 #3 timed_out: too slow",
			},
		},
		{
			name: "running now",
			events: numbered(1,
				rec(0, "", event.TaskInitialized{}),
				rec(1, "a", event.StepStarted{Step: attempt(1, 1)}),
				rec(1, "", event.TaskStarted{})),
			shape: chain, status: task.InProgress, to: 30, open: true,
			rows: []string{
				"a in_progress | ready 0-1 | running 1-30 #1 running ...",
				"b pending | blocked 0-30 ...",
				"c pending | blocked 0-30 ...",
			},
		},
		{
			name: "a backoff that goes on",
			events: numbered(1,
				rec(0, "", event.TaskInitialized{}),
				rec(1, "a", event.StepStarted{Step: attempt(1, 1)}),
				rec(2, "a", event.StepFailed{Step: attempt(1, 1), Error: failure}),
				rec(2, "a", event.StepRetryScheduled{Step: attempt(1, 1), RetryAt: at(50)})),
			status: task.Pending, to: 30, open: true,
			rows: []string{"a waiting_for_retry | ready 0-1 | running 1-2 #1 failed: bank: the bank is down | backoff 2-30 ..."},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, tt.run)
	}
}

// TestOfInterventions: what operators do, and what the log has lost.
func TestOfInterventions(t *testing.T) {
	rec := func(seconds int, step string, p event.Payload) *eventv1.Event { return record(t, seconds, step, p) }
	failure := bankDown()
	tests := []timelineTest{
		{
			name: "cancelled, skipped, never reached",
			events: numbered(1,
				rec(0, "", event.TaskInitialized{}),
				rec(0, "b", event.StepSkipped{Reason: "bypassed"}),
				rec(1, "a", event.StepStarted{Step: attempt(1, 1)}),
				rec(5, "", event.TaskCancelRequested{}),
				rec(6, "a", event.StepCancelled{Step: attempt(1, 1), Reason: "cancel_requested"}),
				rec(6, "", event.TaskCancelled{})),
			shape: []Step{{Name: "a"}, {Name: "b"}, {Name: "c", DependsOn: []string{"a"}}}, status: task.Cancelled, to: 6,
			rows: []string{
				"a cancelled (cancel_requested) | ready 0-1 | running 1-6 #1 cancelled: cancel_requested",
				"b skipped (bypassed)",
				"c pending | blocked 0-6",
			},
		},
		{
			name: "retried after its end",
			events: numbered(1,
				rec(0, "", event.TaskInitialized{}),
				rec(0, "a", event.StepStarted{Step: attempt(1, 0)}),
				rec(2, "a", event.StepFailed{Step: attempt(1, 0), Error: failure, Final: true}),
				rec(2, "", event.TaskFailed{}),
				rec(9, "", event.TaskRetryRequested{}),
				rec(9, "a", event.StepRetryRequested{Step: attempt(1, 0)}),
				rec(11, "a", event.StepStarted{Step: attempt(2, 11)}),
				rec(12, "a", event.StepCompleted{Step: attempt(2, 11)}),
				rec(13, "b", event.StepStarted{Step: attempt(1, 13), Dependencies: []string{"a"}})),
			status: task.InProgress, to: 30, open: true,
			rows: []string{
				"a complete | running 0-2 #1 failed: bank: the bank is down | ready 9-11 | running 11-12 #2 succeeded",
				"b in_progress | blocked 0-12 | ready 12-13 | running 13-30 #1 running ...",
			},
		},
		{
			name: "parked and resolved by hand",
			events: numbered(1,
				rec(0, "", event.TaskInitialized{}),
				rec(0, "a", event.StepStarted{Step: attempt(1, 0)}),
				rec(1, "a", event.StepAttemptLost{Step: attempt(1, 0), Cause: "host_died"}),
				rec(1, "a", event.StepWaiting{Step: attempt(1, 0), Reason: "parked"}),
				rec(5, "a", event.StepResolvedManually{Step: attempt(1, 0)}),
				rec(5, "", event.TaskCompleted{})),
			status: task.Complete, to: 5,
			rows: []string{"a resolved_manually | running 0-1 #1 lost: host_died | parked 1-5"},
		},
		{
			name: "the beginning is gone from the log",
			events: numbered(12,
				rec(20, "b", event.StepCompleted{Step: attempt(2, 15)}),
				rec(21, "d", event.StepCompleted{Step: attempt(1, 18)}),
				rec(22, "c", event.StepStarted{Step: attempt(1, 22), Dependencies: []string{"b"}})),
			shape: []Step{
				{Name: "a", Status: task.StepComplete},
				{Name: "b", DependsOn: []string{"a"}, Status: task.StepComplete},
				{Name: "c", DependsOn: []string{"b"}, Status: task.StepInProgress},
				{Name: "d", Status: task.StepComplete},
			},
			status: task.Pending, to: 30, open: true, missing: 11,
			rows: []string{
				"a complete",
				"b complete | running 15-20 #2 succeeded",
				"c in_progress | ready 20-22 | running 22-30 #1 running ...",
				"d complete | running 18-21 #1 succeeded",
			},
		},
		{
			name: "custom events and those to come move nothing",
			events: numbered(1,
				rec(0, "", event.TaskInitialized{}),
				rec(1, "a", event.StepStarted{Step: attempt(1, 1)}),
				&eventv1.Event{Type: "orders.shipped", At: at(2).UnixNano(), Step: "a", Payload: []byte("[]")},
				rec(3, "a", event.StepCompleted{Step: attempt(1, 1)}),
				rec(3, "", event.TaskCompleted{}),
				&eventv1.Event{Type: "order.done", At: at(3).UnixNano(), Payload: []byte("{}")}),
			status: task.Complete, to: 3,
			rows: []string{"a complete | ready 0-1 | running 1-3 #1 succeeded"},
		},
		{
			name: "a clock that was set back",
			events: numbered(1,
				rec(5, "", event.TaskInitialized{}),
				rec(7, "a", event.StepStarted{Step: attempt(1, 7)}),
				rec(2, "a", event.StepCompleted{Step: attempt(1, 7)}),
				rec(2, "", event.TaskCompleted{})),
			status: task.Complete, to: 7,
			rows: []string{"a complete | ready 5-7 | running 7-7 #1 succeeded"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, tt.run)
	}
}

func TestPauses(t *testing.T) {
	events := numbered(1,
		record(t, 0, "", event.TaskInitialized{}), record(t, 1, "", event.TaskPaused{}), record(t, 4, "", event.TaskResumed{}),
		record(t, 6, "", event.TaskPaused{}))
	got, err := Of(events, nil, at(9))
	if err != nil {
		t.Fatal(err)
	}
	want := []Bar{{Kind: Parked, From: at(1), To: at(4)}, {Kind: Parked, From: at(6), To: at(9), Open: true}}
	if diff := cmp.Diff(want, got.Pauses); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestEmptyAndBroken(t *testing.T) {
	got, err := Of(nil, []Step{{Name: "a"}}, at(9))
	if err != nil || len(got.Rows) != 0 || !got.From.Equal(got.To) {
		t.Errorf("no events: got %+v, %v; want an empty timeline", got, err)
	}
	if _, err := Of([]*eventv1.Event{{Id: "T/1", Type: event.NameStepFailed, Payload: []byte("[")}}, nil, at(9)); err == nil {
		t.Error("a payload that cannot be read was accepted")
	}
}

// TestLaws: whatever the events, the bars of a step follow each other without overlap, lie
// within the task, and only the last of an unfinished task is open.
func TestLaws(t *testing.T) {
	var names []string
	for _, e := range event.Catalog() {
		if e.Category == "task" || e.Category == "step" {
			names = append(names, e.Name)
		}
	}
	steps := []string{"a", "b", "c"}
	rapid.Check(t, func(rt *rapid.T) {
		var shape []Step
		if rapid.Bool().Draw(rt, "shape") {
			shape = []Step{{Name: "a"}, {Name: "b", DependsOn: []string{"a"}}, {Name: "d", DependsOn: []string{"a", "b"}, Status: task.StepPending}}
		}
		var events []*eventv1.Event
		for i := range rapid.IntRange(1, 40).Draw(rt, "events") {
			name := rapid.SampledFrom(names).Draw(rt, "name")
			payload := map[string]any{
				"attempt_number": i, "final": rapid.Bool().Draw(rt, "final"),
				"started_at": at(rapid.IntRange(0, 100).Draw(rt, "started")), "retry_at": at(rapid.IntRange(0, 100).Draw(rt, "retry")),
			}
			doc, err := json.Marshal(payload)
			if err != nil {
				rt.Fatal(err)
			}
			e := &eventv1.Event{Type: name, At: at(rapid.IntRange(0, 100).Draw(rt, "at")).UnixNano(), Payload: doc}
			if name[:5] == "step." {
				e.Step = rapid.SampledFrom(steps).Draw(rt, "step")
			}
			events = append(events, e)
		}
		first := rapid.Uint64Range(1, 3).Draw(rt, "first")
		got, err := Of(numbered(first, events...), shape, at(rapid.IntRange(0, 200).Draw(rt, "now")))
		if err != nil {
			rt.Fatal(err)
		}
		if got.To.Before(got.From) || got.Missing != first-1 {
			rt.Fatalf("from %s to %s, %d missing of %d", got.From, got.To, got.Missing, first-1)
		}
		for _, r := range append(got.Rows, Row{Step: "pauses", Bars: got.Pauses}) {
			checkBars(rt, got, r)
		}
	})
}

func checkBars(rt *rapid.T, t *Timeline, r Row) {
	end := t.From
	for i, b := range r.Bars {
		switch {
		case b.From.Before(end) || b.To.Before(b.From):
			rt.Errorf("%s: bar %d (%s) from %s to %s follows one that ends at %s", r.Step, i, b.Kind, b.From, b.To, end)
		case b.To.After(t.To):
			rt.Errorf("%s: bar %d (%s) ends at %s, after the task's %s", r.Step, i, b.Kind, b.To, t.To)
		case b.Open && (!t.Open || i < len(r.Bars)-1 || !b.To.Equal(t.To)):
			rt.Errorf("%s: bar %d (%s) is open, until %s", r.Step, i, b.Kind, b.To)
		}
		end = b.To
	}
}

// TestLargeTask: as many steps as a task can have, all waiting for all of the one before.
func TestLargeTask(t *testing.T) {
	const steps = 5_000
	events := []*eventv1.Event{record(t, 0, "", event.TaskInitialized{})}
	shape := make([]Step, 2*steps)
	for i := range steps {
		first, join := fmt.Sprint("a", i), fmt.Sprint("b", i)
		shape[i], shape[steps+i] = Step{Name: first}, Step{Name: join, DependsOn: []string{first, "a0"}}
		events = append(events, record(t, 1, first, event.StepStarted{Step: attempt(1, 1)}))
	}
	for i := steps - 1; i >= 0; i-- {
		events = append(events, record(t, 2, fmt.Sprint("a", i), event.StepCompleted{Step: attempt(1, 1)}))
	}
	got, err := Of(numbered(1, events...), shape, at(30))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range got.Rows[steps:] {
		if len(r.Bars) != 2 || r.Bars[0].Kind != Blocked || r.Bars[1].Kind != Ready || !r.Bars[1].From.Equal(at(2)) {
			t.Fatalf("%s: bars %v, want it blocked until 2 and ready since", r.Step, r.Bars)
		}
	}
}
