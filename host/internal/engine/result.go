package engine

import (
	"fmt"
	"time"

	"github.com/tasker-engine/tasker/host/task"
)

// Result is the final report on an attempt.
type Result struct {
	Report task.Report
}

func (r Result) apply(d *Decision) error {
	id := r.Report.ID
	s := d.agg.Step(id.Ordinal)
	if s == nil || s.Attempt == nil || id.Number > s.Attempt.Number {
		return fmt.Errorf("attempt %s was never started: %w", id, task.ErrInvalid)
	}
	if id.Number < s.Attempt.Number || s.Attempt.Status != task.AttemptRunning {
		d.late(s, r.Report)
		return nil
	}
	if r.Report.Kind == task.ReportSucceeded {
		return d.succeed(s, r.Report.Output)
	}
	f := r.Report.Failure
	if f.Kind == task.KindCancelled && d.agg.Task.Stop == nil {
		return d.lose(s, task.LossDrained) // nobody but a draining plugin cancels a wanted attempt
	}
	return d.fail(s, f, task.AttemptFailed)
}

// late keeps what came after an attempt was closed beside the state, which it never
// changes; it only tells that the old attempt no longer works.
func (d *Decision) late(s *task.Step, r task.Report) {
	outcome := "failed"
	if r.Kind == task.ReportSucceeded {
		outcome = "succeeded"
	}
	s.Late = &task.LateResult{Number: r.ID.Number, Outcome: outcome, At: d.now}
	s.LateCount++
	d.changed[s.Ordinal] = true
	if r.ID.Number == s.Attempt.Number && !s.HoldUntil.IsZero() {
		s.HoldUntil = time.Time{}
		if d.agg.Claimable(s.Ordinal, d.now) {
			d.becameReady(s.Ordinal)
		}
	}
}

func (d *Decision) succeed(s *task.Step, output []byte) error {
	results, err := d.value(output, task.ResultBlob(s.Ordinal))
	if err != nil {
		return d.fail(s, &task.Failure{
			Kind: task.KindPermanent, Code: task.CodeTooLarge, Source: task.SourcePlugin,
			Message: "result of step " + string(s.Name) + ": " + err.Error(),
		}, task.AttemptFailed)
	}
	s.Attempt.Status, s.Attempt.EndedAt = task.AttemptSucceeded, d.now
	s.Results = results
	if err := d.step(s, task.StepSucceed); err != nil {
		return err
	}
	d.publish.StepCompleted(s)
	return nil
}

// fail closes the current attempt as failed or timed out and decides what follows
// (rules R1, R2, R3, S8).
func (d *Decision) fail(s *task.Step, f *task.Failure, status task.AttemptStatus) error {
	s.Attempt.Status, s.Attempt.EndedAt, s.Attempt.Failure = status, d.now, f
	s.Failure = f
	if d.agg.Task.Stop != nil {
		d.cancelStep(s)
		return nil
	}
	s.Failures++
	retryAt := s.Settings.Retry.NextRetry(d.now, s.Failures, f.RetryAfter.Std(), d.host.Rand())
	switch {
	case f.Kind == task.KindPermanent || !s.Settings.Retryable:
		return d.fatal(s, task.StepFailPermanent, task.StepFailOptional)
	case s.Failures >= s.Settings.Retry.Limit:
		return d.fatal(s, task.StepFailLimit, task.StepFailLimitOption)
	case s.Settings.TotalTimeout > 0 && retryAt.After(s.StartedAt.Add(s.Settings.TotalTimeout)):
		return d.fatal(s, task.StepFailPermanent, task.StepFailOptional) // no attempt fits any more
	}
	s.RetryAt = retryAt
	if status == task.AttemptTimedOut {
		s.HoldUntil = d.now.Add(s.Settings.CancelGrace)
	}
	if err := d.step(s, task.StepFailRetry); err != nil {
		return err
	}
	d.publish.StepFailed(s, false)
	d.publish.StepRetryScheduled(s, status)
	return nil
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
		return d.released(s)
	}
	return d.lose(s, l.Cause)
}

// released lets a step whose timed-out attempt is gone be claimed without waiting for
// its grace.
func (d *Decision) released(s *task.Step) error {
	if s.HoldUntil.IsZero() {
		return nil
	}
	s.HoldUntil = time.Time{}
	d.changed[s.Ordinal] = true
	if d.agg.Claimable(s.Ordinal, d.now) {
		d.becameReady(s.Ordinal)
	}
	return nil
}

// lose closes the current attempt as lost and decides what follows (rule R5).
func (d *Decision) lose(s *task.Step, cause task.LossCause) error {
	s.Attempt.Status, s.Attempt.EndedAt = task.AttemptLost, d.now
	if d.agg.Task.Stop != nil {
		d.publish.StepAttemptLost(s, cause)
		d.cancelStep(s)
		return nil
	}
	if cause.Counts() {
		s.Losses++
	}
	failure := &task.Failure{Kind: task.KindPermanent, Source: task.SourceHost}
	switch {
	case s.Losses >= task.DefaultLossLimit:
		failure.Code = task.CodeCrashesPlugin
		failure.Message = fmt.Sprintf("%d attempts took down the plugin instance (last: %s)", s.Losses, cause)
	case s.Settings.OnCrash == task.OnCrashFail:
		failure.Code = task.CodeLost
		failure.Message = fmt.Sprintf("the attempt was lost (%s) and on_crash is fail", cause)
	case s.Settings.OnCrash == task.OnCrashPark:
		return d.park(s, cause)
	default:
		s.RetryAt = d.now
		if err := d.step(s, task.StepLoseRetry); err != nil {
			return err
		}
		d.publish.StepAttemptLost(s, cause)
		d.publish.StepRetryScheduled(s, task.AttemptLost)
		d.becameReady(s.Ordinal)
		return nil
	}
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
