package cli

import (
	"encoding/json"
	"time"

	"github.com/tasker-engine/tasker/host"
	"github.com/tasker-engine/tasker/host/task"
)

// runJSON is what `run --json` and `task wait --json` print: exactly these keys.
type runJSON struct {
	ID            string        `json:"id"`
	Template      string        `json:"template"` // namespace/name@version
	Status        string        `json:"status"`
	Error         *string       `json:"error"`
	StartedAt     *string       `json:"started_at"`
	CompletedAt   *string       `json:"completed_at"`
	CorrelationID string        `json:"correlation_id"`
	Steps         []runStepJSON `json:"steps"`
}

// runStepJSON is a step in [runJSON].
type runStepJSON struct {
	Name        string          `json:"name"`
	Status      string          `json:"status"`
	Attempts    uint32          `json:"attempts"`
	Handler     string          `json:"handler"`
	Error       *string         `json:"error"`
	Reason      *string         `json:"reason"`
	StartedAt   *string         `json:"started_at"`
	CompletedAt *string         `json:"completed_at"`
	Results     json.RawMessage `json:"results"`
}

func newRunJSON(v *task.View) runJSON {
	out := runJSON{
		ID: string(v.ID), Template: v.Template.String(), Status: string(v.Status), Error: failureText(v.Failure),
		StartedAt: stamp(v.StartedAt), CompletedAt: stamp(v.CompletedAt), CorrelationID: v.CorrelationID,
		Steps: make([]runStepJSON, len(v.Steps)),
	}
	for i := range v.Steps {
		out.Steps[i] = newRunStepJSON(&v.Steps[i])
	}
	return out
}

func newRunStepJSON(s *task.StepView) runStepJSON {
	out := runStepJSON{
		Name: string(s.Name), Status: string(s.Status), Attempts: s.Attempts, Handler: s.Handler.String(),
		Error: failureText(s.Failure), StartedAt: stamp(s.StartedAt), CompletedAt: stamp(s.CompletedAt), Results: output(s),
	}
	if s.Status == task.StepComplete {
		out.Error = nil // of an earlier attempt
	}
	if s.Reason != nil {
		out.Reason = &s.Reason.Text
	}
	return out
}

// failureText is a failure as one text: "code: message".
func failureText(f *task.Failure) *string {
	if f == nil {
		return nil
	}
	s := f.Error()
	return &s
}

// taskJSON is what `task show --json` prints: all of a task.
type taskJSON struct {
	ID             string          `json:"id"`
	Template       string          `json:"template"`
	TemplateHash   string          `json:"template_hash"`
	Status         string          `json:"status"`
	Derived        string          `json:"derived"`
	Health         string          `json:"health"`
	Action         *string         `json:"action"`
	Error          *string         `json:"error"`
	Failure        *failureJSON    `json:"failure"`
	Stop           *stopJSON       `json:"stop"`
	Resolution     *resolutionJSON `json:"resolution"`
	Input          json.RawMessage `json:"input"` // null when it is too large to be shown
	InputBytes     int64           `json:"input_bytes"`
	Initiator      *string         `json:"initiator"`
	SourceSystem   *string         `json:"source_system"`
	Reason         *string         `json:"reason"`
	Tags           []string        `json:"tags"`
	Priority       int32           `json:"priority"`
	Bypass         []task.StepName `json:"bypass"`
	IdempotencyKey *string         `json:"idempotency_key"`
	CorrelationID  string          `json:"correlation_id"`
	TraceID        string          `json:"trace_id"`
	Deadline       *string         `json:"deadline"`
	CreatedAt      *string         `json:"created_at"`
	StartedAt      *string         `json:"started_at"`
	CompletedAt    *string         `json:"completed_at"`
	UpdatedAt      *string         `json:"updated_at"`
	Revision       uint64          `json:"revision"`
	EventCount     uint64          `json:"event_count"`
	Steps          []stepJSON      `json:"steps"`
}

type stepJSON struct {
	runStepJSON

	Ordinal        uint32          `json:"ordinal"`
	DependsOn      []task.StepName `json:"depends_on"`
	Join           string          `json:"join"`
	Optional       bool            `json:"optional"`
	Limit          uint32          `json:"limit"`
	Failures       uint32          `json:"failures"`
	Losses         uint32          `json:"losses"`
	Settings       *settingsJSON   `json:"settings"`
	Attempt        *attemptJSON    `json:"attempt"`
	Failure        *failureJSON    `json:"failure"`
	Why            *reasonJSON     `json:"why"`
	Note           *string         `json:"note"`
	Resolution     *resolutionJSON `json:"resolution"`
	LateResults    uint32          `json:"late_results"`
	RetryAt        *string         `json:"retry_at"`
	Progress       *float64        `json:"progress"`
	ProgressNote   *string         `json:"progress_note"`
	ResultsBytes   int64           `json:"results_bytes"`
	HandlerVersion *uint32         `json:"handler_version"` // that the first claim resolved
}

// settingsJSON has durations as a template has them, null for no limit.
type settingsJSON struct {
	HandlerVersion   uint32     `json:"handler_version"`
	PluginVersion    *string    `json:"plugin_version"`
	Retry            task.Retry `json:"retry"`
	Retryable        bool       `json:"retryable"`
	Timeout          *string    `json:"timeout"`
	HeartbeatTimeout *string    `json:"heartbeat_timeout"`
	ScheduleToStart  *string    `json:"schedule_to_start"`
	TotalTimeout     *string    `json:"total_timeout"`
	CancelGrace      *string    `json:"cancel_grace"`
	OnCrash          string     `json:"on_crash"`
}

type attemptJSON struct {
	Number    uint32  `json:"number"`
	Status    string  `json:"status"`
	Instance  string  `json:"instance"`
	StartedAt *string `json:"started_at"`
	EndedAt   *string `json:"ended_at"`
	// Input is what the step's `with` made, null when it is the task's.
	Input json.RawMessage `json:"input"`
}

type failureJSON struct {
	Kind    string          `json:"kind"`
	Code    *string         `json:"code"`
	Message string          `json:"message"`
	Class   *string         `json:"class"`
	Source  string          `json:"source"`
	Details json.RawMessage `json:"details"`
	Partial json.RawMessage `json:"partial"`
	Stack   []string        `json:"stack"`
}

type stopJSON struct {
	Kind   string  `json:"kind"`
	At     *string `json:"at"`
	By     *string `json:"by"`
	Reason *string `json:"reason"`
}

type resolutionJSON struct {
	By     *string `json:"by"`
	Reason *string `json:"reason"`
	At     *string `json:"at"`
}

type reasonJSON struct {
	Code   string   `json:"code"`
	Text   string   `json:"text"`
	Remedy *string  `json:"remedy"`
	On     []string `json:"on"`
	Since  *string  `json:"since"`
	Until  *string  `json:"until"`
}

// optional is a text, nil when empty.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// list is a slice that is [] and not null when empty.
func list[T any](in []T) []T {
	if in == nil {
		return []T{}
	}
	return in
}

func newTaskJSON(v *task.View) taskJSON {
	out := taskJSON{
		ID: string(v.ID), Template: v.Template.String(), TemplateHash: v.Template.Hash, Status: string(v.Status),
		Derived: string(v.Derived), Health: string(v.Health), Action: optional(v.Action), Error: failureText(v.Failure),
		Failure: newFailureJSON(v.Failure), Stop: newStopJSON(v.Stop), Resolution: newResolutionJSON(v.Resolution),
		Input: v.Input.Inline, InputBytes: v.Input.Size(), Initiator: optional(v.Initiator),
		SourceSystem: optional(v.SourceSystem), Reason: optional(v.Reason), Tags: list(v.Tags), Priority: v.Priority,
		Bypass: list(v.Bypass), IdempotencyKey: optional(v.IdempotencyKey), CorrelationID: v.CorrelationID, TraceID: traceID(v),
		Deadline: stamp(v.Deadline), CreatedAt: stamp(v.CreatedAt), StartedAt: stamp(v.StartedAt),
		CompletedAt: stamp(v.CompletedAt), UpdatedAt: stamp(v.UpdatedAt), Revision: v.Revision, EventCount: v.Seq,
		Steps: make([]stepJSON, len(v.Steps)),
	}
	for i := range v.Steps {
		out.Steps[i] = newStepJSON(&v.Steps[i])
	}
	return out
}

func newStepJSON(s *task.StepView) stepJSON {
	out := stepJSON{
		runStepJSON: newRunStepJSON(s),
		Ordinal:     uint32(s.Ordinal), DependsOn: list(s.DependsOn), Join: s.Join, Optional: s.Optional, Limit: s.Limit,
		Failures: s.Failures, Losses: s.Losses, Settings: newSettingsJSON(s.Settings), Failure: newFailureJSON(s.Failure),
		Why: newReasonJSON(s.Reason), Note: optional(s.Note), Resolution: newResolutionJSON(s.Resolution),
		LateResults: s.LateCount, RetryAt: stamp(s.RetryAt), ProgressNote: optional(s.ProgressNote),
		ResultsBytes: s.Results.Size(),
	}
	if s.Progress > 0 {
		out.Progress = &s.Progress
	}
	if s.Settings != nil {
		out.HandlerVersion = &s.Settings.HandlerVersion
	}
	if at := s.Attempt; at != nil {
		out.Attempt = &attemptJSON{
			Number: at.Number, Status: string(at.Status), Instance: at.Instance,
			StartedAt: stamp(at.StartedAt), EndedAt: stamp(at.EndedAt), Input: s.Input,
		}
	}
	return out
}

func newSettingsJSON(s *task.Settings) *settingsJSON {
	if s == nil {
		return nil
	}
	limit := func(d time.Duration) *string {
		if d == 0 {
			return nil
		}
		return optional(d.String())
	}
	return &settingsJSON{
		HandlerVersion: s.HandlerVersion, PluginVersion: optional(s.PluginVersion), Retry: s.Retry, Retryable: s.Retryable,
		Timeout: limit(s.Timeout), HeartbeatTimeout: limit(s.HeartbeatTimeout), ScheduleToStart: limit(s.ScheduleToStart),
		TotalTimeout: limit(s.TotalTimeout), CancelGrace: limit(s.CancelGrace), OnCrash: string(s.OnCrash),
	}
}

func newFailureJSON(f *task.Failure) *failureJSON {
	if f == nil {
		return nil
	}
	return &failureJSON{
		Kind: string(f.Kind), Code: optional(f.Code), Message: f.Message, Class: optional(f.Class),
		Source: string(f.Source), Details: f.Details, Partial: f.Partial, Stack: list(f.Stack),
	}
}

func newStopJSON(s *task.Stop) *stopJSON {
	if s == nil {
		return nil
	}
	return &stopJSON{Kind: string(s.Kind), At: stamp(s.At), By: optional(s.By), Reason: optional(s.Reason)}
}

func newResolutionJSON(r *task.Resolution) *resolutionJSON {
	if r == nil {
		return nil
	}
	return &resolutionJSON{By: optional(r.By), Reason: optional(r.Reason), At: stamp(r.At)}
}

func newReasonJSON(r *task.Reason) *reasonJSON {
	if r == nil {
		return nil
	}
	return &reasonJSON{
		Code: string(r.Code), Text: r.Text, Remedy: optional(r.Remedy), On: list(r.On), Since: stamp(r.Since), Until: stamp(r.Until),
	}
}

// summaryJSON is one task of `task list --json`.
type summaryJSON struct {
	ID            string   `json:"id"`
	Template      string   `json:"template"`
	Status        string   `json:"status"`
	Error         *string  `json:"error"`
	Tags          []string `json:"tags"`
	CorrelationID string   `json:"correlation_id"`
	Priority      int32    `json:"priority"`
	Initiator     *string  `json:"initiator"`
	CreatedAt     *string  `json:"created_at"`
	StartedAt     *string  `json:"started_at"`
	CompletedAt   *string  `json:"completed_at"`
	UpdatedAt     *string  `json:"updated_at"`
}

func newSummaryJSON(s *host.Summary) summaryJSON {
	return summaryJSON{
		ID: string(s.Spec.ID), Template: s.Spec.Template.String(), Status: string(s.Status), Error: failureText(s.Failure),
		Tags: list(s.Spec.Tags), CorrelationID: s.Spec.CorrelationID, Priority: s.Spec.Priority,
		Initiator: optional(s.Spec.Initiator), CreatedAt: stamp(s.Spec.CreatedAt), StartedAt: stamp(s.StartedAt),
		CompletedAt: stamp(s.CompletedAt), UpdatedAt: stamp(s.UpdatedAt),
	}
}
