package boltstore

import (
	"time"

	"github.com/tasker-engine/tasker/host/task"
	storev1 "github.com/tasker-engine/tasker/proto/tasker/store/v1"
)

func specToRecord(s *task.Spec, steps uint32) (*storev1.SpecRecord, error) {
	hash, err := parseHash("template hash", s.Template.Hash)
	if err != nil {
		return nil, err
	}
	var inputHash []byte
	if s.InputHash != "" {
		if inputHash, err = parseHash("input hash", s.InputHash); err != nil {
			return nil, err
		}
	}
	input, err := valueToRecord(s.Input)
	if err != nil {
		return nil, err
	}
	r := &storev1.SpecRecord{
		Namespace: s.Template.Namespace, Template: s.Template.Name, Version: s.Template.Version, TemplateHash: hash,
		Input: input, InputHash: inputHash,
		CorrelationId: s.CorrelationID, CorrelationSet: s.CorrelationSet,
		Initiator: text(s.Initiator), SourceSystem: text(s.SourceSystem), Reason: text(s.Reason),
		Tags: s.Tags, Priority: s.Priority, Deadline: nanos(s.Deadline), CreatedAt: nanos(s.CreatedAt),
		IdempotencyKey: s.IdempotencyKey, KeyTtl: int64(s.KeyTTL), Steps: steps,
		Traceparent: s.Traceparent, Tracestate: s.Tracestate,
	}
	if s.CorrelationID == string(s.ID) {
		r.CorrelationId = ""
	}
	for _, name := range s.Bypass {
		r.Bypass = append(r.Bypass, string(name))
	}
	return r, nil
}

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

func taskToRecord(t *task.Task, revision, seq uint64) *storev1.TaskRecord {
	r := &storev1.TaskRecord{
		Status: string(t.Status), Failure: failureToRecord(t.Failure),
		StartedAt: nanos(t.StartedAt), CompletedAt: nanos(t.CompletedAt), UpdatedAt: nanos(t.UpdatedAt),
		Resolution: resolutionToRecord(t.Resolution), Revision: revision, TaskSeq: seq,
		DeadlineSpent: t.DeadlineSpent,
	}
	if t.Stop != nil {
		r.Stop = &storev1.Stop{
			Kind: string(t.Stop.Kind), At: nanos(t.Stop.At), By: text(t.Stop.By), Reason: text(t.Stop.Reason),
		}
	}
	return r
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

func stepToRecord(s *task.Step, revision, seq uint64) (*storev1.StepRecord, error) {
	results, err := valueToRecord(s.Results)
	if err != nil {
		return nil, err
	}
	attempt, err := attemptToRecord(s.Attempt)
	if err != nil {
		return nil, err
	}
	r := &storev1.StepRecord{
		Status: string(s.Status), Attempts: s.Attempts, Failures: s.Failures, Losses: s.Losses, Round: s.Round,
		Settings: settingsToRecord(s.Settings), Attempt: attempt,
		StartedAt: nanos(s.StartedAt), CompletedAt: nanos(s.CompletedAt), ReadyAt: nanos(s.ReadyAt),
		RetryAt: nanos(s.RetryAt), HoldUntil: nanos(s.HoldUntil),
		Results: results, Failure: failureToRecord(s.Failure), Note: text(s.Note),
		Resolution: resolutionToRecord(s.Resolution), LateCount: s.LateCount,
		HasCheckpoint: s.HasCheckpoint, Revision: revision, TaskSeq: seq,
	}
	if s.Late != nil {
		r.Late = &storev1.LateResult{Number: s.Late.Number, Outcome: text(s.Late.Outcome), At: nanos(s.Late.At)}
	}
	return r, nil
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

func attemptToRecord(a *task.Attempt) (*storev1.AttemptRecord, error) {
	if a == nil {
		return nil, nil //nolint:nilnil // no attempt is a record without one
	}
	input, err := valueToRecord(a.Input)
	if err != nil {
		return nil, err
	}
	return &storev1.AttemptRecord{
		Number: a.Number, Status: string(a.Status), Epoch: a.Epoch, Instance: text(a.Instance),
		StartedAt: nanos(a.StartedAt), EndedAt: nanos(a.EndedAt), Failure: failureToRecord(a.Failure), Input: input,
	}, nil
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

func settingsToRecord(s *task.Settings) *storev1.Settings {
	if s == nil {
		return nil
	}
	r := &storev1.Settings{
		HandlerVersion: s.HandlerVersion, PluginVersion: text(s.PluginVersion), Retryable: s.Retryable,
		Timeout: int64(s.Timeout), HeartbeatTimeout: int64(s.HeartbeatTimeout),
		ScheduleToStart: int64(s.ScheduleToStart), TotalTimeout: int64(s.TotalTimeout),
		CancelGrace: int64(s.CancelGrace), OnCrash: string(s.OnCrash),
		Retry: &storev1.Retry{
			Limit: s.Retry.Limit, Backoff: string(s.Retry.Backoff), Base: int64(s.Retry.Base),
			Factor: s.Retry.Factor, Cap: int64(s.Retry.Cap),
		},
	}
	for _, d := range s.Retry.List {
		r.Retry.List = append(r.Retry.List, int64(d))
	}
	if j := s.Retry.Jitter; j != nil {
		r.Retry.Jitter = &storev1.Jitter{Kind: string(j.Kind), Percent: j.Percent}
	}
	return r
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
