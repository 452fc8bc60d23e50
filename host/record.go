package host

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/event"
	"github.com/tasker-engine/tasker/plugin/sdk/recording"
	eventv1 "github.com/tasker-engine/tasker/proto/tasker/event/v1"
)

// Recorded are the attempts of a task that were recorded, and why others were not.
type Recorded struct {
	Attempts []*recording.Attempt
	Left     []string // "step pay: ..."
}

// Record makes recordings of the last attempts of a task's steps, as far as they have ended and the task keeps what
// they were asked: those of one plugin, or with an empty name of all. What the schemas of the handlers mark with
// writeOnly is redacted: a plugin that is not among those known is an error, because so are its schemas.
func Record(ctx context.Context, s Service, id, plugin string, known []PluginInfo) (*Recorded, error) {
	v, err := s.Task(ctx, id)
	if err != nil {
		return nil, err
	}
	emitted, err := emittedBySteps(ctx, s, v)
	if err != nil {
		return nil, err
	}
	out := &Recorded{}
	for i := range v.Steps {
		step := &v.Steps[i]
		if plugin != "" && step.Handler.Plugin != plugin {
			continue
		}
		a, why := recordStep(v, step)
		if a == nil {
			out.Left = append(out.Left, fmt.Sprintf("step %s: %s", step.Name, why))
			continue
		}
		found := false
		for j := range known {
			if p := &known[j]; p.Name == a.Plugin && p.Version != "" {
				found = true
				redact(a, p)
			}
		}
		if !found {
			return nil, fmt.Errorf("plugin %s: %w: without its schemas nobody knows what in its attempts is secret", a.Plugin, task.ErrNotFound)
		}
		if a.Outcome.Error == nil && step.Attempts == 1 {
			a.Outcome.Events = emitted[step.Name]
		}
		out.Attempts = append(out.Attempts, a)
	}
	return out, nil
}

// recordStep makes the recording of a step's last attempt, or says why there is none.
func recordStep(v *task.View, s *task.StepView) (a *recording.Attempt, why string) {
	switch {
	case s.Attempt == nil:
		return nil, "it has not run"
	case s.Attempt.Status != task.AttemptSucceeded && s.Attempt.Status != task.AttemptFailed:
		return nil, fmt.Sprintf("its last attempt is %s", s.Attempt.Status)
	case s.Attempt.Status == task.AttemptSucceeded && s.Status != task.StepComplete:
		return nil, fmt.Sprintf("it is %s", s.Status)
	}
	a = &recording.Attempt{
		Format: recording.Format, Plugin: s.Handler.Plugin, Handler: s.Handler.Handler, Version: s.Handler.Version, Step: string(s.Name), Number: s.Attempt.Number,
		Limit: s.Limit, Tags: v.Tags, Config: s.Config, Input: s.Input, IdempotencyKey: string(v.ID) + "/" + fmt.Sprint(s.Ordinal),
	}
	if set := s.Settings; set != nil {
		a.PluginVersion, a.Version = set.PluginVersion, set.HandlerVersion
	}
	if a.Input == nil {
		if v.Input.Ref != nil {
			return nil, "its input, the task's, is too large"
		}
		a.Input = v.Input.Inline
	}
	for _, dep := range s.DependsOn {
		for i := range v.Steps {
			switch d := &v.Steps[i]; {
			case d.Name != dep:
			case d.Output == nil:
				a.Skipped = append(a.Skipped, string(dep))
			default:
				if a.Results == nil {
					a.Results = make(map[string]json.RawMessage)
				}
				a.Results[string(dep)] = d.Output
			}
		}
	}
	if f := s.Attempt.Failure; s.Attempt.Status == task.AttemptFailed && f != nil {
		a.Outcome.Error = &recording.Error{Kind: string(f.Kind), Code: f.Code, Message: f.Message}
	} else {
		a.Outcome.Output = s.Output
		if a.Outcome.Output == nil {
			a.Outcome.Output = json.RawMessage("null")
		}
	}
	return a, ""
}

// redact takes out what a plugin's schemas mark as secret.
func redact(a *recording.Attempt, p *PluginInfo) {
	for i := range p.Handlers {
		h := &p.Handlers[i]
		if h.Name != a.Handler || a.Version != 0 && h.Version != a.Version {
			continue
		}
		for _, part := range []struct {
			doc    *json.RawMessage
			schema json.RawMessage
			at     string
		}{
			{&a.Input, h.InputSchema, "/input"},
			{&a.Config, h.ConfigSchema, "/config"},
			{&a.Outcome.Output, h.OutputSchema, "/outcome/output"},
		} {
			var places []string
			*part.doc, places = recording.Redact(*part.doc, part.schema, part.at)
			a.Redacted = append(a.Redacted, places...)
		}
		for _, at := range a.Redacted {
			if rest, ok := strings.CutPrefix(at, "/outcome"); ok {
				a.Volatile = append(a.Volatile, rest)
			}
		}
		return
	}
}

// emittedBySteps are the custom events of a task that its plugins emitted, by step.
func emittedBySteps(ctx context.Context, s Service, v *task.View) (map[task.StepName][]recording.Event, error) {
	families := make(map[task.StepName]string)
	for i := range v.Steps {
		families[v.Steps[i].Name] = v.Steps[i].Handler.Plugin
	}
	out := make(map[task.StepName][]recording.Event)
	err := s.Events(ctx, EventQuery{Task: string(v.ID)}, func(entry LogEntry) error {
		var e eventv1.Event
		if err := proto.Unmarshal(entry.Encoded, &e); err != nil {
			return fmt.Errorf("event %d: %w", entry.Seq, err)
		}
		step := task.StepName(e.GetStep())
		family, _, _ := strings.Cut(e.GetType(), ".")
		if _, builtIn := event.Lookup(e.GetType()); !builtIn && family == families[step] {
			out[step] = append(out[step], recording.Event{Name: e.GetType(), Payload: e.GetPayload()})
		}
		return nil
	})
	return out, err
}
