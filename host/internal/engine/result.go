package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/tasker-engine/tasker/host/task"
)

// Result is the final report on an attempt.
type Result struct {
	Report task.Report
	// Draining says that the host or the attempt's instance is stopping, so that the
	// attempt may have been cancelled by nobody's wish.
	Draining bool
}

func (r Result) apply(d *Decision) error {
	id := r.Report.ID
	s := d.agg.Step(id.Ordinal)
	switch {
	case id.Task != d.agg.Task.ID || s == nil || s.Attempt == nil || id.Number == 0 || id.Number > s.Attempt.Number:
		return fmt.Errorf("attempt %s was never started: %w", id, task.ErrInvalid)
	case r.Report.Kind != task.ReportSucceeded && (r.Report.Kind != task.ReportFailed || r.Report.Failure == nil):
		return fmt.Errorf("report on attempt %s is no final one: %w", id, task.ErrInvalid)
	case id.Number < s.Attempt.Number || s.Attempt.Status != task.AttemptRunning:
		d.late(s, r.Report)
		return nil
	case r.Report.Kind == task.ReportSucceeded:
		return d.succeed(s, r.Report.Output, r.Report.Emits)
	case r.Report.Failure.Kind != task.KindCancelled:
		return d.fail(s, r.Report.Failure, task.AttemptFailed)
	case d.agg.Task.Stop != nil:
		return d.fail(s, r.Report.Failure, task.AttemptCancelled)
	case r.Draining:
		s.Attempt.Failure = bounded(r.Report.Failure)
		return d.lose(s, task.LossDrained, s.Settings.Retry.Wait(s.Attempts, d.host.Rand()))
	default: // nobody asked for it: an ordinary failure, which counts
		f := *r.Report.Failure
		f.Kind = task.KindRetryable
		return d.fail(s, &f, task.AttemptFailed)
	}
}

// Refused returns the result as the host's verdict on it when it cannot be stored: the
// same answer would come again, so the attempt fails for good.
func (r Result) Refused(cause error) Result {
	f := &task.Failure{
		Kind: task.KindPermanent, Code: task.CodeInvalidResult, Source: task.SourceHost,
		Message: "the attempt's result cannot be stored: " + cause.Error(),
	}
	if errors.Is(cause, task.ErrTooLarge) {
		f.Code = task.CodeTooLarge
	}
	r.Report.Kind, r.Report.Output, r.Report.Emits, r.Report.Failure = task.ReportFailed, nil, nil, f
	return r
}

// late keeps what came after an attempt was closed beside the state, which it never
// changes; it only tells that the old attempt no longer works.
func (d *Decision) late(s *task.Step, r task.Report) {
	outcome := "failed"
	if r.Kind == task.ReportSucceeded {
		outcome = "succeeded"
	}
	d.countLate(s, r.ID, outcome)
	if r.ID.Number == s.Attempt.Number {
		d.letGo(s)
	}
}

func (d *Decision) countLate(s *task.Step, id task.AttemptID, outcome string) {
	s.Late = &task.LateResult{Number: id.Number, Outcome: outcome, At: d.now}
	s.LateCount++
	d.changed = append(d.changed, s.Ordinal)
}

// Emitted is what an attempt emitted to be recorded at once, while it goes on.
type Emitted struct {
	ID    task.AttemptID
	Emits []task.Emit
}

func (e Emitted) apply(d *Decision) error {
	s := d.agg.Step(e.ID.Ordinal)
	if e.ID.Task != d.agg.Task.ID || s == nil || s.Attempt == nil || e.ID.Number == 0 || e.ID.Number > s.Attempt.Number {
		return fmt.Errorf("attempt %s was never started: %w", e.ID, task.ErrInvalid)
	}
	if e.ID.Number < s.Attempt.Number || s.Attempt.Status != task.AttemptRunning {
		d.countLate(s, e.ID, "emitted")
		return nil
	}
	for i := range e.Emits {
		d.publish.Emitted(s, e.Emits[i])
		d.taskMoved() // so that no later event is recorded with an earlier time
	}
	return nil
}

// letGo ends the hold on a step whose timed-out attempt is known to work no longer.
func (d *Decision) letGo(s *task.Step) {
	if s.HoldUntil.IsZero() {
		return
	}
	s.HoldUntil = time.Time{}
	d.changed = append(d.changed, s.Ordinal)
	if d.agg.Claimable(s.Ordinal, d.now) {
		d.becameReady(s.Ordinal)
	}
}

// succeed takes the output as the document that it is: who made the report has looked.
func (d *Decision) succeed(s *task.Step, output []byte, emits []task.Emit) error {
	results, err := d.value(output, task.ResultBlob(s.Ordinal))
	if err != nil {
		return d.fail(s, tooLarge(s, err), task.AttemptFailed)
	}
	s.Attempt.Status, s.Attempt.EndedAt = task.AttemptSucceeded, d.now
	s.Results = results
	if err := d.step(s, task.StepSucceed); err != nil {
		return err
	}
	for i := range emits {
		d.publish.Emitted(s, emits[i])
	}
	d.publish.StepCompleted(s)
	return nil
}

// tooLarge is the failure of a handler that returned more than can be stored: running it
// again would return the same.
func tooLarge(s *task.Step, cause error) *task.Failure {
	return &task.Failure{
		Kind: task.KindPermanent, Code: task.CodeTooLarge, Source: task.SourcePlugin,
		Message: "result of step " + string(s.Name) + ": " + cause.Error(),
	}
}

// fail closes the current attempt as failed, timed out or, when the task is winding
// down, cancelled, and decides what follows (rules R1, R2, R3, S8).
func (d *Decision) fail(s *task.Step, f *task.Failure, status task.AttemptStatus) error {
	f = bounded(f)
	s.Attempt.Status, s.Attempt.EndedAt, s.Attempt.Failure = status, d.now, f
	s.Failure = f
	if status == task.AttemptTimedOut {
		s.HoldUntil = d.now.Add(s.Settings.CancelGrace)
	}
	if d.agg.Task.Stop != nil {
		d.cancelStep(s)
		return nil
	}
	s.Failures++
	retryAt := s.Settings.Retry.NextRetry(d.now, s.Failures, f.RetryAfter.Std(), d.host.Rand())
	end := totalEnd(s)
	switch {
	case f.Kind == task.KindPermanent || !s.Settings.Retryable:
		return d.fatal(s, task.StepFailPermanent, task.StepFailOptional)
	case s.Failures >= s.Settings.Retry.Limit:
		return d.fatal(s, task.StepFailLimit, task.StepFailLimitOption)
	case !end.IsZero() && !retryAt.Before(end):
		return d.fatal(s, task.StepFailPermanent, task.StepFailOptional) // no attempt fits any more
	}
	s.RetryAt = retryAt
	if err := d.step(s, task.StepFailRetry); err != nil {
		return err
	}
	d.publish.StepFailed(s, false)
	d.publish.StepRetryScheduled(s, status)
	return nil
}

// bounded returns a failure that fits into its step's record, where it may lie twice, and
// into an event: without partial output that is too large and without what is no JSON.
func bounded(f *task.Failure) *task.Failure {
	out := *f
	switch {
	case len(f.Partial) > task.MaxPartial:
		out.Partial = nil
		out.Message += fmt.Sprintf(" (partial output left out: %d bytes, at most %d are kept)", len(f.Partial), task.MaxPartial)
	case len(f.Partial) > 0 && !json.Valid(f.Partial):
		out.Partial = nil
		out.Message += " (partial output left out: no JSON)"
	}
	if len(f.Details) > 0 && !json.Valid(f.Details) {
		out.Details = nil
		out.Message += " (details left out: no JSON)"
	}
	if out.Message == f.Message {
		return f
	}
	return &out
}

// fatal ends a step that failed for good: in error, or skipped when it is optional.
func (d *Decision) fatal(s *task.Step, row, optionalRow string) error {
	optional := d.agg.Template.Steps[s.Ordinal].Optional
	if optional {
		row, s.Note = optionalRow, task.NoteOptional
	}
	if err := d.step(s, row); err != nil {
		return err
	}
	d.publish.StepFailed(s, true)
	if row == task.StepFailLimit || row == task.StepFailLimitOption {
		d.publish.StepMaxRetriesReached(s)
	}
	if optional {
		d.publish.StepSkipped(s)
		return nil
	}
	return d.failFast()
}

// Lost says that the instance or host of the running attempt went away without a
// result.
type Lost struct {
	ID    task.AttemptID
	Cause task.LossCause
}

func (l Lost) apply(d *Decision) error {
	s := d.agg.Step(l.ID.Ordinal)
	if s == nil || s.Attempt == nil || s.Attempt.Number != l.ID.Number {
		return nil // already fenced by a later attempt
	}
	if s.Attempt.Status != task.AttemptRunning {
		d.letGo(s)
		return nil
	}
	return d.lose(s, l.Cause, 0)
}

// lose closes the current attempt as lost and decides what follows (rule R5): another
// attempt after the wait, unless on_crash or the budget of losses says otherwise.
func (d *Decision) lose(s *task.Step, cause task.LossCause, wait time.Duration) error {
	s.Attempt.Status, s.Attempt.EndedAt = task.AttemptLost, d.now
	if d.agg.Task.Stop != nil {
		s.Note = stopCode(d.agg.Task.Stop.Kind)
		if err := d.step(s, task.StepLoseCancel); err != nil {
			return err
		}
		d.publish.StepAttemptLost(s, cause)
		d.publish.StepCancelled(s)
		return nil
	}
	if cause.Counts() {
		s.Losses++
	}
	switch {
	case !cause.Ran(): // whatever on_crash says: nothing can have happened twice
	case s.Losses > task.DefaultLossLimit:
		return d.loseForGood(s, cause, task.CodeCrashesPlugin,
			fmt.Sprintf("%d attempts took down the plugin instance (last: %s)", s.Losses, cause))
	case s.Settings.OnCrash == task.OnCrashFail:
		return d.loseForGood(s, cause, task.CodeLost,
			fmt.Sprintf("the attempt was lost (%s) and on_crash is fail", cause))
	case s.Settings.OnCrash == task.OnCrashPark:
		return d.park(s, cause)
	}
	s.RetryAt = d.now.Add(wait)
	if err := d.step(s, task.StepLoseRetry); err != nil {
		return err
	}
	d.publish.StepAttemptLost(s, cause)
	d.publish.StepRetryScheduled(s, task.AttemptLost)
	if wait <= 0 {
		d.becameReady(s.Ordinal)
	}
	return nil
}

// loseForGood ends a step whose attempt was lost and that gets no other.
func (d *Decision) loseForGood(s *task.Step, cause task.LossCause, code, message string) error {
	failure := &task.Failure{Kind: task.KindPermanent, Code: code, Message: message, Source: task.SourceHost}
	s.Attempt.Failure, s.Failure = failure, failure
	row := task.StepLoseFail
	optional := d.agg.Template.Steps[s.Ordinal].Optional
	if optional {
		row, s.Note = task.StepLoseOptional, task.NoteOptional
	}
	if err := d.step(s, row); err != nil {
		return err
	}
	d.publish.StepAttemptLost(s, cause)
	d.publish.StepFailed(s, true)
	if optional {
		d.publish.StepSkipped(s)
		return nil
	}
	return d.failFast()
}

func (d *Decision) park(s *task.Step, cause task.LossCause) error {
	s.Note = task.NoteParked
	if err := d.step(s, task.StepLosePark); err != nil {
		return err
	}
	d.publish.StepAttemptLost(s, cause)
	d.publish.StepWaiting(s)
	return nil
}
