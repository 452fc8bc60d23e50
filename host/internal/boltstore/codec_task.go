package boltstore

import (
	"time"

	"github.com/tasker-engine/tasker/host/task"
	storev1 "github.com/tasker-engine/tasker/proto/tasker/store/v1"
)

func specFromRecord(id task.ID, r *storev1.SpecRecord) task.Spec {
	s := task.Spec{
		ID: id,
		Template: task.TemplateRef{
			Namespace: r.GetNamespace(), Name: r.GetTemplate(), Version: r.GetVersion(), Hash: hashText(r.GetTemplateHash()),
		},
		Input: valueFromRecord(r.GetInput()), InputHash: hashText(r.GetInputHash()),
		CorrelationID: r.GetCorrelationId(), CorrelationSet: r.GetCorrelationSet(),
		Initiator: r.GetInitiator(), SourceSystem: r.GetSourceSystem(), Reason: r.GetReason(),
		Tags: r.GetTags(), Priority: r.GetPriority(),
		Deadline: fromNanos(r.GetDeadline()), CreatedAt: fromNanos(r.GetCreatedAt()),
		IdempotencyKey: r.GetIdempotencyKey(), KeyTTL: time.Duration(r.GetKeyTtl()),
		Traceparent: r.GetTraceparent(), Tracestate: r.GetTracestate(),
	}
	if s.CorrelationID == "" {
		s.CorrelationID = string(id)
	}
	for _, name := range r.GetBypass() {
		s.Bypass = append(s.Bypass, task.StepName(name))
	}
	return s
}

// applyTaskRecord sets what a record holds; the spec and the steps are not touched.
func applyTaskRecord(t *task.Task, r *storev1.TaskRecord) {
	t.Status = task.Status(r.GetStatus())
	t.Stop = stopFromRecord(r.GetStop())
	t.Failure = failureFromRecord(r.GetFailure())
	t.StartedAt = fromNanos(r.GetStartedAt())
	t.CompletedAt = fromNanos(r.GetCompletedAt())
	t.UpdatedAt = fromNanos(r.GetUpdatedAt())
	t.Resolution = resolutionFromRecord(r.GetResolution())
	t.DeadlineSpent = r.GetDeadlineSpent()
	t.Revision = max(t.Revision, r.GetRevision())
	t.Seq = max(t.Seq, r.GetTaskSeq())
}

func stopFromRecord(r *storev1.Stop) *task.Stop {
	if r == nil {
		return nil
	}
	return &task.Stop{
		Kind: task.StopKind(r.GetKind()), At: fromNanos(r.GetAt()), By: r.GetBy(), Reason: r.GetReason(),
	}
}

// applyStepRecord sets everything but the ordinal and the name.
func applyStepRecord(s *task.Step, r *storev1.StepRecord) {
	s.Status = task.StepStatus(r.GetStatus())
	s.Attempts, s.Failures, s.Losses, s.Round = r.GetAttempts(), r.GetFailures(), r.GetLosses(), r.GetRound()
	s.Settings = settingsFromRecord(r.GetSettings())
	s.Attempt = attemptFromRecord(r.GetAttempt())
	s.StartedAt, s.CompletedAt = fromNanos(r.GetStartedAt()), fromNanos(r.GetCompletedAt())
	s.ReadyAt, s.RetryAt = fromNanos(r.GetReadyAt()), fromNanos(r.GetRetryAt())
	s.HoldUntil = fromNanos(r.GetHoldUntil())
	s.Results = valueFromRecord(r.GetResults())
	s.Failure = failureFromRecord(r.GetFailure())
	s.Note = r.GetNote()
	s.Resolution = resolutionFromRecord(r.GetResolution())
	s.LateCount = r.GetLateCount()
	s.HasCheckpoint = r.GetHasCheckpoint()
	s.Late = nil
	if l := r.GetLate(); l != nil {
		s.Late = &task.LateResult{Number: l.GetNumber(), Outcome: l.GetOutcome(), At: fromNanos(l.GetAt())}
	}
}

func attemptFromRecord(r *storev1.AttemptRecord) *task.Attempt {
	if r == nil {
		return nil
	}
	return &task.Attempt{
		Number: r.GetNumber(), Status: task.AttemptStatus(r.GetStatus()), Epoch: r.GetEpoch(), Instance: r.GetInstance(),
		StartedAt: fromNanos(r.GetStartedAt()), EndedAt: fromNanos(r.GetEndedAt()), Failure: failureFromRecord(r.GetFailure()),
		Input: valueFromRecord(r.GetInput()),
	}
}

func settingsFromRecord(r *storev1.Settings) *task.Settings {
	if r == nil {
		return nil
	}
	s := &task.Settings{
		HandlerVersion: r.GetHandlerVersion(), PluginVersion: r.GetPluginVersion(), Retryable: r.GetRetryable(),
		Timeout: time.Duration(r.GetTimeout()), HeartbeatTimeout: time.Duration(r.GetHeartbeatTimeout()),
		ScheduleToStart: time.Duration(r.GetScheduleToStart()), TotalTimeout: time.Duration(r.GetTotalTimeout()),
		CancelGrace: time.Duration(r.GetCancelGrace()), OnCrash: task.OnCrash(r.GetOnCrash()),
	}
	retry := r.GetRetry()
	s.Retry = task.Retry{
		Limit: retry.GetLimit(), Backoff: task.BackoffKind(retry.GetBackoff()), Base: task.Duration(retry.GetBase()),
		Factor: retry.GetFactor(), Cap: task.Duration(retry.GetCap()),
	}
	for _, d := range retry.GetList() {
		s.Retry.List = append(s.Retry.List, task.Duration(d))
	}
	if j := retry.GetJitter(); j != nil {
		s.Retry.Jitter = &task.Jitter{Kind: task.JitterKind(j.GetKind()), Percent: j.GetPercent()}
	}
	return s
}
