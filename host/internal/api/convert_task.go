package api

import (
	"fmt"

	"github.com/tasker-engine/tasker/host/internal/store"
	"github.com/tasker-engine/tasker/host/task"
	hostv1 "github.com/tasker-engine/tasker/proto/tasker/host/v1"
)

func refToWire(r task.TemplateRef) *hostv1.TemplateRef {
	return &hostv1.TemplateRef{Namespace: r.Namespace, Name: r.Name, Version: r.Version, Hash: r.Hash}
}

func refFromWire(r *hostv1.TemplateRef) task.TemplateRef {
	return task.TemplateRef{Namespace: r.GetNamespace(), Name: r.GetName(), Version: r.GetVersion(), Hash: r.GetHash()}
}

func valueToWire(v task.Value) *hostv1.Value {
	if v.Ref != nil {
		return &hostv1.Value{Ref: &hostv1.BlobRef{N: v.Ref.N, Size: v.Ref.Size, Sha256: v.Ref.SHA256}}
	}
	if v.Inline == nil {
		return nil
	}
	return &hostv1.Value{Inline: v.Inline}
}

func valueFromWire(v *hostv1.Value) task.Value {
	if r := v.GetRef(); r != nil {
		return task.Value{Ref: &task.BlobRef{N: r.GetN(), Size: r.GetSize(), SHA256: r.GetSha256()}}
	}
	return task.Value{Inline: rawJSON(v.GetInline())}
}

func stopToWire(s *task.Stop) *hostv1.Stop {
	if s == nil {
		return nil
	}
	return &hostv1.Stop{Kind: string(s.Kind), At: timeToWire(s.At), By: s.By, Reason: s.Reason}
}

func stopFromWire(s *hostv1.Stop) *task.Stop {
	if s == nil {
		return nil
	}
	return &task.Stop{Kind: task.StopKind(s.GetKind()), At: timeFromWire(s.GetAt()), By: s.GetBy(), Reason: s.GetReason()}
}

func resolutionToWire(r *task.Resolution) *hostv1.Resolution {
	if r == nil {
		return nil
	}
	return &hostv1.Resolution{By: r.By, Reason: r.Reason, At: timeToWire(r.At)}
}

func resolutionFromWire(r *hostv1.Resolution) *task.Resolution {
	if r == nil {
		return nil
	}
	return &task.Resolution{By: r.GetBy(), Reason: r.GetReason(), At: timeFromWire(r.GetAt())}
}

func failureToWire(f *task.Failure) *hostv1.Failure {
	if f == nil {
		return nil
	}
	return &hostv1.Failure{
		Kind: string(f.Kind), Code: f.Code, Message: f.Message, Class: f.Class, Source: string(f.Source),
		Details: f.Details, Partial: f.Partial, RetryAfter: durationToWire(f.RetryAfter.Std()), Stack: f.Stack,
	}
}

func failureFromWire(f *hostv1.Failure) *task.Failure {
	if f == nil {
		return nil
	}
	return &task.Failure{
		Kind: task.ErrorKind(f.GetKind()), Code: f.GetCode(), Message: f.GetMessage(), Class: f.GetClass(),
		Source: task.ErrorSource(f.GetSource()), Details: rawJSON(f.GetDetails()), Partial: rawJSON(f.GetPartial()),
		RetryAfter: task.Duration(f.GetRetryAfter().AsDuration()), Stack: f.GetStack(),
	}
}

func specToWire(s task.Spec) *hostv1.TaskSpec {
	return &hostv1.TaskSpec{
		Id:             string(s.ID),
		Template:       refToWire(s.Template),
		Input:          valueToWire(s.Input),
		InputHash:      s.InputHash,
		CorrelationId:  s.CorrelationID,
		CorrelationSet: s.CorrelationSet,
		Initiator:      s.Initiator,
		SourceSystem:   s.SourceSystem,
		Reason:         s.Reason,
		Tags:           s.Tags,
		Priority:       s.Priority,
		Bypass:         texts[string](s.Bypass),
		Deadline:       timeToWire(s.Deadline),
		CreatedAt:      timeToWire(s.CreatedAt),
		IdempotencyKey: s.IdempotencyKey,
		KeyTtl:         durationToWire(s.KeyTTL),
		Traceparent:    s.Traceparent,
		Tracestate:     s.Tracestate,
	}
}

func specFromWire(s *hostv1.TaskSpec) task.Spec {
	return task.Spec{
		ID:             task.ID(s.GetId()),
		Template:       refFromWire(s.GetTemplate()),
		Input:          valueFromWire(s.GetInput()),
		InputHash:      s.GetInputHash(),
		CorrelationID:  s.GetCorrelationId(),
		CorrelationSet: s.GetCorrelationSet(),
		Initiator:      s.GetInitiator(),
		SourceSystem:   s.GetSourceSystem(),
		Reason:         s.GetReason(),
		Tags:           s.GetTags(),
		Priority:       s.GetPriority(),
		Bypass:         texts[task.StepName](s.GetBypass()),
		Deadline:       timeFromWire(s.GetDeadline()),
		CreatedAt:      timeFromWire(s.GetCreatedAt()),
		IdempotencyKey: s.GetIdempotencyKey(),
		KeyTTL:         s.GetKeyTtl().AsDuration(),
		Traceparent:    s.GetTraceparent(),
		Tracestate:     s.GetTracestate(),
	}
}

func summaryToWire(s store.Summary) *hostv1.TaskSummary {
	return &hostv1.TaskSummary{
		Spec: specToWire(s.Spec), Status: string(s.Status), Stop: stopToWire(s.Stop), Failure: failureToWire(s.Failure),
		StartedAt: timeToWire(s.StartedAt), CompletedAt: timeToWire(s.CompletedAt), UpdatedAt: timeToWire(s.UpdatedAt),
	}
}

func summaryFromWire(s *hostv1.TaskSummary) store.Summary {
	return store.Summary{
		Spec: specFromWire(s.GetSpec()), Status: task.Status(s.GetStatus()), Stop: stopFromWire(s.GetStop()),
		Failure: failureFromWire(s.GetFailure()), StartedAt: timeFromWire(s.GetStartedAt()),
		CompletedAt: timeFromWire(s.GetCompletedAt()), UpdatedAt: timeFromWire(s.GetUpdatedAt()),
	}
}

// viewToWire converts a view without its steps.
func viewToWire(v *task.View) *hostv1.Task {
	return &hostv1.Task{
		Spec:        specToWire(v.Spec),
		Status:      string(v.Status),
		Derived:     string(v.Derived),
		Health:      string(v.Health),
		Action:      v.Action,
		Stop:        stopToWire(v.Stop),
		Failure:     failureToWire(v.Failure),
		Resolution:  resolutionToWire(v.Resolution),
		StartedAt:   timeToWire(v.StartedAt),
		CompletedAt: timeToWire(v.CompletedAt),
		UpdatedAt:   timeToWire(v.UpdatedAt),
		Revision:    v.Revision,
		Seq:         v.Seq,
	}
}

// viewFromWire converts a view without its steps.
func viewFromWire(v *hostv1.Task) *task.View {
	return &task.View{
		Spec:        specFromWire(v.GetSpec()),
		Status:      task.Status(v.GetStatus()),
		Derived:     task.Derived(v.GetDerived()),
		Health:      task.Health(v.GetHealth()),
		Action:      v.GetAction(),
		Stop:        stopFromWire(v.GetStop()),
		Failure:     failureFromWire(v.GetFailure()),
		Resolution:  resolutionFromWire(v.GetResolution()),
		StartedAt:   timeFromWire(v.GetStartedAt()),
		CompletedAt: timeFromWire(v.GetCompletedAt()),
		UpdatedAt:   timeFromWire(v.GetUpdatedAt()),
		Revision:    v.GetRevision(),
		Seq:         v.GetSeq(),
	}
}

func attemptToWire(a *task.Attempt) *hostv1.Attempt {
	if a == nil {
		return nil
	}
	return &hostv1.Attempt{
		Number: a.Number, Status: string(a.Status), Epoch: a.Epoch, Instance: a.Instance,
		StartedAt: timeToWire(a.StartedAt), EndedAt: timeToWire(a.EndedAt), Failure: failureToWire(a.Failure),
		BeatAt: timeToWire(a.BeatAt), Input: valueToWire(a.Input),
	}
}

func attemptFromWire(a *hostv1.Attempt) *task.Attempt {
	if a == nil {
		return nil
	}
	return &task.Attempt{
		Number: a.GetNumber(), Status: task.AttemptStatus(a.GetStatus()), Epoch: a.GetEpoch(), Instance: a.GetInstance(),
		StartedAt: timeFromWire(a.GetStartedAt()), EndedAt: timeFromWire(a.GetEndedAt()), Failure: failureFromWire(a.GetFailure()),
		BeatAt: timeFromWire(a.GetBeatAt()), Input: valueFromWire(a.GetInput()),
	}
}

func lateToWire(l *task.LateResult) *hostv1.LateResult {
	if l == nil {
		return nil
	}
	return &hostv1.LateResult{Number: l.Number, Outcome: l.Outcome, At: timeToWire(l.At)}
}

func lateFromWire(l *hostv1.LateResult) *task.LateResult {
	if l == nil {
		return nil
	}
	return &task.LateResult{Number: l.GetNumber(), Outcome: l.GetOutcome(), At: timeFromWire(l.GetAt())}
}

func reasonToWire(r *task.Reason) *hostv1.Reason {
	if r == nil {
		return nil
	}
	return &hostv1.Reason{
		Code: string(r.Code), Text: r.Text, Remedy: r.Remedy, On: r.On, Since: timeToWire(r.Since), Until: timeToWire(r.Until),
	}
}

func reasonFromWire(r *hostv1.Reason) *task.Reason {
	if r == nil {
		return nil
	}
	return &task.Reason{
		Code: task.ReasonCode(r.GetCode()), Text: r.GetText(), Remedy: r.GetRemedy(), On: r.GetOn(),
		Since: timeFromWire(r.GetSince()), Until: timeFromWire(r.GetUntil()),
	}
}

func stepToWire(s *task.StepView) *hostv1.Step {
	return &hostv1.Step{
		Ordinal:       uint32(s.Ordinal),
		Name:          string(s.Name),
		Status:        string(s.Status),
		Handler:       s.Handler.String(),
		DependsOn:     texts[string](s.DependsOn),
		Join:          s.Join,
		Optional:      s.Optional,
		Limit:         s.Limit,
		Attempts:      s.Attempts,
		Failures:      s.Failures,
		Losses:        s.Losses,
		Round:         s.Round,
		Settings:      settingsToWire(s.Settings),
		Attempt:       attemptToWire(s.Attempt),
		StartedAt:     timeToWire(s.StartedAt),
		CompletedAt:   timeToWire(s.CompletedAt),
		ReadyAt:       timeToWire(s.ReadyAt),
		RetryAt:       timeToWire(s.RetryAt),
		HoldUntil:     timeToWire(s.HoldUntil),
		Results:       valueToWire(s.Results),
		Failure:       failureToWire(s.Failure),
		Note:          s.Note,
		Resolution:    resolutionToWire(s.Resolution),
		Late:          lateToWire(s.Late),
		LateCount:     s.LateCount,
		HasCheckpoint: s.HasCheckpoint,
		Reason:        reasonToWire(s.Reason),
		Progress:      s.Progress,
		ProgressNote:  s.ProgressNote,
		Output:        s.Output,
		Input:         s.Input,
		Config:        s.Config,
	}
}

func stepFromWire(s *hostv1.Step) (task.StepView, error) {
	handler, err := task.ParseHandlerRef(s.GetHandler())
	if err != nil {
		return task.StepView{}, fmt.Errorf("step %s: %w", s.GetName(), err)
	}
	settings, err := settingsFromWire(s.GetSettings())
	if err != nil {
		return task.StepView{}, fmt.Errorf("step %s: %w", s.GetName(), err)
	}
	return task.StepView{
		Step: task.Step{
			Ordinal:       task.Ordinal(s.GetOrdinal()),
			Name:          task.StepName(s.GetName()),
			Status:        task.StepStatus(s.GetStatus()),
			Attempts:      s.GetAttempts(),
			Failures:      s.GetFailures(),
			Losses:        s.GetLosses(),
			Round:         s.GetRound(),
			Settings:      settings,
			Attempt:       attemptFromWire(s.GetAttempt()),
			StartedAt:     timeFromWire(s.GetStartedAt()),
			CompletedAt:   timeFromWire(s.GetCompletedAt()),
			ReadyAt:       timeFromWire(s.GetReadyAt()),
			RetryAt:       timeFromWire(s.GetRetryAt()),
			HoldUntil:     timeFromWire(s.GetHoldUntil()),
			Results:       valueFromWire(s.GetResults()),
			Failure:       failureFromWire(s.GetFailure()),
			Note:          s.GetNote(),
			Resolution:    resolutionFromWire(s.GetResolution()),
			Late:          lateFromWire(s.GetLate()),
			LateCount:     s.GetLateCount(),
			HasCheckpoint: s.GetHasCheckpoint(),
		},
		Handler:      handler,
		DependsOn:    texts[task.StepName](s.GetDependsOn()),
		Join:         s.GetJoin(),
		Optional:     s.GetOptional(),
		Limit:        s.GetLimit(),
		Reason:       reasonFromWire(s.GetReason()),
		Progress:     s.GetProgress(),
		ProgressNote: s.GetProgressNote(),
		Output:       rawJSON(s.GetOutput()),
		Input:        rawJSON(s.GetInput()),
		Config:       rawJSON(s.GetConfig()),
	}, nil
}
