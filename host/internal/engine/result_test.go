package engine

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/host/template"
)

// attemptEnd is one way in which one attempt of the only step can end.
type attemptEnd struct {
	name   string
	set    []func(*template.Step)
	end    func(d *drive)
	step   task.StepStatus
	tally  [3]uint32 // attempts, failures, losses
	status task.Status
	events string
}

func answers() []attemptEnd {
	return []attemptEnd{
		{
			"success", nil, func(d *drive) { d.succeed("a") }, task.StepComplete,
			[3]uint32{1, 0, 0},
			task.Complete, "step.completed, task.completed",
		},
		{
			"ordinary error", nil, func(d *drive) { d.fail("a", task.KindRetryable) }, task.StepWaitingForRetry,
			[3]uint32{1, 1, 0},
			task.InProgress, "step.failed, step.retry_scheduled",
		},
		{
			"permanent error", nil, func(d *drive) { d.fail("a", task.KindPermanent) }, task.StepError,
			[3]uint32{1, 1, 0},
			task.Error, "step.failed, task.failed",
		},
		{
			"permanent error of an optional step",
			[]func(*template.Step){optional},
			func(d *drive) { d.fail("a", task.KindPermanent) },
			task.StepSkipped,
			[3]uint32{1, 1, 0},
			task.Complete, "step.failed, step.skipped, task.completed",
		},
		{
			"the limit",
			[]func(*template.Step){limit(1)},
			func(d *drive) { d.fail("a", task.KindRetryable) }, task.StepError,
			[3]uint32{1, 1, 0},
			task.Error, "step.failed, step.max_retries_reached, task.failed",
		},
		{
			"the limit of an optional step",
			[]func(*template.Step){limit(1), optional},
			func(d *drive) { d.fail("a", task.KindRetryable) },
			task.StepSkipped,
			[3]uint32{1, 1, 0},
			task.Complete, "step.failed, step.max_retries_reached, step.skipped, task.completed",
		},
		{
			"retryable: false",
			[]func(*template.Step){once, limit(5)},
			func(d *drive) { d.fail("a", task.KindRetryable) },
			task.StepError,
			[3]uint32{1, 1, 0},
			task.Error, "step.failed, task.failed",
		},
		{
			"success of retryable: false",
			[]func(*template.Step){once},
			func(d *drive) { d.succeed("a") },
			task.StepComplete,
			[3]uint32{1, 0, 0},
			task.Complete, "step.completed, task.completed",
		},
		{
			"result that is too large", nil, func(d *drive) {
				r := d.succeeded("a")
				r.Report.Output = large(task.MaxValue + 1)
				d.decide(r)
			}, task.StepError, [3]uint32{1, 1, 0}, task.Error, "step.failed, task.failed",
		},
		{
			"success without a result", nil, func(d *drive) {
				r := d.succeeded("a")
				r.Report.Output = nil
				d.decide(r)
			}, task.StepComplete, [3]uint32{1, 0, 0}, task.Complete, "step.completed, task.completed",
		},
	}
}

func losses() []attemptEnd {
	return []attemptEnd{
		{
			"loss by a crash", nil, func(d *drive) { d.lose("a", task.LossCrashed) }, task.StepWaitingForRetry,
			[3]uint32{1, 0, 1},
			task.InProgress, "step.attempt_lost, step.retry_scheduled",
		},
		{
			"loss of retryable: false follows on_crash",
			[]func(*template.Step){once},
			func(d *drive) { d.lose("a", task.LossCrashed) },
			task.StepWaitingForRetry,
			[3]uint32{1, 0, 1},
			task.InProgress, "step.attempt_lost, step.retry_scheduled",
		},
		{
			"loss by the host", nil, func(d *drive) { d.lose("a", task.LossHostDied) }, task.StepWaitingForRetry,
			[3]uint32{1, 0, 0},
			task.InProgress, "step.attempt_lost, step.retry_scheduled",
		},
		{
			"loss with on_crash: fail",
			[]func(*template.Step){onCrash(task.OnCrashFail)},
			func(d *drive) { d.lose("a", task.LossCrashed) },
			task.StepError,
			[3]uint32{1, 0, 1},
			task.Error, "step.attempt_lost, step.failed, task.failed",
		},
		{
			"loss of an optional step with on_crash: fail",
			[]func(*template.Step){onCrash(task.OnCrashFail), optional},
			func(d *drive) { d.lose("a", task.LossCrashed) },
			task.StepSkipped,
			[3]uint32{1, 0, 1},
			task.Complete, "step.attempt_lost, step.failed, step.skipped, task.completed",
		},
		{
			"loss with on_crash: park",
			[]func(*template.Step){onCrash(task.OnCrashPark)},
			func(d *drive) { d.lose("a", task.LossCrashed) },
			task.StepWaiting,
			[3]uint32{1, 0, 1},
			task.InProgress, "step.attempt_lost, step.waiting",
		},
		{
			"cancelled by nobody but its handler", nil, func(d *drive) { d.fail("a", task.KindCancelled) },
			task.StepWaitingForRetry,
			[3]uint32{1, 1, 0},
			task.InProgress, "step.failed, step.retry_scheduled",
		},
		{
			"cancelled by nobody for the last time",
			[]func(*template.Step){limit(1)},
			func(d *drive) { d.fail("a", task.KindCancelled) },
			task.StepError,
			[3]uint32{1, 1, 0},
			task.Error, "step.failed, step.max_retries_reached, task.failed",
		},
		{
			"cancelled by its draining instance", nil, func(d *drive) {
				r := d.failed("a", task.KindCancelled)
				r.Draining = true
				d.decide(r)
			},
			task.StepWaitingForRetry,
			[3]uint32{1, 0, 0},
			task.InProgress, "step.attempt_lost, step.retry_scheduled",
		},
	}
}

// TestAttemptEnds: what becomes of step and task, and the events of the row.
func TestAttemptEnds(t *testing.T) {
	for _, tt := range slices.Concat(answers(), losses()) {
		t.Run(tt.name, func(t *testing.T) {
			d := start(t, shape(t, step("a", tt.set...)))
			d.claim("a")
			d.pass(time.Second)
			tt.end(d)
			d.wantStatus(tt.status, "a:"+string(tt.step))
			s := d.step("a")
			if got := [3]uint32{s.Attempts, s.Failures, s.Losses}; got != tt.tally {
				t.Errorf("attempts, failures, losses %v, want %v", got, tt.tally)
			}
			var want []string
			for typ := range strings.SplitSeq(tt.events, ", ") {
				if strings.HasPrefix(typ, "step.") {
					typ += " a"
				}
				want = append(want, typ)
			}
			d.wantEvents(want...)
		})
	}
}

// TestLossBudget: three losses are survived, the fourth is one too many (rule R5), and
// losses that are not the instance's doing never count.
func TestLossBudget(t *testing.T) {
	d := start(t, shape(t, step("a")))
	for range 5 {
		d.claim("a")
		d.lose("a", task.LossHostDied)
	}
	for range task.DefaultLossLimit {
		d.claim("a")
		d.lose("a", task.LossHung)
		d.wantStatus(task.InProgress, "a:waiting_for_retry")
	}
	d.claim("a")
	d.lose("a", task.LossCrashed)
	d.wantStatus(task.Error, "a:error")
	s := d.step("a")
	if s.Failure.Code != task.CodeCrashesPlugin || s.Failure.Kind != task.KindPermanent || s.Failures != 0 {
		t.Errorf("failure %+v and %d failures, want %s and 0", s.Failure, s.Failures, task.CodeCrashesPlugin)
	}
	d.decide(Retry{d.op("a")})
	if s.Losses != 0 || s.Attempts != 9 {
		t.Errorf("after an operator's retry: %d losses, %d attempts, want 0 and 9", s.Losses, s.Attempts)
	}
}

// TestUnsentAttempts: an attempt that no instance ever got is started again at once,
// whatever on_crash says and however often it happens: nothing ran.
func TestUnsentAttempts(t *testing.T) {
	for _, answer := range []task.OnCrash{task.OnCrashRetry, task.OnCrashFail, task.OnCrashPark} {
		t.Run(string(answer), func(t *testing.T) {
			d := start(t, shape(t, step("a", onCrash(answer))))
			for range 2 * task.DefaultLossLimit {
				d.claim("a")
				d.lose("a", task.LossUnsent)
				d.wantStatus(task.InProgress, "a:waiting_for_retry")
			}
			if s := d.step("a"); s.Losses != 0 || s.Failures != 0 || s.RetryAt.After(d.now) {
				t.Errorf("%d losses, %d failures, retry at %s; want none and now (%s)", s.Losses, s.Failures, s.RetryAt, d.now)
			}
			d.claim("a")
			d.succeed("a")
			d.wantStatus(task.Complete, "a:complete")
		})
	}
}

// TestRetryAt: the wait is the later of backoff and RetryAfter, from the failure on, and
// the step is not claimable a moment before (rules R2, R3).
func TestRetryAt(t *testing.T) {
	tests := []struct {
		name       string
		backoff    time.Duration
		retryAfter time.Duration
		want       time.Duration
	}{
		{"small backoff", time.Second, 0, time.Second},
		{"RetryAfter 60s, small backoff", time.Second, time.Minute, time.Minute},
		{"RetryAfter 1s, large backoff", 20 * time.Second, time.Second, 20 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := start(t, shape(t, step("a", backoff(tt.backoff), func(s *template.Step) {
				s.Retry.Jitter = &task.Jitter{Kind: task.JitterNone}
			})))
			d.claim("a")
			d.pass(time.Minute)
			r := d.failed("a", task.KindRetryable)
			r.Report.Failure.RetryAfter = task.Duration(tt.retryAfter)
			d.decide(r)
			at := d.now.Add(tt.want)
			if got := d.agg.Wake(0, d.now); !got.Equal(at) {
				t.Errorf("wakes at %s, want %s", got, at)
			}
			d.now = at.Add(-1)
			d.due("a")
			d.refused(d.claimOf(0), task.ErrTransition)
			if got := d.agg.Wake(0, d.now); !got.Equal(at) {
				t.Errorf("after an early wake-up: wakes at %s, want %s", got, at)
			}
			d.now = at
			d.due("a")
			d.claim("a")
			if got := d.agg.Assignment(0, true); got.ID.Number != 2 || got.Previous == nil {
				t.Errorf("assignment %+v, want attempt 2 with the failure of attempt 1", got)
			}
		})
	}
}

// TestFailureIsKept: what a handler said is stored with the attempt, and stays after a
// later success (rule R9).
func TestFailureIsKept(t *testing.T) {
	d := start(t, shape(t, step("a")))
	d.claim("a")
	r := d.failed("a", task.KindRetryable)
	want := &task.Failure{
		Kind: task.KindRetryable, Code: "HTTP_503", Message: "no", Class: "*net.OpError", Source: task.SourceDownstream,
		Details: []byte(`{"x":1}`), Partial: []byte(`[]`), RetryAfter: task.Duration(time.Second), Stack: []string{"main.go:1"},
	}
	r.Report.Failure = want
	d.decide(r)
	if diff := cmp.Diff(d.step("a").Attempt.Failure, want); diff != "" {
		t.Errorf("the attempt's failure (-got +want):\n%s", diff)
	}
	d.pass(time.Minute)
	d.claim("a")
	d.succeed("a")
	if s := d.step("a"); s.Failure != want || s.Attempt.Failure != nil {
		t.Errorf("after success: step's failure %+v, attempt's %+v, want the first kept and the second nil", s.Failure, s.Attempt.Failure)
	}
}

// TestUnfitFailures: what is too large or no JSON is left out of a failure, which says so;
// nothing of it keeps the decision from being made.
func TestUnfitFailures(t *testing.T) {
	large := []byte(`"` + strings.Repeat("x", task.MaxPartial) + `"`)
	for _, tt := range []struct {
		name             string
		details, partial []byte
		want             string
	}{
		{"large partial", []byte("1"), large, "boom (partial output left out: 65538 bytes, at most 65536 are kept)"},
		{"partial is no JSON", nil, []byte("{"), "boom (partial output left out: no JSON)"},
		{"details are no JSON", []byte("no"), nil, "boom (details left out: no JSON)"},
		{"both", []byte("no"), []byte("no"), "boom (partial output left out: no JSON) (details left out: no JSON)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := start(t, shape(t, step("a")))
			d.claim("a")
			r := d.failed("a", task.KindPermanent)
			r.Report.Failure.Details, r.Report.Failure.Partial = tt.details, tt.partial
			d.decide(r)
			f := d.step("a").Failure
			if f.Message != tt.want || f.Partial != nil || (f.Details != nil) != json.Valid(tt.details) {
				t.Errorf("failure %+v, want the message %q", f, tt.want)
			}
		})
	}
}

// TestDrainedFailureIsInTheLog: what a draining instance answered is in the event of the
// loss, for the step has no failure.
func TestDrainedFailureIsInTheLog(t *testing.T) {
	d := start(t, shape(t, step("a")))
	d.claim("a")
	r := d.failed("a", task.KindCancelled)
	r.Draining, r.Report.Failure.Partial = true, []byte(`{"done":3}`)
	d.decide(r)
	if got := string(d.events[len(d.events)-2].GetPayload()); !strings.Contains(got, `"partial":{"done":3}`) || !strings.Contains(got, `"cause":"drained"`) {
		t.Errorf("step.attempt_lost is %s", got)
	}
	if s := d.step("a"); s.Failure != nil || s.Attempt.Failure == nil {
		t.Errorf("the step's failure is %v, its attempt's %v; want the attempt's only", s.Failure, s.Attempt.Failure)
	}
}

// TestLateResults: the first answer counts; what comes after it is kept beside the
// state, which it never changes (rule S1).
func TestLateResults(t *testing.T) {
	tests := []struct {
		name    string
		close   func(d *drive)
		status  task.StepStatus
		outcome string
	}{
		{"two successes", func(d *drive) { d.succeed("a") }, task.StepComplete, "succeeded"},
		{"success after failure", func(d *drive) { d.fail("a", task.KindRetryable) }, task.StepWaitingForRetry, "succeeded"},
		{"failure after success", func(d *drive) { d.succeed("a") }, task.StepComplete, "failed"},
		{"success after loss", func(d *drive) { d.lose("a", task.LossCrashed) }, task.StepWaitingForRetry, "succeeded"},
		{"success after permanent failure", func(d *drive) { d.fail("a", task.KindPermanent) }, task.StepError, "succeeded"},
		{"success of the attempt before", func(d *drive) {
			d.lose("a", task.LossCrashed)
			d.claim("a")
		}, task.StepInProgress, "succeeded"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := start(t, shape(t, step("a"), step("b<-a")))
			d.claim("a")
			late := d.succeeded("a")
			if tt.outcome == "failed" {
				late = d.failed("a", task.KindPermanent)
			}
			tt.close(d)
			before := *d.step("a")
			d.pass(time.Second)
			d.decide(late, late)
			d.wantEvents()
			s := d.step("a")
			want := task.LateResult{Number: 1, Outcome: tt.outcome, At: d.now}
			if s.Late == nil || *s.Late != want || s.LateCount != 2 {
				t.Errorf("late result %+v, %d in all; want %+v, 2", s.Late, s.LateCount, want)
			}
			after := *s
			after.Late, after.LateCount = nil, 0
			if diff := cmp.Diff(after, before); diff != "" {
				t.Errorf("a late result changed the step (-got +want):\n%s", diff)
			}
		})
	}
}

// TestResultRefused: a report that fits no attempt changes nothing.
func TestResultRefused(t *testing.T) {
	tests := []struct {
		name   string
		change func(*task.Report)
	}{
		{"of another task", func(r *task.Report) { r.ID.Task = "01HZXW5N8QJ3R6T9V0B2C4D7EG" }},
		{"of a step that does not exist", func(r *task.Report) { r.ID.Ordinal = 9 }},
		{"of a step that was never started", func(r *task.Report) { r.ID.Ordinal = 1 }},
		{"of an attempt to come", func(r *task.Report) { r.ID.Number = 2 }},
		{"of attempt 0", func(r *task.Report) { r.ID.Number = 0 }},
		{"a heartbeat", func(r *task.Report) { r.Kind = task.ReportHeartbeat }},
		{"of no kind", func(r *task.Report) { r.Kind = 0 }},
		{"a failure without a reason", func(r *task.Report) { r.Kind = task.ReportFailed }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := start(t, shape(t, step("a"), step("b<-a")))
			d.claim("a")
			r := d.succeeded("a")
			tt.change(&r.Report)
			d.refused(r, task.ErrInvalid)
		})
	}
	d := start(t, shape(t, step("a")))
	d.decide(Lost{ID: task.AttemptID{Task: testTask, Ordinal: 0, Number: 1}, Cause: task.LossCrashed})
	d.decide(Lost{ID: task.AttemptID{Task: testTask, Ordinal: 9, Number: 1}, Cause: task.LossCrashed})
	if d.last.WriteSet != nil {
		t.Error("the loss of an attempt that never was changed the task")
	}
}

// TestFanIn: the dependant starts with the results of all its dependencies, in the order
// in which the template names them; a skipped one has none (rule S2).
func TestFanIn(t *testing.T) {
	d := start(t, shape(t, step("a"), step("b", skippable), step("c"), step("d<-c,b,a")), bypass("b"))
	d.claim("a", "c")
	d.decide(d.succeeded("c"), d.succeeded("a"))
	d.claim("d")
	d.wantEvents("step.started d")
	got := d.agg.Assignment(3, true)
	want := []task.DependencyResult{
		{Step: "c", Ordinal: 2, Status: task.StepComplete, Value: task.Value{Inline: []byte(`{"step":"c"}`)}},
		{Step: "b", Ordinal: 1, Status: task.StepSkipped},
		{Step: "a", Ordinal: 0, Status: task.StepComplete, Value: task.Value{Inline: []byte(`{"step":"a"}`)}},
	}
	if diff := cmp.Diff(got.Results, want); diff != "" {
		t.Errorf("dependency results (-got +want):\n%s", diff)
	}
	if got := d.agg.Assignment(3, false); got.Results != nil {
		t.Errorf("a handler that wants no results gets %v", got.Results)
	}
	if got, want := got.IdempotencyKey, string(testTask)+"/3"; got != want {
		t.Errorf("idempotency key %q, want %q", got, want)
	}
}

// TestIdempotencyKey is the same for all attempts, the attempt id is not (rule R6).
func TestIdempotencyKey(t *testing.T) {
	d := start(t, shape(t, step("a")))
	d.claim("a")
	first := d.agg.Assignment(0, true)
	d.lose("a", task.LossCrashed)
	d.claim("a")
	second := d.agg.Assignment(0, true)
	if first.IdempotencyKey != second.IdempotencyKey || first.ID == second.ID {
		t.Errorf("attempts %s and %s with keys %q and %q", first.ID, second.ID, first.IdempotencyKey, second.IdempotencyKey)
	}
}

// TestReadyIsNotStarted (rule S9): what becomes ready gets no attempt and no event
// until it is claimed, be it in the same decision.
func TestReadyIsNotStarted(t *testing.T) {
	d := start(t, linear6(t), workflow)
	d.wantStatus(task.Pending, "a:pending")
	d.claim("a")
	d.wantEvents("task.started", "step.started a")
	d.pass(time.Second)
	dec := d.agg.Begin(&d.host, d.now)
	if err := dec.Apply(d.succeeded("a")); err != nil {
		t.Fatal(err)
	}
	if got := dec.Ready(); len(got) != 1 || got[0] != 1 {
		t.Errorf("ready %v, want [1]", got)
	}
	if got := dec.Ready(); len(got) != 0 {
		t.Errorf("ready again %v", got)
	}
	if err := dec.Apply(d.claimOf(1)); err != nil {
		t.Fatal(err)
	}
	out, err := dec.Finish()
	if err != nil {
		t.Fatal(err)
	}
	var types []string
	for _, e := range out.WriteSet.Events {
		types = append(types, e.Type)
	}
	want := []string{"step.completed", "workflow.viable_steps_discovered", "step.started"}
	if diff := cmp.Diff(types, want); diff != "" {
		t.Errorf("events (-got +want):\n%s", diff)
	}
	if got, want := d.step("b").Attempt.StartedAt, d.step("a").CompletedAt; !got.Equal(want) {
		t.Errorf("b started at %s, a ended at %s", got, want)
	}
}
