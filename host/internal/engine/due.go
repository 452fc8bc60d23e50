package engine

import (
	"fmt"
	"time"

	"github.com/tasker-engine/tasker/host/task"
)

// Wake returns when, seen from now, the step wants a [Due] input next; the zero time
// when it waits for nothing but other inputs, such as the claim of a step whose retry is
// already due. An input that comes early changes nothing.
func (a *Aggregate) Wake(o task.Ordinal, now time.Time) time.Time {
	s := &a.Task.Steps[o]
	if a.Task.Status.Terminal() {
		return time.Time{}
	}
	if s.Status == task.StepInProgress {
		at, _ := a.limit(s)
		return at
	}
	if !a.idle(s) {
		return time.Time{}
	}
	if at := notBefore(s); at.After(now) {
		return earliest(at, a.expiry(s))
	}
	return a.expiry(s)
}

// limit returns when the running attempt must have ended, and the code of that limit.
func (a *Aggregate) limit(s *task.Step) (at time.Time, code string) {
	if stop := a.Task.Stop; stop != nil {
		return stop.At.Add(s.Settings.CancelGrace), stopCode(stop.Kind)
	}
	consider := func(start time.Time, limit time.Duration, limitCode string) {
		if limit > 0 && (at.IsZero() || start.Add(limit).Before(at)) {
			at, code = start.Add(limit), limitCode
		}
	}
	consider(s.Attempt.StartedAt, s.Settings.Timeout, task.CodeTimeout)
	beat := s.Attempt.BeatAt
	if beat.IsZero() {
		beat = s.Attempt.StartedAt
	}
	consider(beat, s.Settings.HeartbeatTimeout, task.CodeHeartbeatTimeout)
	consider(s.StartedAt, s.Settings.TotalTimeout, task.CodeTotalTimeout)
	return at, code
}

// expiry returns when a step that is idle runs out of time, zero for never. The time
// that its task is paused does not count as time in which it could have started.
func (a *Aggregate) expiry(s *task.Step) time.Time {
	var at time.Time
	limit := firstDuration(a.Template.Steps[s.Ordinal].ScheduleToStart, 0)
	if limit > 0 && a.Task.Status != task.Paused {
		at = a.readyAt(s).Add(limit)
	}
	return earliest(at, totalEnd(s))
}

// totalEnd returns when all attempts of a step together have taken too long, zero for
// never.
func totalEnd(s *task.Step) time.Time {
	if s.Settings == nil || s.Settings.TotalTimeout <= 0 || s.StartedAt.IsZero() {
		return time.Time{}
	}
	return s.StartedAt.Add(s.Settings.TotalTimeout)
}

// earliest returns the earlier of two times, where zero means never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || (!b.IsZero() && b.Before(a)) {
		return b
	}
	return a
}

// Due says that a time of the step may have come: a retry, a time limit, the end of a
// grace. The decision checks which, so a Due too many is harmless.
type Due struct {
	Ordinal task.Ordinal
}

func (in Due) apply(d *Decision) error {
	s := d.agg.Step(in.Ordinal)
	if s == nil || d.agg.Task.Status.Terminal() {
		return nil
	}
	d.woken = append(d.woken, in.Ordinal)
	if s.Status == task.StepInProgress {
		if at, code := d.agg.limit(s); !at.IsZero() && !d.now.Before(at) {
			return d.timeOut(s, code)
		}
		return nil
	}
	if !d.agg.idle(s) {
		return nil
	}
	if at := d.agg.expiry(s); !at.IsZero() && !d.now.Before(at) {
		return d.expire(s)
	}
	if !notBefore(s).IsZero() && d.agg.Claimable(in.Ordinal, d.now) {
		d.becameReady(in.Ordinal)
	}
	return nil
}

// timeOut ends the running attempt at one of its limits.
func (d *Decision) timeOut(s *task.Step, code string) error {
	if d.agg.Task.Stop != nil { // it was asked to stop and did not answer within its grace
		s.Attempt.Status, s.Attempt.EndedAt = task.AttemptCancelled, d.now
		d.cancelStep(s)
		return nil
	}
	took := d.now.Sub(s.Attempt.StartedAt).Round(time.Millisecond)
	f := &task.Failure{Kind: task.KindTimeout, Code: code, Source: task.SourceHost}
	switch code {
	case task.CodeHeartbeatTimeout:
		f.Message = fmt.Sprintf("no heartbeat for %s", s.Settings.HeartbeatTimeout)
	case task.CodeTotalTimeout:
		f.Message = fmt.Sprintf("all attempts together took longer than %s", s.Settings.TotalTimeout)
	default:
		f.Message = fmt.Sprintf("the attempt took %s, its timeout is %s", took, s.Settings.Timeout)
	}
	d.askToStop(s, code)
	return d.fail(s, f, task.AttemptTimedOut)
}

// expire ends a step whose time ran out while it was not running.
func (d *Decision) expire(s *task.Step) error {
	limit := firstDuration(d.agg.Template.Steps[s.Ordinal].ScheduleToStart, 0)
	s.Failure = &task.Failure{
		Kind: task.KindTimeout, Code: task.CodeScheduleToStart, Source: task.SourceHost,
		Message: fmt.Sprintf("ready since %s and not started within %s", d.agg.readyAt(s).Format(time.RFC3339), limit),
	}
	if end := totalEnd(s); !end.IsZero() && !d.now.Before(end) {
		s.Failure.Code = task.CodeTotalTimeout
		s.Failure.Message = fmt.Sprintf("all attempts together took longer than %s", s.Settings.TotalTimeout)
	}
	return d.fatal(s, task.StepExpire, task.StepExpireOptional)
}

// DeadlineDue says that the task's deadline may have come.
type DeadlineDue struct{}

func (DeadlineDue) apply(d *Decision) error {
	at := d.agg.DeadlineAt()
	if at.IsZero() || d.now.Before(at) {
		return nil
	}
	d.stop(task.Stop{Kind: task.StopDeadline, At: d.now})
	return nil
}

// DeadlineAt returns when the task wants a [DeadlineDue] input, zero for never.
func (a *Aggregate) DeadlineAt() time.Time {
	t := a.Task
	if t.Status.Terminal() || t.Stop != nil || t.DeadlineSpent {
		return time.Time{}
	}
	return t.Deadline
}
