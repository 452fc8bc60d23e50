package publish

import (
	"strconv"
	"time"

	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
)

// StepStarted publishes [event.StepStarted] for the attempt that was just claimed.
func (p *Task) StepStarted(s *task.Step) {
	spec := &p.template.Steps[s.Ordinal]
	e := event.StepStarted{Step: p.stepWithoutID(s), Instance: s.Attempt.Instance}
	e.Inputs, e.InputsRef = p.startedInput(s)
	p.names = p.names[:0]
	for _, o := range spec.DependsOn {
		p.names = append(p.names, string(p.template.Steps[o].Name))
	}
	n := len(p.names)
	for _, o := range spec.Dependents[:min(len(spec.Dependents), maxDependents)] {
		p.names = append(p.names, string(p.template.Steps[o].Name))
	}
	e.Dependencies, e.Dependents, e.Level = p.names[:n], p.names[n:], spec.Level
	body, err := appendStepStarted(p.payload[:0], &e, p.stepID(s))
	p.recorded(event.NameStepStarted, s.Name, body, err)
}

// StepCompleted publishes [event.StepCompleted].
func (p *Task) StepCompleted(s *task.Step) {
	e := event.StepCompleted{Step: p.stepWithoutID(s), ExecutionDuration: duration(s)}
	e.Results, e.ResultsRef = results(s)
	body, err := appendStepCompleted(p.payload[:0], &e, p.stepID(s))
	p.recorded(event.NameStepCompleted, s.Name, body, err)
}

// StepFailed publishes [event.StepFailed] with the step's last failure; final says that
// no further attempt follows by itself.
func (p *Task) StepFailed(s *task.Step, final bool) {
	retryable := s.Failure.Kind != task.KindPermanent && (s.Settings == nil || s.Settings.Retryable)
	e := event.StepFailed{
		Step: p.step(s), Error: wholeFailure(s.Failure), Retryable: retryable, Final: final, ExecutionDuration: duration(s),
	}
	if final {
		e.WorkflowState = p.failedState()
		p.record(e, s.Name)
		return
	}
	if body, err := encodePayload(p.payload[:0], e); p.keep(event.NameStepFailed, body, err) {
		p.add(event.NameStepFailed, s.Name, body) // a failure that is not final is none that a template speaks of
	}
}

// StepRetryScheduled publishes [event.StepRetryScheduled]; reason is failed, timed_out
// or lost.
func (p *Task) StepRetryScheduled(s *task.Step, reason task.AttemptStatus) {
	p.record(event.StepRetryScheduled{
		Step: p.step(s), PreviousAttempts: s.Attempts, RetryAt: s.RetryAt,
		Reason: string(reason), BackoffKind: string(s.Settings.Retry.WithDefaults().Backoff),
	}, s.Name)
}

// StepMaxRetriesReached publishes [event.StepMaxRetriesReached].
func (p *Task) StepMaxRetriesReached(s *task.Step) {
	p.record(event.StepMaxRetriesReached{Step: p.step(s), Failures: s.Failures}, s.Name)
}

// StepRetryRequested publishes [event.StepRetryRequested]; previous is the status that
// the step leaves.
func (p *Task) StepRetryRequested(s *task.Step, op task.Operation, previous task.StepStatus) {
	e := event.StepRetryRequested{Step: p.step(s), Operator: operator(op), PreviousStatus: string(previous)}
	p.record(e, s.Name)
}

// StepCancelled publishes [event.StepCancelled] with the step's note as the reason.
func (p *Task) StepCancelled(s *task.Step) {
	p.record(event.StepCancelled{Step: p.step(s), Reason: s.Note}, s.Name)
}

// StepResolvedManually publishes [event.StepResolvedManually]; previous is the status
// that the step leaves.
func (p *Task) StepResolvedManually(s *task.Step, op task.Operation, previous task.StepStatus) {
	e := event.StepResolvedManually{Step: p.step(s), Operator: operator(op), PreviousStatus: string(previous)}
	e.Results, e.ResultsRef = results(s)
	p.record(e, s.Name)
}

// StepSkipped publishes [event.StepSkipped] with the step's note as the reason.
func (p *Task) StepSkipped(s *task.Step) {
	e := event.StepSkipped{Step: p.step(s), Reason: s.Note}
	if s.Note == task.NoteWhen {
		e.When = p.template.Steps[s.Ordinal].When
	}
	p.record(e, s.Name)
}

// StepWaiting publishes [event.StepWaiting] with the step's note as the reason.
func (p *Task) StepWaiting(s *task.Step) {
	p.record(event.StepWaiting{Step: p.step(s), Reason: s.Note}, s.Name)
}

// StepResumed publishes [event.StepResumed].
func (p *Task) StepResumed(s *task.Step) {
	p.record(event.StepResumed{Step: p.step(s)}, s.Name)
}

// StepAttemptLost publishes [event.StepAttemptLost].
func (p *Task) StepAttemptLost(s *task.Step, cause task.LossCause) {
	e := event.StepAttemptLost{Step: p.step(s), Cause: string(cause), Instance: s.Attempt.Instance, Losses: s.Losses}
	if f := s.Attempt.Failure; f != nil {
		whole := wholeFailure(f)
		e.Error = &whole
	}
	p.record(e, s.Name)
}

func (p *Task) step(s *task.Step) event.Step {
	e := p.stepWithoutID(s)
	e.StepID = string(p.stepID(s))
	return e
}

// stepID returns the id of a step in memory that the next id needs.
func (p *Task) stepID(s *task.Step) []byte {
	p.id = append(append(p.id[:0], p.task.ID...), '/')
	p.id = strconv.AppendUint(p.id, uint64(s.Ordinal), 10)
	return p.id
}

func (p *Task) stepWithoutID(s *task.Step) event.Step {
	handler := p.template.Steps[s.Ordinal].Handler
	e := event.Step{
		Task: p.base, StepName: string(s.Name),
		AttemptNumber: s.Attempts, Round: s.Round,
	}
	if s.Settings != nil {
		handler.Version = s.Settings.HandlerVersion
		e.RetryLimit = s.Settings.Retry.Limit
	}
	if s.Attempt != nil {
		e.StartedAt, e.CompletedAt = s.Attempt.StartedAt, s.Attempt.EndedAt
	}
	if p.handler.ref != handler {
		p.handler.ref, p.handler.name = handler, handler.String()
	}
	e.Handler = p.handler.name
	return e
}

func duration(s *task.Step) event.Seconds {
	if s.Attempt == nil {
		return 0
	}
	return event.SecondsOf(s.Attempt.EndedAt.Sub(s.Attempt.StartedAt).Round(time.Millisecond))
}

func failure(f *task.Failure) event.Error {
	return event.Error{
		Message: f.Message, Class: f.Class, Code: f.Code, Source: string(f.Source), Backtrace: f.Stack,
		Kind: string(f.Kind),
	}
}

// wholeFailure is failure with what the handler gave beside the message, so that the log
// has the history of the attempts of which the records keep only the last.
func wholeFailure(f *task.Failure) event.Error {
	e := failure(f)
	if len(f.Details) <= event.MaxErrorData {
		e.Details = f.Details
	}
	if len(f.Partial) <= event.MaxErrorData {
		e.Partial = f.Partial
	}
	return e
}
