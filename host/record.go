package host

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/tasker-engine/tasker/host/task"
	"github.com/tasker-engine/tasker/plugin/sdk/recording"
)

// RecordOptions say what is recorded.
type RecordOptions struct {
	// Plugin is the plugin whose attempts are recorded. Empty = those of all.
	Plugin string
	// Known are the plugins with their schemas, which say what is secret.
	Known []PluginInfo
	// Configs are the configurations of plugins as they are written, by name: the secrets in them are looked for.
	Configs map[string]json.RawMessage
}

// Recorded are the attempts of tasks that were recorded, and why others were not.
type Recorded struct {
	Attempts []*recording.Attempt
	// Left says what was not recorded, and why: "task 01JD, step pay, attempt 1: ...".
	Left []string
	// Notes say what to look at in the recordings.
	Notes []string
}

// Record makes recordings of the attempts of steps of tasks that have ended, as far as the tasks and the log keep what they
// were asked and what came of it. Of an earlier attempt the checkpoint that it began from is not kept, and is not in its
// recording.
//
// What the schemas of handlers and events mark with writeOnly is redacted, in inputs, configs, results of dependencies,
// outputs and payloads, and what stood there, and the secrets of the plugins' configurations, wherever it appears. A plugin
// that is not among those known is an error, because so are its schemas.
func Record(ctx context.Context, s Service, ids []string, o RecordOptions) (*Recorded, error) {
	out := &Recorded{}
	r, err := newRecordRedaction(ctx, &o, out)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		v, err := s.Task(ctx, id)
		if err != nil {
			return nil, err
		}
		past, err := readPast(ctx, s, v)
		if err != nil {
			return nil, err
		}
		for i := range v.Steps {
			if step := &v.Steps[i]; o.Plugin == "" || step.Handler.Plugin == o.Plugin {
				if err := r.step(out, v, step, past[step.Name]); err != nil {
					return nil, err
				}
			}
		}
	}
	r.hide(out.Attempts)
	return out, nil
}

// step records the attempts of a step.
func (r *recordRedaction) step(out *Recorded, v *task.View, s *task.StepView, past *pastStep) error {
	where := fmt.Sprintf("task %s, step %s", v.ID, s.Name)
	if s.Attempts == 0 {
		out.Left = append(out.Left, where+": it has not run")
	}
	for number := uint32(1); number <= s.Attempts; number++ {
		a, why, err := r.attempt(v, s, past, number)
		if err != nil {
			return err
		}
		where := fmt.Sprintf("%s, attempt %d: ", where, number)
		if why != "" {
			out.Left = append(out.Left, where+why)
			continue
		}
		out.Attempts = append(out.Attempts, a)
		if number > 1 && s.HasCheckpoint {
			out.Notes = append(out.Notes, where+"the checkpoint that it may have begun from is not kept")
		}
	}
	return nil
}

// attempt makes the recording of an attempt, or says why there is none.
func (r *recordRedaction) attempt(v *task.View, s *task.StepView, past *pastStep, number uint32) (a *recording.Attempt, why string, err error) {
	p := past.attempt(number)
	if why := p.unusable(); why != "" {
		return nil, why, nil
	}
	a, why = askedOf(v, s)
	if why != "" {
		return nil, why, nil
	}
	a.Number, a.Backoff, a.Previous = number, p.backoff, past.failureBefore(number)
	a.Outcome = recording.Outcome{Output: p.output, Error: p.failure, Events: p.events}
	if p.failure == nil && number == s.Attempts && s.Status == task.StepComplete {
		a.Outcome.Output = s.Output // however large
	}
	if p.failure == nil && a.Outcome.Output == nil {
		if p.large {
			return nil, "its results are larger than events hold, and the step has others now", nil
		}
		a.Outcome.Output = json.RawMessage("null")
	}
	why, err = r.marked(a, v)
	return a, why, err
}

// askedOf is what each attempt of a step was asked, or why nobody knows.
func askedOf(v *task.View, s *task.StepView) (a *recording.Attempt, why string) {
	a = &recording.Attempt{
		Format: recording.Format, Plugin: s.Handler.Plugin, Handler: s.Handler.Handler, Version: s.Handler.Version, Step: string(s.Name),
		Limit: s.Limit, Tags: slices.Clone(v.Tags), Config: s.Config, Input: s.Input, IdempotencyKey: string(v.ID) + "/" + fmt.Sprint(s.Ordinal),
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
			case d.Name != dep || !d.Status.Satisfies(): // with `join: any` others may be on their way
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
	return a, ""
}
