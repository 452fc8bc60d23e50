package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/plugin/sdk/event"
	"github.com/tasker-engine/tasker/plugin/sdk/event/trace"
)

// TestRelayed makes no spans of attempts of which their plugins tell, and tells of those that went away with theirs; the
// rest of a step's span comes from the notes, and a failed one tells how the task stood.
func TestRelayed(t *testing.T) {
	t.Chdir(t.TempDir())
	r := receive(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", r.url)
	failure := event.Error{Message: "card declined", Code: "declined", Kind: "permanent"}
	stands := &event.WorkflowState{
		Counts: event.Totals{"error": 1, "pending": 2}, Omitted: 7,
		Steps: []event.StepState{{Name: "charge", Status: "error", Attempts: 3, ErrorCode: "declined"}, {Name: "ship", Status: "pending", Blocked: true}},
	}
	allAcked(t, start(t, values{}).Send(t, tell(
		0.0, event.TaskInitialized{Task: order()},
		1.0, event.StepStarted{Step: step("reserve", 1, 1, 0), Dependents: []string{"charge"}},
		2.0, event.StepCompleted{Step: step("reserve", 1, 1, 2)},
		2.0, event.StepStarted{Step: step("charge", 1, 2, 0), Dependencies: []string{"reserve"}, Dependents: []string{"ship"}, Level: 1},
		3.0, event.StepAttemptLost{Step: step("charge", 1, 2, 3), Cause: "crashed"},
		3.0, event.StepStarted{Step: step("charge", 2, 3, 0), Dependencies: []string{"reserve"}, Level: 1},
		4.0, event.StepAttemptLost{Step: step("charge", 2, 3, 4), Cause: "drained"},
		4.0, event.StepStarted{Step: step("charge", 3, 4, 0), Dependencies: []string{"reserve"}, Level: 1},
		5.0, event.StepFailed{Step: step("charge", 3, 4, 5), Error: failure, Final: true, WorkflowState: stands},
		5.0, event.TaskFailed{TaskEnded: ended(5), FailedSteps: []event.FailedStep{{StepName: "charge", Error: failure}}, WorkflowState: stands},
	)...)...)
	var got []string
	for line := range strings.Lines(strings.ReplaceAll(r.tree(t), " workflow.correlation_id=web-1", "")) {
		line, _, _ = strings.Cut(strings.TrimRight(line, "\n"), " step.id=")
		got = append(got, line)
	}
	want := []string{
		`order 0s-5s error "step charge: card declined" task.status=error error.code=declined error.category=permanent +workflow.state`,
		`  reserve 1s-2s ok`, `  charge 2s-5s error "card declined"`, `    charge attempt 2s-3s error "the attempt was lost: crashed"`,
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("spans (-got +want):\n%s", diff)
	}
	place := trace.Of("01JD", "")
	charge := r.spans[place.StepSpan("charge", 0).String()]
	if got := fmt.Sprintf("%s %s %s", show(attributeOf(charge, trace.KeyDependencies)), show(attributeOf(charge, trace.KeyDependents)),
		show(attributeOf(charge, trace.KeyLevel))); got != "reserve ship 1" {
		t.Errorf("dependencies, dependents and level: %s", got)
	}
	reserve := place.StepSpan("reserve", 0)
	if links := charge.GetLinks(); len(links) != 1 || string(links[0].GetSpanId()) != string(reserve[:]) {
		t.Errorf("links %v, want one to %s", links, reserve)
	}
	var said []string
	for _, kv := range charge.GetEvents()[0].GetAttributes() {
		said = append(said, kv.GetKey()+"="+show(kv.GetValue()))
	}
	if diff := cmp.Diff(said, []string{
		"workflow.state.count.error=1", "workflow.state.count.pending=2", "workflow.state.steps=charge error 3 declined,ship blocked 0",
		"workflow.state.omitted=7",
	}); diff != "" {
		t.Errorf("state (-got +want):\n%s", diff)
	}
}

// TestSampler makes no spans of traces that the variables leave out.
func TestSampler(t *testing.T) {
	for _, env := range [][2]string{{"OTEL_TRACES_SAMPLER", "always_off"}, {"OTEL_SDK_DISABLED", "true"}, {"OTEL_TRACES_EXPORTER", "none"}} {
		t.Run(env[0], func(t *testing.T) {
			t.Chdir(t.TempDir())
			t.Setenv(env[0], env[1])
			r := receive(t)
			allAcked(t, start(t, values{"endpoint": r.url}).Send(t, story()...)...)
			if n := r.count(); n > 0 {
				t.Errorf("%d spans, want none", n)
			}
		})
	}
}
